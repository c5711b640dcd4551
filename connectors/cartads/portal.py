"""The portal: lists over SOAP, a zip dropped by SFTP or FTPS, a notification, and what the deposit became.

No WSDL of these services is public. The customer's are given in the settings, with the names they use; without them
ours stands (`assumed-portail.wsdl`), which proves the flow and nothing about the publisher.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

from sdk import (
    Choice,
    Http,
    InvalidInput,
    Misconfigured,
    NotFound,
    Receipt,
    Rejected,
    RelaisError,
    Soap,
    SoapFault,
    Text,
    UpstreamInvalid,
    current_call,
)
from sdk.transfer import DropFolder

from .deposits import CerfaForm, Deposit, Deposited, DepositProgress, Kind, LaterDeposit, Piece, Step, entries, zipped
from .portal_settings import Action, Operation, Portal
from .portal_token import portal_token, secret_bytes
from .settings import Stage

PARIS = ZoneInfo("Europe/Paris")
DEPOSIT_PREFIX = "relais-"
ASSUMED = "assumed-portail.wsdl"
LATER: dict[Kind, Action] = {"completion": "completion_pieces", "doc": "doc_pieces", "daact": "daact_pieces"}
_PAIR = {"id": "Key", "text": "Value"}
_PIECE = {
    "id": "CodePiece",
    "text": "Libelle",
    "description": "Descriptif",
    "mandatory": "Reglementaire",
    "most": "NbExemplairesMax",
}
_FILE = {"jeton": "{token}", "idDossier": "{file}"}
OPERATIONS: dict[Action, Operation] = {
    "communes": Operation(operation="GetCommunes", arguments={"jeton": "{token}"}, result=_PAIR),
    "types": Operation(
        operation="GetTypesDossier", arguments={"jeton": "{token}", "commune": "{commune}"}, result=_PAIR
    ),
    "objects": Operation(
        operation="GetObjetsDemande",
        arguments={"jeton": "{token}", "commune": "{commune}", "typeDossier": "{type}"},
        result=_PAIR,
    ),
    "forms": Operation(
        operation="GetListePdf",
        arguments={"jeton": "{token}", "typeDossier": "{type}", "objetDemande": "{object}"},
        result={"id": "Identifiant", "text": "Nom", "description": "Description", "url": "UrlTelechargement"},
    ),
    "pieces": Operation(
        operation="GetPieces",
        arguments={"jeton": "{token}", "typeDossier": "{type}", "objetDemande": "{object}"},
        result=_PIECE,
    ),
    "completion_pieces": Operation(operation="GetPiecesDossierACompleter", arguments=_FILE, result=_PIECE),
    "doc_pieces": Operation(operation="GetPiecesDoc", arguments=_FILE, result=_PIECE),
    "daact_pieces": Operation(operation="GetPiecesDaact", arguments=_FILE, result=_PIECE),
    "notify": Operation(
        operation="NotifierDepotDossier",
        arguments={
            "jeton": "{token}",
            "commune": "{commune}",
            "typeDossier": "{type}",
            "objetDemande": "{object}",
            "nomFichier": "{filename}",
            "courriel": "{email}",
            "informations": "{information}",
        },
    ),
    "notify_pieces": Operation(
        operation="NotifierDepotPieces",
        arguments={**_FILE, "nature": "{kind}", "nomFichier": "{filename}", "courriel": "{email}"},
    ),
    "deposit": Operation(
        operation="GetSuiviDepot",
        arguments={"jeton": "{token}", "nomFichier": "{filename}"},
        result={"file": "IdDossier", "number": "NomDossier", "status": "Etat"},
    ),
    "steps": Operation(
        operation="GetEtapesDossier", arguments=_FILE, result={"text": "LibelleEtape", "date": "DateReference"}
    ),
}
_READS = frozenset(OPERATIONS) - {"notify", "notify_pieces"}
_VALUES = {"token", "commune", "type", "object", "file", "kind", "filename", "email", "information"}
_PLACEHOLDER = re.compile(r"\{(\w+)\}")


@dataclass(frozen=True)
class _Bound:
    soap: Soap
    operation: Operation


class PortalDoor:
    """One portal. `folder` holds the assumed WSDL; `now` gives an aware moment."""

    def __init__(
        self,
        portal: Portal,
        stages: Mapping[str, Stage],
        http: Http,
        folder: Path,
        *,
        now: Callable[[], datetime],
    ) -> None:
        self._portal = portal
        self._stages = stages
        self._now = now
        self._key = secret_bytes(portal.key, (16, 24, 32), "portal.key")
        self._iv = secret_bytes(portal.iv, (16,), "portal.iv")
        account = portal.sftp or portal.ftps
        if account is None or (portal.sftp and portal.ftps):
            raise Misconfigured(
                Text(
                    "Réglage « portal » : donner « sftp » ou « ftps », un seul.",
                    en='Setting "portal": give "sftp" or "ftps", only one.',
                ),
                processed=False,
            )
        self.inbox = DropFolder(account, http)
        services = [
            Soap(
                http,
                wsdl=each.wsdl or folder / ASSUMED,
                address=each.url,
                faults=self._fault,
            )
            for each in portal.services
        ]
        self._services = [(each, frozenset(each.operations())) for each in services]
        self._bound: dict[Action, _Bound | None] = {action: self._bind(action) for action in OPERATIONS}

    # The lists of a form.

    async def choices(self, action: Action, **values: str) -> list[Choice]:
        rows = await self._rows(action, **values)
        return [Choice(id=_text(row, "id"), text=_text(row, "text")) for row in rows]

    async def forms(self, **values: str) -> list[CerfaForm]:
        return [
            CerfaForm(
                id=_text(row, "id"),
                text=_text(row, "text"),
                description=_text(row, "description"),
                url=_text(row, "url"),
            )
            for row in await self._rows("forms", **values)
        ]

    async def pieces(self, action: Action, **values: str) -> list[Piece]:
        return [
            Piece(
                id=_text(row, "id"),
                text=_text(row, "text"),
                description=_text(row, "description"),
                mandatory=_text(row, "mandatory").lower() in ("true", "1", "oui"),
                most=int(most) if (most := _text(row, "most")).isdigit() else None,
            )
            for row in await self._rows(action, **values)
        ]

    # Deposits.

    async def deposit(self, deposit: Deposit) -> Deposited:
        if deposit.cerfa.content_type != "application/pdf":
            said = Text("doit être un PDF", en="must be a PDF")
            raise InvalidInput(Text(f"« cerfa » {said}.", en=f'"cerfa" {said.en}.'), fields={"cerfa": [said]})
        values = {"commune": deposit.commune, "type": deposit.type, "object": deposit.object, "email": deposit.email}
        return await self._drop("notify", entries(deposit.cerfa, deposit.pieces), values, deposit.information)

    async def later(self, file: str, deposit: LaterDeposit) -> Deposited:
        values = {"file": file, "kind": deposit.kind, "email": deposit.email}
        return await self._drop("notify_pieces", entries(None, deposit.pieces), values, {})

    async def _drop(
        self, action: Action, named: list[tuple[str, bytes]], values: dict[str, str], information: Mapping[str, str]
    ) -> Deposited:
        # Before anything is dropped that could not be announced, or only in part.
        placed = _named(self._of(action).operation)
        for name, given in (("email", values["email"]), ("information", information)):
            if given and name not in placed:
                raise Misconfigured(
                    Text(
                        f"« {name} » est rempli et portal.operations.{action} ne lui donne pas de place.",
                        en=f'"{name}" is filled and portal.operations.{action} has no place for it.',
                    ),
                    code="no-place",
                    processed=False,
                )
        id = deposit_id(current_call().reference or uuid4().hex)
        filename = f"{id}.zip"
        sent = await self.inbox.send(filename, zipped(named, self._now().astimezone(PARIS)))
        pairs = [{"Key": name, "Value": value} for name, value in information.items()]
        try:
            await self._call(action, {**values, "filename": filename}, information=pairs)
        except RelaisError as error:
            if error.processed is not None:  # refused, or never asked: nobody will take the archive
                with suppress(RelaisError):
                    await self.inbox.remove(filename)
            raise
        return Deposited(id=id, size=sent.size)

    async def find(self, reference: str) -> Receipt | None:
        """The deposit that carries our reference, if Cart@ds was told of it."""
        id = deposit_id(reference)
        found = await self._call("deposit", {"filename": f"{id}.zip"})
        return Deposited(id=id, size=0) if isinstance(found, Mapping) and found else None

    async def progress(self, id: str) -> DepositProgress:
        found = await self._call("deposit", {"filename": f"{deposit_id(id)}.zip"})
        if found is None or found == {}:
            raise NotFound(Text("Cart@ds ne connaît pas ce dépôt.", en="Cart@ds does not know this deposit."))
        row = self._read("deposit", found)
        file = _text(row, "file")
        steps = await self.steps(file) if file else []
        status = (steps[-1].text if steps else "") or _text(row, "status") or ("numbered" if file else "deposited")
        stage = self._stages.get(status)
        return DepositProgress(
            id=id,
            status=status,
            text=(stage.text if stage else "") or status,
            final=stage.final if stage else False,
            updated=steps[-1].date if steps else None,
            file=file,
            number=_text(row, "number"),
            steps=steps,
        )

    async def steps(self, file: str) -> list[Step]:
        return [
            Step(text=_text(row, "text"), date=_moment(row.get("date"))) for row in await self._rows("steps", file=file)
        ]

    async def check(self) -> None:
        await self._call("communes", {})
        await self.inbox.check()

    # Calls.

    def _bind(self, action: Action) -> _Bound | None:
        """Where an operation is and what it takes; what the settings name must be right at once."""
        chosen = self._portal.operations.get(action)
        operation = OPERATIONS[action]
        if chosen is not None:
            operation = operation.model_copy(update=chosen.model_dump(exclude_unset=True))
        soap = next((each for each, names in self._services if operation.operation in names), None)
        if soap is None:
            if chosen is None:
                return None  # told when it is asked for
            known = ", ".join(sorted(name for _, names in self._services for name in names))
            raise _wrong(
                action,
                f"les WSDL n'ont pas « {operation.operation} » ; ils ont : {known}",
                f"the WSDLs have no {operation.operation}; they have: {known}",
            )
        parameters = list(soap.operation(operation.operation).parameters)
        if unknown := [name for name in operation.arguments if name not in parameters]:
            listed = ", ".join(parameters)
            raise _wrong(
                action,
                f"{operation.operation} n'a pas de paramètre « {unknown[0]} » ; il a : {listed}",
                f"{operation.operation} has no parameter {unknown[0]}; it has: {listed}",
            )
        if strange := _named(operation) - _VALUES:
            raise _wrong(action, f"{{{min(strange)}}} n'existe pas", f"{{{min(strange)}}} does not exist")
        return _Bound(soap, operation)

    def _of(self, action: Action) -> _Bound:
        bound = self._bound[action]
        if bound is None:
            name = OPERATIONS[action].operation
            raise _wrong(action, f"les WSDL n'ont pas « {name} »", f"the WSDLs have no {name}")
        return bound

    async def _call(
        self, action: Action, values: Mapping[str, str], *, information: list[dict[str, str]] | None = None
    ) -> Any:
        bound = self._of(action)
        token = portal_token(
            self._portal.login, self._portal.password.reveal(), self._key, self._iv, self._now().astimezone(UTC)
        )
        texts = {**values, "token": token}
        named: dict[str, Any] = {}
        for name, template in bound.operation.arguments.items():
            if template == "{information}":
                named[name] = {"KeyValueOfstringstring": information} if information else None
            else:
                named[name] = _PLACEHOLDER.sub(lambda found: texts.get(found[1], ""), template) or None
        return await bound.soap.call(bound.operation.operation, args=named, repeatable=action in _READS or None)

    async def _rows(self, action: Action, **values: str) -> list[dict[str, Any]]:
        found = await self._call(action, values)
        if isinstance(found, Mapping) and len(found) == 1:  # an array one step below, as some services wrap it
            found = next(iter(found.values()))
        if found is None:
            return []
        if not isinstance(found, list):
            raise UpstreamInvalid(_STRANGE, detail=f"no list in the answer to {action}")
        return [self._read(action, row) for row in found if row is not None]

    def _read(self, action: Action, row: Any) -> dict[str, Any]:
        """Our names, from the members the settings say."""
        if not isinstance(row, Mapping):
            raise UpstreamInvalid(_STRANGE, detail=f"no structure in the answer to {action}")
        read = {ours: _member(row, theirs) for ours, theirs in self._of(action).operation.result.items()}
        for name in ("id", "text"):
            if name in read and read[name] in (None, ""):
                raise UpstreamInvalid(_STRANGE, detail=f"{action}: a row without {name}")
        return read

    def _fault(self, fault: SoapFault) -> RelaisError | None:
        for name in (fault.code, fault.type, fault.faultcode):
            if name and (sentence := self._portal.refusals.get(name)):
                return Rejected(Text(sentence, en=sentence), code=name)
        return None


def _named(operation: Operation) -> set[str]:
    """The names between braces in its arguments."""
    return {name for template in operation.arguments.values() for name in _PLACEHOLDER.findall(template)}


def deposit_id(reference: str) -> str:
    """The name, without `.zip`, of the archive that carries our reference; the name itself stays as it is."""
    return DEPOSIT_PREFIX + re.sub(r"[^A-Za-z0-9_-]", "-", reference.removeprefix(DEPOSIT_PREFIX))[:100]


def _member(row: Mapping[str, Any], place: str) -> Any:
    found: Any = row
    for step in place.split("."):
        found = found.get(step) if isinstance(found, Mapping) else None
    return found


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    return "" if value is None else " ".join(str(value).split())


def _moment(value: Any) -> datetime | None:
    if value in (None, ""):
        return None
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        raise UpstreamInvalid(_STRANGE, detail="a step without a readable date") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=PARIS)


def _wrong(action: str, french: str, english: str) -> Misconfigured:
    return Misconfigured(
        Text(f"portal.operations.{action} : {french}.", en=f"portal.operations.{action}: {english}."),
        code="field-map",
        processed=False,
    )


_STRANGE = Text(
    "Le portail Cart@ds a répondu hors de ce qui est réglé.",
    en="The Cart@ds portal did not answer as its settings say.",
)
