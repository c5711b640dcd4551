"""Mutants of each profile."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from contract_tests.reference import PEOPLE, SCHOOLS, Asked, Reference, Reply, plain

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


# --- requests ---------------------------------------------------------------------------------------------------------

R = "/requests"


class Creates(Reference):
    """A creation with a rule of its own."""

    def refuses(self, body: dict[str, Any]) -> bool:
        """Whether a correct body is refused."""
        return False

    def wrong_field(self, body: dict[str, Any]) -> str | None:
        return "nom" if self.refuses(body) else super().wrong_field(body)


def _on_create(name: str, requirement: str, fault: str, edit: Callable[[Any], None]) -> None:
    def spoil(asked: Asked, reply: Reply) -> Reply:
        if asked.method != "POST":
            return reply
        value = reply.json
        edit(value["data"])
        return reply.with_json(value)

    spoil.__doc__ = fault
    replies(name, requirement, at=R)(spoil)


_on_create("no-identifier", "PUB-CREATE-1", "No id.", lambda data: data.pop("id"))
_on_create("empty-identifier", "PUB-CREATE-1", "An empty id.", lambda data: data.update(id=""))
_on_create("numeric-display-id", "PUB-CREATE-2", "display_id as a number.", lambda data: data.update(display_id=12))


@replies("missing-field-500", "PUB-CREATE-3", at=R, kinds=("failure",))
def _missing_500(asked: Asked, reply: Reply) -> Reply:
    """500 for a missing field."""
    missing = asked.method == "POST" and reply.status == 400 and b'"motif"' not in asked.body and b'"nom"' in asked.body
    return replace(reply, status=500) if missing else reply


@mutant("missing-field-accepted", "PUB-CREATE-3")
class MissingAccepted(Reference):
    """A request without its reason is created."""

    def wrong_field(self, body: dict[str, Any]) -> str | None:
        found = super().wrong_field(body)
        return None if found == "motif" and "motif" not in body else found


@mutant("accents-lost", "PUB-CREATE-4")
class AccentsLost(Reference):
    """Names are kept in ASCII."""

    def status(self, asked: Asked, rest: str) -> Reply:
        reply = super().status(asked, rest)
        value = reply.json
        if value["data"]:
            value["data"]["nom"] = value["data"]["nom"].encode("ascii", "replace").decode()
        return reply.with_json(value)


@mutant("creates-twice", "PUB-CREATE-5")
class CreatesTwice(Reference):
    """The same submission creates a second request."""

    def create(self, asked: Asked, rest: str) -> Reply:
        self.once.clear()
        return super().create(asked, rest)


@mutant("null-refused", "PUB-CREATE-6")
class NullRefused(Creates):
    """An optional field may be absent, not null."""

    def refuses(self, body: dict[str, Any]) -> bool:
        return "commentaire" in body and body["commentaire"] is None


@mutant("empty-refused", "PUB-CREATE-6")
class EmptyRefused(Creates):
    """An optional date may not be an empty text."""

    def refuses(self, body: dict[str, Any]) -> bool:
        return body.get("montant") is None and "montant" in body


@mutant("text-number-refused", "PUB-CREATE-7")
class TextNumberRefused(Creates):
    """An amount must be a JSON number."""

    def refuses(self, body: dict[str, Any]) -> bool:
        return bool(body.get("montant")) and isinstance(body["montant"], str)


@mutant("base64-flag-refused", "PUB-CREATE-8", "PUB-FILE-7")
class FlagRefused(Reference):
    """content_is_base64 is an unknown member."""

    def good_file(self, value: Any) -> bool:
        return isinstance(value, dict) and "content_is_base64" not in value


@replies("upload-refused", "PUB-FILE-7", at="/files")
def _upload(asked: Asked, reply: Reply) -> Reply:
    """The upload wants the base64 text alone."""
    if asked.method != "POST":
        return reply
    return replace(Reference().failure(400, "InvalidInput", "Un texte en base64 est attendu."), kind="success")


@mutant("large-file-500", "PUB-CREATE-9")
class LargeFileCrash(Reference):
    """500 for a body over 2 MB."""

    def route(self, asked: Asked) -> Reply:
        if len(asked.body) > 2_000_000:
            return self.failure(500, "Internal", "Erreur interne.")
        return super().route(asked)


def _on_status(name: str, requirement: str, fault: str, **members: Any) -> None:
    def spoil(asked: Asked, reply: Reply) -> Reply:
        if not asked.path.endswith("D-1"):
            return reply
        value = reply.json
        value["data"].update(members)
        return reply.with_json(value)

    spoil.__doc__ = fault
    replies(name, requirement, at=R)(spoil)


_on_status("status-as-a-number", "PUB-STATUS-1", "status as a number.", status=3)
_on_status("status-empty", "PUB-STATUS-1", "An empty status.", status="")
_on_status("final-as-a-text", "PUB-STATUS-3", 'final as "non".', final="non")
_on_status("status-not-announced", "PUB-STATUS-4", "A status nobody announced.", status="en-arbitrage")
_on_status("status-of-another", "PUB-STATUS-8", "The status of another request.", id="D-2")


@mutant("unknown-in-progress", "PUB-STATUS-2")
class UnknownInProgress(Reference):
    """An unknown request is “received”."""

    def status(self, asked: Asked, rest: str) -> Reply:
        if rest not in self.requests:
            return self.success({"id": rest, "status": "recu", "final": False})
        return super().status(asked, rest)


@mutant("unknown-request-500", "PUB-STATUS-2")
class UnknownRequestCrash(Reference):
    """500 for an unknown request."""

    def status(self, asked: Asked, rest: str) -> Reply:
        reply = super().status(asked, rest)
        return replace(reply, status=500) if reply.status == 404 else reply


@mutant("final-changes", "PUB-STATUS-5")
class FinalChanges(Reference):
    """A closed request is opened again."""

    def status(self, asked: Asked, rest: str) -> Reply:
        reply = super().status(asked, rest)
        if rest == "D-2":
            self.requests["D-2"] |= {"status": "en-cours", "final": False}
        return reply


@mutant("reading-moves-forward", "PUB-STATUS-6")
class ReadingMovesForward(Reference):
    """Reading a request makes it advance."""

    def status(self, asked: Asked, rest: str) -> Reply:
        reply = super().status(asked, rest)
        if rest == "D-1":
            now = self.requests["D-1"]["status"]
            self.requests["D-1"]["status"] = "en-cours" if now == "recu" else "recu"
        return reply


@mutant("created-unknown", "PUB-STATUS-7")
class CreatedUnknown(Reference):
    """A request just created is not known yet."""

    def status(self, asked: Asked, rest: str) -> Reply:
        if rest not in ("D-1", "D-2"):
            return self.failure(404, "NotFound", "Demande inconnue.")
        return super().status(asked, rest)


# --- files ------------------------------------------------------------------------------------------------------------

F = "/files"


@replies("file-in-an-envelope", "PUB-FILE-1", at=F, kinds=("file",))
def _in_envelope(asked: Asked, reply: Reply) -> Reply:
    """The file as base64 in the envelope."""
    body = json.dumps({"err": 0, "data": {"content": "JVBERi0="}}).encode()
    return replace(reply, body=body, headers={**reply.headers, "Content-Type": "application/json"})


@replies("empty-file", "PUB-FILE-1", at=F, kinds=("file",))
def _empty(asked: Asked, reply: Reply) -> Reply:
    """No byte at all."""
    return replace(reply, body=b"")


@replies("file-is-a-page", "PUB-FILE-1", at=F, kinds=("file",))
def _page(asked: Asked, reply: Reply) -> Reply:
    """A login page instead of the file."""
    page = b"<!doctype html><html><body>Connexion</body></html>"
    return replace(reply, body=page, headers={**reply.headers, "Content-Type": "text/html"})


def _file_header(name: str, requirement: str, fault: str, header: str, value: str | None) -> None:
    def spoil(asked: Asked, reply: Reply) -> Reply:
        headers = {key: held for key, held in reply.headers.items() if key != header}
        return replace(reply, headers=headers if value is None else {**headers, header: value})

    spoil.__doc__ = fault
    replies(name, requirement, at=F, kinds=("file",))(spoil)


_file_header("no-content-type", "PUB-FILE-2", "No Content-Type.", "Content-Type", None)
_file_header("png-type-for-a-pdf", "PUB-FILE-3", "image/png for a PDF.", "Content-Type", "image/png")
_file_header("no-file-name", "PUB-FILE-4", "No Content-Disposition.", "Content-Disposition", None)
_file_header(
    "path-in-file-name", "PUB-FILE-5", "A path.", "Content-Disposition", 'attachment; filename="../../fiche.pdf"'
)


@replies("failure-as-a-file", "PUB-FILE-6", at=F, kinds=("failure",))
def _as_file(asked: Asked, reply: Reply) -> Reply:
    """The envelope with status 200 for a missing file."""
    return replace(reply, status=200) if asked.method == "GET" else reply


# --- billing ----------------------------------------------------------------------------------------------------------

B = "/regie/invoices"


@replies("invoices-in-an-object", "PUB-BILL-1", at=B)
def _in_object(asked: Asked, reply: Reply) -> Reply:
    """data as an object."""
    return reply.with_json({"err": 0, "data": {"invoices": reply.json["data"]}})


documents("no-label", "PUB-BILL-2", at=B, fault="No label.", edit=without("label"))
documents("amount-with-a-comma", "PUB-BILL-3", at=B, fault="31,50 €.", edit=first(amount="31,50 €"))
documents("french-dates", "PUB-BILL-4", at=B, fault="30/04/2025.", edit=first(pay_limit_date="30/04/2025"))
documents("flags-as-texts", "PUB-BILL-5", at=B, fault='"false".', edit=first(online_payment="false"))


@replies("detail-of-another", "PUB-BILL-6", at="/regie/invoice/")
def _detail(asked: Asked, reply: Reply) -> Reply:
    """The detail of another invoice."""
    value = reply.json
    if value["data"]:
        value["data"]["id"] = "F-12"
    return reply.with_json(value)


@mutant("pdf-as-octets", "PUB-BILL-7")
class PdfAsOctets(Reference):
    """application/octet-stream for a PDF."""

    def pdf(self) -> Reply:
        reply = super().pdf()
        return replace(reply, headers={**reply.headers, "Content-Type": "application/octet-stream"})


@mutant("invoice-of-another", "PUB-BILL-8")
class InvoiceOfAnother(Reference):
    """Anyone reads the detail of any invoice."""

    def visible(self, mine: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return self.invoices


@mutant("everybody-for-a-stranger", "PUB-BILL-9")
class EverybodyForAStranger(Reference):
    """An unknown debtor sees all invoices."""

    def of(self, name: str) -> list[dict[str, Any]]:
        return super().of(name) if name in ("elodie", "noe") else self.invoices


@mutant("second-notice-refused", "PUB-BILL-10")
class SecondNoticeRefused(Reference):
    """The same notice again is an error."""

    def pay(self, asked: Asked, rest: str) -> Reply:
        already = len(self.paid)
        reply = super().pay(asked, rest)
        return self.failure(409, "Conflict", "Déjà payée.") if already and len(self.paid) == already else reply


@mutant("paid-stays-payable", "PUB-BILL-11")
class PaidStaysPayable(Reference):
    """A paid invoice stays in the list."""

    def pay(self, asked: Asked, rest: str) -> Reply:
        reply = super().pay(asked, rest)
        self.invoices[0]["paid"] = False
        return reply


@mutant("unknown-invoice-500", "PUB-BILL-12")
class UnknownInvoiceCrash(Reference):
    """500 for an unknown invoice."""

    def billing(self, asked: Asked, rest: str) -> Reply:
        reply = super().billing(asked, rest)
        return replace(reply, status=500) if "inconnue" in rest else reply


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

# --- SMS --------------------------------------------------------------------------------------------------------------


@replies("accepted-202", "PUB-SMS-1", at="/sms")
def _accepted(asked: Asked, reply: Reply) -> Reply:
    """202 instead of 200."""
    return replace(reply, status=202)


class Texts(Reference):
    """An SMS gateway that refuses some messages."""

    def refuses(self, body: dict[str, Any]) -> bool:
        """Whether a correct message is refused."""
        raise NotImplementedError

    def sms(self, asked: Asked, rest: str) -> Reply:
        body = self.read(asked)
        if isinstance(body, dict) and self.refuses(body):
            return self.failure(400, "InvalidInput", "Message refusé.")
        return super().sms(asked, rest)


@mutant("counter-refused", "PUB-SMS-2")
class CounterRefused(Texts):
    """counter is an unknown member."""

    def refuses(self, body: dict[str, Any]) -> bool:
        return "counter" in body


@mutant("accents-refused", "PUB-SMS-3")
class AccentsRefused(Texts):
    """Only ASCII messages leave."""

    def refuses(self, body: dict[str, Any]) -> bool:
        return not str(body.get("message")).isascii()


@mutant("nobody-accepted", "PUB-SMS-4")
class NobodyAccepted(Reference):
    """A message to nobody counts as sent."""

    def sms(self, asked: Asked, rest: str) -> Reply:
        body = self.read(asked)
        if isinstance(body, dict) and body.get("to") == []:
            return self.success(None)
        return super().sms(asked, rest)


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


# --- signed calls -----------------------------------------------------------------------------------------------------


@mutant("signature-in-hexadecimal", "PUB-SIGN-1")
class Hexadecimal(Reference):
    """Expects the signature in hexadecimal."""

    def matches(self, query: str, given: str) -> bool:
        return False


@mutant("signature-not-verified", "PUB-SIGN-3", "PUB-SIGN-4")
class NotVerified(Reference):
    """Any signature is good."""

    def matches(self, query: str, given: str) -> bool:
        return True


@mutant("identity-not-signed", "PUB-SIGN-4")
class IdentityNotSigned(Reference):
    """Verifies with the NameID it remembers from its session, not with the one received."""

    def matches(self, query: str, given: str) -> bool:
        return super().matches(query, given) or super().matches(query.replace("NameID=b", "NameID=a"), given)


@mutant("parameters-after-the-signature", "PUB-SIGN-5")
class AfterTheSignature(Reference):
    """What follows the signature is accepted."""

    def last(self, given: str) -> bool:
        return True


@mutant("old-calls", "PUB-SIGN-6")
class OldCalls(Reference):
    """A timestamp of the past is always good."""

    def timely(self, params: dict[str, str]) -> bool:
        return self.late(params) >= -30


@mutant("calls-of-the-future", "PUB-SIGN-7")
class FutureCalls(Reference):
    """A timestamp of the future is always good."""

    def timely(self, params: dict[str, str]) -> bool:
        return self.late(params) <= 30


@mutant("five-seconds", "PUB-SIGN-8")
class FiveSeconds(Reference):
    """Tolerates five seconds only."""

    def timely(self, params: dict[str, str]) -> bool:
        return abs(self.late(params)) <= 5


@mutant("nonce-replayed", "PUB-SIGN-9")
class NonceReplayed(Reference):
    """Nonces are not remembered."""

    def new(self, params: dict[str, str]) -> bool:
        return True


@mutant("any-caller", "PUB-SIGN-10")
class AnyCaller(Reference):
    """The caller's name is not looked up."""

    def caller(self, params: dict[str, str]) -> bool:
        return True


@mutant("any-algorithm", "PUB-SIGN-11")
class AnyAlgorithm(Reference):
    """algo is not read."""

    def algorithm(self, params: dict[str, str]) -> bool:
        return True
