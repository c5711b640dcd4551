"""The portal in miniature: lists, an inbox open to SFTP and FTPS, notifications, a file number that comes later.

All of it assumed.
"""

from __future__ import annotations

import tempfile
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sdk import Soap
from sdk.simulator import SimRequest, SimResponse, escape
from sdk.transfer.inbox import FtpsInbox, SftpInbox

from .portal import PARIS
from .portal_token import opened_token
from .simulator_data import BOARD_COMMUNES, OBJECTS, PIECES, PORTAL, TYPES

ATTRIBUTION = timedelta(minutes=10)
CLOSED = "DepotFerme"


@dataclass
class Dropped:
    """A deposit Cart@ds was told of."""

    filename: str
    names: list[str]
    told: datetime
    fields: Mapping[str, Any]
    file: dict[str, Any] | None = None


class _Refused(Exception):
    pass


@dataclass
class PortalSide:
    """What stands behind the portal. `record` writes into the ledger, `attributed` adds a file to the others."""

    now: Callable[[], datetime]
    record: Callable[..., None]
    attributed: Callable[[Dropped], dict[str, Any]]
    deposits: dict[str, Dropped] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.soap = Soap(None, wsdl=Path(__file__).parent / "assumed-portail.wsdl")
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self.inbox: SftpInbox | None = None
        self.ftps: FtpsInbox | None = None

    async def start(self) -> None:
        """Opens the inbox, one folder behind two protocols."""
        self._folder = tempfile.TemporaryDirectory(prefix="cartads-simulator-")
        place, password = Path(self._folder.name), PORTAL["inbox"]
        self.inbox = SftpInbox(place, password=password, arrived=self._arrived)
        self.ftps = FtpsInbox(place, password=password, arrived=self._arrived)
        await self.inbox.start()
        await self.ftps.start()

    async def stop(self) -> None:
        """Closes the inbox and forgets what is in it."""
        for inbox in (self.inbox, self.ftps):
            if inbox is not None:
                await inbox.stop()
        if self._folder is not None:
            self._folder.cleanup()

    def _arrived(self, name: str) -> None:
        self.record("drop", filename=name)

    def answer(self, request: SimRequest) -> SimResponse:
        """One SOAP call."""
        try:
            operation, given = self.soap.read_request(request.body, request.headers.get("Content-Type", ""))
        except Exception:
            return _fault("a:DeserializationFailed", "Message illisible")
        try:
            self._check(str(given.get("jeton") or ""))
            value = self._executed(operation, given)
            if not operation.startswith("Notifier"):
                self.record(operation)
        except _Refused as refused:
            return _fault("s:Client", str(refused))
        return SimResponse(self.soap.answer(operation, value), 200, "text/xml; charset=utf-8")

    def refusal(self, request: SimRequest) -> SimResponse | None:
        """The portal takes no deposit."""
        return _fault(f"s:{CLOSED}", "Dépôt fermé") if b"Notifier" in request.body else None

    def _check(self, token: str) -> None:
        try:
            found = opened_token(token, PORTAL["key"].encode(), PORTAL["iv"].encode())
            known = (found["login"], found["password"]) == (PORTAL["login"], PORTAL["password"])
            milliseconds = int(found["date"].removeprefix("/Date(").removesuffix(")/"))
        except (ValueError, KeyError, TypeError):
            raise _Refused("Jeton invalide") from None
        if not known or milliseconds <= 0:
            raise _Refused("Jeton invalide")

    def _executed(self, operation: str, given: Mapping[str, Any]) -> Any:
        pairs = {
            "GetCommunes": BOARD_COMMUNES,
            "GetTypesDossier": TYPES,
            "GetObjetsDemande": OBJECTS.get(str(given.get("typeDossier")), {}),
        }
        if operation in pairs:
            return [{"Key": key, "Value": value} for key, value in pairs[operation].items()]
        kind = str(given.get("typeDossier") or "")
        if operation == "GetListePdf":
            label = TYPES.get(kind)
            url = f"https://cartads.example.net/cerfa/{kind}.pdf"
            return [] if label is None else [{"Identifiant": kind, "Nom": f"CERFA {label}", "UrlTelechargement": url}]
        if operation == "GetPieces":
            return PIECES.get(kind, [])
        if operation.startswith("GetPieces"):
            return PIECES[operation]
        if operation in ("NotifierDepotDossier", "NotifierDepotPieces"):
            return self._told(operation, given)
        if operation == "GetSuiviDepot":
            return self._followed(str(given.get("nomFichier") or ""))
        return self._steps(str(given.get("idDossier") or ""))

    def _told(self, operation: str, given: Mapping[str, Any]) -> str:
        filename = str(given.get("nomFichier") or "")
        assert self.inbox is not None
        path = self.inbox.folder / Path(filename).name
        if not path.is_file():
            raise _Refused("Fichier absent")
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is not None:
                raise _Refused("Archive illisible")
            names = archive.namelist()
        path.unlink()
        self.deposits[filename] = Dropped(filename, names, self.now(), dict(given))
        self.record(operation, filename=filename, names=names)
        return f"Dépôt {filename} pris en compte"

    def _followed(self, filename: str) -> dict[str, str] | None:
        found = self.deposits.get(filename)
        if found is None:
            return None
        if found.fields.get("idDossier"):
            return {"IdDossier": str(found.fields["idDossier"])}
        if found.file is None and self.now() >= found.told + ATTRIBUTION:
            found.file = self.attributed(found)
        if found.file is None:
            return {"Etat": "En attente d'enregistrement"}
        return {"IdDossier": str(found.file["IdDossier"]), "NomDossier": found.file["NomDossier"]}

    def _steps(self, file: str) -> list[dict[str, str]]:
        for each in self.deposits.values():
            if each.file is not None and str(each.file["IdDossier"]) == file:
                moment = each.told.astimezone(PARIS).strftime("%Y-%m-%dT%H:%M:%S")
                return [{"LibelleEtape": text, "DateReference": moment} for text in ("Dépôt", each.file["Stade"])]
        return [{"LibelleEtape": "Dépôt", "DateReference": "2025-03-03T00:00:00"}]


def _fault(code: str, text: str) -> SimResponse:
    return SimResponse.soap(
        f"<S:Fault><faultcode>{escape(code)}</faultcode><faultstring>{escape(text)}</faultstring></S:Fault>", 500
    )
