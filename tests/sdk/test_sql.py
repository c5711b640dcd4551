"""A town's database: PostgreSQL and SQLite behave alike, names come from the catalogue, values fit or are refused."""

from __future__ import annotations

import asyncio
import datetime as dt
import sqlite3
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest

from sdk import (
    Connector,
    Http,
    InvalidInput,
    Misconfigured,
    Model,
    Overloaded,
    Rejected,
    RelaisError,
    Secret,
    UpstreamInvalid,
    UpstreamUnavailable,
)
from sdk.call import new_call, serving
from sdk.egress import Egress
from sdk.sql import Database

LOOPBACK = Egress(hosts=frozenset(), private=("127.0.0.0/8",))
POSTGRES_TABLE = """
create table "INTERVENTION" (
    "NUMERO" integer generated always as identity primary key,
    "REF" varchar(20),
    "OBJET" varchar(12) not null,
    "DETAIL" text,
    "ETAT" char(6) default 'NEW',
    "URGENT" boolean,
    "PRIORITE" smallint check ("PRIORITE" < 5),
    "COUT" numeric(7,2),
    "SOUHAITE" date,
    "CREE" timestamp default now(),
    "LIEU" varchar(10) references "LIEU"
)
"""
SQLITE_TABLE = (
    POSTGRES_TABLE.replace("integer generated always as identity primary key", "integer primary key autoincrement")
    .replace("default now()", "default current_timestamp")
    .replace('references "LIEU"', 'references "LIEU" ("CODE")')
)
PLACES = """create table "LIEU" ("CODE" varchar(10) primary key)"""
A_PLACE = """insert into "LIEU" values ('ECOLE')"""
SEE = ["NUMERO", "OBJET"]


class Town:
    """One empty database, and what looks at it and changes it from outside."""

    def __init__(self, url: str, execute: Callable[[str], list[Any]]) -> None:
        self.url = url
        self.execute = execute

    @property
    def is_postgres(self) -> bool:
        return self.url.startswith("postgres")

    def count(self) -> int:
        return int(self.execute('select count(*) from "INTERVENTION"')[0][0])

    @asynccontextmanager
    async def database(self, **options: Any) -> AsyncIterator[Database]:
        database = Database(Secret(self.url), way(options.pop("egress", LOOPBACK)), **options)
        try:
            yield database
        finally:
            await database.close()


def way(egress: Egress | None = LOOPBACK) -> Http:
    async def nothing(request: Any) -> Any:
        raise AssertionError("no HTTP here")

    return Http(nothing, instance="municipal/test", egress=egress)


@pytest.fixture(params=["postgresql", "sqlite"])
def town(request: pytest.FixtureRequest, tmp_path: Path) -> Town:
    if request.param == "postgresql":
        found = Town(request.getfixturevalue("postgres"), lambda sql: in_postgres(found.url, sql))
        found.execute(PLACES)
        found.execute(POSTGRES_TABLE)
    else:
        path = tmp_path / "town.db"
        found = Town(f"sqlite:///{path}", lambda sql: in_sqlite(path, sql))
        found.execute(PLACES)
        found.execute(SQLITE_TABLE)
    found.execute(A_PLACE)
    return found


def in_postgres(url: str, sql: str) -> list[Any]:
    with psycopg.connect(url, autocommit=True) as connection:
        cursor = connection.execute(sql.encode())
        return cursor.fetchall() if cursor.description else []


def in_sqlite(path: Path, sql: str) -> list[Any]:
    connection = sqlite3.connect(path)
    try:
        with connection:
            return connection.execute(sql).fetchall()
    finally:
        connection.close()


async def write(town: Town, values: dict[str, Any], **options: Any) -> dict[str, Any]:
    async with town.database() as database, database.writing() as session:
        found: dict[str, Any] = await session.insert(
            database.table("INTERVENTION"), values, **{"returning": ["NUMERO"], **options}
        )
        return found


async def refused(town: Town, values: dict[str, Any], **options: Any) -> RelaisError:
    with pytest.raises(RelaisError) as caught:
        await write(town, values, **options)
    assert town.count() == 0
    return caught.value


async def fields_refused(town: Town, values: dict[str, Any], fields: dict[str, str]) -> dict[str, list[str]]:
    error = await refused(town, values, fields=fields)
    assert isinstance(error, InvalidInput)
    return {name: [str(each) for each in said] for name, said in error.fields.items()}


# --- writing and reading ----------------------------------------------------------------------------------------------


async def test_a_row_is_written_and_what_the_database_fills_comes_back(town: Town) -> None:
    row = await write(town, {"OBJET": "Nid-de-poule"}, returning=["NUMERO", "ETAT"])
    assert row == {"NUMERO": 1, "ETAT": "NEW"}
    assert town.execute('select "OBJET" from "INTERVENTION"') == [("Nid-de-poule",)]


