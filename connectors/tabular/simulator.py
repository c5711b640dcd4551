"""A town's web server that publishes one table: `equipements.csv`, as a spreadsheet of the town would save it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, ClassVar

from sdk import Text
from sdk.simulator import SimRequest, SimResponse, Simulator, on

FILE = Path(__file__).parent / "equipements.csv"
PLACE = "/equipements.csv"


class TabularSimulator(Simulator):
    """A published file, with what makes real ones awkward: Windows-1252, a preamble, decimal commas, quoted breaks."""

    name, title = "tabular", "Fichier publié"
    known = (
        Text(
            "Ce que font les serveurs : ETag, If-None-Match et 304 ; aucune authentification.",
            en="What servers do: ETag, If-None-Match and 304; no authentication.",
        ),
    )
    assumed = (
        Text(
            "Tout le contenu : Simula n'existe pas, ses 204 équipements sont inventés.",
            en="The whole content: Simula does not exist, its 204 facilities are invented.",
        ),
    )
    own_faults: ClassVar[tuple[str, ...]] = ("unclosed-quote",)

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.content = FILE.read_bytes()
        """What is published now; `PUT` the same address to replace it."""

    def demo_settings(self) -> dict[str, Any]:
        """The settings of a sample instance."""
        return {
            "url": f"{self.url}{PLACE}",
            "id": "Identifiant",
            "text": "{Catégorie} {Nom} ({Quartier})",
            "latitude": "Latitude",
            "longitude": "Longitude",
            "order": ["Catégorie", "Nom"],
            "index": ["Quartier", "Catégorie"],
            "types": {
                "Capacité": "integer",
                "Surface m²": "decimal",
                "Tarif journée": "decimal",
                "Ouvert le": "date",
                "Latitude": "decimal",
                "Longitude": "decimal",
            },
            "queries": {
                "quartiers": {
                    "description": "Les quartiers, une fois chacun",
                    "columns": {"id": "Quartier", "text": "Quartier"},
                    "distinct": ["Quartier"],
                    "order": ["Quartier"],
                },
                "salles": {
                    "description": "Les salles à louer d'au moins `places` places, les plus grandes d'abord",
                    "filters": {
                        "Catégorie": "Salle municipale",
                        "Capacité__gte": "{places}",
                        "Quartier": "{quartier}",
                    },
                    "defaults": {"places": "0"},
                    "optional": ["quartier"],
                    "columns": {
                        "id": "Identifiant",
                        "text": "{Nom}, {Capacité} places",
                        "tarif": "Tarif journée",
                        "quartier": "Quartier",
                    },
                    "order": ["-Capacité"],
                },
                "fiche": {
                    "description": "Un équipement, par son code",
                    "filters": {"Code": "{code|upper}"},
                    "structure": "row",
                },
            },
        }

    def demo_lines(self, base_url: str) -> list[tuple[str, str]]:
        """An autocompletion, a list that depends on another, a named query, what was found in the file."""
        return [
            (
                Text("Autocomplétion, sans accents", en="Autocompletion, without accents"),
                f"curl -s '{base_url}/data?q=ecole+oeillets'",
            ),
            (
                Text("Les lignes d'un quartier, les plus récentes", en="The rows of a district, newest first"),
                f"curl -s '{base_url}/rows?quartier=Gare&sort=-ouvert_le&columns=code,nom,ouvert_le&limit=3'",
            ),
            (
                Text(
                    "Une requête nommée : les salles d'au moins 200 places",
                    en="A named query: rooms of 200 seats or more",
                ),
                f"curl -s '{base_url}/query/salles?places=200'",
            ),
            (
                Text("La carte des gymnases", en="The map of gymnasiums"),
                f"curl -s '{base_url}/map?categorie=Gymnase'",
            ),
            (
                Text("Ce qui a été trouvé dans le fichier", en="What was found in the file"),
                f"curl -s {base_url}/diagnosis",
            ),
        ]

    @on("GET", PLACE)
    async def published(self, request: SimRequest) -> SimResponse:
        """The file, or 304 when the caller has it already."""
        mark = f'"{hashlib.sha256(self.content).hexdigest()[:16]}"'
        if request.headers.get("If-None-Match") == mark:
            self.record("unchanged")
            return SimResponse(b"", 304, headers={"ETag": mark})
        self.record("downloaded", size=len(self.content))
        return SimResponse(self.content, 200, "text/csv", {"ETag": mark})

    @on("PUT", PLACE)
    async def replaced(self, request: SimRequest) -> SimResponse:
        """Another content, as when the town exports its table again."""
        self.content = request.body
        self.record("replaced", size=len(self.content))
        return SimResponse(b"", 204)

    def spoil(self, fault: str, request: SimRequest) -> SimResponse:
        """The file with a quote that is never closed."""
        return SimResponse(self.content + b'0999;XXX999;"Gymnase;;;;;;;;;;;;\r\n', 200, "text/csv")


SIMULATOR = TabularSimulator
