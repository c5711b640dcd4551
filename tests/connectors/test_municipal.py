"""Municipal: one story in every mode, the town's webservice held to the format, the town's table written safely."""

from __future__ import annotations

import asyncio
import datetime as dt
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from connectors.municipal import Municipal
from connectors.municipal.simulator import COLUMNS, SCHEMA, STATES, MunicipalSimulator
from sdk import (
    DeclarationError,
    Misconfigured,
    Model,
    NotFound,
    Receipt,
    RelaisError,
    Secret,
    UpstreamUnavailable,
    create,
)
from sdk.egress import Egress
from sdk.http import Http
from sdk.samples import Sample, samples
from sdk.spec import Connector
from sdk.testing import Instance, Request, Response, answer, instance, simulated
from tests.gateway.conftest import Gateway, running

REQUEST: dict[str, Any] = {
    "reference": "VOI-2041",
    "kind": "VOIRIE",
    "subject": "Nid-de-poule",
    "description": "Devant l’école, depuis lundi.",
    "place": "3 rue du Lac",
    "longitude": "1.099300",
    "latitude": "49.443100",
    "wished_date": "2025-04-02",
    "last_name": "Martin",
    "first_name": "Jeanne",
    "email": "jeanne.martin@example.net",
    "phone": "0235000000",
    "extra": {"secteur": "RIVE-GAUCHE"},
}
SERVICE = {"url": "https://ville.example.org/municipal", "user": "relais", "password": "secret-word"}
POSTGRES_SCHEMA = (
    SCHEMA.partition("create trigger")[0]
    .replace("integer primary key autoincrement", "integer generated always as identity primary key")
    .replace("NUM_AFFICHE varchar(12)", "NUM_AFFICHE varchar(12) default 'INT-' || lpad(currval('n')::text, 5, '0')")
)
MODES = ["webservice", "sqlite", "postgresql"]


class Town:
    """A connector in one mode, and the town's agents behind it."""

    def __init__(
        self,
        settings: dict[str, Any],
        played: Instance[Municipal],
        move: Callable[[str, str, str], Any],
        rows: Callable[[str], list[Any]],
    ) -> None:
        self.settings = settings
        self.played = played
        self.move = move
        self.rows = rows


@asynccontextmanager
async def towns(mode: str, request: pytest.FixtureRequest) -> AsyncIterator[Town]:
    simulator = MunicipalSimulator()
    if mode == "postgresql":
        url = request.getfixturevalue("postgres")
        make_postgres(url)
        settings = postgres_settings(url)
        async with database_instance(settings) as played:

            def move(number: str, state: str, comment: str) -> None:
                in_postgres(
                    url, "update intervention set etat = %s, reponse = %s where num_fiche = %s", state, comment, number
                )

            yield Town(settings, played, move, lambda sql: in_postgres(url, sql))
        return
    async with simulated(Municipal, simulator) as played:

        def act(number: str, state: str, comment: str) -> None:
            in_sqlite(
                simulator.file,
                "update INTERVENTION set ETAT = ?, REPONSE = ? where NUM_FICHE = ?",
                state,
                comment,
                number,
            )

        if mode == "webservice":
            yield Town(simulator.demo_settings(), played, act, lambda sql: in_sqlite(simulator.file, sql))
        else:
            settings = simulator.database_settings()
            async with database_instance(settings) as direct:
                yield Town(settings, direct, act, lambda sql: in_sqlite(simulator.file, sql))


@asynccontextmanager
async def database_instance(settings: dict[str, Any]) -> AsyncIterator[Instance[Municipal]]:
    async def nothing(request: Request) -> Response:
        raise AssertionError("no HTTP in this mode")

    http = Http(nothing, instance="municipal/test", egress=Egress(hosts=frozenset(), private=("127.0.0.0/8",)))
    connector = Municipal(Municipal.settings_model.model_validate(settings), http)
    try:
        yield Instance(connector)
    finally:
        await connector.close()


