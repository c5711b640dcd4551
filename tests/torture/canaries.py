"""Canaries: values nobody may see again, sent through every path of a gateway that logs at debug, then looked for.

    python -m tests.torture.canaries

Secrets of the operator (password, token, a caller's key) and data of a citizen (name, e-mail, NIR, IBAN, bytes of a
file); looked for in the log, the answers other than a caller's own success, the metrics, the pages, the commands, the
contract report and every file of the data folder, in every usual encoding.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import sys
import tempfile
import time
import urllib.parse
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from aiohttp import web

from .processes import killed, said, spawn

CANARIES = {
    "password": "Pw-canary-7f3a91-Zq!x",
    "token": "Tok-canary-19be77aa02",
    "caller's key": "Key-canary-5521ffcc90ab",
    "name": "Désirée Canary-Ouvrard",
    "e-mail": "camille.canary-55@exemple-ville.fr",
    "NIR": "299077500912345",
    "IBAN": "FR7630006000011234567890189",
    "file": "%PDF-canary-of-a-file-91c2e4",
}
CONFIG = """
[gateway]
listen = "127.0.0.1:0"
admin_listen = "127.0.0.1:0"
data = "data"
log_level = "debug"
deadline = 3

[egress]
private = ["127.0.0.0/8"]

[clients.callers]
api_key = {{ env = "CANARY_KEY" }}
rights = ["*/*/*"]

[clients.town]
basic = {{ username = "town", password = {{ env = "CANARY_PASSWORD" }} }}
rights = ["*/*/*"]

[clients.wcs]
signature = {{ orig = "wcs.example", key = {{ env = "CANARY_TOKEN" }} }}
rights = ["*/*/*"]

[deliveries]
lease = 2
margin = 0
backoff = 0.2
tries = 3

