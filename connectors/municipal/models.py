"""What a form says of an intervention, what an instance's settings map it to."""

from __future__ import annotations

from datetime import date
from decimal import Decimal
from typing import Protocol

from sdk import Choice, Field, Hit, HttpUrl, Model, Progress, Receipt, Secret

EXAMPLE = "2025-00017"
PLACEHOLDER = "{number}"


class Intervention(Model):
    """Une demande d'intervention. Ce que le logiciel de la ville ne garde pas est refusé, jamais perdu en silence."""

    reference: str = Field(
        min_length=1,
        max_length=100,
        description="Numéro de la demande dans Publik : rend la création retrouvable et sans doublon",
        examples=["VOI-2041"],
    )
    kind: str = Field(default="", description="Code du type d'intervention (liste `kinds`)", examples=["VOIRIE"])
    subject: str = Field(min_length=1, description="Objet, en une ligne", examples=["Nid-de-poule"])
    description: str = Field(default="", description="Détail", examples=["Devant le numéro 3, depuis lundi."])
    place: str = Field(default="", description="Lieu, en toutes lettres", examples=["3 rue du Lac, 76000 Rouen"])
    longitude: Decimal | None = Field(default=None, ge=-180, le=180, description="Degrés, WGS 84", examples=["1.0993"])
    latitude: Decimal | None = Field(default=None, ge=-90, le=90, description="Degrés, WGS 84", examples=["49.4431"])
    wished_date: date | None = Field(default=None, description="Date souhaitée", examples=["2025-04-02"])
    last_name: str = Field(default="", description="Nom du demandeur", examples=["Martin"])
    first_name: str = Field(default="", description="Prénom du demandeur", examples=["Jeanne"])
    email: str = Field(default="", description="Courriel du demandeur", examples=["jeanne.martin@example.net"])
    phone: str = Field(default="", description="Téléphone du demandeur", examples=["0235000000"])
    extra: dict[str, str] = Field(
        default={},
        description="Ce que la ville ajoute : noms du réglage `extra` (dans Publik, clés `extra/secteur`)",
        examples=[{"secteur": "RIVE-GAUCHE"}],
    )


class InterventionProgress(Progress):
    """Où en est une intervention. `status` est le code du logiciel, intact."""

    id: str = Field(description="Numéro de la fiche", examples=[EXAMPLE])
    status: str = Field(description="Code d'état du logiciel", examples=["PLAN"])
    text: str = Field(default="", description="L'état en toutes lettres", examples=["Planifiée"])
    final: bool = Field(description="La fiche ne changera plus", examples=[False])
    comment: str = Field(default="", description="Réponse des services", examples=["Équipe prévue jeudi."])


class State(Model):
    """Ce que veut dire un code d'état du logiciel."""

    text: str = Field(description="L'état en toutes lettres")
    final: bool = Field(default=False, description="Vrai quand la fiche ne changera plus")


class TownService(Model):
    """Le webservice que la ville a écrit, au micro-format de Publik. Chemin vide : il n'offre pas cela."""

    url: HttpUrl = Field(description="Adresse de base du webservice")
    user: str = Field(default="", description="Identifiant (HTTP Basic) ; vide : sans authentification")
    password: Secret = Field(default=Secret(""), description="Mot de passe (HTTP Basic)")
    create_path: str = Field(default="interventions", min_length=1, description="Création : POST, objet JSON à plat")
    progress_path: str = Field(
        default="interventions/{number}", pattern=r"\{number\}", description="Avancement : GET ; cite {number}"
    )
    find_path: str = Field(
        default="",
        description="Recherche par référence externe : GET, `reference` en paramètre ; liste d'objets à `id`",
    )
    search_path: str = Field(default="", description="Recherche des agents : GET, `q` en paramètre")
    kinds_path: str = Field(default="", description="Types d'intervention : GET, liste d'objets `id` et `text`")
    names: dict[str, str] = Field(
        default={}, description="Champ de Relais → clé attendue par le webservice ; la même sinon"
    )
    extra: tuple[str, ...] = Field(default=(), description="Noms acceptés dans `extra`, envoyés tels quels")
    unknown: tuple[str, ...] = Field(
        default=("NotFound",), description="Fin des `err_class` qui disent « numéro inconnu »"
    )
    check_number: str = Field(
        default="0", min_length=1, description="Numéro lu par `relais check` : toute réponse au format convient"
    )