def make_postgres(url: str) -> None:
    in_postgres(url, POSTGRES_SCHEMA.replace("default 'INT-' || lpad(currval('n')::text, 5, '0')", ""))
    in_postgres(
        url,
        "create function numerote() returns trigger language plpgsql as $$ begin "
        "new.num_affiche := 'INT-' || lpad(new.num_fiche::text, 5, '0'); return new; end $$; "
        "create trigger numerote before insert on intervention for each row execute function numerote()",
    )
    in_postgres(url, "insert into type_inter values ('VOIRIE', 'Voirie et trottoirs'), ('PROPR', 'Propreté')")


def postgres_settings(url: str) -> dict[str, Any]:
    return {
        "database": {
            "url": url,
            "table": "intervention",
            "columns": {name: column.lower() for name, column in COLUMNS.items()},
            "extra": {"secteur": "secteur"},
            "constants": {"etat": "NEW", "origine": "PUBLIK"},
            "kinds": {"table": "type_inter", "id": "code", "text": "libelle"},
            "charset": "cp1252",
        },
        "states": STATES,
        "record_url": "https://municipal.ville.example/fiches/{number}",
    }


def in_postgres(url: str, sql: str, *values: Any) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql.encode(), values or None)
        return cursor.fetchall() if cursor.description else []


def in_sqlite(path: Path, sql: str, *values: Any) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        with connection:
            return connection.execute(sql, values).fetchall()
    finally:
        connection.close()


@pytest.fixture(params=MODES)
async def town(request: pytest.FixtureRequest) -> AsyncIterator[Town]:
    async with towns(request.param, request) as found:
        yield found


@pytest.fixture(params=MODES[1:])
async def base(request: pytest.FixtureRequest) -> AsyncIterator[Town]:
    async with towns(request.param, request) as found:
        yield found


# --- the same endpoints in every mode ---------------------------------------------------------------------------------


async def test_a_record_is_created_and_followed_to_its_end(town: Town) -> None:
    made = (await town.played.post("interventions", REQUEST)).data
    assert made == {"id": "1", "display_id": "INT-00001"}
    first = (await town.played.get("interventions/1")).data
    assert (first["status"], first["text"], first["final"]) == ("NEW", "Enregistrée", False)
    town.move("1", "DONE", "Rebouché.")
    last = (await town.played.get("interventions/1")).data
    assert (last["status"], last["text"], last["final"], last["comment"]) == ("DONE", "Terminée", True, "Rebouché.")


async def test_what_the_form_said_is_in_the_towns_table(town: Town) -> None:
    assert (await town.played.post("interventions", REQUEST)).status == 200
    [row] = town.rows("select ref_externe, code_type, objet, lieu, nom, mel, secteur, origine, etat from intervention")
    assert row == (
        "VOI-2041", "VOIRIE", "Nid-de-poule", "3 rue du Lac", "Martin", "jeanne.martin@example.net",
        "RIVE-GAUCHE", "PUBLIK", "NEW",
    )  # fmt: skip
    [(x, y, wished)] = town.rows("select x, y, date_souhait from intervention")
    assert (float(x), float(y), str(wished)) == (1.0993, 49.4431, "2025-04-02")


async def test_an_unknown_number_is_not_found(town: Town) -> None:
    for number in ("999", "abc", "1 or 1=1", "9" * 40):
        found = await town.played.get(f"interventions/{number}")
        assert (found.status, found.err_class) == (200, "NotFound")


async def test_a_state_the_settings_do_not_name_is_passed_on_and_not_final(base: Town) -> None:
    await base.played.post("interventions", REQUEST)
    base.move("1", "ATTENT", "")
    found = (await base.played.get("interventions/1")).data
    assert (found["status"], found["text"], found["final"]) == ("ATTENT", "ATTENT", False)


async def test_an_unknown_kind_is_the_towns_refusal(town: Town) -> None:
    found = await town.played.post("interventions", {**REQUEST, "kind": "PISCINE"})
    assert (found.status, found.err_class) == (200, "Rejected")
    assert found.body["err_code"] in ("simula.UnknownKind", "unknown-value")
    assert town.rows("select * from intervention") == []