async def test_text_becomes_the_type_of_its_column(town: Town) -> None:
    values = {"OBJET": "Banc", "URGENT": "true", "PRIORITE": "2", "COUT": "12,50", "SOUHAITE": "2025-03-14"}
    await write(town, {**values, "CREE": "2025-03-14T08:00:00+00:00"})
    async with town.database() as database, database.reading() as session:
        [row] = await session.rows(database.table("INTERVENTION"), ["URGENT", "PRIORITE", "COUT", "SOUHAITE", "CREE"])
    assert row == {
        "URGENT": True,
        "PRIORITE": 2,
        "COUT": Decimal("12.50") if town.is_postgres else 12.5,
        "SOUHAITE": dt.date(2025, 3, 14),
        "CREE": dt.datetime(2025, 3, 14, 9, 0),
    }


async def test_a_moment_without_zone_is_the_towns_time_where_the_column_keeps_one(postgres: str) -> None:
    town = Town(postgres, lambda sql: in_postgres(postgres, sql))
    town.execute("create table moments (at timestamptz)")
    async with town.database() as database, database.writing() as session:
        row = await session.insert(database.table("moments"), {"at": "2025-07-01T10:00"}, returning=["at"])
    assert row["at"] == dt.datetime(2025, 7, 1, 10, tzinfo=ZoneInfo("Europe/Paris"))


async def test_rows_are_filtered_sorted_and_limited(town: Town) -> None:
    for subject in ("Banc", "Arbre", "Lampe"):
        await write(town, {"OBJET": subject, "REF": "R" if subject != "Arbre" else None})
    async with town.database() as database, database.reading() as session:
        table = database.table("INTERVENTION")
        assert [r["OBJET"] for r in await session.rows(table, SEE, order=["-OBJET"], limit=2)] == ["Lampe", "Banc"]
        assert [r["OBJET"] for r in await session.rows(table, SEE, where={"REF": None})] == ["Arbre"]
        assert [r["OBJET"] for r in await session.rows(table, SEE, where={"NUMERO": "3"})] == ["Lampe"]
        assert await session.rows(table, ["REF"], where={"REF": "R"}, distinct=True) == [{"REF": "R"}]
        assert await session.rows(table, SEE, where={"PRIORITE": ""}) == []
        with pytest.raises(ValueError, match="which columns"):
            await session.rows(table, SEE, q="banc")


@pytest.mark.parametrize("value", ["x' or '1'='1", "12345678901234567890123", "a\0b"])
async def test_a_value_no_row_can_have_finds_nothing(town: Town, value: str) -> None:
    await write(town, {"OBJET": "Banc"})
    async with town.database() as database, database.reading() as session:
        table = database.table("INTERVENTION")
        assert await session.rows(table, SEE, where={"NUMERO": value}) == []
        assert await session.rows(table, SEE, where={"REF": value}) == []
        assert await session.rows(table, SEE, search=["OBJET"], q=value) == []


@pytest.mark.parametrize(
    ("q", "expected"),
    [("ecole", 1), ("ÉCOLE  banc", 1), ("oeuf", 1), ("%", 0), ("_", 0), ("'", 0), ("banc arbre", 0), ("2", 1)],
)
async def test_a_search_ignores_accents_and_case_and_takes_signs_as_they_are(town: Town, q: str, expected: int) -> None:
    await write(town, {"OBJET": "École", "DETAIL": "un BANC cassé"})
    await write(town, {"OBJET": "Œuf"})
    async with town.database() as database, database.reading() as session:
        found = await session.rows(database.table("INTERVENTION"), SEE, search=["NUMERO", "OBJET", "DETAIL"], q=q)
    assert len(found) == expected


async def test_rows_are_changed_where_said_and_nowhere_else(town: Town) -> None:
    await write(town, {"OBJET": "Banc"})
    await write(town, {"OBJET": "Arbre"})
    async with town.database() as database:
        table = database.table("INTERVENTION")
        async with database.writing() as session:
            assert await session.update(table, {"ETAT": "DONE"}, where={"NUMERO": 1}) == 1
            assert await session.update(table, {"ETAT": "DONE"}, where={"NUMERO": 9}) == 0
            assert await session.update(table, {"ETAT": "DONE"}, where={"NUMERO": "nine"}) == 0
            assert await session.update(table, {"ETAT": "DONE"}, where={"NUMERO": ""}) == 0
            with pytest.raises(ValueError, match="which rows"):
                await session.update(table, {"ETAT": "DONE"}, where={})
    assert [r[0].strip() for r in town.execute('select "ETAT" from "INTERVENTION" order by 1')] == ["DONE", "NEW"]


