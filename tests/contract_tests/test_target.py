"""What a publisher writes in `target.toml`, from OpenAPI or by hand, and what is said when it is wrong."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

import contract_tests
from contract_tests import init, openapi, toml
from contract_tests.core.credentials import Basic, Header, Signature
from contract_tests.core.endpoints import Request, Search, renumbered
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
    found = openapi.derived(_document())
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


def _document_of(**paths: Any) -> dict[str, Any]:
    return {"openapi": "3.1.0", "paths": dict(paths)}


def _object(*names: str) -> dict[str, Any]:
    return {"type": "object", "properties": {name: {"type": "string"} for name in names}}


def _list_of(*names: str) -> dict[str, Any]:
    return {"type": "array", "items": _object(*names)}


def _posted(example: dict[str, Any], **more: Any) -> dict[str, Any]:
    media = {"schema": {**_object(*example), "required": list(example)}, "example": example}
    return {"post": {"requestBody": {"content": {"application/json": media}}, "responses": _answer({}), **more}}


def _in_path(name: str, example: Any) -> dict[str, Any]:
    return {"name": name, "in": "path", "schema": {"type": "string", "examples": [example]}}


def _tables(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {one.template: one.table for one in openapi.derived(document).operations}


def test_a_writing_without_status_is_judged_as_a_plain_endpoint() -> None:
    remarks = _posted({"text": "Il grandit"})
    remarks["post"]["parameters"] = [_in_path("id", "D 1")]
    table = _tables(_document_of(**{"/requests/{id}/remarks": remarks}))["/requests/{id}/remarks"]
    assert (table["profile"], table["method"], table["path"]) == ("envelope", "POST", "/requests/D%201/remarks")
    assert table["required"] == ["text"]


def test_what_two_requests_never_share_is_read_from_the_document() -> None:
    status = {"get": {"responses": _answer(_object("status", "final"))}}
    made = _posted({"reference": "VOI-1", "what": "x"}, **{openapi.UNIQUE: ["reference", "absent"]})
    table = _tables(_document_of(**{"/requests": made, "/requests/{number}": status}))["/requests"]
    assert (table["profile"], table["unique"]) == ("request", ["reference"])


@pytest.mark.parametrize(
    ("creation", "status", "followed"),
    [
        ("/loans/rooms", "/loans/{kind}/{loan}", "/loans/rooms/{id}"),
        ("/files/{file}/deposits", "/deposits/{deposit}", "/deposits/{id}"),
        ("/requests", "/requests/{number}/status", "/requests/{id}/status"),
        ("/requests", "/loans/{loan}", None),
        ("/requests", "/requests/{number}/pieces/{piece}", None),
    ],
)
def test_the_status_of_a_creation_is_the_nearest_reading_that_has_one(
    creation: str, status: str, followed: str | None
) -> None:
    reading = {"get": {"responses": _answer(_object("status", "final"))}}
    table = _tables(_document_of(**{creation: _posted({"a": "b"}), status: reading}))[creation]
    assert table.get("status") == followed
    assert table["profile"] == ("request" if followed else "envelope")


def test_a_status_alone_a_map_and_a_statistics_catalogue_are_recognised() -> None:
    permit = {"get": {"parameters": [_in_path("number", "PC 1")], "responses": _answer(_object("status", "final"))}}
    layer = {"schema": {"properties": {"type": {}, "features": {"type": "array"}}}}
    tables = _tables(
        _document_of(
            **{
                "/permits/{number}/progress": permit,
                "/benches": {"get": {"responses": {"200": {"content": {"application/json": layer}}}}},
                "/statistics": {"get": {"responses": _answer(_list_of("name", "id", "url", "filters"))}},
                "/forms": {
                    "get": {
                        "parameters": [{"name": name, "in": "query"} for name in ("q", "id")],
                        "responses": _answer(_list_of("id", "text", "url", "description")),
                    }
                },
            }
        )
    )
    assert {path: table["profile"] for path, table in tables.items()} == {
        "/permits/{number}/progress": "status",
        "/benches": "map",
        "/statistics": "statistics",
        "/forms": "choices",
    }
    assert tables["/permits/{number}/progress"]["path"] == "/permits/{id}/progress"
    assert tables["/permits/{number}/progress"]["example_id"] == "PC 1"


def test_an_sms_gateway_and_a_billing_software_are_recognised() -> None:
    debtor = {"name": "NameID", "in": "query", "schema": {"type": "string", "examples": ["elodie"]}}
    invoices = {"get": {"parameters": [debtor], "responses": _answer(_list_of("id", "amount"))}}
    document = _document_of(
        **{
            "/sms": _posted({"from": "Mairie", "to": ["+33600000000"], "message": "x"}),
            "/regie/invoices/": invoices,
            "/regie/invoices/history/": invoices,
            "/regie/invoice/{number}/": {"get": {"responses": _answer(_object("id"))}},
            "/regie/invoice/{number}/pay/": _posted({"transaction_id": "T"}),
        }
    )
    assert _tables(document) == {
        "/sms": {"profile": "sms", "path": "/sms", "to": ["+33600000000"]},
        "/regie/invoices/": {"profile": "billing", "path": "/regie", "name_id": "elodie"},
    }


def test_a_document_tells_a_call_that_must_fail() -> None:
    limit = {"name": "limit", "in": "query", "schema": {"type": "integer"}}
    day = {"name": "day", "in": "query", "required": True, "schema": {"type": "string", "examples": ["2025-04-02"]}}
    tables = _tables(
        _document_of(
            **{
                "/a": {"get": {"parameters": [limit], "responses": _answer({})}},
                "/b": {"get": {"parameters": [limit, day], "responses": _answer({})}},
            }
        )
    )
    assert tables["/a"]["failure"] == {"limit": "beaucoup"}
    assert (tables["/b"]["params"], tables["/b"]["failure"]) == ({"day": "2025-04-02"}, {"day": ""})


def test_a_bare_list_is_left_to_a_person() -> None:
    bare = {"get": {"responses": {"200": {"content": {"application/json": {"schema": {"type": "array"}}}}}}}
    found = openapi.derived(_document_of(**{"/geocoding": bare}))
    assert found.operations == []
    assert [path for path, _ in found.left_out] == ["/geocoding"]


@pytest.mark.parametrize(
    ("value", "profile"),
    [
        ({"err": 0, "data": [{"id": "1", "text": "a"}]}, "choices"),
        ({"err": 0, "data": [{"url": "https://x", "text": "a", "description": ""}]}, "search"),
        ({"err": 0, "features": []}, "map"),
        ({"err": 0, "data": {"id": "1", "status": "recu", "final": False}}, "status"),
        ({"err": 0, "data": []}, "envelope"),
        ([1], "envelope"),
    ],
)
def test_an_answer_tells_the_profile_it_has_the_shape_of(value: Any, profile: str) -> None:
    assert openapi.profile_of(value) == profile


@pytest.mark.parametrize(
    ("example", "moved"),
    [("VOI-2041", r"VOI-\d{4}"), ("2025-04-02T14:00", r"\d{4}-\d\d-\d\dT14:00"), ("2025-04-02", r"\d{4}-\d\d-\d\d")],
)
def test_two_requests_of_one_example_differ_in_what_no_two_may_share(example: str, moved: str) -> None:
    others = {renumbered(example, str(seed)) for seed in range(20)}
    assert example not in others
    assert len(others) > 15
    assert all(re.fullmatch(moved, one) for one in others)
    assert renumbered(example, "a") == renumbered(example, "a")


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
