"""The publisher's guide promises that it is enough: its examples are read, its target files loaded, its code run."""

from __future__ import annotations

import base64
import hmac
import json
import re
import socket
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest

from contract_tests.checks import registry
from contract_tests.core import execute, target
from contract_tests.core.requirement import catalogue
from contract_tests.wire import Wire

GUIDE = (Path(__file__).resolve().parents[2] / "docs" / "publisher-guide.fr.md").read_text(encoding="utf-8")
BLOCKS = [(kind, text) for kind, text in re.findall(r"^ *```(\w+)\n(.*?)^ *```", GUIDE, re.DOTALL | re.MULTILINE)]


def blocks(kind: str, containing: str = "") -> list[str]:
    return [text for name, text in BLOCKS if name == kind and containing in text]


def test_every_answer_of_the_guide_is_json_with_a_coherent_envelope() -> None:
    bodies = [*blocks("json")]
    for text in blocks("http"):
        head, _, body = text.partition("\n\n")
        if body.strip() and "application/json" in head:
            bodies.append(body)
    assert len(bodies) > 15
    for body in bodies:
        document = json.loads(body)
        if "err" in document:
            assert type(document["err"]) is int
            assert "data" in document
            if document["err"]:
                assert document["data"] is None
                assert document["err_desc"]


def test_every_target_of_the_guide_loads() -> None:
    texts = blocks("toml")
    head = 'name = "x"\nbase_url = "https://x.exemple.fr"\n'
    profiles = set()
    for text in texts:
        whole = text if "base_url" in text else head + text
        if "[[endpoints]]" not in whole:
            whole += '\n[[endpoints]]\nprofile = "envelope"\npath = "/"\n'
        data = tomllib.loads(re.sub(r"\{ env = \"\w+\" \}", '"essai"', whole))
        loaded = target.read(data)
        profiles |= {endpoint.profile for endpoint in loaded.endpoints} | ({"signed"} if loaded.signature else set())
    assert profiles == set(catalogue().profiles)


def test_the_guide_cites_only_requirements_that_exist_and_every_profile() -> None:
    known = set(catalogue().requirements)
    cited = set(re.findall(r"PUB-[A-Z]+-\d+", GUIDE))
    assert cited <= known
    families = {name.rsplit("-", 1)[0] for name in known} - {"PUB-UP", "PUB-DOC"}  # ours alone; told in words
    assert {name.rsplit("-", 1)[0] for name in cited} >= families


def test_every_inner_link_of_the_guide_leads_to_a_heading() -> None:
    def slug(title: str) -> str:
        return re.sub(r"[^\w\- ]", "", title.lower().replace("`", "")).replace(" ", "-")

    headings = {
        slug(title) for title in re.findall(r"^#+ (.*)$", re.sub(r"```.*?```", "", GUIDE, flags=re.DOTALL), re.M)
    }
    links = set(re.findall(r"\]\(#([^)]*)\)", GUIDE))
    assert len(links) > 20
    assert links <= headings


@pytest.fixture
def verifier() -> dict[str, Any]:
    held: dict[str, Any] = {}
    exec(compile(blocks("python", "def refusal")[0], "guide", "exec"), held)
    return held


AT = datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)
STAMP = "algo=sha256&timestamp=2024-01-02T03%3A04%3A05Z&nonce=0123456789abcdef0123456789abcdef"


def test_the_signature_code_of_the_guide_agrees_with_its_vectors(verifier: dict[str, Any]) -> None:
    found = re.findall(r"^\| (.+?) \| `([^`]*%3D)` \|$", GUIDE, re.MULTILINE)
    assert len(found) == 2
    query = f"{found[0][0].strip('`')}&{STAMP}&signature={found[0][1]}"
    assert verifier["refusal"](query, AT) == ""
    assert verifier["refusal"](query, AT) == "appel rejoué"
    # The second vector has no `orig`: only its HMAC is compared.
    assert "absent" in verifier["refusal"](f"{STAMP}&signature={found[1][1]}", AT)
    given = parse_qs("signature=" + found[1][1])["signature"][0]
    assert base64.b64decode(given) == hmac.digest(b"s3cr3t", STAMP.encode(), "sha256")


@pytest.mark.parametrize(
    ("change", "late", "reason"),
    [
        (lambda query: query.replace("caf", "cab"), 0, "fausse"),
        (lambda query: query + "&q=autre", 0, "suivie"),
        (lambda query: query.replace("demarches", "autre"), 0, "inconnu"),
        (lambda query: query.replace("sha256", "md5"), 0, "algorithme"),
        (lambda query: query.partition("&signature")[0], 0, "absente"),
        (lambda query: "orig=x&" + query, 0, "répété"),
        (lambda query: query.replace("SK9", "!!!"), 0, "mal formé"),
        (lambda query: query, 31, "30 secondes"),
        (lambda query: query, -31, "30 secondes"),
        (lambda query: query, 20, ""),
        (lambda query: query, -20, ""),
    ],
)
def test_the_signature_code_of_the_guide_refuses_what_it_must(
    verifier: dict[str, Any], change: Any, late: int, reason: str
) -> None:
    found = re.findall(r"^\| (.+?) \| `([^`]*%3D)` \|$", GUIDE, re.MULTILINE)
    query = change(f"{found[0][0].strip('`')}&{STAMP}&signature={found[0][1]}")
    said = verifier["refusal"](query, AT + timedelta(seconds=late))
    assert reason in said
    assert bool(said) == bool(reason)


@pytest.fixture
def service(tmp_path: Path) -> Iterator[int]:
    code = tmp_path / "demandes.py"
    code.write_text(blocks("python", "ThreadingHTTPServer")[0], encoding="utf-8")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen([sys.executable, "-I", str(code), str(port)], stderr=log, stdout=log)
        try:
            for _ in range(2000):  # until it listens: each attempt is refused at once, or accepted
                with socket.socket() as attempt:
                    attempt.settimeout(5)
                    if attempt.connect_ex(("127.0.0.1", port)) == 0:
                        break
                # Gives it the time that a process takes to start.
                subprocess.run([sys.executable, "-I", "-S", "-c", ""], check=True)
            yield port
        finally:
            process.terminate()
            process.wait(timeout=30)


async def test_the_service_of_the_guide_is_conformant_in_its_profiles(service: int) -> None:
    text = blocks("toml", "Demandes d'exemple")[0].replace(":8000", f":{service}")
    wanted = target.read(tomllib.loads(text))
    async with Wire(rate=0) as wire:
        run = await execute.execute(wanted, wire, registry, allow_writes=True, seed=1)
    assert {one.profile.id: one.judgement for one in run.verdicts} == {
        "search": "conformant",
        "choices": "conformant",
        "request": "conformant",
    }, [(one.id, one.message.en) for one in run.outcomes if one.status in ("fail", "error", "skip")]
    assert not run.failing()
