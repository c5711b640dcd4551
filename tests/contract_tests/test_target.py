"""What a publisher writes in `target.toml`, from OpenAPI or by hand, and what is said when it is wrong."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest

import contract_tests
from contract_tests import init, openapi, toml
from contract_tests.core.credentials import Basic, Header, Signature
from contract_tests.core.endpoints import Request, Search
from contract_tests.core.plan import plan
from contract_tests.reference import Reference

ONE: dict[str, Any] = {
    "name": "x",
    "base_url": "https://x.example.org",
    "endpoints": [{"profile": "cell", "path": "/"}],
}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"base_url": "x.example.org"}, "whole http"),
        ({"base_url": "https://u:p@x.example.org"}, "without credentials"),
        ({"endpoints": []}, "endpoints"),
        ({"endpoints": [{"profile": "magic", "path": "/"}]}, "endpoints"),
        ({"endpoints": [{"profile": "search", "path": "/", "exemple": "a"}]}, "exemple"),
        ({"endpoints": [{"profile": "request", "path": "/", "body": {}, "status": "/s"}]}, "{id}"),
        (
            {"endpoints": [{"profile": "request", "path": "/", "body": {}, "status": "/{id}", "required": ["nom"]}]},
            "absent: nom",
        ),
        ({"endpoints": [{"profile": "cell", "path": "/"}, {"profile": "cell", "path": "/"}]}, "twice"),
        ({"waivers": [{"requirement": "PUB-ENV-1", "reason": "", "author": "a", "until": "2026-01-01"}]}, "reason"),
        ({"auth": {"user": "u", "password": {"env": "NO_SUCH_VARIABLE_HERE"}}}, "NO_SUCH_VARIABLE_HERE"),
        ({"auth": {"user": "u", "password": {"file": "absent.txt"}}}, "absent.txt"),
    ],
)
def test_a_wrong_target_is_refused_with_a_sentence(change: dict[str, Any], said: str) -> None:
    with pytest.raises(contract_tests.BadTarget) as refused:
        contract_tests.read({**ONE, **change})
    assert said in refused.value.message.en
    assert refused.value.message.fr


def test_a_refused_target_never_repeats_a_password() -> None:
    with pytest.raises(contract_tests.BadTarget) as refused:
        contract_tests.read({**ONE, "auth": {"user": "u", "password": ["very-secret-word"]}})
    assert "very-secret-word" not in refused.value.message.fr + str(refused.value)


def test_secrets_come_from_the_environment_or_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMULA_PASSWORD", "from-the-environment")
    (tmp_path / "key").write_text("from-a-file\n")
    (tmp_path / "target.toml").write_text(
        'name = "x"\nbase_url = "https://x.example.org"\n'
        '[auth]\nuser = "publik"\npassword = { env = "SIMULA_PASSWORD" }\n'
        'signature = { orig = "a.example.org", key = { file = "key" } }\n'
        '[[endpoints]]\nprofile = "cell"\npath = "/"\n'
    )
    target = contract_tests.load(tmp_path / "target.toml")
    assert target.credentials == Basic("publik", "from-the-environment")
    assert target.signature == Signature("a.example.org", "from-a-file")
    assert "from-the-environment" not in repr(target)


def test_a_key_in_a_header_is_a_credential() -> None:
    target = contract_tests.read({**ONE, "auth": {"header": "X-API-Key", "value": "k"}})
    assert target.credentials == Header("X-API-Key", "k")


async def test_writes_are_refused_on_a_target_that_is_not_a_test_environment() -> None:
    with pytest.raises(contract_tests.BadTarget, match="test"):
        await contract_tests.certify(contract_tests.read(ONE), allow_writes=True)


def test_the_plan_is_known_before_anything_is_sent_and_its_cases_are_unique() -> None:
    from contract_tests.checks import registry

    target = Reference().target()
    cases = [(one.check.id, one.profile, one.endpoint.path) for one in plan(target, registry)]
    assert len(cases) == len(set(cases)) > 400
    searched = plan(target, registry, ["search"])
    assert {one.profile for one in searched} == {"search"}
    assert {one.check.profile for one in searched} == {"search", "every"}


def test_fields_that_must_be_unique_change_with_each_different_creation() -> None:
    endpoint = Request(path="/r", status="/r/{id}", body={"ref": "VOI-2041", "nom": "a"}, unique=["ref"])
    usual, other = endpoint.create(), endpoint.create({"nom": "b"})
    assert b"VOI-2041" in (usual.body or b"")
    assert b"VOI-2041" not in (other.body or b"")
    assert b'"VOI-' in (other.body or b"")
    assert endpoint.create({"nom": "b"}) == other


def test_a_written_target_is_read_back() -> None:
    text = toml.dumps(
        {"name": 'L\'"été"\n', "base_url": "https://x.example.org", "auth": {"user": "u", "password": {"env": "HOME"}}},
        [{"profile": "search", "path": "/a", "params": {"a-b": "c", "d e": "\\"}, "example": "é"}],
        ["à compléter"],
    )
    target = contract_tests.read(tomllib.loads(text))
    endpoint = target.endpoints[0]
    assert isinstance(endpoint, Search)
    assert endpoint.params == {"a-b": "c", "d e": "\\"}
    assert target.name == 'L\'"été"\n'


def _answer(data: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "properties": {"err": {"const": 0}, "data": data}}
    return {"200": {"content": {"application/json": {"schema": schema}}}}


def _rows(*names: str) -> dict[str, Any]:
    return {"type": "array", "items": {"$ref": "#/components/schemas/Row" + "".join(names)}}


def _document() -> dict[str, Any]:
    def row(*names: str) -> dict[str, Any]:
        return {"Row" + "".join(names): {"properties": {name: {"type": "string"} for name in names}}}

    q = {"name": "q", "in": "query", "schema": {"type": "string"}}
    status = {"properties": {"status": {"enum": ["recu", "clos"]}, "final": {"type": "boolean"}}}
    file = {"anyOf": [{"properties": {"filename": {}, "content": {}}}, {"type": "null"}]}
    fields = {"required": ["nom"], "properties": {"nom": {"type": "string"}, "photo": file}}
    body = {"content": {"application/json": {"schema": fields, "example": {"nom": "a", "photo": None}}}}
    return {
        "openapi": "3.1.0",
        "info": {"title": "Simula", "contact": {"email": "a@example.org"}},
        "servers": [{"url": "/api"}],
        "paths": {
            "/people": {"get": {"parameters": [q], "responses": _answer(_rows("url", "text"))}},
            "/schools": {"get": {"parameters": [q], "responses": _answer(_rows("id", "text"))}},
            "/requests": {"post": {"requestBody": body, "responses": _answer({})}},
            "/requests/{number}": {"get": {"parameters": [], "responses": _answer(status)}},
            "/files/{name}": {
                "get": {
                    "parameters": [{"name": "name", "in": "path", "example": "a.pdf"}],
                    "responses": {"200": {"content": {"application/pdf": {}}}},
                }
            },
            "/loop": {"get": {"responses": _answer({"$ref": "#/components/schemas/Loop"})}},
            "/deep/{id}": {"get": {"parameters": [], "responses": _answer({})}},
            "/hook": {"post": {"security": [], "responses": {}}},
        },
        "components": {
            "schemas": {**row("url", "text"), **row("id", "text"), "Loop": {"$ref": "#/components/schemas/Loop"}}
        },
    }


def test_an_openapi_document_tells_which_profile_each_endpoint_honours() -> None:
    found = openapi.endpoints(_document())
    profiles = {table["path"]: table["profile"] for table in found.endpoints}
    assert profiles == {
        "/people": "search",
        "/schools": "choices",
        "/requests": "request",
        "/files/a.pdf": "file",
        "/loop": "envelope",
    }
    request = next(table for table in found.endpoints if table["profile"] == "request")
    assert request["status"] == "/requests/{id}"
    assert (request["required"], request["files"], request["statuses"]) == (["nom"], ["photo"], ["recu", "clos"])
    schools = next(table for table in found.endpoints if table["profile"] == "choices")
    assert (schools["q"], schools["id"]) == ("q", "")
    assert {path for path, _ in found.left_out} == {"/deep/{id}", "/hook"}


def test_the_target_of_an_openapi_document_can_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    text = init.written("https://x.example.org/openapi.json", _document(), "publik")
    assert "à compléter" in text
    monkeypatch.setenv(init.VARIABLE, "very-secret-word")
    target = contract_tests.read(tomllib.loads(text))
    assert target.url(target.endpoints[0].path).startswith("https://x.example.org/api/")
    assert target.credentials == Basic("publik", "very-secret-word")
    assert target.contact == "a@example.org"
    assert "very-secret-word" not in text


def test_a_target_is_written_from_a_few_answers() -> None:
    answers = iter(
        ["Simula", "a@example.org", "", "search", "/api/user/", "dupont", "request", "/api/r", "/api/r/{id}"]
    )
    typed = iter(['{"nom": "a"}', "nom", "12"])
    said = iter([True, True, False])

    def prompt(text: str, default: str = "") -> str:
        if "JSON" in text or "obligatoires" in text or "existe" in text:
            return next(typed)
        return next(answers)

    text = init.ask_target(
        "https://x.example.org/api/user/", "", ("search", "request"), prompt, lambda text: next(said)
    )
    target = contract_tests.read(tomllib.loads(text))
    assert [one.profile for one in target.endpoints] == ["search", "request"]
    assert target.environment == "test"
