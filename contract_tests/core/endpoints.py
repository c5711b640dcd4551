"""The endpoints of a target, profile by profile, and the plain calls each one promises."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Annotated, Any, ClassVar, Literal, Self
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field, model_validator

from .check import Form

__all__ = [
    "ENDPOINTS",
    "AnyEndpoint",
    "Billing",
    "Call",
    "Cell",
    "Choices",
    "Declared",
    "Endpoint",
    "Envelope",
    "FileEndpoint",
    "Followed",
    "Map",
    "Request",
    "Search",
    "Sms",
    "Statistics",
    "Status",
    "Written",
    "file_member",
    "nobodys",
    "renumbered",
]

Pairs = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Call:
    """A call to the target, without credentials. `writes`: it changes something there."""

    method: str
    path: str
    params: Pairs = ()
    body: bytes | None = None
    writes: bool = False

    @classmethod
    def post(cls, path: str, value: Any, params: Pairs = (), *, method: str = "POST") -> Call:
        """A call with a JSON body, that writes."""
        return cls(method, path, params, json.dumps(value, ensure_ascii=False).encode(), writes=True)

    def adding(self, *pairs: tuple[str, str]) -> Call:
        """The same call with more parameters, replacing those of the same name."""
        names = {name for name, _ in pairs}
        kept = tuple(pair for pair in self.params if pair[0] not in names)
        return Call(self.method, self.path, (*kept, *pairs), self.body, self.writes)


class Declared(BaseModel):
    """Part of a `target.toml`: no unknown member, no value in error texts."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)


class Endpoint(Declared):
    """What all endpoints declare. `path` is relative to `base_url` or a whole address; `name` tells two endpoints of
    the same path apart.

    `params` are always sent; `failure` are parameters added to them that must make the call fail, `missing` the path of
    something that does not exist.
    """

    profile: str
    path: str
    name: str = ""
    params: dict[str, str] = {}
    failure: dict[str, str] | None = None
    missing: str = ""
    personal: ClassVar[bool] = False
    """Whether it shows or changes what concerns one person."""
    form: ClassVar[Form] = "envelope"

    @property
    def place(self) -> str:
        """What the report calls it."""
        return self.name or self.path or "/"

    @property
    def readable(self) -> bool:
        """Whether something of it can be read without writing."""
        return True

    def features(self) -> frozenset[str]:
        """What the endpoint offers beyond its profile's core."""
        return frozenset({"failure"} if self.wrongs(writes=True) else ())

    def reads(self) -> Call | None:
        """A call that changes nothing and must succeed."""
        return Call("GET", self.path, self._pairs())

    def examples(self, *, writes: bool) -> list[Call]:
        """The calls that must succeed; those that write only when allowed."""
        call = self.reads()
        return [] if call is None else [call]

    def wrongs(self, *, writes: bool) -> list[Call]:
        """The calls that must fail."""
        call = self.reads()
        wrong = [] if call is None or self.failure is None else [call.adding(*self.failure.items())]
        return [*wrong, *([Call("GET", self.missing, self._pairs())] if self.missing else [])]

    def guesses(self) -> list[Call]:
        """Readings worth trying, in order, to find an example that was not given."""
        return []

    def knowing(self, document: Any) -> Self | None:
        """The endpoint with the example that the answer to a guess gives; None when it gives none."""
        return None

    def takes(self) -> Call | None:
        """The call that writes a JSON body, if there is one."""
        return None

    def body_example(self) -> dict[str, Any]:
        """The body of that call."""
        return {}

    def _pairs(self) -> Pairs:
        return tuple(self.params.items())


