"""What w.c.s. does with an answer: the decision table, held against the workflow engine our other tests use."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from contract_tests import caller
from contract_tests.wire import Exchange, Request, Response
from tests import wcs


def exchange(
    body: bytes, status: int = 200, headers: dict[str, str] | None = None, elapsed: float = 0.1, method: str = "GET"
) -> Exchange:
    response = Response(status, "", tuple((headers or {}).items()), body)
    return Exchange(Request(method, "https://x/"), response, datetime(2026, 3, 1, tzinfo=UTC), elapsed)


def rows(given: Exchange, reader: caller.Reader = "workflow") -> list[str]:
    return [row.row for row in caller.told(given, reader)]


def effect(given: Exchange, reader: caller.Reader = "workflow") -> str:
    return " ".join(row.effect.en for row in caller.told(given, reader))


ERRS = [0, "0", None, False, 0.0, 0.5, "", 1, "1", True, -1, "slug", "0.5", 12]


@pytest.mark.parametrize("err", ERRS, ids=repr)
@pytest.mark.parametrize("header", [None, "0", "1", "slug", ""])
def test_the_error_code_is_that_of_the_workflow_engine(err: Any, header: str | None) -> None:
    headers = {} if header is None else {"X-Error-Code": header}
    body = {"err": err}
    answer = exchange(json.dumps(body).encode(), headers=headers).response
    assert answer is not None
    code, _ = caller.workflow_code(answer)
    assert code == wcs._error_code(headers, "json", body)


@pytest.mark.parametrize("err", [[1], {"a": 1}])
def test_a_list_or_an_object_breaks_the_workflow_engine_itself(err: Any) -> None:
    answer = exchange(json.dumps({"err": err}).encode()).response
    assert answer is not None
    assert caller.workflow_code(answer)[0] is None


@pytest.mark.parametrize(
    "item",
    [
        {"id": "1", "text": "a"},
        {"id": 0, "text": "a"},
        {"id": "1"},
        {"id": "1", "text": ""},
        {"id": "1", "text": 2},
        {"id": "", "text": "a"},
        {"id": None, "text": "a"},
        {"text": "a"},
        "a",
    ],
    ids=repr,
)
def test_items_are_kept_as_the_workflow_engine_keeps_them(item: Any) -> None:
    kept = caller.kept_items([item])
    expected = wcs._item(item, "id", "text")
    assert kept == ([] if expected is None else [expected])


@pytest.mark.parametrize(
    ("given", "reader", "row", "said"),
    [
        (exchange(b'{"err": 1}'), "workflow", "7 · erreur applicative", "GOES ON"),
        (exchange(b'{"err": 1}', 404), "workflow", "8 · 4xx", "stop"),
        (exchange(b"oups", 502), "workflow", "8 · 5xx", "stop"),
        (exchange(b"", 204), "workflow", "5 · 204/205", "Nothing is stored"),
        (exchange(b"", 304), "workflow", "9 · autre statut", "no error action"),
        (exchange(b"<html>"), "workflow", "6 · données illisibles", "GOES ON"),
        (exchange(b"\xef\xbb\xbf{}"), "workflow", "6 · données illisibles", "unreadable"),
        (exchange(b'{"err": 0}', elapsed=29.0), "workflow", "1 · 28 s", "given up"),
        (exchange(b"", 302, method="POST"), "workflow", "redirection", "body is lost"),
        (exchange(b'{"err": 1}'), "attachment", "6 · pièce jointe", "whatever it holds"),
        (exchange(b'{"err": 0}', headers={"X-Error-Code": "3"}), "workflow", "2 · X-Error-Code", "not read"),
        (exchange(b"[]"), "source", "source · objet", "list is empty"),
        (exchange(b'{"err": "", "data": []}'), "source", "source · err", "in error"),
        (exchange(b'{"data": {}}'), "source", "source · liste", "not a list"),
        (exchange(b"", 500), "source", "source · statut", "down"),
        (exchange(b'\xef\xbb\xbf{"data": [{"id": 1, "text": 2}]}'), "source", "source · éléments", "1 are silently"),
        (exchange(b"", 202), "sms", "sms", "failed"),
        (exchange(b"plain text"), "sms", "sms", "counts as sent"),
    ],
)
def test_each_row_of_the_table_says_what_happens(given: Exchange, reader: caller.Reader, row: str, said: str) -> None:
    assert row in rows(given, reader)
    assert said in effect(given, reader)


MATRIX = {  # publik-contracts §1.2: what `err` means to a workflow call, and to a data source
    "{}": ("success", "success"),
    '{"err": null}': ("success", "success"),
    '{"err": 0}': ("success", "success"),
    '{"err": "0"}': ("success", "success"),
    '{"err": false}': ("success", "success"),
    '{"err": 0.0}': ("success", "success"),
    '{"err": ""}': ("success", "error"),
    '{"err": []}': ("success", "error"),
    '{"err": {}}': ("success", "error"),
    '{"err": 0.5}': ("success", "error"),
    '{"err": 1}': ("error", "error"),
    '{"err": "1"}': ("error", "error"),
    '{"err": true}': ("error", "error"),
    '{"err": -1}': ("error", "error"),
    '{"err": "slug"}': ("error", "error"),
    '{"err": "0.5"}': ("error", "error"),
    '{"err": ["x"]}': ("crash", "error"),
}


@pytest.mark.parametrize("body", MATRIX)
def test_the_readers_disagree_on_err_as_the_matrix_says(body: str) -> None:
    answer = exchange(json.dumps(json.loads(body) | {"data": []}).encode())
    assert answer.response is not None
    code, _ = caller.workflow_code(answer.response)
    workflow = "crash" if code is None else "success" if code == 0 else "error"
    source = "error" if "source · err" in rows(answer, "source") else "success"
    assert (workflow, source) == MATRIX[body]


def test_a_map_only_takes_the_features_whose_properties_have_an_id() -> None:
    features = [
        {"id": "a", "properties": {"id": "a", "text": "A"}},
        {"id": "b", "properties": {}},
        {"properties": {"text": "C"}},
        {"id": "d"},
        1,
    ]
    given = exchange(json.dumps({"features": features}).encode())
    assert [one["text"] for one in caller.kept_features(features)] == ["A", "b"]
    assert "2 items are offered; 3 are silently left out" in effect(given, "geojson")
    assert "On a map, 1 out of 5" in effect(given, "geojson")


def test_every_row_cites_its_source() -> None:
    for given in (exchange(b'{"err": 1}', 500), exchange(b"[]"), exchange(b"", 302)):
        for reader in ("workflow", "attachment", "source", "geojson", "sms", "search", "portal"):
            assert all(row.source for row in caller.told(given, reader))


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ('attachment; filename="fiche 1.pdf"', "fiche-1.pdf"),
        ("attachment; filename*=utf-8''fiche%20%C3%A9.pdf", "fiche-é.pdf"),
        ("attachment", ""),
    ],
)
def test_a_file_name_is_read_in_content_disposition(header: str, name: str) -> None:
    answer = exchange(b"x", headers={"Content-Disposition": header}).response
    assert answer is not None
    assert caller.filename(answer) == name


def test_a_lookup_takes_the_item_whose_attribute_has_the_parameter_s_name() -> None:
    found = [{"id": "7", "code": "a"}, {"id": 8, "code": "b"}]
    assert caller.lookup(found, "id", "8") == found[1]
    assert caller.lookup(found, "code", "a") == found[0]
    assert caller.lookup(found, "siret", "a") is None


def test_a_lookup_says_whether_the_choice_is_found_again() -> None:
    for held, said in (("7", "is taken"), ("007", "choice is lost")):
        request = Request("GET", "https://x/?id=7")
        given = exchange(json.dumps({"err": 0, "data": [{"id": held, "text": "a"}]}).encode())
        looked_up = Exchange(request, given.response, given.started, 0.1)
        assert said in caller.told(looked_up, "source", parameter="id")[-1].effect.en


def test_a_template_gives_the_body_of_a_failure_as_it_is() -> None:
    assert "appel nommé" in rows(exchange(b'{"err": 1}', 404))
    assert "appel nommé" not in rows(exchange(b'{"err": 0}'))
