"""What the simulated ATAL holds: reference lists of a small town, and its requests."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TYPES = {"VOIRIE": (1001, "Voirie"), "ECLAIRAGE": (1002, "Éclairage public"), "PROPRETE": (1003, "Propreté")}
STATES = {"0": "Nouvelle", "1": "Prise en charge", "2": "En cours", "3": "Terminée", "4": "Refusée", "7": "Ajournée"}
"""v6 number and SOAP words of each state; the demonstration's settings leave out the last."""
THEMATICS = [
    {"Id": 1744, "Label": "Voirie", "CompleteLabel": "Voirie", "ParentThematicId": None, "Archived": False},
    {
        "Id": 1745,
        "Label": "Nid",
        "CompleteLabel": "Voirie / Nid de poule",
        "ParentThematicId": 1744,
        "Archived": False,
    },
    {"Id": 1746, "Label": "Pavés", "CompleteLabel": "Voirie / Pavés", "ParentThematicId": 1744, "Archived": True},
    {"Id": 1750, "Label": "Éclairage", "CompleteLabel": "Éclairage", "ParentThematicId": None, "Archived": False},
]
THIRD_PARTIES = [
    {"Id": 690, "Code": "DEMAT", "Name": "Relation usagers", "Type": 2},
    {"Id": 691, "Code": "ECOLES", "Name": "Affaires scolaires", "Type": 2},
    {"Id": 63, "Code": "LAC", "Name": "Association du Lac", "Type": 1},
]
PATRIMONIES = [
    {"Id": 50, "Code": "MDA", "Label": "Maison des associations", "ParentId": None, "Type": 1, "CanBeLoaned": True},
    {"Id": 51, "Code": "MDA1", "Label": "Salle du Lac", "ParentId": 50, "Type": 1, "CanBeLoaned": True},
    {"Id": 52, "Code": "FETES", "Label": "Salle des fêtes", "ParentId": None, "Type": 1, "CanBeLoaned": True},
    {"Id": 60, "Code": "PASTEUR", "Label": "École Pasteur", "ParentId": None, "Type": 0, "CanBeLoaned": False},
]


def _item(id: int, item: int, label: str, quantity: int, loaned: bool = True) -> dict[str, Any]:
    template = {"Label": label, "CanBeLoaned": loaned}
    return {"Id": id, "ItemId": item, "Quantity": quantity, "Item": {"Label": label, "ItemTemplate": template}}


ITEMS = [
    _item(1, 3258, "Chaise", 60),
    _item(2, 3258, "Chaise", 40),
    _item(3, 3259, "Barnum", 2),
    _item(4, 3300, "Tondeuse", 1, loaned=False),
]
EXPANDS = {"Responses", "Addresses", "Classifications", "FeaturesValues"}


@dataclass
class Demand:
    """One work request, whichever generation it came by."""

    number: str
    uuid: str
    fields: Mapping[str, Any]
    state: str = "0"
    responses: list[str] = field(default_factory=list)
    comments: list[str] = field(default_factory=list)
    files: list[tuple[str, bytes]] = field(default_factory=list)