class Written(Endpoint):
    """Something that `method` writes with `body`.

    `required` are the fields whose absence must be refused; `files` those that hold a file; `unique` those that no two
    writings may share (a reference): the digits of their example change with each different one.
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    body: dict[str, Any] = {}
    required: list[str] = []
    files: list[str] = []
    unique: list[str] = []

    @model_validator(mode="after")
    def _named(self) -> Self:
        named = (*self.required, *self.files, *self.unique)
        if absent := [name for name in named if name not in self.body]:
            raise ValueError(f"required, files and unique name fields of body; absent: {', '.join(absent)}")
        return self

    def create(self, changes: Mapping[str, Any] | None = None, *, without: str = "") -> Call:
        """The writing, with fields changed or one left out."""
        body = {name: value for name, value in {**self.body, **(changes or {})}.items() if name != without}
        if changes or without:
            seed = json.dumps([changes, without], sort_keys=True)
            body = {**body, **self._apart(seed, body), **{name: body[name] for name in changes or {} if name in body}}
        return Call.post(self.path, body, self._pairs(), method=self.method)

    def another(self, seed: str) -> Call:
        """The same writing for another occasion: only what is `unique` differs."""
        return Call.post(self.path, {**self.body, **self._apart(seed, self.body)}, self._pairs(), method=self.method)

    def _apart(self, seed: str, body: Mapping[str, Any]) -> dict[str, Any]:
        return {name: renumbered(str(self.body[name]), seed) for name in self.unique if name in body}

    def incomplete(self, *, writes: bool) -> list[Call]:
        """The writing without its first required field."""
        return [self.create(without=self.required[0])] if writes and self.required else []

    def body_example(self) -> dict[str, Any]:
        return self.body


class Envelope(Written):
    """A plain endpoint, read or written: the envelope and HTTP, whatever `data` holds."""

    profile: Literal["envelope"] = "envelope"
    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"] = "GET"

    @property
    def readable(self) -> bool:
        return self.method == "GET"

    def reads(self) -> Call | None:
        return super().reads() if self.readable else None

    def examples(self, *, writes: bool) -> list[Call]:
        return [self.create()] if writes and not self.readable else super().examples(writes=writes)

    def wrongs(self, *, writes: bool) -> list[Call]:
        return [*super().wrongs(writes=writes), *self.incomplete(writes=writes)]

    def takes(self) -> Call | None:
        return None if self.readable else self.create()


class Search(Endpoint):
    """A search engine. `example` is a term that has results, tried out when absent; `q` the parameter's name."""

    profile: Literal["search"] = "search"
    q: str = "q"
    example: str = ""
    tried: ClassVar[tuple[str, ...]] = ("a", "e", "martin", "rue", "1")

    def guesses(self) -> list[Call]:
        return [] if self.example else [self.search(term) for term in self.tried]

    def knowing(self, document: Any) -> Self | None:
        data = document.get("data") if isinstance(document, dict) else None
        text = data[0].get("text") if isinstance(data, list) and data and isinstance(data[0], dict) else None
        words = re.findall(r"[^\W_]+", text) if isinstance(text, str) else []
        return self.model_copy(update={"example": max(words, key=len)}) if words else None

    def reads(self) -> Call:
        return self.search(self.example)

    def search(self, term: str) -> Call:
        """The search of a term."""
        return Call("GET", self.path, (*self._pairs(), (self.q, term)))


class Choices(Endpoint):
    """A list of a form. `q` and `id` are parameter names, empty when the service has none."""

    profile: Literal["choices"] = "choices"
    q: str = "q"
    id: str = "id"
    example: str = ""
    data_attribute: str = "data"
    id_attribute: str = "id"
    text_attribute: str = "text"

    def features(self) -> frozenset[str]:
        return super().features() | {name for name in ("q", "id") if getattr(self, name)}

    def search(self, term: str) -> Call:
        """Autocompletion of a term."""
        return Call("GET", self.path, (*self._pairs(), (self.q, term)))

    def lookup(self, identifier: str) -> Call:
        """One item by its identifier."""
        return Call("GET", self.path, (*self._pairs(), (self.id, identifier)))