class Columns(Model):
    """Colonnes de la table des interventions ; vide : la table n'a pas cette donnée."""

    number: str = Field(min_length=1, description="Numéro de la fiche, attribué par la base")
    display_number: str = Field(default="", description="Numéro montré à l'usager, s'il est autre")
    reference: str = Field(min_length=1, description="Référence externe : le numéro de la demande dans Publik")
    state: str = Field(min_length=1, description="Code d'état")
    comment: str = Field(default="", description="Réponse des services")
    updated: str = Field(default="", description="Dernier changement")
    kind: str = Field(default="", description="Code du type d'intervention")
    subject: str = Field(min_length=1, description="Objet")
    description: str = Field(default="", description="Détail")
    place: str = Field(default="", description="Lieu")
    longitude: str = Field(default="", description="Longitude, degrés")
    latitude: str = Field(default="", description="Latitude, degrés")
    wished_date: str = Field(default="", description="Date souhaitée")
    last_name: str = Field(default="", description="Nom du demandeur")
    first_name: str = Field(default="", description="Prénom du demandeur")
    email: str = Field(default="", description="Courriel du demandeur")
    phone: str = Field(default="", description="Téléphone du demandeur")


class KindsTable(Model):
    """Où la base garde ses types d'intervention."""

    table: str = Field(min_length=1, description="Table ou vue")
    id: str = Field(min_length=1, description="Colonne du code")
    text: str = Field(min_length=1, description="Colonne du libellé")


class TownBase(Model):
    """La base de la ville : Relais y tient lui-même le webservice."""

    url: Secret = Field(
        description="postgresql://utilisateur:mot-de-passe@serveur:5432/base ou sqlite:////chemin/complet.db"
    )
    table: str = Field(min_length=1, description="Table des interventions (schema.table)")
    columns: Columns = Field(description="Colonnes de cette table")
    extra: dict[str, str] = Field(default={}, description="Nom dans `extra` → colonne")
    constants: dict[str, str] = Field(
        default={}, description="Colonne → valeur écrite à chaque création (état initial, origine)"
    )
    kinds: KindsTable | None = Field(default=None, description="Table des types d'intervention")
    search: tuple[str, ...] = Field(
        default=("number", "reference", "subject", "place", "last_name"),
        description="Champs où cherchent les agents (ceux qui ont une colonne)",
    )
    charset: str = Field(
        default="", description="Jeu de caractères du logiciel s'il est plus étroit que la base : cp1252, iso8859-15"
    )
    timeout: float = Field(default=10.0, gt=0, le=60, description="Secondes accordées à une transaction")
    connections: int = Field(default=4, ge=1, le=50, description="Connexions à la base au plus, par processus")


class Settings(Model):
    """Une instance est une ville, par son webservice ou par sa base : donner `webservice` ou `database`, un seul."""

    webservice: TownService | None = Field(default=None, description="La ville a écrit un webservice")
    database: TownBase | None = Field(default=None, description="Relais lit et écrit la table de la ville")
    states: dict[str, State] = Field(default={}, description="Code d'état → libellé, et fin de vie")
    kinds: dict[str, str] = Field(default={}, description="Code de type → libellé, s'ils ne sont pas lus ailleurs")
    record_url: str = Field(
        default="",
        pattern=r"^(https?://\S*\{number\}\S*)?$",
        description="Adresse d'une fiche pour les agents ; cite {number}. Nécessaire à la recherche sur base",
    )


class Register(Protocol):
    """Where a town keeps its interventions: what both modes do."""

    async def create(self, intervention: Intervention) -> Receipt:
        """Writes it, and gives its number."""
        ...

    async def find(self, reference: str) -> list[Receipt]:
        """Those that carry this reference."""
        ...

    async def progress(self, number: str) -> InterventionProgress:
        """Where it stands; `NotFound` when there is none."""
        ...

    async def search(self, q: str, limit: int) -> list[Hit]:
        """Those that match the words."""
        ...

    async def kinds(self) -> list[Choice]:
        """The kinds it knows; empty when it has no list."""
        ...

    async def check(self) -> None:
        """One cheap read."""
        ...

    async def close(self) -> None:
        """Closes what it opened."""
        ...


def label(states: dict[str, State], status: str) -> State:
    """What a status means; one that the settings do not name is passed on as it is, and is not final."""
    return states.get(status, State(text=status))