async def test_a_field_the_town_does_not_keep_is_refused_by_name(town: Town) -> None:
    found = await town.played.post("interventions", {**REQUEST, "extra": {"couleur": "rouge"}})
    assert (found.err_class, list(found.body["errors"])) == ("InvalidInput", ["extra/couleur"])
    assert town.rows("select * from intervention") == []


async def test_agents_find_records(town: Town) -> None:
    await town.played.post("interventions", REQUEST)
    await town.played.post("interventions", {**REQUEST, "reference": "VOI-2042", "subject": "Lampe cassée"})
    hits = (await town.played.get("search", q="rue du lac")).data
    assert len(hits) == 2
    assert hits[0]["url"].endswith("/fiches/2")
    assert "Lampe cassée" in hits[0]["text"]
    assert "Enregistrée" in hits[0]["description"]
    assert len((await town.played.get("search", q="rue du lac", limit=1)).data) == 1
    assert (await town.played.get("search", q="piscine")).data == []
    assert (await town.played.get("search", q="  ")).data == []


async def test_kinds_and_states_are_lists_for_a_form(town: Town) -> None:
    kinds = (await town.played.get("kinds")).data
    assert {"id": "VOIRIE", "text": "Voirie et trottoirs"} in kinds
    assert (await town.played.get("kinds", q="proprete")).data == [{"id": "PROPR", "text": "Propreté"}]
    states = (await town.played.get("states")).data
    assert {"id": "DONE", "text": "Terminée", "final": True} in states


async def test_the_check_passes_and_a_record_is_found_by_our_reference(town: Town) -> None:
    await town.played.connector.check()
    assert await town.played.connector.find_by_reference("VOI-2041") == []
    await town.played.post("interventions", REQUEST)
    found = await town.played.connector.find_by_reference("VOI-2041")
    assert found == [Receipt(id="1", display_id="INT-00001")]


# --- database mode ----------------------------------------------------------------------------------------------------


async def test_the_same_reference_never_makes_two_records(base: Town) -> None:
    answers = await asyncio.gather(*(base.played.post("interventions", REQUEST) for _ in range(5)))
    assert {each.data["id"] for each in answers} == {"1"}
    assert base.rows("select count(*) from intervention") == [(1,)]


async def test_values_that_do_not_fit_are_told_by_the_forms_fields(base: Town) -> None:
    found = await base.played.post(
        "interventions",
        {**REQUEST, "subject": "x" * 61, "phone": "0" * 21, "place": "Rue 👍", "extra": {"secteur": "y" * 21}},
    )
    assert (found.status, found.err_class) == (400, "InvalidInput")
    assert found.body["errors"] == {
        "subject": ["compte au plus 60 caractères"],
        "phone": ["compte au plus 20 caractères"],
        "place": ["contient des caractères que le logiciel ne sait pas écrire (U+1F44D)"],
        "extra/secteur": ["compte au plus 20 caractères"],
    }
    assert base.rows("select * from intervention") == []


async def test_typed_signs_become_those_the_software_knows(base: Town) -> None:
    await base.played.post("interventions", {**REQUEST, "subject": "L\u2011allée\u202f: œuf", "place": "e\u0301cole"})
    assert base.rows("select objet, lieu from intervention") == [("L-allée : œuf", "école")]


async def test_a_field_without_a_column_is_refused_rather_than_lost(request: pytest.FixtureRequest) -> None:
    async with MunicipalSimulator() as simulator:
        settings = simulator.database_settings()
        settings["database"]["columns"] = {**COLUMNS, "phone": "", "email": ""}
        async with database_instance(settings) as played:
            found = await played.post("interventions", REQUEST)
            assert sorted(found.body["errors"]) == ["email", "phone"]
            found = await played.post("interventions", {**REQUEST, "phone": "", "email": ""})
            assert found.data["id"] == "1"