[instances.vault.town]
settings = {{ url = "{url}", password = {{ env = "CANARY_PASSWORD" }}, token = {{ env = "CANARY_TOKEN" }} }}
http = {{ allow_http = true, timeout = 0.5, breaker = false }}
"""
SECRETS = ("password", "token", "caller's key")
MODES = ("", "refused", "page", "cut", "garbage", "no id", "late", "not json", "crash", "invalid", "odd status")
PERSON = {
    name: CANARIES[word] for name, word in {"name": "name", "email": "e-mail", "nir": "NIR", "iban": "IBAN"}.items()
}
PHOTO = {
    "filename": "photo.pdf",
    "content_type": "application/pdf",
    "content": base64.b64encode(CANARIES["file"].encode()).decode(),
}


def forms(value: str) -> set[bytes]:
    """The value in every usual encoding."""
    raw = value.encode()
    found = {raw, value.encode("latin-1"), value.encode("utf-16-le"), raw.hex().encode()}
    found |= {json.dumps(value)[1:-1].encode(), urllib.parse.quote(value, safe="").encode()}
    found |= {urllib.parse.quote_plus(value).encode(), repr(value)[1:-1].encode()}
    for shift in range(3):  # within a longer text, base64 has three alignments; its ends depend on what is around
        found.add(base64.b64encode(b"\0" * shift + raw)[(0, 2, 3)[shift] : -4].rstrip(b"="))
    return found


FORMS = {word: forms(value) for word, value in CANARIES.items()}


def sightings(where: str, content: bytes) -> list[str]:
    """The canaries seen in a content, and where."""
    return [f"{word} in {where}" for word, known in FORMS.items() if any(form in content for form in known)]


@dataclass
class Figures:
    """What one run looked at, and what it saw."""

    calls: int = 0
    states: dict[str, int] = field(default_factory=dict)
    looked: dict[str, int] = field(default_factory=dict)
    """Bytes, by kind of place."""
    seen: list[str] = field(default_factory=list)

    def look(self, kind: str, where: str, content: bytes) -> None:
        """Looks for all canaries in a content."""
        self.looked[kind] = self.looked.get(kind, 0) + len(content)
        self.seen += sightings(f"{kind}: {where}", content)


async def publisher(request: web.Request) -> web.StreamResponse:
    """Repeats what it was told, in each way a publisher may do wrong."""
    known = {**CANARIES, "id": "S1", "status": "filed", "text": CANARIES["name"]}
    if request.path == "/people":
        return web.json_response([known])
    if request.method == "GET":
        return web.json_response([known] if request.path == "/persons" else known)
    body = await request.json()
    match body["mode"]:
        case "refused":
            return web.json_response({**CANARIES, "error": CANARIES["name"]}, status=422)
        case "page" | "odd status":
            status = 500 if body["mode"] == "page" else 418
            return web.Response(status=status, text=f"<p>{CANARIES}", content_type="text/html", headers={"X-Who": "x"})
        case "cut" if request.transport is not None:
            request.transport.abort()
        case "garbage" if request.transport is not None:
            request.transport.write(f"HTTP/1.1 {CANARIES['NIR']} {CANARIES['IBAN']}\r\n\r\n".encode())
            request.transport.close()
        case "no id":
            return web.json_response(CANARIES)
        case "not json":
            return web.Response(text=str(CANARIES), content_type="application/json")
        case "late":
            await asyncio.sleep(0.8)
    return web.json_response({"id": "S1"})


@asynccontextmanager
async def _listening(answer: Callable[[web.Request], Any]) -> AsyncIterator[str]:
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", answer)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def run(folder: Path) -> Figures:
    """Every path once."""
    figures = Figures()
    os.environ.update(
        CANARY_PASSWORD=CANARIES["password"], CANARY_TOKEN=CANARIES["token"], CANARY_KEY=CANARIES["caller's key"]
    )
    async with _listening(publisher) as upstream:
        (folder / "relais.toml").write_text(CONFIG.format(url=upstream))
        await _command(figures, folder, "check")
        serve = ["-m", "gateway", "serve", "-c", str(folder / "relais.toml"), "--workers", "1"]
        process = await spawn(*serve, "--connector", "tests.torture.vault:Vault", stderr=asyncio.subprocess.STDOUT)
        try:
            serving = await said(process, "serving")
            assert process.stdout
            log = asyncio.create_task(process.stdout.read())
            url, admin = ("http://{}:{}".format(*serving[name]) for name in ("address", "admin"))
            await _calls(figures, url)
            await _settled(figures, folder)
            await _calls(figures, url)  # the same keys again: what the journal keeps
            await _places(figures, url, admin)
            await _report(figures, folder, url)
            await _command(figures, folder, "deliveries", "list")
            for one in await asyncio.to_thread(_one_of_each_state, folder):
                await _command(figures, folder, "deliveries", "show", one)
            await _command(figures, folder, "db", "check")
            await _command(figures, folder, "audit", "verify")
            _files(figures, folder)
            process.terminate()
            figures.look("log", "standard output and error", await log)
            await process.wait()
        finally:
            await killed(process)
    _files(figures, folder)
    return figures


async def _calls(figures: Figures, url: str) -> None:
    vault = f"{url}/vault/town"
    mine = {"X-API-Key": CANARIES["caller's key"]}
    wrong = aiohttp.encode_basic_auth("town", CANARIES["password"] + CANARIES["token"])

    async def call(what: str, method: str, address: str, *, own: bool = False, **options: Any) -> None:
        headers = {**mine, **options.pop("headers", {})}
        async with session.request(method, address, headers=headers, **options) as answer:
            content = await answer.read()
            figures.calls += 1
            figures.look("answer headers", what, str(answer.headers).encode())
            succeeded = answer.status == 200 and b'"err":0' in content.replace(b" ", b"")
            if not (own and succeeded):
                figures.look("answers", what, content)

    async with aiohttp.ClientSession() as session:
        for mode in MODES:
            for photo in (None, PHOTO):
                headers = {"Idempotency-Key": f"{mode}-{photo is None}"}
                body = {**PERSON, "mode": mode, "photo": photo}
                await call(f"a create, {mode or 'done'}", "POST", f"{vault}/persons", json=body, headers=headers)
        form = {"Publik-Caller-URL": f"https://forms.example/x/1/?nir={CANARIES['NIR']}&name={CANARIES['e-mail']}"}
        await call("a form", "POST", f"{vault}/persons", json=PERSON, headers=form)
        other = {"Idempotency-Key": "-True"}
        await call("another content", "POST", f"{vault}/persons", json={**PERSON, "age": 3}, headers=other)
        for field_ in PERSON:
            bad = {**PERSON, field_: [CANARIES["NIR"], {"x": CANARIES["IBAN"]}]}
            await call("a wrong type", "POST", f"{vault}/persons", json=bad, headers={"Idempotency-Key": "bad"})
        bad = {**PERSON, "age": CANARIES["NIR"] + "x", "photo": {**PHOTO, "content": CANARIES["file"]}}
        await call("a wrong value", "POST", f"{vault}/persons", json=bad, headers={"Idempotency-Key": "bad"})
        whole = json.dumps(PERSON).encode()
        for what, data in {
            "cut JSON": whole[:-3],
            "not UTF-8": whole[:-1] + b"\xff",
            "twice the same field": whole[:-1] + b"," + whole[1:],
            "deep JSON": b'{"nir":' * 40 + whole + b"}" * 40,
            "a list": b"[" + whole + b"]",
            "text": whole[1:],
        }.items():
            headers = {"Content-Type": "application/json", "Idempotency-Key": "bad"}
            await call(what, "POST", f"{vault}/persons", data=data, headers=headers)
        kind = {"Content-Type": f"text/{CANARIES['NIR']}", "Idempotency-Key": "bad"}
        await call("another type", "POST", f"{vault}/persons", data=whole, headers=kind)
        await call(
            "a long key", "POST", f"{vault}/persons", json=PERSON, headers={"Idempotency-Key": PERSON["nir"] * 30}
        )
        await call("no key", "POST", f"{vault}/persons", json=PERSON)
        asked = {"nir": CANARIES["NIR"]}
        await call("a read", "GET", f"{vault}/people", params=asked, own=True)
        await call("a read narrowed", "GET", f"{vault}/people", params={**asked, "q": CANARIES["name"]}, own=True)
        await call("a read of one", "GET", f"{vault}/persons/{CANARIES['NIR']}", own=True)
        await call("a query twice", "GET", f"{vault}/people?nir={CANARIES['NIR']}&nir={CANARIES['IBAN']}")
        await call("an unknown endpoint", "GET", f"{vault}/{CANARIES['NIR']}/{CANARIES['IBAN']}")
        await call("an unknown instance", "GET", f"{url}/vault/{CANARIES['NIR']}/people")
        await call("an unknown connector", "GET", f"{url}/{CANARIES['NIR']}/town/people")
        await call("a wrong method", "DELETE", f"{vault}/people?nir={CANARIES['NIR']}")
        await call("an unknown delivery", "GET", f"{url}/deliveries/{CANARIES['NIR']}")
        for word in ("crash", "fine"):
            notice = {"what": word, **PERSON}
            query = {"nir": CANARIES["NIR"]}
            await call(f"a callback, {word}", "POST", f"{vault}/notice", json=notice, params=query)
        for what, headers in {
            "a wrong password": {"Authorization": wrong, "X-API-Key": ""},
            "a wrong key": {"X-API-Key": CANARIES["caller's key"] + CANARIES["token"]},
            "a wrong bearer": {"Authorization": f"Bearer {CANARIES['token']}", "X-API-Key": ""},
            "a right password": {
                "Authorization": aiohttp.encode_basic_auth("town", CANARIES["password"]),
                "X-API-Key": "",
            },
        }.items():
            await call(what, "GET", f"{vault}/people", headers=headers, own=True)
        signed = f"orig=wcs.example&algo=sha256&timestamp=2026&nonce={CANARIES['NIR']}&signature={CANARIES['token']}"
        await call("a wrong signature", "GET", f"{vault}/people?{signed}", headers={"X-API-Key": ""})


async def _places(figures: Figures, url: str, admin: str) -> None:
    async with aiohttp.ClientSession(headers={"X-API-Key": CANARIES["caller's key"]}) as session:
        for kind, address in {
            "metrics": f"{admin}/metrics",
            "pages": f"{url}/",
            "pages ": f"{url}/vault/town",
            "pages  ": f"{url}/vault/town/openapi.json",
            "pages   ": f"{url}/vault/town/up",
        }.items():
            async with session.get(address) as answer:
                assert answer.status == 200, address
                figures.look(kind.strip(), address.rpartition("/")[2], await answer.read())


async def _report(figures: Figures, folder: Path, url: str) -> None:
    """A publisher judges the service with its key, and gives the report away."""
    header = "X-API-Key: " + CANARIES["caller's key"]
    command = ["-m", "contract_tests", "run", f"{url}/vault/town/people", "--header", header, "--rate", "0"]
    process = await spawn(*command, "--output", str(folder / "report"), stderr=asyncio.subprocess.STDOUT)
    out, _ = await process.communicate()
    judged = {"contract report": out}
    for file in sorted((folder / "report").rglob("*")):
        if file.is_file():
            judged[file.name] = await asyncio.to_thread(file.read_bytes)
    for name, content in judged.items():  # what the judged service answered is quoted as evidence; its secrets are not
        figures.looked["contract report"] = figures.looked.get("contract report", 0) + len(content)
        secrets = sightings(f"contract report: {name}", content)
        figures.seen += [one for one in secrets if one.startswith(SECRETS)]


async def _command(figures: Figures, folder: Path, *words: str) -> None:
    named = () if words[0] in ("deliveries", "db", "audit") else ("--connector", "tests.torture.vault:Vault")
    arguments = [*words, "-c", str(folder / "relais.toml"), *named]
    process = await spawn("-m", "gateway", *arguments, stderr=asyncio.subprocess.STDOUT)
    out, _ = await process.communicate()
    figures.look("commands", " ".join(words[:2]), out)


def _column(folder: Path, name: str) -> list[str]:
    import sqlite3

    with sqlite3.connect(f"file:{folder}/data/relais.db?mode=ro", uri=True) as connection:
        return [str(row[0]) for row in connection.execute(f"SELECT {name} FROM deliveries")]


def _one_of_each_state(folder: Path) -> list[str]:
    return list(dict(zip(_column(folder, "state"), _column(folder, "id"), strict=True)).values())


async def _settled(figures: Figures, folder: Path) -> None:
    """Waits until every delivery has ended."""
    limit = time.monotonic() + 30
    open_ = True
    while open_ and time.monotonic() < limit:
        await asyncio.sleep(0.2)
        states = await asyncio.to_thread(_column, folder, "state")
        open_ = bool({"RECEIVED", "SENDING", "UNKNOWN"} & set(states))
    figures.states = {state: states.count(state) for state in sorted(set(states))}


def _files(figures: Figures, folder: Path) -> None:
    for file in sorted((folder / "data").rglob("*")):
        if file.is_file():
            figures.look("data folder", file.name, file.read_bytes())


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(run(Path(folder)))
    print("| place | bytes looked at | canaries seen |")
    print("|---|---|---|")
    for kind, size in sorted(found.looked.items()):
        print(f"| {kind} | {size} | **{sum(f'in {kind}:' in one for one in found.seen)}** |")
    print(f"{found.calls} calls, deliveries {found.states}")
    for one in sorted(set(found.seen)):
        print(one, file=sys.stderr)
    sys.exit(bool(found.seen))


if __name__ == "__main__":
    main()
