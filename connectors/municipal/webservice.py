"""The webservice that a town wrote in Publik's micro-format, called and held to it.

    {"err": 0, "data": …}        {"err": 1, "err_class": …, "err_desc": …, "data": null}

Publik itself takes a missing `err` for a success; here an answer outside the format is the publisher's fault, said as
such, so that no form goes on with a record nobody made.
"""

from __future__ import annotations

from typing import Any

from sdk import (
    Choice,
    Hit,
    Http,
    InvalidInput,
    Misconfigured,
    NotFound,
    Receipt,
    Rejected,
    Response,
    Rest,
    Text,
    UpstreamInvalid,
    basic,
    read,
)
from sdk.errors import one_line

from .models import Intervention, InterventionProgress, Settings, TownService, label

_REFUSALS = (400, 404, 405, 409, 410, 422)
_WITHOUT_REASON = Text(
    "Le webservice de la ville a refusé, sans dire pourquoi.", en="The town refused, without a word."
)


class ServiceRegister:
    """Interventions kept behind the town's webservice."""

    def __init__(self, settings: Settings, service: TownService, http: Http) -> None:
        self._settings = settings
        self._service = service
        way = http.using(basic(service.user, service.password)) if service.user else http
        self._rest = Rest(way, service.url, refusals=_REFUSALS, message=self._refused)

    async def create(self, intervention: Intervention) -> Receipt:
        """POST, flat JSON: fields left empty are not sent."""
        unknown = sorted(set(intervention.extra) - set(self._service.extra))
        if unknown:
            raise not_kept([f"extra/{name}" for name in unknown])
        given = intervention.model_dump(mode="json", exclude={"extra"}, exclude_none=True)
        sent = {self._service.names.get(name, name): value for name, value in given.items() if value != ""}
        made = await self._data("POST", self._service.create_path, json={**sent, **intervention.extra})
        return _receipt(made, "the creation")

    async def find(self, reference: str) -> list[Receipt]:
        """The records of that reference."""
        if not self._service.find_path:
            raise _not_offered("find_path")
        found = await self._data("GET", self._service.find_path, params={"reference": reference})
        return [_receipt(each, "the search by reference") for each in _list(found)]

    async def progress(self, number: str) -> InterventionProgress:
        """Status, words and end: those of the webservice, else those of the settings."""
        found = await self._data("GET", self._service.progress_path, values={"number": number})
        if not isinstance(found, dict) or not isinstance(found.get("status"), str):
            raise _outside("the progress has no status")
        if "id" in found and str(found["id"]) != number:
            raise _outside("the progress is another record's")
        state = label(self._settings.states, found["status"])
        return InterventionProgress(
            id=number,
            status=found["status"],
            text=found.get("text") or state.text,
            final=state.final if found.get("final") is None else found["final"],
            updated=found.get("updated") or None,
            comment=found.get("comment") or "",
        )

    async def search(self, q: str, limit: int) -> list[Hit]:
        """The webservice's own search."""
        if not self._service.search_path:
            raise _not_offered("search_path")
        found = await self._data("GET", self._service.search_path, params={"q": q})
        return [read(Hit, each) for each in _list(found)[:limit]]

    async def kinds(self) -> list[Choice]:
        """The webservice's list, if it has one."""
        if not self._service.kinds_path:
            return []
        found = await self._data("GET", self._service.kinds_path)
        return [Choice.model_validate(each) for each in _list(found)]

    async def check(self) -> None:
        """Reads a record: one that does not exist proves as much, address, account and format."""
        try:
            await self.progress(self._service.check_number)
        except (NotFound, Rejected):
            return

    async def close(self) -> None:
        """Nothing of its own."""

    async def _data(self, method: str, path: str, **options: Any) -> Any:
        response = await self._rest.request(method, path, **options)
        envelope = _envelope(response)
        if _failed(response, envelope):
            raise self._refusal(envelope)
        return envelope.get("data")

    def _refused(self, response: Response) -> str | None:
        """A status that says no: in the format, its reason is passed on; outside it, the status alone remains."""
        try:
            envelope = _envelope(response)
        except UpstreamInvalid:
            if response.status == 404:  # also what a wrong address answers
                raise Misconfigured(
                    Text(
                        "Rien à cette adresse du webservice : corriger le réglage.",
                        en="Nothing at this address of the webservice: correct the setting.",
                    ),
                    detail="status 404 outside the format",
                    processed=False,
                ) from None
            raise
        raise self._refusal(envelope)

    def _refusal(self, envelope: dict[str, Any]) -> Rejected | NotFound:
        kind = one_line(envelope.get("err_class"), 100)
        said = one_line(envelope.get("err_desc"), 500)
        if kind.endswith(self._service.unknown):
            return NotFound(said or Text("Fiche inconnue.", en="No such record."), code=kind or None)
        return Rejected(said or _WITHOUT_REASON, code=kind or None, detail=f"err {one_line(envelope.get('err'), 40)}")


def not_kept(fields: list[str]) -> InvalidInput:
    """The refusal of fields that the town's software does not keep."""
    why = Text("n'est pas repris par le logiciel de la ville", en="is not kept by the town's software")
    listed = ", ".join(fields)
    return InvalidInput(
        Text(f"Non repris par le logiciel de la ville : {listed}.", en=f"Not kept by the town's software: {listed}."),
        fields={name: [why] for name in fields},
    )


def _envelope(response: Response) -> dict[str, Any]:
    """The answer as the format wants it: an object with `err`, a whole number or a word."""
    found = response.json()
    if not isinstance(found, dict):
        raise _outside("not an object")
    if not _is_identifier(found.get("err")):
        raise _outside("err is missing, or is neither a whole number nor a word")
    return found


def _failed(response: Response, envelope: dict[str, Any]) -> bool:
    """As Publik decides: the header wins over the body."""
    header = response.headers.get("X-Error-Code", "").strip()
    if header:
        return header != "0"
    return str(envelope["err"]).strip() != "0"


def _receipt(made: Any, what: str) -> Receipt:
    if not isinstance(made, dict) or not _is_identifier(made.get("id")):
        raise _outside(f"{what} gives no id")
    shown = made.get("display_id")
    return Receipt(id=str(made["id"]), display_id=str(shown) if _is_identifier(shown) else None)


def _is_identifier(value: Any) -> bool:
    return isinstance(value, int | str) and not isinstance(value, bool) and value != ""


def _list(found: Any) -> list[Any]:
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise _outside("data is not a list of objects")
    return found


def _outside(why: str) -> UpstreamInvalid:
    return UpstreamInvalid(
        Text(
            "Le webservice de la ville a répondu hors du format convenu.",
            en="The town's webservice answered outside the agreed format.",
        ),
        detail=why,
    )


def _not_offered(setting: str) -> Misconfigured:
    return Misconfigured(
        Text(
            f"Le webservice de la ville n'offre pas cela (réglage « webservice.{setting} »).",
            en=f'The town\'s webservice does not offer this (setting "webservice.{setting}").',
        ),
        processed=False,
    )