async def test_a_block_that_fails_leaves_nothing_behind(town: Town) -> None:
    async with town.database() as database:
        with pytest.raises(RuntimeError, match="on purpose"):  # noqa: PT012
            async with database.writing() as session:
                await session.insert(database.table("INTERVENTION"), {"OBJET": "Banc"}, returning=["NUMERO"])
                raise RuntimeError("on purpose")
    assert town.count() == 0


async def test_a_reading_session_cannot_write(postgres: str) -> None:
    town = Town(postgres, lambda sql: in_postgres(postgres, sql))
    town.execute("create table t (a int)")
    async with town.database() as database:
        with pytest.raises(Misconfigured):
            async with database.reading() as session:
                await session.insert(database.table("t"), {"a": 1}, returning=["a"])
    assert town.execute("select * from t") == []


# --- written once -----------------------------------------------------------------------------------------------------


async def once(database: Database, reference: str) -> tuple[dict[str, Any], bool]:
    async with database.writing() as session:
        found: tuple[dict[str, Any], bool] = await session.insert_once(
            database.table("INTERVENTION"), {"OBJET": "Banc", "REF": reference}, by="REF", returning=["NUMERO"]
        )
        return found


async def test_the_same_reference_is_written_once(town: Town) -> None:
    async with town.database() as database:
        assert await once(database, "F-1") == ({"NUMERO": 1}, True)
        assert await once(database, "F-1") == ({"NUMERO": 1}, False)
        assert await once(database, "F-2") == ({"NUMERO": 2}, True)
    assert town.count() == 2


async def test_many_callers_at_once_write_one_row_without_a_unique_index(town: Town) -> None:
    async with town.database() as one, town.database() as other:
        found = await asyncio.gather(*(once(each, "F-1") for each in [one, other] * 4))
    assert sum(created for _, created in found) == 1
    assert {row["NUMERO"] for row, _ in found} == {1}
    assert town.count() == 1


async def test_a_row_written_once_needs_the_value_that_tells_it(town: Town) -> None:
    async with town.database() as database:
        with pytest.raises(ValueError, match="tells two rows apart"):
            async with database.writing() as session:
                await session.insert_once(database.table("INTERVENTION"), {"OBJET": "Banc"}, by="REF")


async def test_a_domain_stands_for_its_type(postgres: str) -> None:
    in_postgres(postgres, "create domain code as varchar(4)")
    in_postgres(postgres, "create table t (a code)")
    town = Town(postgres, lambda sql: in_postgres(postgres, sql))
    async with town.database() as database:
        async with database.writing() as session:
            assert await session.insert(database.table("t"), {"a": "VOIR"}, returning=["a"]) == {"a": "VOIR"}
        with pytest.raises(InvalidInput) as caught:  # the library does not read a domain's length: the server refuses
            async with database.writing() as session:
                await session.insert(database.table("t"), {"a": "VOIRIE"})
    assert "VOIRIE" not in f"{caught.value.message} {caught.value.detail}"


async def test_a_type_of_column_nobody_can_fill_is_told(postgres: str) -> None:
    in_postgres(postgres, "create table t (a bytea)")
    async with Town(postgres, lambda sql: []).database() as database:
        with pytest.raises(Misconfigured, match="type qui n'est pas pris en charge"):
            async with database.writing() as session:
                await session.insert(database.table("t"), {"a": "x"})


# --- values that do not fit -------------------------------------------------------------------------------------------


async def test_every_value_that_does_not_fit_is_told_by_its_field(town: Town) -> None:
    found = await fields_refused(
        town,
        {
            "OBJET": "Bien trop long pour la colonne",
            "PRIORITE": "40000",
            "COUT": "123456.00",
            "SOUHAITE": "demain",
            "URGENT": "peut-être",
            "CREE": "hier",
        },
        {"OBJET": "subject", "SOUHAITE": "wished_date"},
    )
    assert found == {
        "subject": ["compte au plus 12 caractères"],
        "PRIORITE": ["est un nombre trop grand pour le logiciel"],
        "COUT": ["est un nombre trop grand pour le logiciel"],
        "wished_date": ["doit être une date AAAA-MM-JJ"],
        "URGENT": ["doit être vrai ou faux"],
        "CREE": ["doit être une date et une heure ISO 8601"],
    }


@pytest.mark.parametrize(("column", "value"), [("COUT", "1.005"), ("COUT", "NaN"), ("PRIORITE", "2.5"), ("COUT", "x")])
async def test_a_number_is_never_rounded_behind_the_callers_back(town: Town, column: str, value: str) -> None:
    assert list(await fields_refused(town, {"OBJET": "Banc", column: value}, {})) == [column]


