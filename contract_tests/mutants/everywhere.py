"""Mutants of what every profile rests on: envelope, HTTP, authentication, robustness, security, documentation."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from contract_tests.reference import PASSWORD, Asked, Reference, Reply

from . import documents, mutant, replies, target_mutant

HTML = b"<!doctype html><html><body><h1>Bienvenue</h1></body></html>"


def put(**members: Any) -> Any:
    """An edit that sets members of the document."""
    return lambda document: document.update(members) if isinstance(document, dict) else None


def drop(*names: str) -> Any:
    """An edit that removes members of the document."""

    def edit(document: Any) -> None:
        for name in names:
            document.pop(name, None)

    return edit


# --- envelope ---------------------------------------------------------------------------------------------------------


@replies("html-in-200", "PUB-ENV-1", at="/search")
def _html(asked: Asked, reply: Reply) -> Reply:
    """A maintenance page, with status 200."""
    return replace(reply, body=HTML, headers={"Content-Type": "text/html"})


@replies("cut-json", "PUB-ENV-1", at="/schools")
def _cut(asked: Asked, reply: Reply) -> Reply:
    """JSON without its last brace."""
    return replace(reply, body=reply.body[:-1])


@replies("latin-1", "PUB-ENV-2", at="/schools")
def _latin(asked: Asked, reply: Reply) -> Reply:
    """JSON in Latin-1."""
    value = reply.json
    if isinstance(value, dict):
        value["commune"] = "Orvault-lès-Étangs"
    return replace(reply, body=json.dumps(value, ensure_ascii=False).encode("latin-1", "replace"))


@replies("byte-order-mark", "PUB-ENV-3")
def _mark(asked: Asked, reply: Reply) -> Reply:
    """JSON after a byte-order mark."""
    return replace(reply, body=b"\xef\xbb\xbf" + reply.body)


documents("bare-list", "PUB-ENV-4", at="/search", fault="A list without envelope.", edit=lambda body: body["data"])
documents("err-absent", "PUB-ENV-5", fault="No `err` on success.", edit=drop("err"))
documents("err-null", "PUB-ENV-6", fault="`err` null.", edit=put(err=None))
documents("err-list", "PUB-ENV-6", fault="`err` as a list.", edit=put(err=[0]))
documents("err-empty-list", "PUB-ENV-6", fault="`err` as an empty list.", edit=put(err=[]))
documents("err-object", "PUB-ENV-6", fault="`err` as an object.", edit=put(err={"code": 0}))
documents("err-float", "PUB-ENV-6", fault="`err` as 0.5.", edit=put(err=0.5))
documents("err-zero-float", "PUB-ENV-6", fault="`err` as 0.0.", edit=put(err=0.0))
documents("err-boolean", "PUB-ENV-6", fault="`err` as false.", edit=put(err=False))
documents("err-true-on-failure", "PUB-ENV-6", fault="`err` as true on failure.", edit=put(err=True), kinds=("failure",))
documents("err-string", "PUB-ENV-7", fault='`err` as the text "0".', edit=put(err="0"))
documents(
    "example-fails",
    "PUB-ENV-8",
    at="/search",
    fault="Business error, with status 200, for a correct call.",
    edit=put(err=1, err_class="Oups", err_desc="Service fermé.", data=None),
)


@replies("example-refused", "PUB-ENV-8", at="/cell")
def _not_found(asked: Asked, reply: Reply) -> Reply:
    """404 for a correct call."""
    return replace(reply, status=404)


documents("data-absent", "PUB-ENV-9", at="/search", fault="Content beside the envelope.", edit=drop("data"))


@replies("header-contradicts-success", "PUB-ENV-10", at="/search")
def _header(asked: Asked, reply: Reply) -> Reply:
    """X-Error-Code: 1 on a success."""
    return replace(reply, headers={**reply.headers, "X-Error-Code": "1"})


@replies("header-contradicts-failure", "PUB-ENV-10", kinds=("failure",))
def _header_zero(asked: Asked, reply: Reply) -> Reply:
    """X-Error-Code: 0 on a failure."""
    return replace(reply, headers={**reply.headers, "X-Error-Code": "0"})


@replies("html-on-business-failure", "PUB-ENV-11", kinds=("failure",))
def _html_failure(asked: Asked, reply: Reply) -> Reply:
    """An HTML page for a business failure."""
    return replace(reply, body=HTML, headers={"Content-Type": "text/html"})


documents("failure-with-err-0", "PUB-ENV-12", fault="err 0 in a 4xx.", edit=put(err=0), kinds=("failure",))
documents("no-sentence", "PUB-ENV-13", fault="No err_desc.", edit=drop("err_desc"), kinds=("failure",))
documents("empty-sentence", "PUB-ENV-13", fault="Empty err_desc.", edit=put(err_desc=""), kinds=("failure",))
documents("no-class", "PUB-ENV-14", fault="No err_class.", edit=drop("err_class"), kinds=("failure",))
documents(
    "failure-with-data", "PUB-ENV-15", fault="data in a failure.", edit=put(data=[{"id": "1"}]), kinds=("failure",)
)


@replies("html-refusals", "PUB-ENV-16", kinds=("refusal",))
def _html_refusal(asked: Asked, reply: Reply) -> Reply:
    """The server's own pages for 401, 404 and 405."""
    return replace(reply, body=HTML, headers={**reply.headers, "Content-Type": "text/html"})