class Followed(Endpoint):
    """Something whose status is read: `example_id` exists, `final_id` is in a final status, `unknown_id` does not."""

    example_id: str = ""
    final_id: str = ""
    unknown_id: str = ""
    id_attribute: str = "id"
    status_attribute: str = "status"
    final_attribute: str = "final"
    statuses: list[str] = []
    final_statuses: list[str] = []
    personal: ClassVar[bool] = True

    @model_validator(mode="after")
    def _placed(self) -> Self:
        if "{id}" not in self.followed_at:
            raise ValueError("the path of a status must contain {id}")
        return self

    @property
    def followed_at(self) -> str:
        """The path of the status, with `{id}` in it."""
        return self.path

    def features(self) -> frozenset[str]:
        declared = {"final": self.final_id, "statuses": self.statuses}
        return super().features() | {name for name, value in declared.items() if value}

    def reads(self) -> Call | None:
        return self.follow(self.example_id) if self.example_id else None

    def wrongs(self, *, writes: bool) -> list[Call]:
        return [*super().wrongs(writes=writes), self.follow(self.nobody())]

    def nobody(self) -> str:
        """An identifier that nothing has: the one declared, else of the same form as the example's."""
        return self.unknown_id or nobodys(self.example_id or "inconnu-000000")

    def follow(self, identifier: str) -> Call:
        """The reading of a status."""
        return Call("GET", self.followed_at.replace("{id}", quote(identifier, safe="")), self._pairs())


class Status(Followed):
    """The status of something that was not created here: `path` with `{id}` in it."""

    profile: Literal["status"] = "status"
    example_id: str = Field(min_length=1)


class Request(Written, Followed):
    """A business request: written on `path`, followed on `status` (with `{id}` in it). `echo` maps a field of the body
    to the attribute of the status that gives it back.
    """

    profile: Literal["request"] = "request"
    method: Literal["POST", "PUT"] = "POST"
    body: dict[str, Any]
    status: str
    echo: dict[str, str] = {}

    @model_validator(mode="after")
    def _echoed(self) -> Self:
        if absent := [name for name in self.echo if name not in self.body]:
            raise ValueError(f"echo names fields of body; absent: {', '.join(absent)}")
        return self

    @property
    def followed_at(self) -> str:
        return self.status

    def features(self) -> frozenset[str]:
        declared = {"files": self.files, "echo": self.echo}
        return super().features() | {name for name, value in declared.items() if value}

    def examples(self, *, writes: bool) -> list[Call]:
        return [*super().examples(writes=writes), *([self.create()] if writes else [])]

    def wrongs(self, *, writes: bool) -> list[Call]:
        return [*super().wrongs(writes=writes), *self.incomplete(writes=writes)]

    def takes(self) -> Call:
        return self.create()


class FileEndpoint(Endpoint):
    """A file to download at `path`; `missing` does not exist; `upload` takes `body` with the file in `field`."""

    profile: Literal["file"] = "file"
    upload: str = ""
    field: str = "file"
    body: dict[str, Any] = {}
    form: ClassVar[Form] = "file"
    personal: ClassVar[bool] = True

    def features(self) -> frozenset[str]:
        return super().features() | ({"upload"} if self.upload else set())

    def takes(self) -> Call | None:
        return Call.post(self.upload, self.body_example(), self._pairs()) if self.upload else None

    def body_example(self) -> dict[str, Any]:
        return {**self.body, self.field: file_member()}


class Billing(Endpoint):
    """A billing software: `path` is its root; `name_id` has unpaid invoices, `other_name_id` is someone else.

    `notice` is false where payments are known otherwise than by Publik's notice.
    """

    profile: Literal["billing"] = "billing"
    name_id: str
    other_name_id: str = ""
    notice: bool = True
    personal: ClassVar[bool] = True

    def features(self) -> frozenset[str]:
        offered = {"other": self.other_name_id, "notice": self.notice}
        return super().features() | {name for name, value in offered.items() if value}

    def reads(self) -> Call:
        return self.operation("invoices/")

    def examples(self, *, writes: bool) -> list[Call]:
        return [self.operation("invoices/"), self.operation("invoices/history/")]

    def wrongs(self, *, writes: bool) -> list[Call]:
        return [self.operation("invoice/inconnue-000000/")]

    def operation(self, rest: str, name_id: str | None = None) -> Call:
        """One of the operations, for one debtor."""
        path = self.path.rstrip("/") + "/" + rest
        return Call("GET", path, (*self._pairs(), ("NameID", self.name_id if name_id is None else name_id)))

    def pay(self, identifier: str, notice: Mapping[str, Any]) -> Call:
        """The notice of a payment."""
        path = f"{self.path.rstrip('/')}/invoice/{quote(identifier, safe='')}/pay/"
        return Call.post(path, notice, (*self._pairs(), ("NameID", self.name_id)))


