"""Settings of an ATAL instance: which generation answers, and how this town's ATAL names things."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from sdk import Field, HttpUrl, Model, Secret

ListName = Literal["types", "thematics", "equipment", "services", "third_parties", "rooms", "material"]
Action = Literal["test", "create", "create_located", "details", "comment", "attach", "search"]


class ListSource(Model):
    """D'où vient une liste. Les membres sont des chemins (`Item.Label`), plusieurs essayés dans l'ordre avec `|`."""

    path: str = Field(default="", description="v6 : chemin sous l'adresse", examples=["/api/Thematics"])
    params: dict[str, str] = Field(default={}, description="v6 : paramètres", examples=[{"$filter": "CanBeLoaned"}])
    operation: str = Field(default="", description="SOAP : opération", examples=["getThematiqueATAL"])
    arguments: list[str] = Field(default=[], description="SOAP : ses paramètres, dans l'ordre", examples=[[""]])
    at: str = Field(default="", description="Où est la liste dans la réponse, si elle n'est pas la réponse même")
    id: str = Field(default="Id|Code|id|code", description="Membre de l'identifiant")
    text: str = Field(
        default="CompleteLabel|Label|Libelle|Name|Nom|Designation|Description", description="Membre du libellé"
    )
    parent: str = Field(default="", description="Membre de l'identifiant du parent", examples=["ParentThematicId"])
    hidden: str = Field(default="", description="Membre qui, vrai, retire la ligne", examples=["Archived"])
    only: dict[str, str] = Field(default={}, description="Membres et valeurs exigés", examples=[{"Type": "1"}])
    values: dict[str, str] = Field(
        default={}, description="La liste elle-même, identifiant et libellé, si ATAL ne la donne pas"
    )


class SoapCall(Model):
    """Une opération SOAP et ses paramètres, faits de nos champs entre accolades (`{object}`, `{contact_name}`)."""

    operation: str = Field(default="", description="Nom dans le WSDL", examples=["insertDemandeCompletByType"])
    arguments: list[str] | dict[str, str] = Field(
        default=[],
        description="Dans l'ordre du WSDL (liste) ou par nom (table) ; « demande.contact.nom » remplit une structure",
        examples=[["{contact_name}", "{contact_phone}", ""], {"demande.objet": "{object}"}],
    )
    at: str = Field(default="", description="Où est la réponse utile (une liste, pour une recherche)")
    result: dict[str, str] = Field(
        default={},
        description="Nos valeurs (number, status, object, place, comment) et leur membre dans la réponse",
        examples=[{"status": "etatDemande.description"}],
    )


class SoapService(Model):
    """Un autre service SOAP du même ATAL."""

    url: HttpUrl = Field(description="Son adresse", examples=["https://atal.ville.example/awa/services/UploadService"])
    wsdl: Path | None = Field(default=None, description="Son WSDL ; absent : assumed-villeagile.wsdl, supposé")


class SoapOptions(Model):
    """La génération SOAP."""

    wsdl: Path | None = Field(
        default=None,
        description="WSDL de DemandeService, enregistré depuis l'ATAL de la ville (adresse suivie de ?wsdl) ; "
        "absent : assumed-demande.wsdl, supposé",
    )
    others: list[SoapService] = Field(default=[], description="Autres services : chaque opération y est aussi cherchée")
    operations: dict[Action, SoapCall] = Field(
        default={}, description="Opérations et paramètres différents de ceux supposés"
    )
    date_format: str = Field(default="%d/%m/%Y", description="Forme de {wished_date}")
    coordinates: Literal["wgs84", "lambert93"] = Field(
        default="wgs84",
        description="Ce que {longitude} et {latitude} deviennent : degrés, ou mètres en Lambert 93 (est, nord)",
    )
    refusals: dict[str, str] = Field(
        default={},
        description="Erreurs SOAP (code ou nom) qui sont un refus, et la phrase montrée à l'usager",
        examples=[{"TypeDemandeInconnuException": "Ce type de demande n'existe plus."}],
    )


class V6Options(Model):
    """La génération v6. Les membres sont des chemins, plusieurs essayés dans l'ordre avec `|`."""

    members: dict[str, str] = Field(
        default={},
        description="Nos champs et leur membre dans une demande ; [] à la fin : une liste d'un élément",
        examples=[{"thematic": "ThematicIds[]"}],
    )
    id: str = Field(default="Id|Guid|Uuid|UniqueId", description="Identifiant d'une demande (le premier UUID)")
    number: str = Field(default="Number|RequestNumber|Code|Reference", description="Numéro montré")
    state: str = Field(default="RequestState|State|Status", description="État d'une demande")
    response: str = Field(default="Comment|Text|Message|Description|Body", description="Texte d'une réponse")
    comment_path: str = Field(
        default="",
        description="Où envoyer un commentaire : l'éditeur ne le publie pas, le lire dans le Swagger de l'instance",
        examples=["/api/WorksRequests/{id}/Responses"],
    )
    comment_member: str = Field(default="Comment", description="Membre qui porte le commentaire")
    by_number: str = Field(
        default="",
        description="$filter qui retrouve par son numéro une demande d'avant la v6 ; vide : elle n'est pas cherchée",
        examples=["Number eq {number}"],
    )
    quantity: str = Field(default="Quantity|AvailableQuantity", description="Quantité d'un matériel en stock")
    search: str = Field(
        default="contains(Object,{q}) or contains(Description,{q})", description="$filter de la recherche d'agents"
    )


