"""What is deposited: models, and the zip that carries it, made as it is sent."""

from __future__ import annotations

import re
import unicodedata
import zipfile
from collections.abc import AsyncIterator, Sequence
from datetime import datetime
from typing import Any, Literal

from sdk import Choice, Field, File, Model, Progress, Receipt

Kind = Literal["completion", "doc", "daact"]
DEPOSIT_EXAMPLE = "relais-5b0f6e4000a811f09c1d0213ad91a103"
_CHUNK = 64 * 1024


class CerfaForm(Choice):
    """Un formulaire CERFA à remplir : l'usager rend le PDF rempli, où sont les données de la demande."""

    id: str = Field(description="Identifiant du formulaire", examples=["13406"])
    text: str = Field(description="Nom", examples=["Demande de permis de construire"])
    description: str = Field(default="", description="Quand l'utiliser")
    url: str = Field(default="", description="Où le télécharger vierge")


class Piece(Choice):
    """Une pièce à joindre."""

    id: str = Field(description="Code de la pièce", examples=["PCMI1"])
    text: str = Field(description="Libellé", examples=["Plan de situation du terrain"])
    description: str = Field(default="", description="Ce qu'elle doit montrer")
    mandatory: bool = Field(default=False, description="Exigée par la réglementation")
    most: int | None = Field(default=None, description="Nombre de fichiers au plus", examples=[6])


class DepositedPiece(Model):
    """Un fichier déposé pour une pièce."""

    code: str = Field(
        pattern=r"^[A-Za-z0-9._-]{1,40}$", description="Code de la pièce, voir `pieces`", examples=["PCMI1"]
    )
    file: File = Field(description="Le fichier")


class Deposit(Model):
    """Une demande d'autorisation d'urbanisme, entière."""

    commune: str = Field(min_length=1, max_length=20, description="Commune, voir `communes`", examples=["76540"])
    type: str = Field(min_length=1, max_length=20, description="Type de dossier, voir `types`", examples=["PCMI"])
    object: str = Field(min_length=1, max_length=40, description="Objet de la demande, voir `objects`", examples=["1"])
    cerfa: File = Field(description="Le CERFA rempli (PDF)")
    pieces: list[DepositedPiece] = Field(default_factory=list, description="Les pièces, une entrée par fichier")
    email: str = Field(
        default="",
        pattern=r"^([^@\s]+@[^@\s]+\.[^@\s.]+)?$",
        description="Adresse de courriel du demandeur",
        examples=["jeanne.martin@example.net"],
    )
    information: dict[str, str] = Field(
        default_factory=dict,
        description="Ce que votre Cart@ds attend de plus, par nom",
        examples=[{"NumeroTracking": "12-34"}],
    )


class LaterDeposit(Model):
    """Des pièces pour un dossier qui existe : compléments, ouverture de chantier (DOC), achèvement (DAACT)."""

    kind: Kind = Field(
        description="completion (pièces manquantes), doc (ouverture de chantier) ou daact (achèvement)",
        examples=["completion"],
    )
    pieces: list[DepositedPiece] = Field(min_length=1, description="Les pièces, une entrée par fichier")
    email: str = Field(
        default="", pattern=r"^([^@\s]+@[^@\s]+\.[^@\s.]+)?$", description="Adresse de courriel du demandeur"
    )


class Deposited(Receipt):
    """Un dépôt annoncé à Cart@ds ; le numéro du dossier vient plus tard, par `deposits/{deposit}`."""

    id: str = Field(description="Identifiant du dépôt", examples=[DEPOSIT_EXAMPLE])
    size: int = Field(
        description="Taille de l'archive déposée, en octets ; 0 quand elle a été retrouvée", examples=[48213]
    )


class Step(Model):
    """Une étape d'un dossier."""

    text: str = Field(description="Libellé de l'étape", examples=["Dossier complet"])
    date: datetime | None = Field(default=None, description="Date de l'étape", examples=["2025-03-14T00:00:00+01:00"])


class DepositProgress(Progress):
    """Où en est un dépôt, puis le dossier qu'il est devenu."""

    id: str = Field(description="Identifiant du dépôt", examples=[DEPOSIT_EXAMPLE])
    status: str = Field(
        description="Dernière étape du dossier, sinon l'état du dépôt, tels quels ; à défaut « deposited », puis "
        "« numbered » quand le dossier a son numéro",
        examples=["Dossier complet"],
    )
    text: str = Field(default="", description="L'état en toutes lettres (réglage `stages`)")
    final: bool = Field(description="Selon le réglage `stages`", examples=[False])
    file: str = Field(default="", description="Identifiant du dossier, une fois attribué", examples=["48213"])
    number: str = Field(
        default="", description="Numéro du dossier, une fois attribué", examples=["PC 076 540 25 00042"]
    )
    steps: list[Step] = Field(default_factory=list, description="Les étapes du dossier, dans l'ordre de Cart@ds")


def entries(cerfa: File | None, pieces: Sequence[DepositedPiece]) -> list[tuple[str, bytes]]:
    """The names and contents of the archive: the CERFA first, then each piece by its code."""
    named = [("CERFA.pdf", cerfa.content)] if cerfa is not None else []
    for rank, piece in enumerate(pieces, start=1):
        named.append((f"{piece.code}-{rank:02d}-{_plain(piece.file.filename)}", piece.file.content))
    return named


def _plain(name: str) -> str:
    """A file's name in plain letters, its extension kept."""
    letters = unicodedata.normalize("NFKD", re.split(r"[/\\]", name)[-1])
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", letters.encode("ascii", "ignore").decode()).strip("-.")
    return plain[-80:] or "piece"


class _Sink:
    """Where the archive is written, and taken from as it grows: it is never whole."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def write(self, data: Any) -> int:
        self._waiting += data
        return len(data)

    def flush(self) -> None:
        return None

    def take(self) -> bytes:
        taken = bytes(self._waiting)
        self._waiting.clear()
        return taken


async def zipped(named: Sequence[tuple[str, bytes]], moment: datetime) -> AsyncIterator[bytes]:
    """The zip of these files, piece by piece."""
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:  # type: ignore[call-overload]
        for name, content in named:
            entry = zipfile.ZipInfo(name, moment.timetuple()[:6])
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.file_size = len(content)
            with archive.open(entry, "w") as inside:
                for start in range(0, len(content), _CHUNK):
                    inside.write(content[start : start + _CHUNK])
                    yield sink.take()
    yield sink.take()
