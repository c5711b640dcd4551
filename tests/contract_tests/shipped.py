"""Every connector of the installation, served over its simulator and declared to the suite as a publisher would do it.

The OpenAPI document names the endpoints and their profiles. What to ask comes, in order, from the demonstration, the
samples and the document: whatever works first. Nothing here names a connector.
"""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import aiohttp

import contract_tests
from contract_tests.core.endpoints import ENDPOINTS, Written, file_member, renumbered
from contract_tests.openapi import Derived, derived, matching, profile_of
from gateway.registry import simulator_of
from sdk import Connector
from tests.gateway.conftest import running
from tests.shown import Shown, demonstrated, sampled

BASIC = {"user": "publik", "password": "the-password-of-the-tests"}
PROOF = {"Authorization": aiohttp.encode_basic_auth(BASIC["user"], BASIC["password"])}
SIGNATURE = {"orig": "demarches.example.org", "key": "the-signature-key-of-the-tests"}
CLIENTS = {
    "basic": {"basic": {"username": BASIC["user"], "password": BASIC["password"]}, "rights": ["*/*/*"]},
    "signed": {"signature": SIGNATURE, "rights": ["*/*/*"]},
}


_PLACEHOLDER = re.compile(r"\{([^}]*)\}")


@dataclass(frozen=True)
class Kind:
    """A connector and one way its software is installed; `name` is the test's."""

    name: str
    connector: type[Connector[Any]]
    simulator: type[Any]
    options: Mapping[str, Any]
    part: tuple[int, int] = (0, 1)

    @property
    def first(self) -> bool:
        """Whether it is the software's ordinary variant: what it does not offer, no other needs to."""
        return next(iter(self.simulator.variants.values())) == self.options


MOST = 30
"""Endpoints judged at once: the publishers' own limits hold for the judge too."""


