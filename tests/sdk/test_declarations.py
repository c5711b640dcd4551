"""What a connector's author may write, and the sentence that answers each mistake."""

from __future__ import annotations

import datetime as dt
import re
from typing import Any, Literal

import pytest

from sdk import (
    HOUR,
    Choice,
    Choices,
    Connector,
    DeclarationError,
    FeatureCollection,
    File,
    Hit,
    HttpUrl,
    Invoice,
    Model,
    Progress,
    Receipt,
    Received,
    Row,
    callback,
    create,
    every,
    get,
    testing,
    update,
)


class Settings(Model):
    url: HttpUrl = "https://trees.example.org"


class Request(Model):
    species: str
    height: float | None = None


def declared(body: dict[str, Any], **overrides: Any) -> type[Connector[Settings]]:
    """A connector class with this body, as if it had been written."""
    namespace = {"__doc__": "Trees.", "__module__": __name__, "name": "trees", "title": "Arbres", **body, **overrides}
    return type("Trees", (Connector,), {"settings_model": Settings, **namespace})


def test_a_typed_method_is_an_endpoint() -> None:
    @get("trees/{number}", cache=HOUR)
    async def tree(self: Any, number: int, day: dt.date | None = None, sort: Literal["a", "b"] = "a") -> Request:
        """A tree.

        Its details.
        English:
        A tree, in English.
        """
        raise NotImplementedError

    endpoint = declared({"tree": tree}).endpoints[0]
    assert (endpoint.method, endpoint.path, endpoint.kind) == ("GET", "trees/{number}", "read")
    assert [(p.name, p.place, p.required) for p in endpoint.parameters] == [
        ("number", "path", True),
        ("day", "query", False),
        ("sort", "query", False),
    ]
    assert (endpoint.summary, endpoint.description) == ("A tree.", "Its details.")
    assert endpoint.english == "A tree, in English."


def test_the_path_defaults_to_the_method_name_with_dashes() -> None:
    @get
    async def work_types(self: Any) -> list[Choice]:
        """Types."""
        return []

    assert declared({"work_types": work_types}).endpoints[0].path == "work-types"


@pytest.mark.parametrize(
    ("result", "contract"),
    [
        (list[Choice], "choices"),
        (Choices, "choices"),
        (list[Hit], "hits"),
        (FeatureCollection[Request], "map"),
        (Progress, "progress"),
        (File, "file"),
        (Invoice, "invoice"),
        (list[Invoice], "invoices"),
        (Request, "data"),
        (Receipt, "data"),
        (None, "data"),
    ],
)
def test_the_result_type_names_the_contract(result: Any, contract: str) -> None:
    async def answer(self: Any) -> Any:
        """Answer."""

    answer.__annotations__["return"] = result
    assert declared({"answer": get(answer)}).endpoints[0].result.contract == contract


def test_a_model_with_an_id_on_create_is_a_receipt() -> None:
    @create("trees", delivery="at-most-once")
    async def plant(self: Any, request: Request) -> Receipt:
        """Plant."""
        raise NotImplementedError

    assert declared({"plant": plant}).endpoints[0].result.contract == "receipt"


def test_a_schedule_is_read_beside_the_endpoints() -> None:
    @every(HOUR)
    async def refresh(self: Any) -> None: ...

    @every(HOUR, catch_up="skip")
    async def tidy(self: Any) -> None: ...

    found = declared({"refresh": refresh, "tidy": tidy})
    assert [(s.attribute, s.interval, s.catch_up) for s in found.schedules] == [
        ("refresh", HOUR, "once"),
        ("tidy", HOUR, "skip"),
    ]
    assert found.endpoints == ()


def test_endpoints_are_inherited_and_can_be_written_again() -> None:
    @get
    async def one(self: Any) -> list[Choice]:
        """One."""
        return []

    @get
    async def changed(self: Any) -> list[Hit]:
        """Changed."""
        return []

    parent = declared({"one": one})
    child = type("Child", (parent,), {"__doc__": "Child.", "__module__": __name__, "name": "child", "one": changed})
    assert [e.summary for e in child.endpoints] == ["Changed."]  # type: ignore[attr-defined]


def _no_docstring() -> dict[str, Any]:
    @get
    async def one(self: Any) -> list[Choice]:
        return []

    return {"one": one}


def _not_async() -> dict[str, Any]:
    @get  # type: ignore[type-var]
    def one(self: Any) -> list[Choice]:
        """One."""
        return []

    return {"one": one}


def _no_result() -> dict[str, Any]:
    @get
    async def one(self: Any):  # type: ignore[no-untyped-def]
        """One."""

    return {"one": one}


def _dict_result() -> dict[str, Any]:
    @get
    async def one(self: Any) -> dict[str, Any]:
        """One."""
        return {}

    return {"one": one}


def _body_on_get() -> dict[str, Any]:
    @get
    async def one(self: Any, request: Request) -> list[Choice]:
        """One."""
        return []

    return {"one": one}


def _untyped() -> dict[str, Any]:
    @get
    async def one(self: Any, number) -> list[Choice]:  # type: ignore[no-untyped-def]
        """One."""
        return []

    return {"one": one}


def _strange_type() -> dict[str, Any]:
    @get
    async def one(self: Any, number: bytes) -> list[Choice]:
        """One."""
        return []

    return {"one": one}


def _no_delivery() -> dict[str, Any]:
    @create()
    async def one(self: Any, request: Request) -> Receipt:
        """One."""
        raise NotImplementedError

    return {"one": one}


