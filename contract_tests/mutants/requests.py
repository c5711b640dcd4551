"""Mutants of what is exchanged: requests, files, invoices, SMS."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from contract_tests.reference import Asked, Reference, Reply

from . import documents, mutant, replies
from .lists import first, without

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
    """500 for a large body."""

    def route(self, asked: Asked) -> Reply:
        if len(asked.body) > 200_000:
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
