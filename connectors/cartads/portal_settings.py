"""The settings of the portal door: whose WSDLs, which names in them, which drop folder."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from sdk import Field, HttpUrl, Model, Secret
from sdk.transfer import FtpsAccount, SftpAccount

Action = Literal[
    "communes",
    "types",
    "objects",
    "forms",
    "pieces",
    "completion_pieces",
    "doc_pieces",
    "daact_pieces",
    "notify",
    "notify_pieces",
    "deposit",
    "steps",
]


class Service(Model):
    """Un webservice du portail (ServicePortail.svc, ServiceDocumentation.svc …)."""

    url: HttpUrl = Field(description="Adresse du service, sans ?wsdl")
    wsdl: Path | None = Field(
        default=None, description="Le WSDL de votre Cart@ds (?singleWsdl). Sans lui, le nôtre, qui n'est que supposé"
    )


class Operation(Model):
    """Comment votre Cart@ds nomme une opération, ses paramètres et ce qu'elle répond."""

    operation: str = Field(default="", description="Nom dans le WSDL", examples=["GetCommunes"])
    arguments: dict[str, str] = Field(
        default_factory=dict,
        description="Paramètre → valeur : {token}, {commune}, {type}, {object}, {file}, {kind}, {filename}, {email}, "
        "{information}, ou un texte",
        examples=[{"jeton": "{token}"}],
    )
    result: dict[str, str] = Field(
        default_factory=dict, description="Ce que nous lisons → membre de la réponse", examples=[{"id": "Key"}]
    )


class Portal(Model):
    """Le portail : listes, dépôt par SFTP ou FTPS, notification, suivi."""

    services: list[Service] = Field(min_length=1, description="Les webservices ; une opération est prise où elle est")
    login: str = Field(min_length=1, description="Compte du portail")
    password: Secret = Field(description="Son mot de passe")
    key: Secret = Field(description="Clé AES donnée par l'éditeur : 16, 24 ou 32 caractères, ou en hexadécimal")
    iv: Secret = Field(description="Vecteur d'initialisation AES : 16 caractères, ou 32 chiffres hexadécimaux")
    sftp: SftpAccount | None = Field(default=None, description="Le dossier où Cart@ds prend les dépôts, par SFTP")
    ftps: FtpsAccount | None = Field(default=None, description="Ou par FTPS : l'un des deux, et un seul")
    operations: dict[Action, Operation] = Field(
        default_factory=dict, description="Noms de votre WSDL, là où ils diffèrent des nôtres"
    )
    refusals: dict[str, str] = Field(
        default_factory=dict, description="Code d'erreur SOAP qui est un refus → phrase pour l'usager"
    )