async def test_the_time_of_a_change_is_the_towns(base: Town) -> None:
    await base.played.post("interventions", REQUEST)
    base.rows("update intervention set date_maj = '2025-07-01 10:00:00.000000' returning 1")
    found = (await base.played.get("interventions/1")).data
    assert dt.datetime.fromisoformat(found["updated"]) == dt.datetime(2025, 7, 1, 8, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"table": "fiches"}, "database.table"),
        ({"columns": {**COLUMNS, "comment": "AVIS"}}, "database.columns"),
        ({"extra": {"secteur": "ZONE"}}, "database.extra"),
        ({"constants": {"SOURCE": "PUBLIK"}}, "database.constants"),
        ({"kinds": {"table": "TYPES", "id": "CODE", "text": "LIBELLE"}}, "database.kinds.table"),
        ({"kinds": {"table": "TYPE_INTER", "id": "CODE", "text": "NOM"}}, "n'a pas de colonne NOM"),
    ],
)
async def test_the_check_names_the_setting_that_the_database_contradicts(change: dict[str, Any], told: str) -> None:
    async with MunicipalSimulator() as simulator:
        settings = simulator.database_settings()
        async with database_instance({**settings, "database": {**settings["database"], **change}}) as played:
            with pytest.raises(Misconfigured, match=told):
                await played.connector.check()


async def test_a_search_on_a_base_needs_the_address_of_a_record() -> None:
    async with (
        MunicipalSimulator() as simulator,
        database_instance({**simulator.database_settings(), "record_url": ""}) as played,
    ):
        assert (await played.get("search", q="lac")).err_class == "Misconfigured"


async def test_text_of_the_base_is_not_read_as_html(base: Town) -> None:
    await base.played.post("interventions", {**REQUEST, "place": "<b>Quai</b> & pont"})
    [hit] = (await base.played.get("search", q="quai")).data
    assert hit["description"] == "Enregistrée · &lt;b&gt;Quai&lt;/b&gt; &amp; pont"


async def test_a_base_that_is_not_there_is_unavailable_and_nothing_was_sent() -> None:
    async with database_instance(postgres_settings("postgresql://u:secret-word@127.0.0.1:1/base")) as played:
        with pytest.raises(UpstreamUnavailable) as caught:
            await played.connector.check()
        assert caught.value.processed is False
        assert (await played.post("interventions", REQUEST)).status == 503


async def test_both_modes_see_the_same_records() -> None:
    simulator = MunicipalSimulator()
    async with simulated(Municipal, simulator) as first:
        created = (await first.post("interventions", REQUEST)).data
        followed = (await first.get(f"interventions/{created['id']}")).data
        async with database_instance(simulator.database_settings()) as direct:
            assert (await direct.post("interventions", REQUEST)).data == created
            assert (await direct.get(f"interventions/{created['id']}")).data == followed


# --- webservice mode: the format --------------------------------------------------------------------------------------


def service(upstream: Any, **settings: Any) -> Instance[Municipal]:
    return instance(Municipal, {"webservice": {**SERVICE, **settings}, "states": STATES}, upstream)


def says(*args: Any, **kwargs: Any) -> Any:
    async def upstream(request: Request) -> Response:
        return answer(*args, **kwargs)

    return upstream


async def test_a_flat_object_is_sent_under_the_towns_names_without_empty_fields() -> None:
    seen: list[Request] = []

    async def upstream(request: Request) -> Response:
        seen.append(request)
        return answer(json={"err": 0, "data": {"id": 17}})

    made = await service(upstream, names={"subject": "objet", "reference": "ref"}, create_path="creer").post(
        "interventions", {"reference": "VOI-1", "subject": "Banc", "wished_date": "2025-04-02", "phone": ""}
    )
    assert made.data == {"id": "17"}
    [request] = seen
    assert (request.method, request.url) == ("POST", "https://ville.example.org/municipal/creer")
    assert request.body == b'{"ref":"VOI-1","objet":"Banc","wished_date":"2025-04-02"}'
    assert request.headers["Authorization"].startswith("Basic ")