documents("nan", "PUB-ENV-17", fault="NaN in the JSON.", edit=put(average=float("nan")))


@replies("member-twice", "PUB-ENV-17", at="/search")
def _twice(asked: Asked, reply: Reply) -> Reply:
    """A member written twice."""
    return replace(reply, body=b'{"err": 0, ' + reply.body[1:])


# --- HTTP -------------------------------------------------------------------------------------------------------------


@replies("redirect-on-post", "PUB-HTTP-1", at="/requests")
def _redirect_post(asked: Asked, reply: Reply) -> Reply:
    """A creation redirected to another address."""
    if asked.method != "POST":
        return reply
    return Reply(302, b"", {"Location": "/requests/"})


@replies("redirect-on-get", "PUB-HTTP-2", at="/search")
def _redirect_get(asked: Asked, reply: Reply) -> Reply:
    """A search redirected to the address with a slash."""
    return Reply(301, b"", {"Location": "/search/"})


@replies("text-plain", "PUB-HTTP-3")
def _plain(asked: Asked, reply: Reply) -> Reply:
    """JSON announced as text/plain."""
    return replace(reply, headers={**reply.headers, "Content-Type": "text/plain"})


@replies("forty-seconds", "PUB-HTTP-4", "PUB-HTTP-5", at="/search")
def _forty(asked: Asked, reply: Reply) -> Reply:
    """40 seconds to answer."""
    return replace(reply, takes=40.0)


@replies("ten-seconds", "PUB-HTTP-5", at="/schools")
def _ten(asked: Asked, reply: Reply) -> Reply:
    """10 seconds to answer."""
    return replace(reply, takes=10.0)


@mutant("any-method", "PUB-HTTP-6")
class AnyMethod(Reference):
    """An unknown method is taken for GET."""

    def method(self, asked: Asked) -> str:
        return asked.method if asked.method in ("GET", "POST") else "GET"


@mutant("accept-required", "PUB-HTTP-7")
class AcceptRequired(Reference):
    """406 without Accept."""

    def route(self, asked: Asked) -> Reply:
        if "accept" not in asked.headers:
            return self.refusal(406, "NotAcceptable", "Précisez Accept.")
        return super().route(asked)


class Strict(Reference):
    """Refuses some parameters."""

    refused: tuple[str, ...] = ()

    def route(self, asked: Asked) -> Reply:
        if any(name in asked.params for name in self.refused):
            return self.failure(400, "InvalidInput", "Paramètre inconnu.")
        return super().route(asked)


@mutant("email-refused", "PUB-HTTP-8")
class EmailRefused(Strict):
    """400 for the e-mail Publik adds."""

    refused = ("email",)


@mutant("unknown-parameters-refused", "PUB-HTTP-8", "PUB-HTTP-12")
class UnknownParametersRefused(Strict):
    """400 for any parameter that is not declared."""

    refused = ("email", "contract_tests")


@mutant("other-parameters-refused", "PUB-HTTP-12")
class OtherParametersRefused(Strict):
    """400 for a parameter that neither the service nor Publik knows."""

    refused = ("contract_tests",)


@replies("no-content", "PUB-HTTP-9", at="/search")
def _no_content(asked: Asked, reply: Reply) -> Reply:
    """204 for a search that found something."""
    return Reply(204, b"")


@replies("connection-cut", "PUB-HTTP-10", at="/search")
def _broken(asked: Asked, reply: Reply) -> Reply:
    """The connection is cut."""
    return replace(reply, broken=True)


@replies("eleven-megabytes", "PUB-HTTP-11", at="/search")
def _huge(asked: Asked, reply: Reply) -> Reply:
    """11 MB of results."""
    return replace(reply, body=b'{"err": 0, "data": ["' + b"a" * (11 * 1024 * 1024))


# --- authentication ---------------------------------------------------------------------------------------------------


@mutant("open-to-all", "PUB-AUTH-1", "PUB-SIGN-2")
class OpenToAll(Reference):
    """Credentials are verified when given, and not required."""

    def authenticate(self, asked: Asked) -> Reply | None:
        given = "authorization" in asked.headers or "signature=" in asked.query
        return super().authenticate(asked) if given else None