async def test_a_column_the_database_requires_is_told_when_it_is_missing(town: Town) -> None:
    assert await fields_refused(town, {"REF": "F-1"}, {"OBJET": "subject"}) == {
        "subject": ["est exigé par le logiciel"]
    }
    assert "subject" in await fields_refused(town, {"OBJET": None}, {"OBJET": "subject"})


async def test_no_value_is_repeated_in_an_error(town: Town) -> None:
    error = await refused(town, {"OBJET": "Jeanne Martin, 3 rue du Lac"})
    assert "Jeanne" not in f"{error.message} {error.detail} {getattr(error, 'fields', '')}"


async def test_a_narrow_character_set_takes_plain_signs_and_refuses_the_rest(town: Town) -> None:
    async with town.database(charset="iso8859-15") as database:
        table = database.table("INTERVENTION")
        async with database.writing() as session:
            await session.insert(table, {"OBJET": "L’été – œuf", "DETAIL": "20 €…"})
        with pytest.raises(InvalidInput) as caught:
            async with database.writing() as session:
                await session.insert(table, {"OBJET": "Bravo 👍"}, fields={"OBJET": "subject"})
    assert town.execute('select "OBJET", "DETAIL" from "INTERVENTION"') == [("L'été - œuf", "20 €...")]
    assert "U+1F44D" in caught.value.fields["subject"][0]


async def test_letters_written_in_two_parts_are_put_together(town: Town) -> None:
    await write(town, {"OBJET": "e\u0301te\u0301"})
    assert town.execute('select "OBJET" from "INTERVENTION"') == [("été",)]


async def test_the_character_set_of_a_postgresql_base_is_found(postgres_url: str, tmp_path: Path) -> None:
    in_postgres(postgres_url, "create database narrow encoding 'LATIN9' locale 'C' template template0")
    url = postgres_url.rpartition("/")[0] + "/narrow"
    try:
        in_postgres(url, "create table t (a text)")
        town = Town(url, lambda sql: in_postgres(url, sql))
        async with town.database() as database:
            table = database.table("t")
            async with database.writing() as session:
                await session.insert(table, {"a": "Cœur à 3 € – L’Été"})
            with pytest.raises(InvalidInput):
                async with database.writing() as session:
                    await session.insert(table, {"a": "Ω"})
            async with database.reading() as session:
                assert await session.rows(table, ["a"], where={"a": "Ω"}) == []
                assert await session.rows(table, ["a"], search=["a"], q="coeur ete") == [{"a": "Cœur à 3 € - L'Été"}]
    finally:
        in_postgres(postgres_url, "drop database narrow with (force)")


# --- what the catalogue does not know ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["nowhere", "intervention", 'INTERVENTION"; drop table "LIEU', "other.INTERVENTION"])
async def test_a_table_that_is_not_in_the_catalogue_is_the_operators_mistake(town: Town, name: str) -> None:
    async with town.database() as database:
        with pytest.raises(Misconfigured, match="Réglage « table »") as caught:
            async with database.reading() as session:
                await session.rows(database.table(name), ["NUMERO"])
    assert ("« INTERVENTION » existe" in caught.value.message) == (name == "intervention")
    assert caught.value.processed is False


async def test_a_column_that_is_not_in_the_catalogue_is_told_with_those_there_are(town: Town) -> None:
    async with town.database() as database:
        table = database.table("INTERVENTION")
        with pytest.raises(Misconfigured, match=r'Réglage « columns ».*ETAT", "1.*NUMERO, REF'):
            async with database.reading() as session:
                await session.verify(table, ["NUMERO", 'ETAT", "1'], setting="columns")
        for call in (
            lambda s: s.rows(table, ["x"]),
            lambda s: s.rows(table, SEE, where={"x": 1}),
            lambda s: s.rows(table, SEE, order=["-x"]),
            lambda s: s.rows(table, SEE, search=["x"], q="a"),
            lambda s: s.insert(table, {"x": 1}),
            lambda s: s.insert(table, {"OBJET": "a"}, returning=["x"]),
            lambda s: s.insert_once(table, {"OBJET": "a"}, by="x"),
            lambda s: s.update(table, {"OBJET": "a"}, where={"x": 1}),
        ):
            with pytest.raises(Misconfigured, match="n'a pas de colonne x"):
                async with database.writing() as session:
                    await call(session)
    assert town.count() == 0