@pytest.mark.parametrize("status", [200, 400, 404, 409, 422])
async def test_a_refusal_is_passed_on_with_its_class_and_its_words(status: int) -> None:
    said = {"err": 1, "err_class": "ville.Ferme", "err_desc": "Service fermé\njusqu'à lundi.", "data": None}
    found = await service(says(status, json=said)).post("interventions", REQUEST | {"extra": {}})
    assert (found.status, found.err_class) == (200, "Rejected")
    assert (found.body["err_code"], found.body["err_desc"]) == ("ville.Ferme", "Service fermé jusqu'à lundi.")


@pytest.mark.parametrize("err", [1, "1", -1, "closed"])
async def test_any_err_that_publik_takes_for_an_error_is_one(err: Any) -> None:
    found = await service(says(json={"err": err, "err_desc": "non"})).get("interventions/1")
    assert found.err_class == "Rejected"


async def test_the_header_wins_over_the_body() -> None:
    body = {"err": 0, "data": {"id": "1", "status": "NEW"}}
    found = await service(says(json=body, headers={"X-Error-Code": "7"})).get("interventions/1")
    assert found.err_class == "Rejected"
    body = {"err": 1, "data": {"id": "1", "status": "NEW"}}
    found = await service(says(json=body, headers={"X-Error-Code": "0"})).get("interventions/1")
    assert found.data["status"] == "NEW"


async def test_a_refusal_without_words_is_a_refusal() -> None:
    found = await service(says(json={"err": 1})).post("interventions", REQUEST | {"extra": {}})
    assert (found.err_class, found.body["err_desc"]) == (
        "Rejected",
        "Le webservice de la ville a refusé, sans dire pourquoi.",
    )


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"id": "1", "status": "NEW"}},
        {"err": None, "data": {"id": "1", "status": "NEW"}},
        {"err": False, "data": {"id": "1", "status": "NEW"}},
        {"err": 0.5},
        {"err": []},
        {"err": ""},
        {"err": 0},
        {"err": 0, "data": []},
        {"err": 0, "data": {"numero": 1}},
        {"err": 0, "data": {"id": True, "status": 3}},
        {"err": 0, "data": {"id": "", "status": None}},
        [{"err": 0}],
        "ok",
    ],
)
async def test_an_answer_outside_the_format_is_the_publishers_fault(body: Any) -> None:
    played = service(says(json=body))
    assert (await played.post("interventions", REQUEST | {"extra": {}})).err_class == "UpstreamInvalid"
    assert (await played.get("interventions/1")).err_class == "UpstreamInvalid"


@pytest.mark.parametrize("data", [{"err": 0, "data": {"id": "2", "status": "NEW"}}])
async def test_the_progress_of_another_record_is_refused(data: Any) -> None:
    assert (await service(says(json=data)).get("interventions/1")).err_class == "UpstreamInvalid"


async def test_the_webservices_own_words_come_before_the_settings() -> None:
    data = {"id": 1, "status": "NEW", "text": "Bien reçue", "final": True, "updated": "2025-03-14T09:00:00+01:00"}
    found = await service(says(json={"err": 0, "data": data})).get("interventions/1")
    assert (found.data["text"], found.data["final"]) == ("Bien reçue", True)
    data = {"id": 1, "status": "NEW", "final": "peut-être"}
    assert (await service(says(json={"err": 0, "data": data})).get("interventions/1")).err_class == "UpstreamInvalid"


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, "Misconfigured"), (403, "Misconfigured"), (302, "Misconfigured"), (500, "UpstreamInvalid"),
     (502, "UpstreamUnavailable"), (503, "UpstreamUnavailable"), (404, "Misconfigured"), (400, "UpstreamInvalid")],
)  # fmt: skip
async def test_a_status_outside_the_format_says_who_must_act(status: int, kind: str) -> None:
    played = service(says(status, text="<html><body>Erreur</body></html>", content_type="text/html"))
    assert (await played.get("interventions/1")).err_class == kind