@mutant("any-password", "PUB-AUTH-2")
class AnyPassword(Reference):
    """The user's name is enough."""

    def basic(self, header: str) -> tuple[str, str]:
        user, _ = super().basic(header)
        return user, PASSWORD


@mutant("200-for-bad-credentials", "PUB-AUTH-2")
class FineForBadCredentials(Reference):
    """A wrong password is answered by 200 and err 1."""

    def unknown(self, user: str, password: str) -> Reply:
        reply = super().unknown(user, password)
        return replace(reply, status=200) if user else reply


@mutant("refusal-with-data", "PUB-AUTH-3")
class RefusalWithData(Reference):
    """The 401 holds the answer."""

    def unknown(self, user: str, password: str) -> Reply:
        reply = super().unknown(user, password)
        return reply.with_json({**reply.json, "data": [{"id": "12", "text": "École Pasteur"}]})


@replies("no-challenge", "PUB-AUTH-4", kinds=("refusal",))
def _no_challenge(asked: Asked, reply: Reply) -> Reply:
    """401 without WWW-Authenticate."""
    headers = {name: value for name, value in reply.headers.items() if name != "WWW-Authenticate"}
    return replace(reply, headers=headers)


@mutant("403-for-basic", "PUB-AUTH-4")
class ForbiddenForBasic(Reference):
    """403 instead of 401."""

    def unknown(self, user: str, password: str) -> Reply:
        return replace(super().unknown(user, password), status=403)


@mutant("accounts-guessed", "PUB-AUTH-5")
class AccountsGuessed(Reference):
    """Another sentence for an unknown account."""

    def unknown(self, user: str, password: str) -> Reply:
        reply = super().unknown(user, password)
        if user.startswith("zqx"):
            return reply.with_json({**reply.json, "err_desc": "Compte inconnu."})
        return reply


class Unprotected(Reference):
    """Nobody is asked who they are."""

    def authenticate(self, asked: Asked) -> Reply | None:
        return None


target_mutant(
    "unprotected",
    "PUB-AUTH-6",
    fault="Personal data without credentials.",
    declare=lambda target: replace(target, credentials=None, signature=None),
    build=Unprotected,
)
target_mutant(
    "clear-text",
    "PUB-AUTH-7",
    fault="Credentials over HTTP.",
    declare=lambda target: replace(target, base_url="http://service.simula.example.org"),
)

# --- robustness -------------------------------------------------------------------------------------------------------


def _crash(service: Reference) -> Reply:
    return service.failure(500, "Internal", "Erreur interne.")


def _value(asked: Asked) -> Any:
    try:
        return json.loads(asked.body)
    except (ValueError, RecursionError):
        return None


class Fragile(Reference):
    """A service that crashes on some bodies."""

    def crashes(self, asked: Asked) -> bool:
        """Whether this call brings it down."""
        raise NotImplementedError

    def route(self, asked: Asked) -> Reply:
        return _crash(self) if self.crashes(asked) else super().route(asked)


@mutant("malformed-500", "PUB-ROB-1")
class Malformed(Fragile):
    """500 for a body that is not JSON."""

    def crashes(self, asked: Asked) -> bool:
        return asked.method == "POST" and asked.body[:1] in (b"\xff", b"a")


@mutant("malformed-accepted", "PUB-ROB-1")
class MalformedAccepted(Reference):
    """A success for a body that is not JSON."""

    def route(self, asked: Asked) -> Reply:
        return self.success(None) if asked.method == "POST" and asked.body == b"a=1&b=2" else super().route(asked)


@mutant("list-500", "PUB-ROB-2")
class ListCrash(Fragile):
    """500 for a body that is a list."""

    def crashes(self, asked: Asked) -> bool:
        return asked.method == "POST" and isinstance(_value(asked), list)


@mutant("unknown-field-500", "PUB-ROB-3")
class UnknownFieldCrash(Fragile):
    """500 for an unknown field."""

    def crashes(self, asked: Asked) -> bool:
        value = _value(asked)
        return asked.method == "POST" and isinstance(value, dict) and any(name.startswith("zqx") for name in value)


@mutant("wrong-type-500", "PUB-ROB-4")
class WrongTypeCrash(Fragile):
    """500 for a text given as a list."""

    def crashes(self, asked: Asked) -> bool:
        value = _value(asked)
        return asked.method == "POST" and isinstance(value, dict) and [[]] in value.values()


@mutant("long-field-500", "PUB-ROB-5")
class LongFieldCrash(Fragile):
    """500 for a text longer than its column."""

    def crashes(self, asked: Asked) -> bool:
        value = _value(asked) if len(asked.body) > 1_000_000 else None
        return isinstance(value, dict) and any(isinstance(one, str) and len(one) > 500_000 for one in value.values())


