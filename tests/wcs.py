"""A workflow engine in miniature: calls a webservice and judges its answer as w.c.s. does, and is told what follows.

Written from the public facts about Publik's wire contracts; every rule of decision carries the number of its step there
(workflow calls: seven steps and their defaults; data sources: item rules). Times are seconds.

    async with WorkflowEngine(orig="demarches.example.org", key="s3cr3t") as engine:
        outcome = await engine.call("http://127.0.0.1:8000/payfip/demo/payments", {"amount": "42.50"})
        assert outcome.ok and outcome.stopped_by is None
        source = await engine.list("http://127.0.0.1:8000/tabular/demo/schools")

    async with Forms(keys={"relais.example.org": "s3cr3t"}) as forms:
        form = forms.add("demande", "12", triggers={"suivi"})
        …  # somebody posts to {forms.url}/api/forms/demande/12/jump/trigger/suivi/?…&signature=…
        assert form.data["status"] == "paid" and not forms.faults
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit, urlunsplit

import aiohttp
from aiohttp import BasicAuth, web
from yarl import URL

TIMEOUT = 28.0

Action = Literal["stop", "pass"]
StoppedBy = Literal["network", "app-error", "4xx", "5xx", "bad-data"]


def sign(url: str, key: str, *, orig: str | None = None, time: datetime | None = None, nonce: str | None = None) -> str:
    """The URL with Publik's signature of its query string."""
    parts = urlsplit(url)
    query = parts.query
    if orig is not None:
        query = _joined(query, urlencode({"orig": orig}))
    stamp = (time or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    nonce = nonce or secrets.token_hex(16)
    query = _joined(query, urlencode([("algo", "sha256"), ("timestamp", stamp), ("nonce", nonce)]))
    digest = hmac.new(key.encode(), query.encode(), hashlib.sha256).digest()
    query += "&signature=" + quote(base64.b64encode(digest).decode())
    return urlunsplit(parts._replace(query=query))


def _joined(query: str, more: str) -> str:
    return f"{query}&{more}" if query else more


@dataclass(frozen=True)
class Policies:
    """What the author of a workflow chose for each kind of failure; these are w.c.s.'s defaults."""

    network: Action = "stop"
    app_error: Action = "pass"
    http_4xx: Action = "stop"
    http_5xx: Action = "stop"
    bad_data: Action = "pass"


@dataclass(frozen=True)
class Outcome:
    """What is left in the workflow after a call.

    `ok`: an HTTP success without application error. `data` is what is stored as the response (parsed JSON, or bytes
    for an attachment), None when nothing is. `stopped_by` says which failure ended the workflow's actions.
    """

    ok: bool
    status: int | None
    app_error_code: int | str
    data: Any = None
    error_data: Any = None
    stopped_by: StoppedBy | None = None
    connection_error: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)

    @property
    def desc(self) -> str:
        """`err_desc` of a failed JSON answer, else nothing."""
        body = self.error_data if self.error_data is not None else self.data
        return str(body.get("err_desc") or "") if isinstance(body, dict) else ""


@dataclass(frozen=True)
class Source:
    """What a form's list shows. `error` is empty when the source is healthy; `skipped` counts items left out."""

    items: list[dict[str, Any]]
    error: str = ""
    skipped: int = 0
    meta: Mapping[str, Any] = field(default_factory=dict)


