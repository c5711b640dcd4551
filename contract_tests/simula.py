"""The town of Simula: what the reference service knows. Everything here is invented."""

from __future__ import annotations

from typing import Any

PEOPLE = [
    {"name": "Élodie Dupont", "about": "Née le 3 mai, <b>dossier 88</b>"},
    {"name": "Noé Dupont-Lévêque", "about": ""},
    {"name": "Zoé Martin", "about": "Abonnée à la médiathèque"},
]
SCHOOLS: list[dict[str, Any]] = [
    {"id": "12", "text": "École Pasteur", "quartier": "Nord"},
    {"id": "13", "text": "École Marie Curie", "quartier": "Sud", "disabled": True},
    {"id": "a/b é", "text": "Collège de l'Étang", "quartier": "Sud"},
]
BENCHES: list[tuple[str, str, float, float]] = [
    ("b-1", "Banc de la mairie", -1.55, 47.21),
    ("b-2", "Banc de l'étang", -1.56, 47.22),
]
INVOICES: list[dict[str, Any]] = [
    {
        "id": "F-19",
        "display_id": "F2025-19",
        "label": "Cantine de mars",
        "amount": "31.50",
        "total_amount": "31.50",
        "created": "2025-04-01",
        "pay_limit_date": "2025-04-30",
        "paid": False,
        "online_payment": True,
        "has_pdf": True,
    },
    {
        "id": "F-12",
        "display_id": "F2025-12",
        "label": "Cantine de février",
        "amount": 0,
        "total_amount": 28,
        "created": "2025-03-01",
        "pay_limit_date": "",
        "paid": True,
        "online_payment": False,
        "has_pdf": False,
    },
]