async def test_a_table_that_changed_is_read_again(town: Town) -> None:
    async with town.database() as database:
        table = database.table("INTERVENTION")
        async with database.reading() as session:
            await session.rows(table, ["DETAIL"])
        town.execute('alter table "INTERVENTION" drop column "DETAIL"')
        with pytest.raises(Misconfigured, match="ne correspond plus"):
            async with database.reading() as session:
                await session.rows(table, ["DETAIL"])
        with pytest.raises(Misconfigured, match="n'a pas de colonne DETAIL"):
            async with database.reading() as session:
                await session.rows(table, ["DETAIL"])


async def test_a_table_of_another_schema_and_a_view_are_found(postgres: str) -> None:
    in_postgres(postgres, 'create schema "Voirie"')
    in_postgres(postgres, 'create table "Voirie"."T" ("select" int)')
    in_postgres(postgres, "create view etats as select 1 as code, 'Nouveau' as libelle")
    town = Town(postgres, lambda sql: in_postgres(postgres, sql))
    async with town.database() as database:
        async with database.writing() as session:
            await session.insert(database.table("Voirie.T"), {"select": 3})
        async with database.reading() as session:
            assert await session.rows(database.table("etats"), ["code", "libelle"]) == [
                {"code": 1, "libelle": "Nouveau"}
            ]


# --- what the database answers ----------------------------------------------------------------------------------------


async def test_a_rule_of_the_database_is_a_refusal(town: Town) -> None:
    error = await refused(town, {"OBJET": "Banc", "LIEU": "MAIRIE"})
    assert (type(error), error.code, error.processed) == (Rejected, "unknown-value", True)
    error = await refused(town, {"OBJET": "Banc", "PRIORITE": 9})
    assert (type(error), error.code) == (Rejected, "refused-value")


async def test_a_row_that_exists_already_is_a_refusal_without_its_values(town: Town) -> None:
    town.execute('create unique index one_subject on "INTERVENTION" ("OBJET")')
    await write(town, {"OBJET": "Banc"})
    with pytest.raises(Rejected) as caught:
        await write(town, {"OBJET": "Banc"})
    assert caught.value.code == "duplicate"
    assert "Banc" not in f"{caught.value.message} {caught.value.detail}"


async def test_a_sentence_written_in_a_trigger_reaches_the_form(town: Town) -> None:
    if town.is_postgres:
        town.execute(
            "create function no() returns trigger language plpgsql as "
            "$$ begin raise exception 'Ce secteur est fermé' using errcode = '45001'; end $$"
        )
        town.execute('create trigger no before insert on "INTERVENTION" for each row execute function no()')
    else:
        town.execute(
            "create trigger no before insert on \"INTERVENTION\" begin select raise(abort, 'Ce secteur est fermé'); end"
        )
    error = await refused(town, {"OBJET": "Banc"})
    assert (type(error), str(error.message)) == (Rejected, "Ce secteur est fermé")
    assert error.code == ("45001" if town.is_postgres else "refused-value")


async def test_a_rule_checked_at_the_commit_is_a_refusal_too(postgres: str) -> None:
    town = Town(postgres, lambda sql: in_postgres(postgres, sql))
    town.execute("create table t (a int unique deferrable initially deferred)")
    town.execute("insert into t values (1)")
    call = new_call(repeatable=False)
    with serving(call), pytest.raises(Rejected) as caught:
        async with town.database() as database, database.writing() as session:
            await session.insert(database.table("t"), {"a": 1})
    assert (caught.value.processed, call.effect_sent) == (True, True)


async def test_an_account_without_the_right_is_the_operators_business(postgres: str) -> None:
    name = f"reader_{postgres[-8:]}"
    in_postgres(postgres, "create table t (a int)")
    in_postgres(postgres, f"create role {name} login password 'secret-word'")
    in_postgres(postgres, f"grant select on t to {name}")
    try:
        url = postgres.replace("postgres@", f"{name}:secret-word@")
        async with Town(url, lambda sql: []).database() as database:
            async with database.reading() as session:
                assert await session.rows(database.table("t"), ["a"]) == []
            with pytest.raises(Misconfigured, match="notre compte") as caught:
                async with database.writing() as session:
                    await session.insert(database.table("t"), {"a": 1})
            assert caught.value.processed is False
    finally:
        in_postgres(postgres, f"drop owned by {name}; drop role {name}")


async def test_a_value_of_another_type_found_in_sqlite_breaks_its_contract(tmp_path: Path) -> None:
    path = tmp_path / "town.db"
    in_sqlite(path, "create table t (day date)")
    in_sqlite(path, "insert into t values ('14/03/2025')")
    async with Town(f"sqlite:///{path}", lambda sql: []).database() as database:
        with pytest.raises(UpstreamInvalid):
            async with database.reading() as session:
                await session.rows(database.table("t"), ["day"])


