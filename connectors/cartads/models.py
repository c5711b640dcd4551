"""What the endpoints of Cart@ds take and answer. Dates are days; moments are Europe/Paris."""

from __future__ import annotations

from datetime import date

from sdk import Field, Model, Progress

EXAMPLE = "PC 076 540 25 00042"


class Application(Model):
    """Un dossier d'autorisation d'urbanisme ; ce que Cart@ds ne dit pas encore est vide ou nul."""

    number: str = Field(
        min_length=1, description="Numéro du dossier (NomDossier), avec ses espaces", examples=[EXAMPLE]
    )
    internal_id: str = Field(min_length=1, description="Identifiant interne (IdDossier)", examples=["48213"])
    commune: str = Field(default="", description="Code de la commune (CoCommune)", examples=["076540"])
    commune_number: str = Field(default="", description="NCommune, tel quel", examples=["540"])
    address: str = Field(default="", description="Adresse du terrain", examples=["12 RUE DU LAC"])
    parcels: list[str] = Field(default_factory=list, description="Parcelles cadastrales", examples=[["000 AB 0125"]])
    type: str = Field(default="", description="Type de dossier (CoTypeDossier)", examples=["PC"])
    year: int | None = Field(default=None, description="Année du numéro", examples=[2025])
    filed: date | None = Field(default=None, description="Date de dépôt", examples=["2025-03-03"])
    deadline: date | None = Field(default=None, description="Date limite d'instruction", examples=["2025-06-03"])
    stage: str = Field(default="", description="Stade, tel quel", examples=["En cours d'instruction"])
    authority: str = Field(default="", description="Autorité compétente", examples=["Maire"])
    instructor: str = Field(default="", description="Instructeur", examples=["Service urbanisme"])
    opinion: str = Field(default="", description="Avis de l'instructeur", examples=["Favorable"])
    opinion_date: date | None = Field(default=None, description="Date de cet avis")
    signatory: str = Field(default="", description="Signataire")
    decision: str = Field(default="", description="Décision du signataire", examples=["Favorable"])
    decision_date: date | None = Field(default=None, description="Date de la décision")
    notified: date | None = Field(default=None, description="Date de notification de la décision")
    applicant: str = Field(default="", description="Demandeur", examples=["Jeanne MARTIN"])
    url: str = Field(default="", description="Page du dossier dans Cart@ds, pour les agents")


class ApplicationProgress(Progress):
    """Où en est un dossier."""

    id: str = Field(description="Numéro du dossier", examples=[EXAMPLE])
    status: str = Field(description="Stade de Cart@ds, tel quel", examples=["En cours d'instruction"])
    text: str = Field(default="", description="Le stade en toutes lettres (réglage `stages`)")
    final: bool = Field(
        description="Selon le réglage `stages` ; à défaut, vrai une fois la décision notifiée", examples=[False]
    )
    filed: date | None = Field(default=None, description="Date de dépôt", examples=["2025-03-03"])
    deadline: date | None = Field(default=None, description="Date limite d'instruction", examples=["2025-06-03"])
    decision: str = Field(default="", description="Décision du signataire, tel quel", examples=["Favorable"])
    decision_date: date | None = Field(default=None, description="Date de la décision")
    notified: date | None = Field(default=None, description="Date de notification de la décision")


class Posting(Model):
    """Une ligne de l'affichage réglementaire."""

    posted: date | None = Field(default=None, description="Date d'affichage", examples=["2025-03-05"])
    number: str = Field(min_length=1, description="Numéro du dossier", examples=[EXAMPLE])
    filed: date | None = Field(default=None, description="Date de dépôt", examples=["2025-03-03"])
    applicant: str = Field(default="", description="Demandeur, tel qu'affiché : ne pas le republier sans raison")
    place: str = Field(default="", description="Terrain", examples=["12 RUE DU LAC 76000"])
    parcels: list[str] = Field(default_factory=list, description="Parcelles cadastrales", examples=[["AB 125"]])
    land_area: str = Field(default="", description="Superficie du terrain, telle qu'affichée", examples=["450 m²"])
    works: str = Field(default="", description="Nature des travaux", examples=["Maison individuelle"])
    project: str = Field(default="", description="Chiffres du projet, une ligne chacun")
    decision: str = Field(default="", description="Décision, sur l'affichage des décisions", examples=["Favorable"])
    decided: date | None = Field(default=None, description="Date de la décision", examples=["2025-05-20"])