class WorkflowEngine:
    """Signs, calls and judges like w.c.s. With `key`, every call is signed for `orig`, except URLs with credentials."""

    def __init__(
        self,
        *,
        orig: str = "demarches.example.org",
        key: str | None = None,
        caller_url: str = "https://demarches.example.org/backoffice/management/demande/12/",
        timeout: float = TIMEOUT,
    ) -> None:
        self.orig = orig
        self.key = key
        self.caller_url = caller_url
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=timeout), cookie_jar=aiohttp.DummyCookieJar()
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def call(
        self,
        url: str,
        payload: Any = None,
        *,
        method: str | None = None,
        response_type: Literal["json", "attachment"] = "json",
        key: str | None = None,
        has_varname: bool = True,
        policies: Policies | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Outcome:
        """The workflow action "Webservice". POST with a payload, GET without, unless `method` is given.

        `key` signs this call explicitly, without `orig`; `headers` are added (an API key, an idempotency key).
        """
        policies = policies or Policies()
        sent = {"Accept": "application/json", "User-agent": "w.c.s./0 (https://dev.entrouvert.org/projects/wcs)"}
        body = None
        if payload:
            body = json.dumps(payload).encode()
            sent["Content-type"] = "application/json"
        method = method or ("POST" if payload is not None else "GET")
        try:
            status, received, content = await self._exchange(method, url, {**sent, **(headers or {})}, body, key)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:  # step 1
            stopped: StoppedBy | None = "network" if policies.network == "stop" else None
            return Outcome(False, None, 0, stopped_by=stopped, connection_error=type(error).__name__)
        parsed, readable = _text_json(content)
        code = _error_code(received, response_type, parsed if readable else None)
        success = 200 <= status < 300
        ok = success and code == 0
        stored = None
        failed = parsed if readable and not ok else None
        stop: StoppedBy | None = None
        if success and code == 0 and status not in (204, 205):  # steps 5 and 6
            if response_type == "attachment":
                stored = content
            elif readable:
                stored = parsed
            elif has_varname and policies.bad_data == "stop":
                stop = "bad-data"
        if code != 0 and policies.app_error == "stop":  # step 7
            stop = "app-error"
        elif 400 <= status < 500 and policies.http_4xx == "stop":  # step 8
            stop = "4xx"
        elif status >= 500 and policies.http_5xx == "stop":
            stop = "5xx"
        return Outcome(ok, status, code, stored, failed, stop, headers=received)

    async def list(
        self,
        url: str,
        *,
        data_attribute: str = "data",
        id_attribute: str = "id",
        text_attribute: str = "text",
    ) -> Source:
        """The items of a JSON data source, read with the rules of a form's list."""
        try:
            status, _, content = await self._exchange("GET", url, {}, None, None)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            return Source([], f"network: {type(error).__name__}")
        if not 200 <= status < 300:
            return Source([], f"HTTP {status}")
        try:
            answer = json.loads(content)  # bytes: a UTF-8 byte order mark is tolerated here
        except ValueError:
            return Source([], "not JSON")
        if not isinstance(answer, dict):
            return Source([], "not an object")
        err = answer.get("err")
        if err is not None and err != 0 and err != "0":
            return Source([], f"err: {answer.get('err_desc')} ({answer.get('err_class')})")
        rows = _at(answer, data_attribute)
        if not isinstance(rows, list):
            return Source([], f"{data_attribute} is not a list")
        items = [item for row in rows if (item := _item(row, id_attribute, text_attribute)) is not None]
        meta = answer.get("meta")
        return Source(items, "", len(rows) - len(items), meta if isinstance(meta, dict) else {})

    async def complete(self, url: str, typed: str, *, parameter: str = "q") -> Source:
        """Autocompletion: what the list proposes for the typed text."""
        return await self.list(_with(url, parameter, typed))

    async def lookup(self, url: str, value: str, *, parameter: str = "id") -> dict[str, Any] | None:
        """The item chosen earlier, asked by its identifier; None when the source does not give it back."""
        source = await self.list(_with(url, parameter, value))
        return next((item for item in source.items if str(item.get(parameter)) == str(value)), None)

    async def find_text(self, url: str, text: str, *, parameter: str = "q") -> dict[str, Any] | None:
        """The item whose text is exactly this one (prefilling, import)."""
        source = await self.complete(url, text, parameter=parameter)
        return next((item for item in source.items if item["text"] == text), None)

    async def _exchange(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None, key: str | None
    ) -> tuple[int, Mapping[str, str], bytes]:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise ValueError("only http and https addresses are called")
        sent = {**headers, "Publik-Caller-URL": self.caller_url}
        if parts.username is not None:
            pair = f"{parts.username}:{parts.password or ''}".encode()
            sent["Authorization"] = "Basic " + base64.b64encode(pair).decode()
            url = urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
        elif key is not None:
            url = sign(url, key)
        elif self.key is not None:
            url = sign(url, self.key, orig=self.orig)
        async with self._session.request(
            method, URL(url, encoded=True), headers=sent, data=body, skip_auto_headers=("Content-Type",)
        ) as answer:
            return answer.status, answer.headers, await answer.read()


def _with(url: str, parameter: str, value: str) -> str:
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=_joined(parts.query, f"{parameter}={quote(value, safe='')}")))


def _text_json(content: bytes) -> tuple[Any, bool]:
    """The body decoded as UTF-8 text, then as JSON; a byte order mark or Latin-1 makes it unreadable."""
    try:
        return json.loads(content.decode("utf-8")), True
    except ValueError:
        return None, False


def _error_code(headers: Mapping[str, str], response_type: str, body: Any) -> int | str:
    if header := headers.get("X-Error-Code"):  # step 2: it wins over the body
        try:
            return int(header)
        except ValueError:
            return header
    if response_type == "json" and isinstance(body, dict) and body.get("err"):  # step 3
        err = body["err"]
        try:
            return int(err)
        except ValueError:
            return str(err)
    return 0  # step 4: no `err` is a success


def _at(value: Any, path: str) -> Any:
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def _item(row: Any, id_attribute: str, text_attribute: str) -> dict[str, Any] | None:
    if not isinstance(row, dict):
        return None
    identifier = _at(row, id_attribute)
    if identifier is None or identifier == "":
        return None
    text = _at(row, text_attribute)
    if text is None:
        text = str(identifier)
    if not isinstance(text, str):
        return None
    return {**row, "id": str(identifier), "text": text}


# --- what w.c.s. is told ----------------------------------------------------------------------------------------------