def _no_parentheses() -> dict[str, Any]:
    @create
    async def one(self: Any, request: Request) -> Receipt:
        """One."""
        raise NotImplementedError

    return {"one": one}


def _reconcilable_without_find() -> dict[str, Any]:
    @create(delivery="reconcilable")
    async def one(self: Any, request: Request) -> Receipt:
        """One."""
        raise NotImplementedError

    return {"one": one}


def _missing_placeholder() -> dict[str, Any]:
    @get("one/{number}")
    async def one(self: Any) -> list[Choice]:
        """One."""
        return []

    return {"one": one}


def _bad_path() -> dict[str, Any]:
    @get("{number}/one")
    async def one(self: Any, number: str) -> list[Choice]:
        """One."""
        return []

    return {"one": one}


def _reserved_path() -> dict[str, Any]:
    @get("up")
    async def one(self: Any) -> list[Choice]:
        """One."""
        return []

    return {"one": one}


def _two_bodies() -> dict[str, Any]:
    @update(delivery="idempotent")
    async def one(self: Any, a: Request, b: Request) -> None:
        """One."""

    return {"one": one}


def _twins() -> dict[str, Any]:
    @get("one/{a}")
    async def one(self: Any, a: str) -> list[Choice]:
        """One."""
        return []

    @get("one/{b}")
    async def two(self: Any, b: str) -> list[Choice]:
        """Two."""
        return []

    return {"one": one, "two": two}


def _bad_method() -> dict[str, Any]:
    @callback(method="DELETE")
    async def one(self: Any) -> None:
        """One."""

    return {"one": one}


def _bad_schedule() -> dict[str, Any]:
    @every(0)
    async def one(self: Any) -> None: ...

    return {"one": one}


def _bad_catch_up() -> dict[str, Any]:
    @every(HOUR, catch_up="twice")  # type: ignore[arg-type]
    async def one(self: Any) -> None: ...

    return {"one": one}


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (_no_docstring, "needs a docstring"),
        (_not_async, "Write async def one"),
        (_no_result, "needs a return type"),
        (_dict_result, "answer a Model"),
        (_body_on_get, "takes simple parameters"),
        (_untyped, "give number a type"),
        (_strange_type, "a query cannot carry"),
        (_no_delivery, 'write delivery="…"'),
        (_no_parentheses, 'write delivery="…"'),
        (_reconcilable_without_find, 'write find="…"'),
        (_missing_placeholder, "the path names {number}"),
        (_bad_path, "must start with a name"),
        (_reserved_path, "other than"),
        (_two_bodies, "one body per endpoint"),
        (_twins, "both answer"),
        (_bad_method, "is not one of POST, GET"),
        (_bad_schedule, "@every(seconds)"),
        (_bad_catch_up, 'catch_up="once"'),
    ],
)
def test_a_wrong_declaration_is_refused_by_a_sentence(body: Any, said: str) -> None:
    with pytest.raises(DeclarationError, match=re.escape(said)):
        declared(body())


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        ({"name": "Trees!"}, "lower-case letters"),
        ({"name": "health"}, "none of"),
        ({"title": None}, "needs a title"),
        ({"__doc__": ""}, "needs a docstring"),
    ],
)
def test_a_connector_needs_its_name_title_and_docstring(overrides: dict[str, Any], said: str) -> None:
    with pytest.raises(DeclarationError, match=said):
        declared({}, **overrides)


def test_the_settings_model_is_read_from_the_base() -> None:
    class Trees(Connector[Settings]):
        """Trees."""

        name, title = "trees", "Arbres"

    assert Trees.settings_model is Settings


def test_a_connector_without_settings_is_refused() -> None:
    with pytest.raises(DeclarationError, match=r"Connector\[Settings\]"):

        class Trees(Connector):  # type: ignore[type-arg]
            """Trees."""

            name, title = "trees", "Arbres"


def test_types_defined_beside_the_class_are_found() -> None:
    class Local(Model):
        a: str

    class Trees(Connector[Settings]):
        """Trees."""

        name, title = "trees", "Arbres"

        @get
        async def one(self) -> Local:
            """One."""
            return Local(a="b")

    assert Trees.endpoints[0].result.annotation is Local


def test_a_parameter_may_bear_the_name_of_a_python_word_or_of_a_library_attribute() -> None:
    @get
    async def one(self: Any, from_: str, json: str = "") -> list[Choice]:
        """One."""
        return []

    assert [p.name for p in declared({"one": one}).endpoints[0].parameters] == ["from", "json"]


async def test_a_callback_may_take_the_call_as_it_came() -> None:
    class Bell(Connector[Settings]):
        """Bell."""

        name, title = "bell", "Cloche"

        @callback
        async def rung(self, came: Received) -> Row:
            """Rung."""
            return Row(signature=came.headers["x-signature"], size=len(came.body))

    bell = testing.instance(Bell, {})
    answer = await bell.call("POST", "rung", body=b"\x00raw", headers={"X-Signature": "s"})
    assert answer.data == {"signature": "s", "size": 4}


def test_only_a_callback_takes_the_call_as_it_came() -> None:
    @get
    async def one(self: Any, came: Received) -> list[Choice]:
        """One."""
        return []

    with pytest.raises(DeclarationError, match="only a @callback"):
        declared({"one": one})


def test_settings_of_an_unknown_type_are_refused_by_its_name() -> None:
    class Unknown(Model):
        key: Secrt  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(DeclarationError, match="Unknown: the type 'Secrt' is unknown"):

        class Town(Connector[Unknown]):
            """Town."""

            name, title = "town", "Ville"
