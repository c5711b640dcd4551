"""The accounts of drop folders, as settings take them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from sdk.model import Model, Secret

_HOST = r"^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$|^[0-9A-Fa-f:.]+$"
_PLAIN = r"^[^\r\n\x00]+$"


class DropAccount(Model):
    """Un dossier d'un serveur de fichiers."""

    host: str = Field(pattern=_HOST, description="Nom ou adresse du serveur", examples=["depot.cartads.example"])
    username: str = Field(pattern=_PLAIN, description="Compte")
    folder: str = Field(
        default="", pattern=r"^[^\r\n\x00]*$", description="Dossier où déposer ; celui de l'arrivée par défaut"
    )
    connect_timeout: float = Field(default=5.0, gt=0, le=25, description="Attente la plus longue d'une connexion")
    timeout: float = Field(default=60.0, gt=0, le=600, description="Durée la plus longue d'un envoi")


class SftpAccount(DropAccount):
    """Un dossier d'un serveur SFTP, reconnu à sa clé."""

    port: int = Field(default=22, ge=1, le=65535, description="Port")
    password: Secret = Field(default=Secret(""), description="Mot de passe ; vide si une clé est donnée")
    private_key: Secret = Field(default=Secret(""), description="Clé privée, texte OpenSSH ou PEM")
    passphrase: Secret = Field(default=Secret(""), description="Mot de passe de la clé privée")
    host_key: str = Field(
        min_length=1,
        description="Clé du serveur, une par ligne, comme dans known_hosts (« ssh-ed25519 AAAA… »). Jamais apprise",
    )


class FtpsAccount(DropAccount):
    """Un dossier d'un serveur FTPS, reconnu à son certificat."""

    tls: Literal["explicit", "implicit"] = Field(
        default="explicit", description="explicit (AUTH TLS) ou implicit (TLS dès la connexion)"
    )
    port: int = Field(default=0, ge=0, le=65535, description="Port ; 21 (explicit) ou 990 (implicit) par défaut")
    password: Secret = Field(description="Mot de passe")
    ca_file: Path | None = Field(
        default=None,
        description="Autorité qui a signé le certificat du serveur, ou ce certificat lui-même ; PEM. Les autorités "
        "publiques par défaut. Le certificat est toujours vérifié, avec le nom",
    )
