"""ATAL v6: JSON over HTTP with an API key, OData options, bare arrays, problem documents."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from typing import Any

from sdk import (
    Choice,
    File,
    Hit,
    Http,
    Misconfigured,
    NotFound,
    Receipt,
    Rejected,
    Response,
    Rest,
    Text,
    api_key,
)

from .generation import hit, not_offered, progress, settled, source, written, wrong_identifier
from .models import Attached, Comment, RequestProgress, WorkRequest
from .settings import ListName, ListSource, Settings
from .shapes import choices, invalid, member, text_of

UUID = re.compile(r"[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}")
REQUESTS = "api/WorksRequests"

MEMBERS: dict[str, str] = {
    "type": "RequestType",
    "service": "RequestingDepartmentId",
    "requester": "RequesterId",
    "recipient": "RecipientId",
    "equipment": "PatrimonyId",
    "object": "Object",
    "description": "Description",
    "place": "Localization",
    "longitude": "Longitude",
    "latitude": "Latitude",
    "wished_date": "DesiredDate",
    "last_name": "Contact.LastName",
    "first_name": "Contact.FirstName",
    "email": "Contact.Email",
    "phone": "Contact.Phone",
    "mobile": "Contact.Mobile",
    "address": "Contact.Address1",
    "zip_code": "Contact.ZipCode",
    "city": "Contact.City",
}
IDENTIFIERS = frozenset({"type", "service", "requester", "recipient", "equipment", "thematic"})

SOURCES: dict[ListName, ListSource] = {
    "types": ListSource(),
    "thematics": ListSource(
        path="/api/Thematics", text="CompleteLabel|Label", parent="ParentThematicId", hidden="Archived"
    ),
    "equipment": ListSource(path="/api/Patrimonies", parent="ParentId", hidden="Archived"),
    "services": ListSource(path="/api/ThirdParties", params={"type": "2"}, text="Name"),
    "third_parties": ListSource(path="/api/ThirdParties", text="Name"),
    "rooms": ListSource(
        path="/api/Patrimonies", params={"$filter": "CanBeLoaned"}, parent="ParentId", only={"Type": "1"}
    ),
    "material": ListSource(
        path="/api/InventoriedItems",
        id="ItemId",
        text="Item.Label|Item.Name|Item.ItemTemplate.Label|Item.ItemTemplate.Name|Item.Code",
        only={"Item.ItemTemplate.CanBeLoaned": "true"},
    ),
}


class V6:
    """ATAL v6 at one address."""

    def __init__(self, settings: Settings, http: Http) -> None:
        if not settings.key.reveal():
            raise Misconfigured(
                Text("La génération v6 demande une clé : key.", en="Generation v6 needs a key: key."), code="key"
            )
        self.settings = settings
        base = settings.url.rstrip("/").removesuffix("/api")
        keyed = http.using(api_key(settings.key))
        self.reads = Rest(keyed, base, refusals=(400, 409, 422), message=_reason)
        # A 404 is a refusal here: ATAL knows the request it is about no longer, and did nothing.
        self.effects = Rest(keyed, base, refusals=(400, 404, 409, 422), unprocessed=(401, 403), message=_reason)
        self.members = {**MEMBERS, **settings.v6.members}
        self._expands = True

    # Lists.

    def source(self, name: ListName) -> ListSource:
        """Where a list comes from."""
        return source(self.settings, SOURCES, name)

    async def choices(self, name: ListName, parent: str = "") -> list[Choice]:
        found = self.source(name)
        return written(found) or choices(await self.source_rows(name), found, parent=parent)

    async def source_rows(self, name: ListName) -> list[Any]:
        """The rows of a list as ATAL gives them."""
        found = self.source(name)
        if not found.path:
            raise not_offered(f"ne donne pas la liste « {name} »", f"has no list {name}", f"lists.{name}")
        return await self.rows(found.path, dict(found.params), at=found.at)

    async def rows(self, path: str, params: Mapping[str, str] | None = None, *, at: str = "") -> list[Any]:
        """A bare array; one wrapped in `value`, as OData allows, is read too."""
        try:
            found = await self.reads.get(path, params=params, timeout=self.settings.timeout)
        except NotFound:
            raise _no_atal_here(path) from None
        if isinstance(found, Mapping):
            found = member(found, at or "value")
            found = [] if found is None and at else found
        if not isinstance(found, list):
            raise invalid("no array where a list is expected")
        return found

    # Requests.

    async def create(self, request: WorkRequest) -> Receipt:
        placed = [field for field, place in self.members.items() if place]
        body: dict[str, Any] = {}
        for field, value in settled(self.settings, request, placed, "v6.members").items():
            _put(body, self.members[field], _sent(field, value))
        answer = await self.effect("POST", REQUESTS, json=body)
        answer = {"Id": answer} if isinstance(answer, str) else answer
        id = self._id(answer)
        if not id:
            raise invalid("a request created without an identifier: see v6.id")
        return Receipt(id=id, display_id=text_of(answer, self.settings.v6.number) or None)

    def _id(self, row: Any) -> str:
        """The UUID ATAL wants in later calls; else the first identifier there is."""
        found = [text_of(row, place) for place in self.settings.v6.id.split("|")]
        return next((each for each in found if UUID.fullmatch(each)), next(filter(None, found), ""))

    async def _key(self, request: str) -> str:
        """The identifier ATAL takes; `v6.by_number` finds that of a request made before the upgrade, by its number."""
        wanted = self.settings.v6.by_number
        if not wanted or UUID.fullmatch(request):
            return request
        rows = await self.rows(REQUESTS, {"$filter": wanted.replace("{number}", _quoted(request)), "$top": "2"})
        if len(rows) != 1 or not self._id(rows[0]):
            raise NotFound(Text("ATAL ne connaît pas cette demande.", en="ATAL does not know this request."))
        return self._id(rows[0])

    async def follow(self, request: str) -> RequestProgress:
        row = await self._request(await self._key(request))
        options = self.settings.v6
        status = text_of(row, options.state)
        if not status:
            raise invalid("a request without a state: see v6.state")
        answers = member(row, "Responses")
        said = [text_of(each, options.response) for each in answers] if isinstance(answers, list) else []
        return progress(
            self.settings,
            request,
            status,
            number=text_of(row, options.number),
            object=text_of(row, "Object"),
            comments=[each for each in said if each],
        )

    async def _request(self, request: str) -> Any:
        """The request with its answers; without, from an instance too old to give them."""
        path, values = REQUESTS + "/{id}", {"id": request}
        if self._expands:
            try:
                row = await self.reads.get(
                    path, values=values, params={"$expand": "Responses"}, timeout=self.settings.timeout
                )
            except Rejected as refused:
                if "Responses" not in refused.message:
                    raise
                row = None
            if row is not None and "Responses" not in text_of(row, "detail"):
                return row
            self._expands = False
        return await self.reads.get(path, values=values, timeout=self.settings.timeout)

    async def comment(self, request: str, comment: Comment) -> None:
        options = self.settings.v6
        if not options.comment_path:
            raise not_offered("ne reçoit pas de commentaire", "takes no comment", "v6.comment_path")
        text = f"{comment.author} : {comment.text}" if comment.author else comment.text
        body: dict[str, Any] = {}
        _put(body, options.comment_member, text)
        await self.effect("POST", options.comment_path, values={"id": await self._key(request)}, json=body)

    async def attach(self, request: str, file: File) -> Attached:
        values = {"id": await self._key(request)}
        answer = await self.effect("POST", REQUESTS + "/{id}/Attachments", values=values, files={"file": file})
        return Attached(filename=file.filename, size=file.size, attachment=text_of(answer, "Id|AttachmentId"))

    async def effect(self, method: str, path: str, *, empty: bool = False, **options: Any) -> Any:
        """A write: its JSON, or None for a 204 (with `empty`, for any empty success).

        Raises `NotFound` when ATAL does not know what it is about (`values` or `params`).
        """
        try:
            response = await self.effects.request(method, path, timeout=self.settings.timeout, **options)
        except Rejected as refused:
            if refused.detail == "status 404" and not (options.get("values") or options.get("params")):
                raise _no_atal_here(path) from None
            if refused.detail == "status 404":
                raise NotFound(
                    Text("ATAL ne connaît pas cet élément.", en="ATAL does not know this item."), code="404"
                ) from None
            raise
        if response.status == 204 or (empty and not response.body.strip()):
            return None
        if not response.content_type.endswith("json"):
            raise invalid(f"status {response.status} without JSON after a write")
        return response.json()

    async def download(self, attachment: str) -> File:
        about = await self.reads.get("api/Attachments/{id}", values={"id": attachment}, timeout=self.settings.timeout)
        key = text_of(about, "Key")
        if not key:
            raise invalid("an attachment without a key")
        sent = await self.reads.get_file(
            "api/Attachments/Download/{key}", values={"key": key}, timeout=self.settings.timeout, html=True
        )
        file = File(filename=text_of(about, "FileName|Name") or sent.filename, content=sent.content)
        if file.content_type == "text/html":  # by its content: what ATAL announces is not believed
            raise invalid("a page of HTML instead of a file")
        return file

    async def search(self, q: str, limit: int) -> list[Hit]:
        params = {"$filter": self.settings.v6.search.replace("{q}", _quoted(q)), "$top": str(limit)}
        options = self.settings.v6
        return [
            hit(
                self.settings,
                self._id(row),
                text_of(row, options.number),
                text_of(row, "Object"),
                text_of(row, "Localization"),
                text_of(row, options.state),
            )
            for row in (await self.rows(REQUESTS, params))[:limit]
        ]

    async def check(self) -> None:
        try:
            await self.reads.request(
                "GET", "api/Test", headers={"Accept": "text/plain"}, repeatable=True, timeout=self.settings.timeout
            )
        except NotFound:
            raise _no_atal_here("api/Test") from None
        # The test call may not look at the key: a read that does.
        await self.rows("api/Thematics", {"$top": "1"})


def _no_atal_here(path: str) -> Misconfigured:
    return Misconfigured(
        Text("Il n'y a pas d'API d'ATAL à cette adresse : vérifier url.", en="There is no ATAL API at this address."),
        detail=f"status 404 at {path}",
        code="address",
        processed=False,
    )


def _quoted(text: str) -> str:
    """A text as OData writes one."""
    return "'" + text.replace("'", "''") + "'"


def whole(field: str, value: str) -> int:
    """An identifier of ATAL v6: a whole number."""
    if not re.fullmatch(r"-?[0-9]{1,18}", value):
        raise wrong_identifier(field)
    return int(value)


def _sent(field: str, value: Any) -> Any:
    if field in IDENTIFIERS:
        return whole(field, value)
    if isinstance(value, date):
        # ATAL wants an instant. Noon UTC is that day everywhere from UTC-12 to UTC+11.
        return f"{value.isoformat()}T12:00:00.000Z"
    return value


def _put(body: dict[str, Any], place: str, value: Any) -> None:
    *above, last = place.split(".")
    for step in above:
        body = body.setdefault(step, {})
    body[last.removesuffix("[]")] = [value] if last.endswith("[]") else value


def _reason(response: Response) -> str | None:
    """The `detail` of a problem document with what ASP.NET says of each field; None leaves it to the title."""
    if not response.content_type.endswith("json"):
        return None
    problem = response.json()
    if not isinstance(problem, Mapping):
        return None
    said = [text_of(problem, "detail|title")]
    errors = member(problem, "errors")
    for field, sentences in errors.items() if isinstance(errors, Mapping) else ():
        said += [f"{field} : {sentence}" for sentence in sentences if isinstance(sentence, str)]
    return " ".join(filter(None, said)) or None