# --- time, locks, lost connections ------------------------------------------------------------------------------------


async def test_a_statement_that_lasts_too_long_is_ended_and_nothing_is_kept(postgres: str) -> None:
    town = Town(postgres, lambda sql: in_postgres(postgres, sql))
    town.execute("create table t (a int)")
    async with await psycopg.AsyncConnection.connect(postgres) as other:
        await other.execute("lock table t")
        async with town.database(timeout=0.3) as database:
            with pytest.raises(UpstreamUnavailable) as caught:
                async with database.writing() as session:
                    await session.insert(database.table("t"), {"a": 1})
    assert (caught.value.processed, caught.value.detail != "") == (False, True)
    assert town.execute("select * from t") == []


async def test_a_long_computation_of_sqlite_is_ended(tmp_path: Path) -> None:
    path = tmp_path / "town.db"
    in_sqlite(
        path,
        "create view endless as with recursive n(i) as (select 1 union all select i + 1 from n) "
        "select count(*) c from n",
    )
    async with Town(f"sqlite:///{path}", lambda sql: []).database(timeout=0.3) as database:
        with pytest.raises(UpstreamUnavailable) as caught:
            async with database.reading() as session:
                await session.rows(database.table("endless"), ["c"])
    assert (caught.value.processed, caught.value.http_status) == (False, 504)


async def test_a_file_that_another_writer_holds_is_busy(tmp_path: Path) -> None:
    path = tmp_path / "town.db"
    in_sqlite(path, "create table t (a int)")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("begin immediate")
    try:
        async with Town(f"sqlite:///{path}", lambda sql: []).database(timeout=0.2) as database:
            with pytest.raises(UpstreamUnavailable) as caught:
                async with database.writing() as session:
                    await session.insert(database.table("t"), {"a": 1})
    finally:
        other.close()
    assert caught.value.processed is False


async def test_a_call_without_time_left_says_nothing_to_the_database(town: Town) -> None:
    async with town.database() as database:
        with serving(new_call(0.0)), pytest.raises(UpstreamUnavailable) as caught:
            async with database.reading():
                pass
    assert caught.value.processed is False


async def test_too_many_sessions_at_once_are_refused(postgres: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sdk.sql.WAIT_FOR_CONNECTION", 0.05)
    town = Town(postgres, lambda sql: in_postgres(postgres, sql))
    async with town.database(connections=1) as database, database.reading():
        with pytest.raises(Overloaded):
            async with database.reading():
                pass


async def test_a_connection_lost_before_the_commit_executed_nothing(postgres: str) -> None:
    town = Town(postgres, lambda sql: in_postgres(postgres, sql))
    town.execute("create table t (a int)")
    call = new_call(repeatable=False)
    async with town.database() as database:
        with serving(call), pytest.raises(UpstreamUnavailable) as caught:  # noqa: PT012
            async with database.writing() as session:
                await session.insert(database.table("t"), {"a": 1})
                end_sessions(postgres)
                await session.insert(database.table("t"), {"a": 2})
        assert (caught.value.processed, call.effect_sent) == (False, False)
        async with database.reading() as session:  # the next one has a connection of its own
            assert await session.rows(database.table("t"), ["a"]) == []


async def test_a_connection_lost_during_the_commit_is_in_doubt(postgres: str) -> None:
    town = Town(postgres, lambda sql: in_postgres(postgres, sql))
    town.execute("create table t (a int)")
    call = new_call(repeatable=False)
    async with town.database() as database:
        with serving(call), pytest.raises(UpstreamUnavailable) as caught:  # noqa: PT012
            async with database.writing() as session:
                await session.insert(database.table("t"), {"a": 1})
                end_sessions(postgres)
    assert (caught.value.processed, call.effect_sent) == (None, True)


async def test_a_commit_without_an_answer_is_in_doubt(postgres: str) -> None:
    async with mute(postgres) as (url, silence):
        call = new_call(repeatable=False)
        in_postgres(postgres, "create table t (a int)")
        async with Town(url, lambda sql: []).database(timeout=0.5) as database:
            with serving(call), pytest.raises(UpstreamUnavailable) as caught:  # noqa: PT012
                async with database.writing() as session:
                    await session.insert(database.table("t"), {"a": 1})
                    silence.set()
    assert (caught.value.processed, caught.value.http_status, call.effect_sent) == (None, 504, True)


async def test_a_reading_that_fails_at_its_end_leaves_no_doubt(postgres: str) -> None:
    call = new_call()
    async with Town(postgres, lambda sql: []).database() as database:
        with serving(call), pytest.raises(UpstreamUnavailable) as caught:
            async with database.reading():
                end_sessions(postgres)
    assert (caught.value.processed, call.effect_sent) == (False, False)


async def test_a_connection_the_server_dropped_meanwhile_is_replaced(postgres: str) -> None:
    in_postgres(postgres, "create table t (a int)")
    async with Town(postgres, lambda sql: []).database() as database:
        for _ in range(2):
            async with database.writing() as session:
                await session.insert(database.table("t"), {"a": 1})
            end_sessions(postgres)
    assert in_postgres(postgres, "select count(*) from t") == [(2,)]


def end_sessions(url: str) -> None:
    in_postgres(url, "select pg_terminate_backend(pid) from pg_stat_activity where application_name like 'relais %'")


@asynccontextmanager
async def mute(url: str) -> AsyncIterator[tuple[str, asyncio.Event]]:
    """A server before the real one: once `silence` is set, nothing comes back any more."""
    silence = asyncio.Event()
    port = int(url.rpartition(":")[2].partition("/")[0])
    writers: list[asyncio.StreamWriter] = []
    tasks: set[asyncio.Task[None]] = set()

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, back: bool) -> None:
        try:
            while chunk := await source.read(65536):
                if not (back and silence.is_set()):
                    sink.write(chunk)
                    await sink.drain()
        except OSError:
            return

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if silence.is_set():
            writer.close()
            return
        behind, before = await asyncio.open_connection("127.0.0.1", port)
        writers.extend([writer, before])
        tasks.add(asyncio.create_task(pump(reader, before, False)))
        tasks.add(asyncio.create_task(pump(behind, writer, True)))

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        own = server.sockets[0].getsockname()[1]
        yield url.replace(f":{port}/", f":{own}/"), silence
    finally:
        server.close()
        for writer in writers:
            writer.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