class Map(Endpoint):
    """A map layer. `bbox` is [west, south, east, north], degrees."""

    profile: Literal["map"] = "map"
    bbox: tuple[float, float, float, float] | None = None
    form: ClassVar[Form] = "open"

    def features(self) -> frozenset[str]:
        return super().features() | ({"bbox"} if self.bbox else set())


class Sms(Endpoint):
    """An SMS gateway; `to` are numbers that really receive the messages of a run with `--allow-writes`."""

    profile: Literal["sms"] = "sms"
    to: list[str] = Field(min_length=1)
    sender: str = "Mairie"
    form: ClassVar[Form] = "open"
    personal: ClassVar[bool] = True

    @property
    def readable(self) -> bool:
        return False

    def reads(self) -> None:
        return None

    def examples(self, *, writes: bool) -> list[Call]:
        return [self.message()] if writes else []

    def wrongs(self, *, writes: bool) -> list[Call]:
        return [self.message(to=[])] if writes else []

    def takes(self) -> Call:
        return self.message()

    def body_example(self) -> dict[str, Any]:
        return {"from": self.sender, "to": list(self.to), "message": "Message d'essai"}

    def message(self, params: Pairs = (), **changes: Any) -> Call:
        """A message, with members changed or added."""
        return Call.post(self.path, {**self.body_example(), **changes}, (*self._pairs(), *params))


class Statistics(Endpoint):
    """A catalogue of statistics; the data addresses are those it gives."""

    profile: Literal["statistics"] = "statistics"
    form: ClassVar[Form] = "open"


class Cell(Endpoint):
    """A JSON document shown by a portal cell; `variables` are parameters that may be empty for an anonymous visitor."""

    profile: Literal["cell"] = "cell"
    variables: list[str] = []
    form: ClassVar[Form] = "json"

    def features(self) -> frozenset[str]:
        return super().features() | ({"variables"} if self.variables else set())


AnyEndpoint = Annotated[
    Envelope | Search | Choices | Request | Status | FileEndpoint | Billing | Map | Sms | Statistics | Cell,
    Field(discriminator="profile"),
]
ENDPOINTS: Mapping[str, type[Endpoint]] = {
    kind.model_fields["profile"].default: kind
    for kind in (Envelope, Search, Choices, Request, Status, FileEndpoint, Billing, Map, Sms, Statistics, Cell)
}


def file_member(content: bytes = b"%PDF-1.4\n%essai\n") -> dict[str, Any]:
    """A file exactly as w.c.s. writes it in JSON (publik-contracts §4.2)."""
    return {
        "filename": "essai é.pdf",
        "content_type": "application/pdf",
        "content": base64.b64encode(content).decode(),
        "content_is_base64": True,
    }


def nobodys(example: str) -> str:
    """An identifier of the same form that nothing is likely to have: nines for digits, six at least."""
    nines = re.sub(r"\d", "9", example)
    few = 6 - nines.count("9")
    head, digit, tail = nines.rpartition("9")
    return f"{head}{'9' * few}{digit}{tail}" if few > 0 and digit else nines if digit else f"{example}999999"


def renumbered(example: str, seed: str) -> str:
    """The example with other digits, the same for the same seed; a date moves by whole days, digits are added when
    there are none.
    """
    number = int(hashlib.sha256(seed.encode()).hexdigest(), 16)
    if re.match(r"\d{4}-\d\d-\d\d", example):
        with contextlib.suppress(ValueError):
            moved = datetime.fromisoformat(example) + timedelta(days=1 + number % 3000)
            return moved.isoformat()[: len(example)]
    if not any(char.isdigit() for char in example):
        example += "0000"
    digits = iter(str(number))
    return "".join(next(digits) if char.isdigit() else char for char in example)
