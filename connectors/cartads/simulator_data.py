"""Invented people, places and permits for the simulator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

ACCOUNT = {"clientId": "relais", "login": "sig", "password": "mot-de-passe-invente"}

_PAGE = "https://cartads.example.net/dossier"

FILES: tuple[Mapping[str, Any], ...] = (
    {
        "IdDossier": 48213,
        "NomDossier": "PC 076 540 25 00042",
        "CoCommune": "076540",
        "NCommune": 540,
        "NVoirieTerrain": "12",
        "AdresseTerrain": "RUE DU LAC",
        "Parcelles": ["000 AB 0125"],
        "CoTypeDossier": "PC",
        "Annee": 2025,
        "DateDepot": "2025-03-03T00:00:00",
        "DateLimiteInstruction": "2025-06-03T00:00:00",
        "DateModificationDossier": "2025-03-14T10:22:31",
        "Stade": "En cours d'instruction",
        "AutoriteCompetente": "Maire au nom de la commune",
        "Instructeur": "Service urbanisme",
        "PrenomDemandeur": "Jeanne",
        "NomDemandeur": "MARTIN",
        "UrlDossier": f"{_PAGE}/48213",
    },
    {
        "IdDossier": 48214,
        "NomDossier": "DP 076 540 25 00108",
        "CoCommune": "076540",
        "NCommune": 540,
        "AdresseTerrain": "CHEMIN DES PRÉS",
        "Parcelles": ["000 AC 0007", "000 AC 0008"],
        "CoTypeDossier": "DP",
        "Annee": 2025,
        "DateDepot": "2025-02-10T00:00:00",
        "DateLimiteInstruction": "2025-03-10T00:00:00",
        "DateModificationDossier": "2025-03-08T09:00:00",
        "DateAvisInstructeur": "2025-03-05T00:00:00",
        "DateDecisionSignataire": "2025-03-07T00:00:00",
        "DateNotificationDecisionSignataire": "2025-03-08T00:00:00",
        "Stade": "Décision notifiée",
        "Instructeur": "Service urbanisme",
        "AvisInstructeur": "Favorable",
        "Signataire": "Le maire",
        "DecisionSignataire": "Favorable avec réserve",
        "NomDemandeur": "SCI DES TILLEULS",
        "UrlDossier": f"{_PAGE}/48214",
    },
    {
        "IdDossier": 48215,
        "NomDossier": "CU 076 057 25 L0020",
        "CoCommune": "076057",
        "NCommune": 57,
        "AdresseTerrain": "ROUTE DE LA MER",
        "Parcelles": [],
        "CoTypeDossier": "CU",
        "Annee": 2025,
        "DateDepot": "2025-03-12T00:00:00",
        "DateModificationDossier": "2025-03-12T16:45:00",
        "Stade": "Dossier déposé",
        "PrenomDemandeur": "Élodie",
        "NomDemandeur": "LEFÈVRE",
        "UrlDossier": f"{_PAGE}/48215",
    },
)

BOARD_COMMUNES = {"76540": "ROUEN", "76057": "BARENTIN", "76212": "L'ÉPINAY-D'ESSAI"}

_FILING = [
    "05/03/2025",
    "PC 076 540 25 00042",
    "03/03/2025",
    "MARTIN Jeanne",
    "12 RUE DU LAC 76000  (AB 125)",
    "450 m²",
    "Maison individuelle",
    "- Surface plancher créée : 94,07 m²\r\n<br>- Surface plancher démolie : 0 m²",
]
_DECISION = [
    "09/03/2025",
    "DP 076 540 25 00108",
    "10/02/2025",
    "SCI DES TILLEULS",
    "CHEMIN DES PRÉS 76000  (AC 7, AC 8)",
    "1 200 m²",
    "Clôture",
    "",
    "Favorable avec réserve le 07/03/2025",
]
FILINGS: Mapping[str, list[list[Any]]] = {
    "76540": [_FILING, ["11/02/2025", "DP 076 540 25 00108", "10/02/2025", *_DECISION[3:8]]]
}
DECISIONS: Mapping[str, list[list[Any]]] = {"76540": [_DECISION]}

PORTAL = {
    "login": "portail",
    "password": "autre-mot-de-passe-invente",
    "key": "0123456789abcdef0123456789ABCDEF",
    "iv": "fedcba9876543210",
    "inbox": "depot-invente",
}
TYPES = {
    "PCMI": "Permis de construire une maison individuelle",
    "DP": "Déclaration préalable",
    "CU": "Certificat d'urbanisme",
}
OBJECTS: Mapping[str, Mapping[str, str]] = {
    "PCMI": {"1": "Construction neuve", "2": "Extension"},
    "DP": {"1": "Clôture", "2": "Piscine", "3": "Ravalement"},
    "CU": {"a": "Information", "b": "Opération"},
}
PIECES: Mapping[str, list[dict[str, Any]]] = {
    "PCMI": [
        {"CodePiece": "PCMI1", "Libelle": "Plan de situation", "Reglementaire": True, "NbExemplairesMax": 2},
        {"CodePiece": "PCMI2", "Libelle": "Plan de masse", "Reglementaire": True, "NbExemplairesMax": 6},
        {"CodePiece": "PCMI7", "Libelle": "Photographie proche", "Reglementaire": False},
    ],
    "DP": [{"CodePiece": "DP1", "Libelle": "Plan de situation", "Reglementaire": True}],
    "CU": [{"CodePiece": "CU1", "Libelle": "Plan de situation", "Reglementaire": True}],
    "GetPiecesDossierACompleter": [{"CodePiece": "PCMI5", "Libelle": "Plan des façades", "Reglementaire": True}],
    "GetPiecesDoc": [{"CodePiece": "DOC", "Libelle": "Déclaration d'ouverture de chantier", "Reglementaire": True}],
    "GetPiecesDaact": [{"CodePiece": "DAACT", "Libelle": "Déclaration d'achèvement", "Reglementaire": True}],
}