# --- where an instance may go -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "egress",
    [None, Egress(hosts=frozenset()), Egress(hosts=frozenset(), private=("10.0.0.0/8",))],
)
async def test_an_address_that_the_operator_has_not_opened_is_never_reached(postgres: str, egress: Any) -> None:
    async with Town(postgres, lambda sql: []).database(egress=egress) as database:
        with pytest.raises(Misconfigured, match="n'est pas autorisée") as caught:
            async with database.reading():
                pass
    assert caught.value.processed is False


async def test_the_gateways_own_port_is_never_reached(postgres: str) -> None:
    port = int(postgres.rpartition(":")[2].partition("/")[0])
    egress = Egress(hosts=frozenset(), private=("127.0.0.0/8",), denied_ports=frozenset({port}))
    async with Town(postgres, lambda sql: []).database(egress=egress) as database:
        with pytest.raises(Misconfigured):
            async with database.reading():
                pass


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:secret-word@10.0.0.1/base?host=elsewhere",
        "postgresql://u:secret-word@10.0.0.1/base?service=x",
        "postgresql://u:secret-word@10.0.0.1/base?sslmode=disable&sslmode=require",
        "postgresql://u:secret-word@10.0.0.1:port/base",
        "postgresql:///base",
        "postgresql://u:secret-word@10.0.0.1",
        "mysql://u:secret-word@10.0.0.1/base",
        "sqlite://",
        "sqlite:///relative.db",
        "sqlite:////srv/town.db?mode=rwc",
        "secret-word",
        "",
    ],
)
def test_an_address_that_is_not_one_is_refused_at_start_without_being_shown(url: str) -> None:
    with pytest.raises(Misconfigured, match="Réglage « database_url »") as caught:
        Database(Secret(url), way())
    assert "secret-word" not in f"{caught.value.message} {caught.value.detail}"


def test_an_unknown_character_set_is_refused_at_start() -> None:
    with pytest.raises(Misconfigured, match="Jeu de caractères inconnu"):
        Database(Secret("sqlite:////town.db"), way(), charset="latin-99")


async def test_a_sqlite_file_that_does_not_exist_is_not_created(tmp_path: Path) -> None:
    path = tmp_path / "none.db"
    async with Town(f"sqlite:///{path}", lambda sql: []).database() as database:
        with pytest.raises(Misconfigured, match="ne s'ouvre pas"):
            async with database.reading():
                pass
    assert not path.exists()


async def test_a_file_that_is_not_a_database_is_the_operators_mistake(tmp_path: Path) -> None:
    (tmp_path / "town.db").write_text("not a database at all, only text " * 50)
    async with Town(f"sqlite:///{tmp_path}/town.db", lambda sql: []).database() as database:
        with pytest.raises(Misconfigured):
            async with database.reading() as session:
                await session.rows(database.table("t"), ["a"])


