"""What is derived from the declarations: OpenAPI 3.1 and the documentation page."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Annotated, Any, Literal

import pytest
from lxml import html
from openapi_spec_validator import OpenAPIV31SpecValidator

from sdk import (
    Choice,
    Connector,
    ErrorCode,
    Feature,
    FeatureCollection,
    Field,
    File,
    Geocoded,
    Hit,
    HttpUrl,
    Invoice,
    Model,
    Progress,
    Receipt,
    Rejected,
    Secret,
    callback,
    create,
    get,
    openapi,
    page,
    update,
)


class Settings(Model):
    url: HttpUrl
    password: Secret


class Address(Model):
    street: str = Field(description="Rue", examples=["rue des Lilas"])
    number: int | None = None


class Demand(Model):
    subject: str = Field(min_length=3, max_length=80)
    amount: Decimal = Field(gt=0, examples=["42.50"])
    day: dt.date
    kind: Literal["a", "b"] = "a"
    address: Address
    photos: list[File] = []


class Spot(Model):
    text: str


class Everything(Connector[Settings]):
    """Un connecteur qui honore tous les contrats."""

    name, title, category = "everything", "Tout", "Tests"
    confidence = "Écrit de mémoire."

    @get
    async def kinds(self) -> list[Choice]:
        """Les genres."""
        return []

    @get("hits")
    async def hits(self, q: str, limit: int = 10) -> list[Hit]:
        """Chercher."""
        return []

    @get("map")
    async def map(self) -> FeatureCollection[Spot]:
        """La carte."""
        return FeatureCollection[Spot](features=[])

    @get("places")
    async def places(self, q: str) -> list[Geocoded]:
        """Situer."""
        return []

    @get("demands/{number}")
    async def demand(self, number: str) -> Progress:
        """Suivre."""
        raise NotImplementedError

    @get("demands/{number}/pdf")
    async def pdf(self, number: str) -> File:
        """Le document."""
        raise NotImplementedError

    @get("invoices")
    async def invoices(self) -> list[Invoice]:
        """Les factures."""
        return []

    @create("demands", delivery="at-most-once", errors=(ErrorCode("R7", Rejected, "Dossier clos"),))
    async def send(self, demand: Demand) -> Receipt:
        """Envoyer une demande.

        Elle est numérotée.
        English:
        Send a demand.
        """
        raise NotImplementedError

    @update("demands/{number}", delivery="idempotent", method="PATCH")
    async def change(self, number: str, demand: Demand) -> None:
        """Changer."""

    @callback("heard")
    async def heard(self, address: Address) -> None:
        """Être prévenu."""


@pytest.fixture
def document() -> dict[str, Any]:
    return openapi.document(Everything, "test")


def test_the_document_is_valid_openapi_3_1(document: dict[str, Any]) -> None:
    OpenAPIV31SpecValidator(document).validate()


def test_every_endpoint_is_a_path_below_its_instance(document: dict[str, Any]) -> None:
    assert sorted(document["paths"]) == sorted({f"/everything/test/{e.path}" for e in Everything.endpoints})


def test_choice_lists_document_the_parameters_they_are_given(document: dict[str, Any]) -> None:
    parameters = document["paths"]["/everything/test/kinds"]["get"]["parameters"]
    assert [p["name"] for p in parameters] == ["q", "id"]


def test_parameters_tell_place_type_and_need(document: dict[str, Any]) -> None:
    parameters = document["paths"]["/everything/test/hits"]["get"]["parameters"]
    assert [(p["name"], p["in"], p["required"], p["schema"]["type"]) for p in parameters] == [
        ("q", "query", True, "string"),
        ("limit", "query", False, "integer"),
    ]


def test_the_body_example_would_be_accepted(document: dict[str, Any]) -> None:
    operation = document["paths"]["/everything/test/demands"]["post"]
    shown = operation["requestBody"]["content"]["application/json"]["example"]
    assert Demand.model_validate(shown).address.street == "rue des Lilas"


@pytest.mark.parametrize(
    "endpoint", [e for e in Everything.endpoints if e.result.contract != "file"], ids=lambda e: e.path
)
def test_the_answer_example_would_keep_the_promise(document: dict[str, Any], endpoint: Any) -> None:
    operation = document["paths"][f"/everything/test/{endpoint.path}"][endpoint.method.lower()]
    shown = operation["responses"]["200"]["content"]["application/json"]["example"]
    value = shown if endpoint.result.contract == "places" else shown.get("data")
    if endpoint.result.contract == "map":
        value = {name: item for name, item in shown.items() if name != "err"}
        for feature in value["features"]:
            feature["properties"].pop("id", None)
    endpoint.result.adapter.validate_python(value)


def test_documented_errors_carry_their_codes(document: dict[str, Any]) -> None:
    assert "`R7` (Rejected) : Dossier clos" in document["paths"]["/everything/test/demands"]["post"]["description"]


def test_a_callback_needs_no_credential(document: dict[str, Any]) -> None:
    assert document["paths"]["/everything/test/heard"]["post"]["security"] == []


def test_the_page_shows_every_endpoint_and_a_line_to_paste() -> None:
    tree = html.fromstring(page.instance(Everything, "everything/test", origin="http://127.0.0.1:8080"))
    paths = [e.text for e in tree.iterfind(".//section//code")]
    assert {f"/everything/test/{e.path}" for e in Everything.endpoints} <= set(paths)
    assert any(
        pre.text.startswith("curl http://127.0.0.1:8080/everything/test/demands -H") for pre in tree.iterfind(".//pre")
    )


class Files(Connector[Settings]):
    """Des dossiers.

    English:
    Files. They hold notes.
    """

    name, title = "files", "Dossiers"

    @create("files/{number}/notes", delivery="at-most-once")
    async def note(self, number: Annotated[str, Field(examples=["PC 76 R42/a"])]) -> Receipt:
        """Annoter."""
        return Receipt(id=number)


def test_a_line_to_paste_is_an_address_and_has_the_key_that_is_asked_for() -> None:
    tree = html.fromstring(page.instance(Files, "files/test", origin="http://127.0.0.1:8080"))
    (line,) = [pre.text for pre in tree.iterfind(".//pre") if pre.text.startswith("curl")]
    assert "/files/test/files/PC%2076%20R42%2Fa/notes " in line
    assert '-H "Idempotency-Key: $RANDOM$RANDOM"' in line


def test_the_page_says_what_is_only_assumed() -> None:
    assert "Écrit de mémoire." in page.instance(Everything, "everything/test")


def test_the_page_speaks_english_where_the_author_did() -> None:
    shown = page.instance(Everything, "everything/test", language="en")
    assert "Send a demand." in shown
    assert "Envoyer une demande." not in shown
    assert page.summary(Everything) == Everything.summary
    assert page.summary(Everything, language="en") == Everything.summary, "its author wrote none"
    assert page.summary(Files, language="en") == "Files."


def test_text_of_a_publisher_cannot_become_markup() -> None:
    row = dict.fromkeys(("connector", "summary", "text", "reason"), "") | {"where": "a/b", "state": "up"}
    row["title"] = "<script>x</script>"
    assert "<script>" not in page.index([row])


def test_the_map_example_has_its_id_at_both_levels() -> None:
    feature = Feature[Spot].model_validate(
        {"id": "1", "geometry": {"coordinates": [2, 48]}, "properties": {"text": "x"}}
    )
    assert feature.model_dump()["properties"]["id"] == "1"


class Room(Model):
    name: str = Field(alias="nom_de_la_salle")


class Rooms(Connector[Settings]):
    """Des salles."""

    name, title = "rooms", "Salles"

    @get
    async def room(self) -> Room:
        """Une salle."""
        raise NotImplementedError

    @update(delivery="idempotent")
    async def rename(self, room: Room) -> Room:
        """La renommer."""
        raise NotImplementedError


def test_what_goes_out_is_named_as_it_is_written_and_what_comes_in_by_alias() -> None:
    published = openapi.document(Rooms, "test")
    OpenAPIV31SpecValidator(published).validate()
    operation = published["paths"]["/rooms/test/rename"]["put"]
    assert operation["responses"]["200"]["content"]["application/json"]["example"]["data"] == {"name": "texte"}
    assert operation["requestBody"]["content"]["application/json"]["example"] == {"nom_de_la_salle": "texte"}


def test_an_effect_documents_its_key_and_its_refusals() -> None:
    operation = openapi.document(Rooms, "test")["paths"]["/rooms/test/rename"]["put"]
    assert [(p["name"], p["in"]) for p in operation["parameters"]] == [("Idempotency-Key", "header")]
    assert {"400", "401", "403", "409", "422"} <= set(operation["responses"])


class Words(Connector[Settings]):
    """Des mots."""

    name, title = "words", "Mots"

    @get
    async def words(self, word: Annotated[list[str], Field(examples=[["lac", "parc"]])]) -> list[Choice]:
        """Les mots."""
        return []


def test_a_repeated_parameter_is_pasted_repeated() -> None:
    assert "/words/test/words?word=lac&amp;word=parc" in page.instance(Words, "words/test")


def test_what_goes_on_after_the_answer_is_published() -> None:
    class Till(Connector[Settings]):
        """Caisse."""

        name, title = "till", "Caisse"

        @create("orders", delivery="idempotent", deferred=True, follow="order", subject=("day",))
        async def place(self, demand: Demand) -> Receipt:
            """Commander."""
            raise NotImplementedError

        @get("orders/{number}")
        async def order(self, number: str) -> Progress:
            """Une commande."""
            raise NotImplementedError

        @callback("bell", looks="place")
        async def bell(self, number: str = "") -> str | None:
            """On sonne."""
            raise NotImplementedError

    document = openapi.document(Till, "demo")
    OpenAPIV31SpecValidator(document).validate()
    operation = document["paths"]["/till/demo/orders"]["post"]
    favourable = operation["responses"]["200"]["content"]["application/json"]
    assert favourable["schema"]["properties"]["data"]["required"] == ["id", "status_url", "state"]
    assert favourable["example"]["data"]["state"] == "RECEIVED"
    assert {"Idempotency-Key", "callback-url"} <= {parameter["name"] for parameter in operation["parameters"]}
    assert "Différé" in operation["description"]
    assert "`day`" in operation["description"]
    told = operation["callbacks"]["suite"]["{$request.query.callback-url}"]["post"]["requestBody"]
    message = told["content"]["application/json"]["schema"]["properties"]
    assert message["data"]["anyOf"][0] == {"$ref": "#/components/schemas/Receipt"}
    bell = document["paths"]["/till/demo/bell"]["post"]["responses"]["200"]["content"]["application/json"]
    assert bell["schema"]["properties"]["data"] == {"type": "null"}
    assert "Différé" in page.instance(Till, "till/demo")
