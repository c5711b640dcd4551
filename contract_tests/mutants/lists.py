"""Mutants of what is listed: search, choices, map, statistics, cell."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from contract_tests.reference import Asked, Reference, Reply, plain
from contract_tests.simula import PEOPLE, SCHOOLS

from . import documents, mutant, replies
from .everywhere import put


def each(**members: Any) -> Callable[[Any], None]:
    """An edit that sets members of every item of `data`."""

    def edit(document: Any) -> None:
        for item in document["data"]:
            item.update(members)

    return edit


def first(**members: Any) -> Callable[[Any], None]:
    """An edit that sets members of the first item of `data`."""

    def edit(document: Any) -> None:
        if document["data"]:
            document["data"][0].update(members)

    return edit


def without(*names: str) -> Callable[[Any], None]:
    """An edit that removes members of every item of `data`."""

    def edit(document: Any) -> None:
        for item in document["data"]:
            for name in names:
                item.pop(name, None)

    return edit


# --- search -----------------------------------------------------------------------------------------------------------

S = "/search"
documents("hits-in-an-object", "PUB-SEARCH-1", at=S, fault="data as an object.", edit=lambda b: {**b, "data": {"h": 1}})
documents(
    "hits-as-texts",
    "PUB-SEARCH-1",
    at=S,
    fault="Hits as texts.",
    edit=lambda b: {**b, "data": ["a"] if b["data"] else []},
)
documents("numeric-text", "PUB-SEARCH-2", at=S, fault="text as a number.", edit=first(text=88))
documents("hit-without-text", "PUB-SEARCH-2", at=S, fault="No text.", edit=without("text"))
documents("relative-url", "PUB-SEARCH-3", at=S, fault="A relative url.", edit=first(url="/dossiers/88"))
documents("javascript-url", "PUB-SEARCH-3", at=S, fault="A javascript: url.", edit=first(url="javascript:alert(1)"))
documents("no-description-member", "PUB-SEARCH-4", at=S, fault="No description.", edit=without("description"))
documents(
    "script-in-description", "PUB-SEARCH-5", at=S, fault="A script.", edit=first(description="<script>x()</script>")
)
documents(
    "event-in-description",
    "PUB-SEARCH-5",
    at=S,
    fault="An event.",
    edit=first(description='<img src="x" onerror="x()">'),
)
documents("html-in-text", "PUB-SEARCH-6", at=S, fault="HTML in text.", edit=first(text="<b>Dossier</b> 88"))


@mutant("q-ignored", "PUB-SEARCH-7")
class QIgnored(Reference):
    """Everybody, whatever is searched."""

    def search(self, asked: Asked, rest: str) -> Reply:
        return super().search(replace(asked, query="q=dupont"), rest)


@mutant("nothing-is-null", "PUB-SEARCH-8")
class NothingIsNull(Reference):
    """data null when nothing is found."""

    def search(self, asked: Asked, rest: str) -> Reply:
        reply = super().search(asked, rest)
        return reply if reply.json["data"] else self.success(None)


@mutant("nothing-is-404", "PUB-SEARCH-8")
class NothingIs404(Reference):
    """404 when nothing is found."""

    def search(self, asked: Asked, rest: str) -> Reply:
        reply = super().search(asked, rest)
        found = reply.json["data"] or "zqx" not in asked.params.get("q", "")
        return reply if found else self.failure(404, "NotFound", "Rien.")


class OwnMatching(Reference):
    """A search with a rule of its own, of which only names are searched."""

    names: tuple[str, ...] = ()

    def matching(self, term: str, text: str) -> bool:
        usual = super().matching(term, text)
        return self.finds(term, text) if text in self.names and term else usual

    def finds(self, term: str, text: str) -> bool:
        """Whether the term finds the text."""
        raise NotImplementedError


class CaseSensitive(OwnMatching):
    """Upper and lower case differ."""

    def finds(self, term: str, text: str) -> bool:
        words = _bare(term).split()
        return all(word in _bare(text) or (word.capitalize() in _bare(text) and word.islower()) for word in words)


class AccentSensitive(OwnMatching):
    """Accents matter."""

    def finds(self, term: str, text: str) -> bool:
        return all(word in text.casefold() for word in term.casefold().split())


def _bare(text: str) -> str:
    decomposed = unicodedata.normalize("NFD", text)
    return "".join(char for char in decomposed if not unicodedata.combining(char))


PERSONS = tuple(one["name"] for one in PEOPLE)
LABELS = tuple(one["text"] for one in SCHOOLS)


@mutant("search-case-sensitive", "PUB-SEARCH-9")
class SearchCase(CaseSensitive):
    """DUPONT does not find Dupont."""

    names = PERSONS


@mutant("search-accent-sensitive", "PUB-SEARCH-10")
class SearchAccents(AccentSensitive):
    """Elodie does not find Élodie."""

    names = PERSONS


@mutant("reserved-characters-crash", "PUB-SEARCH-11")
class ReservedCrash(Reference):
    """An apostrophe in the term breaks the SQL."""

    def search(self, asked: Asked, rest: str) -> Reply:
        term = asked.params.get("q", "")
        if "'" in term and "&" in term:
            return self.failure(500, "Internal", "Erreur interne.")
        return super().search(asked, rest)


@mutant("empty-search-crash", "PUB-SEARCH-12")
class EmptySearchCrash(Reference):
    """An empty term is a 500."""

    def search(self, asked: Asked, rest: str) -> Reply:
        if not asked.params.get("q"):
            return self.failure(500, "Internal", "Erreur interne.")
        return super().search(asked, rest)


# --- choice list ------------------------------------------------------------------------------------------------------

L = "/schools"
documents("choices-in-an-object", "PUB-LIST-1", at=L, fault="data as an object.", edit=put(data={"12": "École"}))
documents("id-null", "PUB-LIST-2", at=L, fault="A null id.", edit=first(id=None), bare=True)
documents("id-empty", "PUB-LIST-2", at=L, fault="An empty id.", edit=first(id=""), bare=True)
documents(
    "item-is-a-text",
    "PUB-LIST-2",
    at=L,
    bare=True,
    fault="An item as a text.",
    edit=lambda b: b["data"].append("École"),
)
documents("label-is-a-number", "PUB-LIST-3", at=L, fault="text as a number.", edit=first(text=2025), bare=True)
documents("label-absent", "PUB-LIST-3", at=L, fault="No text.", edit=without("text"))
documents("disabled-is-a-text", "PUB-LIST-16", at=L, fault='disabled as "false".', edit=each(disabled="false"))


documents("label-empty", "PUB-LIST-4", at=L, fault="An empty label.", edit=first(text=""), bare=True)


@replies("ids-twice", "PUB-LIST-5", at=L)
def _ids_twice(asked: Asked, reply: Reply) -> Reply:
    """Two items of the list with one id."""
    value = reply.json
    if len(value["data"]) > 2:
        value["data"][1]["id"] = value["data"][0]["id"]
    return reply.with_json(value)


@replies("id-does-not-round-trip", "PUB-LIST-6", at=L)
def _round_trip(asked: Asked, reply: Reply) -> Reply:
    """Ids padded with zeros in a lookup."""
    value = reply.json
    if "id" in asked.params:
        for item in value["data"]:
            item["id"] = item["id"].rjust(6, "0")
    return reply.with_json(value)


class Lists(Reference):
    """A list with a rule of its own."""

    def rows(self, asked: Asked, rows: list[Any]) -> list[Any] | Reply:
        """What is given instead of the rows."""
        raise NotImplementedError

    def schools(self, asked: Asked, rest: str) -> Reply:
        found = self.rows(asked, super().schools(asked, rest).json["data"])
        return found if isinstance(found, Reply) else self.success(found)


@mutant("odd-id-is-lost", "PUB-LIST-6")
class OddIdIsLost(Lists):
    """An id with reserved characters is not found."""

    def rows(self, asked: Asked, rows: list[Any]) -> list[Any] | Reply:
        return [] if "/" in asked.params.get("id", "") else rows


@mutant("id-ignored", "PUB-LIST-7")
class IdIgnored(Lists):
    """A lookup gives the whole list."""

    def rows(self, asked: Asked, rows: list[Any]) -> list[Any] | Reply:
        return [dict(one) for one in SCHOOLS] if "id" in asked.params else rows


@mutant("unknown-id-is-404", "PUB-LIST-8")
class UnknownIdIs404(Lists):
    """404 for an unknown id."""

    def rows(self, asked: Asked, rows: list[Any]) -> list[Any] | Reply:
        if asked.params.get("id", "").startswith("zqx"):
            return self.failure(404, "NotFound", "Choix inconnu.")
        return rows


@mutant("list-q-ignored", "PUB-LIST-9")
class ListQIgnored(Lists):
    """The whole list when the term finds nothing."""

    def rows(self, asked: Asked, rows: list[Any]) -> list[Any] | Reply:
        return rows if rows or "q" not in asked.params else [dict(one) for one in SCHOOLS]


@mutant("list-case-sensitive", "PUB-LIST-10")
class ListCase(CaseSensitive):
    """PASTEUR does not find Pasteur."""

    names = LABELS


@mutant("list-accent-sensitive", "PUB-LIST-11")
class ListAccents(AccentSensitive):
    """Ecole does not find École."""

    names = LABELS


@mutant("list-empty-search-400", "PUB-LIST-12")
class ListEmptySearch(Lists):
    """400 for an empty term."""

    def rows(self, asked: Asked, rows: list[Any]) -> list[Any] | Reply:
        if asked.params.get("q") == "":
            return self.failure(400, "InvalidInput", "q est vide.")
        return rows


@mutant("list-reserved-crash", "PUB-LIST-13")
class ListReserved(Lists):
    """An ampersand and an apostrophe in the term are a 500."""

    def rows(self, asked: Asked, rows: list[Any]) -> list[Any] | Reply:
        term = asked.params.get("q", "")
        if "'" in term and "&" in term:
            return self.failure(500, "Internal", "Erreur interne.")
        return rows


@mutant("list-shuffled", "PUB-LIST-14")
class ListShuffled(Lists):
    """The order changes at each call."""

    def rows(self, asked: Asked, rows: list[Any]) -> list[Any] | Reply:
        self.reads += 0 if asked.query else 1
        return rows[::-1] if self.reads % 2 else rows


@mutant("one-word-only", "PUB-LIST-15")
class OneWordOnly(OwnMatching):
    """A term of several words finds nothing."""

    names = LABELS

    def finds(self, term: str, text: str) -> bool:
        return plain(term) in plain(text).split()


# --- map --------------------------------------------------------------------------------------------------------------


def _on_features(name: str, requirement: str, fault: str, edit: Callable[[dict[str, Any]], object]) -> None:
    def change(document: Any) -> None:
        for feature in document["features"]:
            edit(feature)

    documents(name, requirement, at="/benches", fault=fault, edit=change)


M = "/benches"
documents("features-in-an-object", "PUB-MAP-1", at=M, fault="features as an object.", edit=put(features={"b-1": {}}))
documents("no-collection-type", "PUB-MAP-2", at=M, fault="No type.", edit=lambda b: b.pop("type") and None)
_on_features("wkt-geometry", "PUB-MAP-3", "WKT.", lambda f: f.update(geometry="POINT(-1.55 47.21)"))
_on_features(
    "lambert-93", "PUB-MAP-3", "Lambert 93.", lambda f: f.update(geometry={"type": "Point", "coordinates": [355000, 6]})
)
_on_features("swapped-coordinates", "PUB-MAP-4", "Latitude first.", lambda f: f["geometry"]["coordinates"].reverse())
_on_features("no-id-in-properties", "PUB-MAP-5", "The id at the feature only.", lambda f: f["properties"].pop("id"))
_on_features("properties-null", "PUB-MAP-5", "properties null.", lambda f: f.update(properties=None))
_on_features("id-in-properties-only", "PUB-MAP-6", "The id in properties only.", lambda f: f.pop("id"))
_on_features("no-label-on-the-map", "PUB-MAP-7", "No text.", lambda f: f["properties"].pop("text"))


def _one_id(feature: dict[str, Any]) -> None:
    feature["id"] = feature["properties"]["id"] = "b-1"


_on_features("features-with-one-id", "PUB-MAP-8", "One id for all.", _one_id)

# --- statistics, cell -------------------------------------------------------------------------------------------------

T, V = "/statistics", "/statistics/visits"


@replies("relative-statistic", "PUB-STAT-1", at=T)
def _relative(asked: Asked, reply: Reply) -> Reply:
    """A relative url in the catalogue."""
    value = reply.json
    if asked.path == T:
        value["data"][0]["url"] = V
    return reply.with_json(value)


@replies("filter-without-options", "PUB-STAT-2", at=T)
def _no_options(asked: Asked, reply: Reply) -> Reply:
    """A filter without options."""
    value = reply.json
    if asked.path == T:
        del value["data"][0]["filters"][0]["options"]
    return reply.with_json(value)


documents("rows-instead-of-series", "PUB-STAT-3", at=V, fault="Rows.", edit=put(data=[["2025-01", 12]]))
documents(
    "short-series", "PUB-STAT-4", at=V, fault="A value is missing.", edit=lambda b: b["data"]["series"][0]["data"].pop()
)
documents(
    "values-as-texts", "PUB-STAT-5", at=V, fault='"12".', edit=lambda b: b["data"]["series"][0].update(data=["1", "2"])
)


@mutant("period-refused", "PUB-STAT-6")
class PeriodRefused(Reference):
    """start is an unknown parameter."""

    def statistics(self, asked: Asked, rest: str) -> Reply:
        if "start" in asked.params:
            return self.failure(400, "InvalidInput", "Paramètre inconnu.")
        return super().statistics(asked, rest)


@replies("cell-is-a-text", "PUB-CELL-1", at="/cell")
def _text(asked: Asked, reply: Reply) -> Reply:
    """A text as document."""
    return reply.with_json("ramassage mardi")


@mutant("anonymous-500", "PUB-CELL-2")
class AnonymousCrash(Reference):
    """500 for an anonymous visitor."""

    def cell(self, asked: Asked, rest: str) -> Reply:
        if asked.params.get("user") == "":
            return self.failure(500, "Internal", "Erreur interne.")
        return super().cell(asked, rest)
