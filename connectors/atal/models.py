"""What forms send and receive, the same over both generations of ATAL."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from sdk import Choice, Field, File, Model, Progress

EXAMPLE = "11865d87-336b-49b3-e181-08d76f93d6b4"


class Contact(Model):
    """La personne à recontacter."""

    last_name: str = Field(default="", description="Nom", examples=["Martin"])
    first_name: str = Field(default="", description="Prénom", examples=["Jeanne"])
    email: str = Field(default="", description="Courriel", examples=["jeanne.martin@example.net"])
    phone: str = Field(default="", description="Téléphone", examples=["0235000000"])
    mobile: str = Field(default="", description="Téléphone mobile", examples=["0601020304"])
    address: str = Field(default="", description="Numéro et voie", examples=["3 rue du Lac"])
    zip_code: str = Field(default="", description="Code postal", examples=["76000"])
    city: str = Field(default="", description="Commune", examples=["Rouen"])


class WorkRequest(Model):
    """Une demande de travaux. Un identifiant laissé vide est celui du paramétrage (`defaults`)."""

    object: str = Field(min_length=1, max_length=250, description="Objet, en une ligne", examples=["Nid de poule"])
    description: str = Field(default="", description="Le problème en détail", examples=["Devant le numéro 3"])
    contact: Contact = Field(default=Contact(), description="La personne à recontacter")
    place: str = Field(default="", description="Lieu, en toutes lettres", examples=["Rue du Lac"])
    longitude: float | None = Field(
        default=None, ge=-180, le=180, description="Longitude, degrés WGS 84", examples=[1.0993]
    )
    latitude: float | None = Field(default=None, ge=-90, le=90, description="Latitude, degrés WGS 84", examples=[49.44])
    wished_date: date | None = Field(default=None, description="Date souhaitée", examples=["2025-03-20"])
    type: str = Field(default="", description="Type de demande, voir `types`", examples=["1001"])
    thematic: str = Field(default="", description="Thématique, voir `thematics`")
    equipment: str = Field(default="", description="Équipement concerné, voir `equipment`", examples=["52"])
    service: str = Field(default="", description="Service demandeur, voir `services`", examples=["690"])
    requester: str = Field(default="", description="Demandeur connu d'ATAL")
    recipient: str = Field(default="", description="Destinataire connu d'ATAL")


class RequestProgress(Progress):
    """Où en est une demande ; l'état est celui d'ATAL, `text` et `final` viennent du paramétrage (`states`)."""

    id: str = Field(description="Identifiant de la demande", examples=[EXAMPLE])
    status: str = Field(description="L'état, tel qu'ATAL le donne", examples=["En cours"])
    text: str = Field(default="", description="L'état en toutes lettres", examples=["Travaux en cours"])
    final: bool = Field(description="Plus rien n'arrivera", examples=[False])
    number: str = Field(default="", description="Numéro que connaissent les agents", examples=["D-2025-00117"])
    object: str = Field(default="", description="Objet de la demande", examples=["Nid de poule"])
    comments: list[str] = Field(
        default=[], description="Ce que les services ont répondu", examples=[["Équipe envoyée"]]
    )


class Comment(Model):
    """Un commentaire à joindre à une demande."""

    text: str = Field(min_length=1, max_length=4000, description="Le commentaire", examples=["Le trou s'agrandit."])
    author: str = Field(default="", description="Qui parle ; mis en tête du commentaire", examples=["Jeanne Martin"])


class Attachment(Model):
    """Un fichier à joindre à une demande."""

    file: File = Field(description="Le fichier")


class Attached(Model):
    """Un fichier reçu par ATAL."""

    filename: str = Field(description="Son nom", examples=["trou.jpg"])
    size: int = Field(description="Sa taille en octets", examples=[48213])
    attachment: str = Field(default="", description="Son identifiant, quand ATAL le donne", examples=["18249"])


class Loanable(Choice):
    """Une salle ou un matériel ; `disabled` s'il n'est pas libre sur toute la période."""

    free: int = Field(default=1, description="Quantité libre sur toute la période", examples=[12])


class Busy(Model):
    """Une période où une salle est prise, pour elle-même, son parent ou une de ses parties."""

    start: datetime = Field(description="Début, heure locale", examples=["2025-04-02T14:00:00"])
    end: datetime = Field(description="Fin, heure locale", examples=["2025-04-02T18:00:00"])
    room: str = Field(description="La salle prêtée", examples=["52"])


class Period(Model):
    """Une période et l'emprunteur."""

    start: datetime = Field(description="Début, heure locale", examples=["2025-04-02T14:00"])
    end: datetime = Field(description="Fin, heure locale", examples=["2025-04-02T18:00"])
    third_party: str = Field(
        default="",
        description="Tiers emprunteur, voir `third-parties` ; celui du paramétrage si vide",
        examples=["690"],
    )
    only_if_free: bool = Field(
        default=True, description="Refuser (`busy`) si ce n'est pas libre au moment de la demande"
    )


class RoomLoan(Period):
    """Une salle à emprunter."""

    room: str = Field(min_length=1, description="Salle, voir `rooms`", examples=["52"])
    people: int = Field(default=0, ge=0, description="Nombre de personnes prévu", examples=[40])


class MaterialLoan(Period):
    """Du matériel à emprunter."""

    item: str = Field(min_length=1, description="Matériel, voir `material`", examples=["3258"])
    quantity: int = Field(default=1, ge=1, description="Quantité", examples=[10])


LoanState = Literal["pending", "accepted", "refused", "cancelled"]


class Decision(Model):
    """Ce que devient un emprunt."""

    state: LoanState = Field(
        description="pending (en attente), accepted (accepté), refused (refusé), cancelled (annulé)",
        examples=["accepted"],
    )


class LoanProgress(Progress):
    """Où en est un emprunt."""

    id: str = Field(description="Identifiant de l'emprunt", examples=["2573"])
    status: str = Field(description="Le RequestState d'ATAL", examples=["2"])
    text: str = Field(default="", description="L'état en toutes lettres", examples=["Accepté"])
    final: bool = Field(description="Refusé ou annulé", examples=[False])
    state: LoanState | Literal[""] = Field(
        default="", description="pending, accepted, refused, cancelled ; vide si inconnu", examples=["accepted"]
    )
