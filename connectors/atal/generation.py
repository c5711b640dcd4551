"""What both generations of ATAL can do, and what of a form's request they are given."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Protocol
from urllib.parse import quote, urljoin

from sdk import Choice, File, Hit, InvalidInput, Misconfigured, Receipt, Text

from .models import Attached, Comment, RequestProgress, WorkRequest
from .settings import ListName, ListSource, Settings

LISTS: dict[str, ListName] = {
    "type": "types",
    "thematic": "thematics",
    "equipment": "equipment",
    "service": "services",
    "requester": "third_parties",
    "third_party": "third_parties",
    "room": "rooms",
    "item": "material",
}
"""The list each identifier of a form comes from."""


class Generation(Protocol):
    """One generation of the software; identifiers are text."""

    async def choices(self, name: ListName, parent: str = "") -> list[Choice]: ...

    async def create(self, request: WorkRequest) -> Receipt: ...

    async def follow(self, request: str) -> RequestProgress: ...

    async def comment(self, request: str, comment: Comment) -> None: ...

    async def attach(self, request: str, file: File) -> Attached: ...

    async def download(self, attachment: str) -> File: ...

    async def search(self, q: str, limit: int) -> list[Hit]: ...

    async def check(self) -> None: ...


def equivalent(settings: Settings, field: str, value: str) -> str:
    """What the identifier a form sends is called in this ATAL."""
    name = LISTS.get(field)
    return settings.equivalents.get(name, {}).get(value, value) if name else value


def given(request: WorkRequest) -> dict[str, Any]:
    """The fields the form filled, the contact's among the others."""
    fields = {name: getattr(request, name) for name in type(request).model_fields if name != "contact"}
    contact = {name: getattr(request.contact, name) for name in type(request.contact).model_fields}
    return {name: value for name, value in {**fields, **contact}.items() if value not in ("", None)}


def settled(settings: Settings, request: WorkRequest, placed: Iterable[str], where: str) -> dict[str, Any]:
    """What is sent: the form's fields, then the settings' defaults, in the town's identifiers.

    Raises `Misconfigured` for a field the form filled and that the settings give no place: nothing is dropped silently.
    """
    filled, placed = given(request), set(placed)
    if lost := [name for name in filled if name not in placed]:
        raise Misconfigured(
            Text(
                f"« {lost[0]} » n'a pas de place dans la demande envoyée à ATAL : l'ajouter dans {where}.",
                en=f'"{lost[0]}" has no place in the request sent to ATAL: add it to {where}.',
            ),
            detail=f"no place for {', '.join(lost)}",
            code="no-place",
            processed=False,
        )
    kept = {name: value for name in type(settings.defaults).model_fields if (value := getattr(settings.defaults, name))}
    values = {name: value for name, value in kept.items() if name in placed} | filled
    return {name: equivalent(settings, name, v) if isinstance(v, str) else v for name, v in values.items()}


def progress(settings: Settings, id: str, status: str, **more: Any) -> RequestProgress:
    """The state as ATAL gives it; its words and its end are the settings', or nothing."""
    known = settings.states.get(status)
    return RequestProgress(
        id=id, status=status, text=known.text if known else status, final=bool(known and known.final), **more
    )


def hit(settings: Settings, id: str, number: str, object: str, place: str, status: str) -> Hit:
    """A request found, for an agent: its page in ATAL, or ATAL's front door where the settings do not name it."""
    pattern = settings.page or urljoin(settings.url, "/")
    url = pattern.replace("{id}", quote(id, safe="")).replace("{number}", quote(number, safe=""))
    known = settings.states.get(status)
    said = (place, known.text if known else status)
    return Hit(url=url, text=" ".join(filter(None, (number, object))) or id, description=" — ".join(filter(None, said)))


def source(settings: Settings, defaults: Mapping[ListName, ListSource], name: ListName) -> ListSource:
    """Where a list comes from: what the settings say of it, over what is known of the generation."""
    override = settings.lists.get(name)
    return defaults[name].model_copy(update=override.model_dump(exclude_unset=True) if override else {})


def written(source: ListSource) -> list[Choice]:
    """The list the settings hold themselves; empty when ATAL has it."""
    return [Choice(id=id, text=text) for id, text in source.values.items()]


def not_offered(what: str, english: str, where: str) -> Misconfigured:
    """The error for what this generation, as it is set, cannot do."""
    return Misconfigured(
        Text(
            f"Cet ATAL, tel qu'il est réglé, {what} : voir {where}.", en=f"This ATAL, as set, {english}: see {where}."
        ),
        detail=english,
        code="not-offered",
        processed=False,
    )


def wrong_identifier(field: str) -> InvalidInput:
    """The error for an identifier that this generation cannot hold."""
    said = Text("n'est pas un identifiant d'ATAL v6 (un nombre)", en="is not an ATAL v6 identifier (a number)")
    return InvalidInput(Text(f"« {field} » {said}.", en=f'"{field}" {said.en}.'), fields={field: [said]})