async def test_refused_credentials_are_the_operators_business_and_stay_secret(postgres: str) -> None:
    url = postgres.replace("postgres@", "somebody:secret-word@")
    async with Town(url, lambda sql: []).database() as database:
        with pytest.raises(Misconfigured, match="identifiants") as caught:
            async with database.reading():
                pass
    shown = f"{caught.value!r} {caught.value.detail} {caught.value.__cause__} {caught.value.__context__!r}"
    assert "secret-word" not in shown
    assert caught.value.processed is False


async def test_a_server_that_cannot_prove_itself_is_refused_where_the_setting_wants_it(postgres: str) -> None:
    async with Town(f"{postgres}?sslmode=verify-full", lambda sql: []).database() as database:
        with pytest.raises(Misconfigured, match="TLS"):
            async with database.reading():
                pass


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("FATAL:  sorry, too many clients already", UpstreamUnavailable),
        ("FATAL:  désolé, trop de clients sont déjà connectés", UpstreamUnavailable),
        ("FATAL:  the database system is starting up", UpstreamUnavailable),
        ("SSL SYSCALL error: EOF detected", UpstreamUnavailable),
        ("SSL error: certificate verify failed", Misconfigured),
        ("FATAL:  authentification par mot de passe échouée", Misconfigured),
    ],
)
async def test_what_a_server_says_before_any_session_tells_who_must_act(
    monkeypatch: pytest.MonkeyPatch, said: str, kind: type[RelaisError]
) -> None:
    async def connect(**options: Any) -> Any:
        raise psycopg.OperationalError(f"connection failed: {said} p4ss")

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", connect)
    async with Town("postgresql://u:p4ss@127.0.0.1/base", lambda sql: []).database() as database:
        with pytest.raises(kind) as caught:
            async with database.reading():
                pass
    assert caught.value.processed is False
    assert caught.value.detail.endswith("***")


async def test_an_effect_that_may_not_leave_any_more_is_not_committed(town: Town) -> None:
    def guard() -> None:
        raise UpstreamUnavailable("no more", processed=False)

    call = new_call(repeatable=False)
    call.guard = guard
    with serving(call), pytest.raises(UpstreamUnavailable, match="no more"):
        await write(town, {"OBJET": "Banc"})
    assert (town.count(), call.effects, call.effect_sent) == (0, 0, False)


async def test_a_database_that_does_not_exist_is_the_operators_business(postgres: str) -> None:
    async with Town(f"{postgres}_other", lambda sql: []).database() as database:
        with pytest.raises(Misconfigured):
            async with database.reading():
                pass


@pytest.mark.parametrize("host", ["127.0.0.1:1", "no-such-host.invalid"])
async def test_a_server_that_is_not_there_is_unavailable_and_nothing_was_sent(host: str) -> None:
    async with Town(f"postgresql://u:p@{host}/base", lambda sql: []).database() as database:
        with pytest.raises(UpstreamUnavailable) as caught:
            async with database.reading():
                pass
    assert caught.value.processed is False


@pytest.mark.parametrize(
    ("mode", "expected"), [("", "verify-full"), ("verify-ca", "verify-ca"), ("require", ""), ("disable", "")]
)
async def test_outside_the_private_networks_the_server_is_always_verified(
    monkeypatch: pytest.MonkeyPatch, mode: str, expected: str
) -> None:
    asked: dict[str, Any] = {}

    async def connect(**options: Any) -> Any:
        asked.update(options)
        raise psycopg.OperationalError("connection failed: nobody there")

    monkeypatch.setattr(psycopg.AsyncConnection, "connect", connect)
    url = "postgresql://u:p@8.8.8.8/base" + (f"?sslmode={mode}" if mode else "")
    async with Town(url, lambda sql: []).database() as database:
        with pytest.raises(UpstreamUnavailable if expected else Misconfigured):
            async with database.reading():
                pass
    assert asked.get("sslmode", "") == expected
    assert not expected or asked["sslrootcert"] == "system" or ssl.create_default_context(cafile=asked["sslrootcert"])


# --- the connector that owns it ---------------------------------------------------------------------------------------


async def test_what_a_connector_opened_is_closed_with_its_instance() -> None:
    from gateway.registry import Instance, Registry

    closed: list[str] = []

    class Empty(Model):
        pass

    class Owner(Connector[Empty]):
        """Il possède une base."""

        name, title = "owner", "Owner"

        async def check(self) -> None: ...

        async def close(self) -> None:
            closed.append("connector")

    async def close() -> None:
        closed.append("http")

    http = Http(way().send, close=close)
    instance = Instance("owner/a", "", Owner(Empty(), http), http, frozenset(), 60.0, {})
    await Registry([instance]).close()
    assert closed == ["connector", "http"]