@dataclass
class Form:
    """A form in its workflow. `triggers` are those its present status waits for, `hooks` those of its workflow."""

    triggers: set[str] = field(default_factory=set)
    hooks: set[str] = field(default_factory=set)
    busy: bool = False
    data: dict[str, Any] = field(default_factory=dict)
    received: list[Any] = field(default_factory=list)

    @property
    def told(self) -> list[Any]:
        """What was received, each message once however often it came."""
        return list({said["id"]: said for said in self.received}.values())


class Forms:
    """The receiving side: status triggers and hooks of forms, opened by a signed URL (`keys`: orig → key) or by HTTP
    Basic (`passwords`). `modes` say how the next calls are answered: a status, "html", "redirect", "err", "cut".

    `faults` gathers what a strict reader would not forgive: headers that are not exactly those, a body that is not an
    object, a signature replayed.
    """

    def __init__(
        self,
        *,
        keys: Mapping[str, str] | None = None,
        passwords: Mapping[str, str] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self.url = ""
        self.forms: dict[tuple[str, str], Form] = {}
        self.modes: list[int | str] = []
        self.faults: list[str] = []
        self.calls: list[str] = []
        self._keys, self._passwords = dict(keys or {}), dict(passwords or {})
        self._clock = clock
        self._nonces: set[str] = set()

    def add(self, slug: str, number: str, *, triggers: Collection[str] = (), hooks: Collection[str] = ()) -> Form:
        """A form that was submitted."""
        form = self.forms[slug, number] = Form(set(triggers), set(hooks))
        return form

    async def __aenter__(self) -> Self:
        served = web.Application()
        served.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(served, access_log=None)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.calls.append(request.path)
        mode = self.modes.pop(0) if self.modes else 200
        if mode == "cut":
            assert request.transport is not None
            request.transport.abort()
            return web.Response()
        if mode == "html":
            return web.Response(text="<html>Connexion</html>", content_type="text/html")
        if mode == "redirect":
            return web.HTTPFound("/login/")
        if mode == "err":
            return web.json_response(
                {"err": 1, "err_class": "Erreur", "err_code": "publishing-error", "err_desc": None}
            )
        if isinstance(mode, int) and mode >= 500:
            return web.json_response({"err": 1}, status=mode)
        try:
            answer = await self._told(request)
        except _Refused as refusal:
            status, slug = refusal.args
            return web.json_response({"err": 1, "err_class": "…", "err_code": slug, "err_desc": None}, status=status)
        if mode == "executed":
            return web.json_response({"err": 1}, status=500)  # it was taken into account all the same
        return answer

    async def _told(self, request: web.Request) -> web.StreamResponse:
        steps = request.path.strip("/").split("/")
        if steps[:2] != ["api", "forms"] or len(steps) not in (6, 7):
            raise _Refused(404, "not-found")
        self._admit(request)
        form = self.forms.get((steps[2], steps[3]))
        if form is None:
            raise _Refused(404, "not-found")
        if request.method != "POST":
            raise _Refused(403, "access-denied")
        for name in ("Accept", "Content-Type"):
            if request.headers.get(name) != "application/json":
                self.faults.append(f"{name}: {request.headers.get(name)}")
        try:
            said = json.loads(await request.read())
        except ValueError:
            raise _Refused(400, "invalid-request") from None
        if not isinstance(said, dict):
            self.faults.append("the body is not an object")
        if form.busy and "bypass-processing-check" not in request.query:
            raise _Refused(403, "access-denied")
        if steps[4:-1] == ["jump", "trigger"] and steps[-1] in form.triggers:
            form.data |= said if isinstance(said, dict) else {steps[-1]: said}
        elif steps[4:-1] == ["hooks"] and steps[-1] in form.hooks:
            form.data[steps[-1]] = said
        else:
            raise _Refused(404, "not-found")
        form.received.append(said)
        if steps[4] == "jump":
            return web.json_response({"err": 0, "url": None})
        return web.json_response({"err": 0})

    def _admit(self, request: web.Request) -> None:
        given = request.headers.get("Authorization")
        if given is not None:
            held = BasicAuth.decode(given)
            if self._passwords.get(held.login) != held.password:
                raise _Refused(401, "access-denied")
            return
        query = request.rel_url.raw_query_string
        signed, separator, signature = query.partition("&signature=")
        if not separator:
            raise _Refused(403, "access-denied")
        said = dict(parse_qsl(signed))
        key = self._keys.get(said.get("orig", ""))
        if key is None or said.get("algo") != "sha256":
            raise _Refused(403, "access-denied")
        digest = hmac.new(key.encode(), signed.encode(), hashlib.sha256).digest()
        if not hmac.compare_digest(base64.b64encode(digest).decode(), unquote(signature)):
            raise _Refused(403, "access-denied")
        stamp = datetime.strptime(said["timestamp"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
        if abs((self._clock() - stamp).total_seconds()) > 30:
            raise _Refused(403, "access-denied")
        if said["nonce"] in self._nonces:
            self.faults.append("a nonce used twice")
            raise _Refused(403, "access-denied")
        self._nonces.add(said["nonce"])


class _Refused(Exception):
    """HTTP status and slug."""
