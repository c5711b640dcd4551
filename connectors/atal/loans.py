"""Rooms and material of ATAL v6: what is free between two moments, and its loans. Times are local to the town."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from zoneinfo import ZoneInfo

from sdk import Choice, InvalidInput, Misconfigured, NotFound, Receipt, Rejected, Text

from .generation import equivalent
from .models import Busy, Loanable, LoanProgress, LoanState, MaterialLoan, Period, RoomLoan
from .shapes import choices, invalid, member, text_of
from .v6 import V6, whole

Kind = Literal["rooms", "material"]

PATHS: dict[Kind, str] = {"rooms": "api/RoomLoans", "material": "api/MaterialLoans"}
STATES: dict[str, tuple[LoanState, Text]] = {
    "0": ("pending", Text("En attente", en="Pending")),
    "2": ("accepted", Text("Accepté", en="Accepted")),
    "3": ("refused", Text("Refusé", en="Refused")),
    "4": ("cancelled", Text("Annulé", en="Cancelled")),
}
CODES = {name: code for code, (name, _) in STATES.items()}
FREEING = frozenset({"3", "4"})
"""States of a loan that no longer takes what it asked for."""


@dataclass(frozen=True)
class Line:
    """One thing lent over one period."""

    id: str
    start: datetime
    end: datetime
    quantity: int


class Loans:
    """The loans of one ATAL v6."""

    def __init__(self, v6: V6) -> None:
        self.v6 = v6
        self.settings = v6.settings
        try:
            self._zone = ZoneInfo(v6.settings.time_zone)
        except (LookupError, ValueError, OSError):
            raise Misconfigured(
                Text("time_zone n'est pas un fuseau connu (Europe/Paris).", en="time_zone is no known zone."),
                code="time-zone",
            ) from None

    # What is free.

    async def free_rooms(self, start: datetime, end: datetime, parent: str = "") -> list[Loanable]:
        """The rooms, disabled when taken; a room lent takes those it is part of, and its own parts."""
        start, end = self._period(start, end)
        lines, rooms = await asyncio.gather(self.lines("rooms", start, end), self.v6.choices("rooms"))
        parents = {room.id: _parent(room) for room in rooms}
        taken = {other for line in lines for other in _family(line.id, parents)}
        return [
            Loanable(id=room.id, text=room.text, disabled=room.id in taken, free=int(room.id not in taken))
            for room in rooms
            if parent in ("", _parent(room))
        ]

    async def busy(self, room: str, start: datetime, end: datetime) -> list[Busy]:
        """When a room is taken, itself, by what it is part of or by its parts; in order."""
        room = equivalent(self.settings, "room", room)
        start, end = self._period(start, end)
        lines, rooms = await asyncio.gather(self.lines("rooms", start, end), self.v6.choices("rooms"))
        family = _family(room, {each.id: _parent(each) for each in rooms})
        found = [Busy(start=line.start, end=line.end, room=line.id) for line in lines if line.id in family]
        return sorted(found, key=lambda each: (each.start, each.end))

    async def free_material(self, start: datetime, end: datetime, quantity: int = 1) -> list[Loanable]:
        """The material and how many of each are free over the whole period; disabled below `quantity`."""
        start, end = self._period(start, end)
        lines, rows = await asyncio.gather(self.lines("material", start, end), self.v6.source_rows("material"))
        source = self.v6.source("material")
        stock: Counter[str] = Counter()
        texts: dict[str, str] = {}
        for row in rows:
            for item in choices([row], source):
                texts.setdefault(item.id, item.text)
                stock[item.id] += _number(row, self.settings.v6.quantity)
        found: list[Loanable] = []
        for id, text in texts.items():
            free = max(0, stock[id] - _most_at_once([line for line in lines if line.id == id]))
            found.append(Loanable(id=id, text=text, disabled=free < quantity, free=free))
        return found

    async def lines(self, kind: Kind, start: datetime, end: datetime) -> list[Line]:
        """What is lent at any moment between the two; refused and cancelled loans take nothing."""
        query = {"$filter": f"(StartDate lt {_written(end)}) and (EndDate gt {_written(start)})"}
        found: list[Line] = []
        for row in await self.v6.rows(f"{PATHS[kind]}/Lines", query):
            state = text_of(row, "RequestState|RoomLoan.RequestState|MaterialLoan.RequestState|Loan.RequestState")
            line = Line(
                text_of(row, "RoomId" if kind == "rooms" else "ItemId"),
                self._moment(row, "StartDate"),
                self._moment(row, "EndDate"),
                1 if kind == "rooms" else _number(row, "RequestedQuantity|Quantity"),
            )
            if state not in FREEING and line.start < end and line.end > start:
                found.append(line)
        return found

    # Loans.

    async def lend_room(self, loan: RoomLoan) -> Receipt:
        room = equivalent(self.settings, "room", loan.room)
        start, end = self._period(loan.start, loan.end)
        sent = {
            **self._sent(start, end, loan),
            "PlannedPeopleNumber": loan.people,
            "RealPeopleNumber": 0,
            "Rooms": [
                {
                    "RoomId": whole("room", room),
                    "StartDate": _written(start),
                    "EndDate": _written(end),
                    "Pricing": {
                        "AdditionalQuantity": 0,
                        "AppliedPricingId": 0,
                        "BaseQuantity": 0,
                        "SquareMetersNumber": 0,
                    },
                }
            ],
        }
        if loan.only_if_free:
            _refuse_if_busy(room, await self.free_rooms(start, end))
        return await self._create("rooms", sent)

    async def lend_material(self, loan: MaterialLoan) -> Receipt:
        item = equivalent(self.settings, "item", loan.item)
        start, end = self._period(loan.start, loan.end)
        sent = {
            **self._sent(start, end, loan),
            "Material": [
                {
                    "ItemId": whole("item", item),
                    "StartDate": _written(start),
                    "EndDate": _written(end),
                    "RequestedQuantity": loan.quantity,
                }
            ],
        }
        if loan.only_if_free:
            _refuse_if_busy(item, await self.free_material(start, end, loan.quantity))
        return await self._create("material", sent)

    async def _create(self, kind: Kind, sent: Mapping[str, Any]) -> Receipt:
        answer = await self.v6.effect("POST", PATHS[kind], json=sent)
        id = text_of(answer, "Id")
        if not id:
            raise invalid("a loan created without Id")
        return Receipt(id=id, display_id=text_of(answer, "Number|Code|Reference") or None)

    async def loan(self, kind: Kind, loan: str) -> LoanProgress:
        row = await self.v6.reads.get(PATHS[kind] + "/{id}", values={"id": loan}, timeout=self.settings.timeout)
        status = text_of(row, "RequestState")
        if not status:
            raise invalid("a loan without RequestState")
        if (known := STATES.get(status)) is None:
            return LoanProgress(id=loan, status=status, text=status, final=False)
        return LoanProgress(id=loan, status=status, text=known[1], final=status in FREEING, state=known[0])

    async def decide(self, kind: Kind, loan: str, state: LoanState) -> LoanProgress:
        """Sets the state, then reads it: ATAL answers with an empty body, which proves nothing."""
        change = {"RequestState": int(CODES[state])}
        await self.v6.effect("PATCH", PATHS[kind], empty=True, params={"id": loan}, json=change)
        try:
            found = await self.loan(kind, loan)
        except (NotFound, Rejected):
            raise invalid("a loan that was changed, and cannot be read") from None  # it was not refused: it was done
        if found.status != CODES[state]:
            raise invalid("a loan whose state did not change")
        return found

    # Inside.

    def _sent(self, start: datetime, end: datetime, loan: Period) -> dict[str, Any]:
        third_party = equivalent(self.settings, "third_party", loan.third_party or self.settings.defaults.third_party)
        if not third_party:
            said = Text("est obligatoire (ou defaults.third_party)", en="is required (or defaults.third_party)")
            raise InvalidInput(
                Text(f"« third_party » {said}.", en=f'"third_party" {said.en}.'), fields={"third_party": [said]}
            )
        return {
            "StartDate": _written(start),
            "EndDate": _written(end),
            "RequesterThirdPartyId": whole("third_party", third_party),
        }

    def _period(self, start: datetime, end: datetime) -> tuple[datetime, datetime]:
        start, end = self._local(start), self._local(end)
        if start >= end:
            said = Text("doit suivre le début", en="must follow the start")
            raise InvalidInput(Text(f"« end » {said}.", en=f'"end" {said.en}.'), fields={"end": [said]})
        return start, end

    def _local(self, moment: datetime) -> datetime:
        return moment if moment.tzinfo is None else moment.astimezone(self._zone).replace(tzinfo=None)

    def _moment(self, row: Any, name: str) -> datetime:
        try:
            return self._local(datetime.fromisoformat(text_of(row, name)))
        except ValueError:
            raise invalid(f"a loan whose {name} is not a date and time") from None


def _parent(room: Choice) -> str:
    return str((room.model_extra or {}).get("parent", ""))


def _family(room: str, parents: Mapping[str, str]) -> set[str]:
    """The room, all it is part of, and all its parts."""
    above = set(_ancestors(room, parents))
    return {room} | above | {other for other in parents if room in _ancestors(other, parents)}


def _ancestors(room: str, parents: Mapping[str, str]) -> list[str]:
    found: list[str] = []
    while (room := parents.get(room, "")) and room not in found:
        found.append(room)
    return found


def _most_at_once(lines: list[Line]) -> int:
    """The most that is lent at one moment."""
    steps = sorted([(line.start, line.quantity) for line in lines] + [(line.end, -line.quantity) for line in lines])
    most = now = 0
    for _, step in steps:
        now += step
        most = max(most, now)
    return most


def _number(row: Any, places: str) -> int:
    """A quantity; 1 where ATAL gives none."""
    found = member(row, places)
    return int(found) if isinstance(found, (int, float)) and not isinstance(found, bool) else 1


def _written(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M")


def _refuse_if_busy(id: str, found: list[Loanable]) -> None:
    """What ATAL does not list is left to its own judgement."""
    if any(each.id == id and each.disabled for each in found):
        raise Rejected(
            Text("Ce n'est pas libre sur toute la période demandée.", en="It is not free over the whole period."),
            code="busy",
        )
