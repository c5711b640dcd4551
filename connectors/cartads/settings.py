"""The settings of a Cart@ds instance: its doors, each optional."""

from __future__ import annotations

from sdk import Field, HttpUrl, Model, Secret

from .portal_settings import Portal


class Sig(Model):
    """L'API SIG : les dossiers instruits."""

    url: HttpUrl = Field(description="Adresse de l'API", examples=["https://cartads.ville.example/cartads/api/Sig"])
    auth_url: HttpUrl = Field(description="Adresse de connexion, qui donne le jeton")
    client_id: str = Field(min_length=1, description="Identifiant de client (clientId) donné par l'éditeur")
    login: str = Field(min_length=1, description="Compte du webservice")
    password: Secret = Field(description="Son mot de passe ; seule son empreinte SHA-256 est envoyée")
    search_days: int = Field(
        default=365, ge=1, le=3650, description="La recherche par mots porte sur les dossiers modifiés depuis, en jours"
    )


class Board(Model):
    """L'affichage réglementaire du guichet unique, public."""

    url: HttpUrl = Field(
        description="Adresse du guichet unique, sans /Login",
        examples=["https://cartads.ville.example/guichet-unique"],
    )


class Stage(Model):
    """Ce qu'on dit d'un stade."""

    text: str = Field(default="", description="La phrase montrée à l'usager ; le stade lui-même par défaut")
    final: bool = Field(default=False, description="Plus rien n'arrivera à ce dossier")


class Settings(Model):
    """Une instance est un Cart@ds ; `sig`, `board` et `portal` s'ouvrent séparément, au moins un des trois."""

    sig: Sig | None = Field(default=None, description="API SIG : suivre et chercher les dossiers")
    board: Board | None = Field(default=None, description="Affichage réglementaire public")
    portal: Portal | None = Field(default=None, description="Portail : déposer un dossier, par SFTP ou FTPS")
    stages: dict[str, Stage] = Field(
        default_factory=dict,
        description="Phrase et fin de chaque stade, écrit comme Cart@ds ; un stade absent est transmis tel quel",
        examples=[{"Décision notifiée": {"text": "Votre décision est notifiée", "final": True}}],
    )