@mutant("deep-json-500", "PUB-ROB-6")
class DeepCrash(Fragile):
    """500 for deeply nested JSON."""

    def crashes(self, asked: Asked) -> bool:
        return asked.body.startswith(b'{"a":{"a":{"a":')


@mutant("long-parameter-500", "PUB-ROB-7")
class LongParameterCrash(Fragile):
    """500 for a very long parameter."""

    def crashes(self, asked: Asked) -> bool:
        return any(len(value) > 3000 for value in asked.params.values())


@mutant("nul-500", "PUB-ROB-7")
class NulCrash(Fragile):
    """500 for a NUL character, as a PostgreSQL column does."""

    def crashes(self, asked: Asked) -> bool:
        return any("\0" in value for value in asked.params.values())


@mutant("answer-changes", "PUB-ROB-8")
class AnswerChanges(Reference):
    """Every other answer has another shape."""

    def town(self, asked: Asked, rest: str) -> Reply:
        self.reads += 1
        return super().town(asked, rest) if self.reads % 2 else self.success([])


# --- security ---------------------------------------------------------------------------------------------------------

documents(
    "stack-trace",
    "PUB-SEC-1",
    fault="The stack trace in err_desc.",
    edit=put(err_desc='Traceback (most recent call last):\n  File "/srv/app.py", line 12, in get'),
    kinds=("failure",),
)
documents(
    "java-stack-trace",
    "PUB-SEC-1",
    fault="A Java stack trace in a 405.",
    edit=put(err_desc="java.lang.NullPointerException\n\tat fr.simula.Service.get(Service.java:42)"),
    kinds=("refusal",),
)


@mutant("echo-of-a-secret", "PUB-SEC-2")
class EchoOfASecret(Reference):
    """The refusal repeats the password received."""

    def unknown(self, user: str, password: str) -> Reply:
        reply = super().unknown(user, password)
        return reply.with_json({**reply.json, "err_desc": f"Mot de passe {password} refusé."}) if password else reply


@replies("echo-of-the-header", "PUB-SEC-2", at="/town")
def _echo_header(asked: Asked, reply: Reply) -> Reply:
    """A debugging member repeats the Authorization header."""
    return reply.with_json({**reply.json, "debug": asked.headers.get("authorization", "")})


@mutant("html-echo", "PUB-SEC-3")
class HtmlEcho(Reference):
    """The 404 page repeats the address, not escaped."""

    def route(self, asked: Asked) -> Reply:
        reply = super().route(asked)
        if reply.status != 404 or reply.kind != "refusal":
            return reply
        page = f"<html><body>Page {asked.path} introuvable</body></html>".encode()
        return replace(reply, body=page, headers={"Content-Type": "text/html; charset=utf-8"})


# --- documentation and upstream ---------------------------------------------------------------------------------------


@mutant("no-description", "PUB-DOC-1")
class NoDescription(Reference):
    """The OpenAPI document is a 404."""

    def openapi(self, asked: Asked, rest: str) -> Reply:
        return self.refusal(404, "UnknownEndpoint", "Adresse inconnue.")


@mutant("description-incomplete", "PUB-DOC-1")
class DescriptionIncomplete(Reference):
    """The OpenAPI document forgets an endpoint."""

    def openapi(self, asked: Asked, rest: str) -> Reply:
        document = super().openapi(asked, rest).json
        del document["paths"]["/search"]
        return self.success(None).with_json(document)


target_mutant("no-contact", "PUB-DOC-2", fault="No contact.", declare=lambda target: replace(target, contact=""))
target_mutant(
    "production-only",
    "PUB-DOC-3",
    fault="No test environment.",
    declare=lambda target: replace(target, environment="production"),
)


class Upstream(Reference):
    """Says nothing of what happens behind it."""

    hidden = ""

    def route(self, asked: Asked) -> Reply:
        if self.fault != self.hidden:
            return super().route(asked)
        return self.hides(asked)

    def hides(self, asked: Asked) -> Reply:
        """What it answers meanwhile."""
        return self.success([])


@mutant("down-is-empty", "PUB-UP-1")
class DownIsEmpty(Upstream):
    """An empty list when the business software is down."""

    hidden = "down"


@mutant("silence-is-slow", "PUB-UP-2")
class SilenceIsSlow(Upstream):
    """Waits as long as the business software is silent."""

    hidden = "hang"

    def hides(self, asked: Asked) -> Reply:
        return replace(self.failure(504, "Upstream", "Trop tard."), takes=60.0)


@mutant("garbage-is-passed", "PUB-UP-3")
class GarbageIsPassed(Upstream):
    """Passes on what the business software answered."""

    hidden = "garbage"

    def hides(self, asked: Asked) -> Reply:
        return self.success("<soap:Fault/>")