@pytest.mark.parametrize("path", ["search?q=lac", "find"])
async def test_what_the_webservice_does_not_offer_says_so_without_asking_it(path: str) -> None:
    played = service(None)
    if path == "find":
        with pytest.raises(Misconfigured, match="find_path"):
            await played.connector.find_by_reference("VOI-1")
    else:
        assert (await played.get("search", q="lac")).err_class == "Misconfigured"
    assert (await played.get("kinds")).data == []


async def test_an_identifier_cannot_leave_its_place_in_the_path() -> None:
    seen: list[str] = []

    async def upstream(request: Request) -> Response:
        seen.append(request.url)
        return answer(404, json={"err": 1, "err_class": "x.NotFound", "err_desc": "non"})

    played = service(upstream)
    with pytest.raises(NotFound):
        await played.connector.progress("2025/17?x=1")
    assert seen == ["https://ville.example.org/municipal/interventions/2025%2F17%3Fx%3D1"]


@pytest.mark.parametrize(
    ("said", "passes"),
    [
        (answer(404, json={"err": 1, "err_class": "x.NotFound", "err_desc": "non"}), True),
        (answer(json={"err": 1, "err_desc": "numéro invalide"}), True),
        (answer(json={"err": 0, "data": {"id": "0", "status": "NEW"}}), True),
        (answer(401), False),
        (answer(text="<html>login</html>"), False),
        (answer(json={"data": {}}), False),
    ],
)
async def test_the_check_takes_any_answer_in_the_format(said: Response, passes: bool) -> None:
    async def upstream(request: Request) -> Response:
        return said

    checked = service(upstream).connector.check()
    if passes:
        await checked
    else:
        with pytest.raises(RelaisError):
            await checked


# --- settings ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, {"webservice": SERVICE, "database": {"url": "sqlite:////x", "table": "t",
    "columns": {"number": "n", "reference": "r", "state": "s", "subject": "o"}}}])  # fmt: skip
def test_one_mode_is_given_and_only_one(settings: dict[str, Any]) -> None:
    with pytest.raises(Misconfigured, match="un seul"):
        instance(Municipal, settings)


@pytest.mark.parametrize("search", [[], ["place"], ["nothing"]])
def test_searched_fields_have_a_column(search: list[str]) -> None:
    columns = {"number": "n", "reference": "r", "state": "s", "subject": "o"}
    with pytest.raises(Misconfigured, match=r"database\.search"):
        instance(Municipal, {"database": {"url": "sqlite:////x", "table": "t", "columns": columns, "search": search}})


async def test_a_kind_out_of_the_settings_list_is_refused_before_sending() -> None:
    played = instance(Municipal, {"webservice": SERVICE, "kinds": {"A": "Arbres"}})
    found = await played.post("interventions", {**REQUEST, "extra": {}})
    assert list(found.body["errors"]) == ["kind"]
    assert (await played.get("kinds")).data == [{"id": "A", "text": "Arbres"}]


def test_the_password_of_a_base_is_never_shown() -> None:
    settings = Municipal.settings_model.model_validate(postgres_settings("postgresql://u:secret-word@127.0.0.1/base"))
    assert "secret-word" not in f"{settings!r} {settings.model_dump_json()}"


def test_an_endpoint_cannot_take_the_name_of_the_gateways_own_calls() -> None:
    class Settings(Model):
        key: Secret

    with pytest.raises(DeclarationError, match="called by the gateway"):

        class Closer(Connector[Settings]):
            """Ferme."""

            name, title = "closer", "Closer"

            @create("close", delivery="idempotent")
            async def close(self) -> None:  # type: ignore[override]
                """Fermer."""


# --- through the gateway ----------------------------------------------------------------------------------------------