def kinds_of(connector: type[Connector[Any]], simulator: type[Any] | None = None) -> Iterator[Kind]:
    """A connector in every variant of its simulator."""
    kind = simulator or simulator_of(connector)
    assert kind is not None, f"{connector.name} ships no simulator"
    parts = -(-len(connector.endpoints) // MOST)
    for variant, options in kind.variants.items():
        for part in range(parts):
            named = (connector.name, variant, str(part + 1) if parts > 1 else "")
            name = "-".join(word for word in named if word)
            yield Kind(name, connector, kind, options, (part, parts))


SHIPPED = [kind for point in entry_points(group="relais.connectors") for kind in kinds_of(point.load())]


@dataclass
class Instance:
    """An instance served over its simulator. `unjudged`: operations for which nothing worked, with the answer's words;
    `profiles`: the profile of each operation judged."""

    url: str
    simulator: Any
    target: contract_tests.Target
    unjudged: dict[tuple[str, str], str]
    profiles: dict[tuple[str, str], str]


@asynccontextmanager
async def served(kind: Kind, folder: Path, **options: Any) -> AsyncIterator[Instance]:
    """The gateway with one instance of the connector, and the target it makes."""
    page = f"/{kind.connector.name}/test"
    async with (
        kind.simulator(**kind.options) as simulator,
        running(folder, kind.connector, settings=simulator.demo_settings(), clients=CLIENTS, **options) as gateway,
    ):
        async with gateway.session.get(f"{gateway.url}{page}/openapi.json", headers=PROOF) as answer:
            document = await answer.json()
        async with aiohttp.ClientSession(gateway.url, headers=PROOF) as session:
            known = (*demonstrated(simulator), *(one for one in sampled(kind.connector) if not one.refused))
            shown = [replace(one, path=f"{page}/{one.path}") for one in known]
            trial = Trial(session, simulator, shown, frozenset(document["paths"]))
            found = derived(document)
            first, step = kind.part
            for operation in found.operations[first::step]:
                await trial.complete(operation)
        target = contract_tests.read(
            {
                "name": kind.name,
                "base_url": gateway.url,
                "contact": "integration@example.org",
                "software": "Relais",
                "environment": "test",
                "description": f"{page}/openapi.json",
                "auth": {**BASIC, "signature": SIGNATURE},
                "endpoints": trial.tables,
            }
        )
        yield Instance(gateway.url, simulator, target, trial.unjudged, trial.profiles)


def opened(kind: Kind) -> AbstractAsyncContextManager[contract_tests.Target]:
    """The target of a connector, for as long as it is entered."""

    @asynccontextmanager
    async def opening() -> AsyncIterator[contract_tests.Target]:
        with tempfile.TemporaryDirectory() as folder:
            async with served(kind, Path(folder)) as instance:
                yield instance.target

    return opening()


# --- trying -----------------------------------------------------------------------------------------------------------


@dataclass
class Trial:
    """Finds, for each operation of the document, a call that works, and completes its table with it."""

    session: aiohttp.ClientSession
    simulator: Any
    shown: list[Shown]
    paths: frozenset[str]
    tables: list[dict[str, Any]] = field(default_factory=list)
    unjudged: dict[tuple[str, str], str] = field(default_factory=dict)
    profiles: dict[tuple[str, str], str] = field(default_factory=dict)
    _known: dict[str, str] = field(default_factory=dict)
    """Values met so far, by the name of the placeholder or member that held them."""
    _forms: int = 0
    _said: list[str] = field(default_factory=list)

    async def complete(self, operation: Derived) -> None:
        """Adds the operation's table to `tables`, or tells in `unjudged` what was answered instead."""
        self._said = []
        table = dict(operation.table)
        match table["profile"]:
            case "billing":
                works = await self._billing(table)
            case "status":
                works = await self._followed(operation, table)
            case _:
                works = await (self._read if operation.method == "GET" else self._written)(operation, table)
        key = (operation.method, operation.template)
        if works:
            self.profiles[key] = table["profile"]
            self.tables.append(_known_members(table))
        else:
            self.unjudged[key] = "; ".join(self._said) or "nothing to ask"

    def _candidates(self, operation: Derived) -> Iterator[Shown]:
        """The calls shown for it, on what exists now first; then the document's own example."""
        alike = [one for one in self.shown if one.method == operation.method and self._is(operation.template, one.path)]
        table = operation.table
        query = table.get("params", {}) | ({table["q"]: table["example"]} if table.get("example") else {})
        path = unquote(table["path"]).replace("{id}", table.get("example_id") or "{id}")
        sms = {"from": "Mairie", "to": table.get("to"), "message": "Message d'essai"}
        own = Shown(
            operation.method, path, tuple(query.items()), sms if table["profile"] == "sms" else table.get("body")
        )
        for one in [*alike, own]:
            values = matching(operation.template, one.path) or {}
            known = {name: self._known.get(name, value) for name, value in values.items()}
            here = _PLACEHOLDER.sub(lambda held, known=known: known.get(held[1], held[0]), operation.template)
            if here != one.path:
                yield Shown(one.method, here, one.query, one.body)
            if "$" not in one.path and "{" not in one.path:
                yield one

    def _is(self, template: str, path: str) -> bool:
        """Whether a path is one of the template's, and not one the document describes on its own."""
        return path == template or (path not in self.paths and matching(template, path) is not None)

    async def _ask(self, call: Shown) -> Any:
        """The answer when it is favourable (None for a file), else `Ellipsis`. Every call comes from another form."""
        self._forms += 1
        form = f"https://demarches.example.org/backoffice/management/prepare/{self._forms}/"
        body = {"json": call.body} if call.body is not None else {}
        url = quote(call.path)
        async with self.session.request(
            call.method, url, params=list(call.query), headers={"Publik-Caller-URL": form}, **body
        ) as answer:
            held = await answer.read()
            if answer.content_type != "application/json":
                return None if answer.ok else ...
            document = json.loads(held)
            if answer.ok and not (isinstance(document, dict) and document.get("err")):
                return document
            self._said.append(
                f"{call.path} HTTP {answer.status} {document.get('err_class')}: {document.get('err_desc')}"
            )
            return ...

    async def _read(self, operation: Derived, table: dict[str, Any]) -> bool:
        for call in self._candidates(operation):
            q = table.get("q", "q")
            if (document := await self._ask(call)) is ...:
                continue
            rows = document.get("data") if isinstance(document, dict) else None
            if table["profile"] == "search" and not (rows and dict(call.query).get(q)):
                self._said.append("no search with a result is shown")
                continue
            if table["profile"] == "envelope" and profile_of(document) == "choices":  # one instance's query is a list
                table |= {"profile": "choices", "q": q, "id": "id"}
            table["path"] = quote(call.path)
            table["example"] = dict(call.query).get(q, "")
            table["params"] = {name: value for name, value in call.query if name not in (q, "id")}
            if table["profile"] in ("envelope", "choices", "search") and "failure" in table:
                table["failure"] = {
                    name: value for name, value in table["failure"].items() if value or name in dict(call.query)
                }
            if values := matching(operation.template, call.path):
                self._known |= {name: value for name, value in values.items() if name not in self._known}
                table["missing"] = await self._missing(operation, values, table)
            return True
        return False

    async def _missing(self, operation: Derived, values: Mapping[str, str], table: Mapping[str, Any]) -> str:
        """The same path for something that does not exist, when that fails; empty otherwise."""
        *_, last = values
        absent = {**values, last: renumbered("0" * 6, last)}
        path = _PLACEHOLDER.sub(lambda one: quote(absent[one[1]], safe=""), operation.template)
        answer = await self._ask(Shown("GET", unquote(path), tuple(table.get("params", {}).items())))
        return path if answer is ... else ""

    async def _written(self, operation: Derived, table: dict[str, Any]) -> bool:
        for call in self._candidates(operation):
            if call.body is None:
                continue
            files = {name: file_member() for name in table.get("files", ()) if name in call.body}
            call = replace(call, body=call.body | files)
            if (document := await self._ask(call)) is ...:
                continue
            data = document.get("data") if isinstance(document, dict) else None
            table |= {"path": quote(call.path), "body": call.body}
            for name in ("required", "files", "unique"):
                table[name] = [one for one in table.get(name, ()) if one in call.body]
            if isinstance(data, dict):
                self._known |= {name: str(value) for name, value in data.items() if value and name != "id"}
            if table["profile"] == "sms":
                table |= {"path": quote(call.path), "to": call.body["to"]}
            if table["profile"] == "request":
                await self._followable(
                    matching(operation.template, call.path) or {}, table, str((data or {}).get("id", ""))
                )
            return True
        return False

    async def _followable(self, values: Mapping[str, str], table: dict[str, Any], identifier: str) -> None:
        """The identifier of the request just made, and of another that was brought to its end."""
        table["example_id"] = identifier
        table["status"] = _PLACEHOLDER.sub(lambda one: quote(values.get(one[1], one[0]), safe="{}"), table["status"])
        here = unquote(table["status"]).replace("{id}", identifier)
        for template in self.paths:
            if self._is(template, here):
                self._known |= matching(template, here) or {}
        other = await self._other(table)
        if other is ...:  # what it asks for is taken: another one asks for another day
            days = [name for name, value in table["body"].items() if _is_day(value)]
            table["unique"] = [*table["unique"], *days]
            table["body"] = table["body"] | {name: renumbered(table["body"][name], identifier) for name in days}
            other = await self._other(table)
        if other is not ... and isinstance(other["data"], dict):
            ended = str(other["data"].get("id", ""))
            await self.simulator.conclude(ended)
            table["final_id"] = await self._final([ended], table["status"])

    async def _other(self, table: Mapping[str, Any]) -> Any:
        """The answer to a request that differs from the example as the suite's own do."""
        declared = ENDPOINTS["request"].model_validate(_known_members(table))
        assert isinstance(declared, Written)
        call = declared.another("prepared")  # nothing the suite itself will ask
        optional = next((name for name in declared.body if name not in declared.required), "")
        body = json.loads(call.body or b"{}") | ({optional: None} if optional else {})
        return await self._ask(Shown(call.method, unquote(call.path), call.params, body))

    async def _followed(self, operation: Derived, table: dict[str, Any]) -> bool:
        """A status alone: of what is shown, one that exists, and one that is final."""
        seen: dict[str, list[str]] = {}
        for call in self._candidates(operation):
            if await self._ask(call) is ...:
                continue
            values = matching(operation.template, call.path) or {}
            *_, last = values
            path = _PLACEHOLDER.sub(
                lambda one, values=values, last=last: "{id}" if one[1] == last else quote(values[one[1]], safe=""),
                operation.template,
            )
            seen.setdefault(path, []).append(values[last])
        for path, identifiers in seen.items():
            table |= {"path": path, "example_id": identifiers[0], "final_id": await self._final(identifiers, path)}
            return True
        return False

    async def _final(self, identifiers: list[str], status: str) -> str:
        for one in identifiers:
            answer = await self._ask(Shown("GET", unquote(status).replace("{id}", one)))
            if isinstance(answer, dict) and (answer.get("data") or {}).get("final") is True:
                return one
        return ""

    async def _billing(self, table: dict[str, Any]) -> bool:
        """A debtor who has invoices to pay, and another one."""
        debtors = [value for one in self.shown for name, value in one.query if name == "NameID"] + [
            str(table["name_id"])
        ]
        owing = []
        for debtor in dict.fromkeys(debtors):
            answer = await self._ask(Shown("GET", f"{table['path']}/invoices/", (("NameID", debtor),)))
            if answer is not ... and answer["data"]:
                owing.append(debtor)
        if owing:
            table["name_id"] = owing[0]
            table["other_name_id"] = next((one for one in debtors if one != owing[0]), "personne-d-autre")
        return bool(owing)


def _known_members(table: Mapping[str, Any]) -> dict[str, Any]:
    members = ENDPOINTS[table["profile"]].model_fields
    return {name: value for name, value in table.items() if name in members}


def _is_day(value: Any) -> bool:
    if not isinstance(value, str) or not re.match(r"\d{4}-\d\d-\d\d", value):
        return False
    try:
        return bool(datetime.fromisoformat(value))
    except ValueError:
        return False