class Defaults(Model):
    """Ce qui est envoyé quand le formulaire ne le dit pas."""

    type: str = Field(default="", description="Type de demande", examples=["1001"])
    service: str = Field(default="", description="Service demandeur", examples=["690"])
    equipment: str = Field(default="", description="Équipement")
    thematic: str = Field(default="", description="Thématique")
    requester: str = Field(default="", description="Demandeur (v6 : RequesterId)", examples=["13"])
    recipient: str = Field(default="", description="Destinataire (v6 : RecipientId)", examples=["1004"])
    third_party: str = Field(default="", description="Tiers qui emprunte salles et matériel", examples=["690"])


class State(Model):
    """Ce que veut dire un état de cet ATAL."""

    text: str = Field(description="En toutes lettres, pour l'usager", examples=["Travaux terminés"])
    final: bool = Field(default=False, description="Plus rien n'arrivera")


class Settings(Model):
    """Une instance est l'ATAL d'une ville. Changer de génération ne change rien aux formulaires."""

    generation: Literal["soap", "v6"] = Field(description="soap (ancien webservice) ou v6 (API REST)")
    url: HttpUrl = Field(
        description="v6 : adresse sans /api. soap : adresse de DemandeService, sans ?wsdl",
        examples=["https://atal.ville.example"],
    )
    key: Secret = Field(default=Secret(""), description="v6 : clé (X-API-Key) faite dans l'administration d'ATAL")
    username: str = Field(default="", description="soap : compte HTTP Basic, s'il en faut un")
    password: Secret = Field(default=Secret(""), description="soap : son mot de passe")
    timeout: float = Field(default=20.0, gt=0, le=25, description="Plus long silence accepté ; ATAL est lent")
    time_zone: str = Field(default="Europe/Paris", description="Fuseau des dates d'ATAL")
    page: HttpUrl | None = Field(
        default=None,
        description="Page d'une demande dans ATAL, pour la recherche d'agents ; {id} et {number} sont remplacés",
        examples=["https://atal.ville.example/#/demandes/{id}"],
    )
    defaults: Defaults = Field(default=Defaults(), description="Valeurs des champs laissés vides")
    equivalents: dict[ListName, dict[str, str]] = Field(
        default={},
        description="Anciens identifiants que les formulaires envoient encore, et les nouveaux, par liste",
        examples=[{"types": {"VOIRIE": "1001"}}],
    )
    states: dict[str, State] = Field(
        default={},
        description="États de cet ATAL ; un état absent est transmis tel quel, sans être final",
        examples=[{"Terminée": {"text": "Travaux terminés", "final": True}}],
    )
    lists: dict[ListName, ListSource] = Field(default={}, description="Listes lues autrement que par défaut")
    soap: SoapOptions = Field(default=SoapOptions(), description="Réglages de la génération soap")
    v6: V6Options = Field(default=V6Options(), description="Réglages de la génération v6")