async def test_a_citizens_story_through_the_gateway(town: Town, tmp_path: Path) -> None:
    async with running(tmp_path / "data", Municipal, settings=town.settings) as gateway:
        made = await gateway.post("/municipal/test/interventions", REQUEST)
        assert (made["err"], made["data"]) == (0, {"id": "1", "display_id": "INT-00001"})
        found = await gateway.get("/municipal/test/interventions/1")
        assert (found["data"]["text"], found["data"]["final"]) == ("Enregistrée", False)
        await asyncio.to_thread(town.move, "1", "DONE", "Fait.")  # the gateway may be reading: not on its loop
        found = await gateway.get("/municipal/test/interventions/1")
        assert (found["data"]["text"], found["data"]["final"]) == ("Terminée", True)
        hits = await gateway.get("/municipal/test/search?q=nid-de-poule")
        assert [hit["url"].rpartition("/")[2] for hit in hits["data"]] == ["1"]
        refused = await gateway.post(
            "/municipal/test/interventions", {**REQUEST, "reference": "VOI-2042", "kind": "PISCINE"}
        )
        assert (refused["err"], refused["err_class"], refused["data"]) == (1, "Rejected", None)


async def settled(gateway: Gateway, body: dict[str, Any]) -> dict[str, Any]:
    """The delivery, once the follow-up has ended it."""
    async with asyncio.timeout(20):
        while True:
            await gateway.server.follow.look()
            await gateway.server.follow.settled()
            found: dict[str, Any] = (await gateway.get(body["data"]["status_url"]))["data"]
            if found["final"]:
                return found


async def test_a_record_whose_answer_was_lost_is_found_again_and_not_made_twice(tmp_path: Path) -> None:
    async with (
        MunicipalSimulator() as simulator,
        running(tmp_path / "data", Municipal, settings=simulator.demo_settings()) as gateway,
    ):
        async with asyncio.timeout(20):  # the check made at start must not meet the fault
            while (await gateway.get("/municipal/test/up"))["data"]["state"] != "up":
                pass
        simulator.faults.next("execute-then-reset", path="/interventions")
        body = await gateway.post("/municipal/test/interventions", REQUEST)
        assert body["err_class"] == "OutcomeUnknown"
        found = await settled(gateway, body)
        assert (found["state"], found["data"]["id"]) == ("DONE", "1")
    assert len(simulator.executed("created")) == 1


async def test_a_record_whose_commit_was_lost_is_written_once_in_the_end(postgres: str, tmp_path: Path) -> None:
    make_postgres(postgres)
    in_postgres(
        postgres,
        "create function cut() returns trigger language plpgsql as $$ begin "
        "perform pg_terminate_backend(pg_backend_pid()); return null; end $$; "
        "create constraint trigger cut after insert on intervention deferrable initially deferred "
        "for each row execute function cut()",
    )
    options = {"settings": postgres_settings(postgres), "deliveries": {"quarantine": 0.0}}
    async with running(tmp_path / "data", Municipal, **options) as gateway:
        body = await gateway.post("/municipal/test/interventions", REQUEST)
        assert (body["err_class"], in_postgres(postgres, "select * from intervention")) == ("OutcomeUnknown", [])
        in_postgres(postgres, "drop trigger cut on intervention")
        assert (await settled(gateway, body))["state"] == "DONE"
    assert in_postgres(postgres, "select ref_externe from intervention") == [("VOI-2041",)]


async def test_a_base_with_a_refused_password_says_so_at_the_gateway_and_keeps_it(
    postgres: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    url = postgres.replace("postgres@", "somebody:secret-word@")
    async with running(tmp_path / "data", Municipal, settings=postgres_settings(url)) as gateway:
        status, _, body = await gateway.call("GET", "/municipal/test/interventions/1")
    assert (status, body["err_class"]) == (500, "Misconfigured")
    said = capfd.readouterr()
    assert "secret-word" not in f"{body} {said.out} {said.err}"
    assert "upstream" in said.out + said.err


# --- samples ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sample", samples(Municipal), ids=lambda sample: sample.name)
async def test_a_sample_is_still_what_happens(sample: Sample) -> None:
    await sample.replay(Municipal)


def test_every_endpoint_has_a_sample() -> None:
    assert {endpoint.attribute for endpoint in Municipal.endpoints} <= {each.endpoint for each in samples(Municipal)}
