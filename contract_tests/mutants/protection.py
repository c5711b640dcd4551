"""Mutants of what protects a service: authentication, robustness, security, documentation, upstream."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from contract_tests.reference import PASSWORD, Asked, Reference, Reply

from . import documents, mutant, replies, target_mutant
from .everywhere import put

# --- transport --------------------------------------------------------------------------------------------------------


class _Unrecognised(Reference):
    def finish(self, asked: Asked, reply: Reply) -> Reply:
        return replace(reply, trouble="tls")


target_mutant(
    "certificate-refused",
    "PUB-HTTP-13",
    fault="The certificate is expired, of an unknown authority, or in another name.",
    declare=lambda target: replace(target, base_url="https://simula.example.org"),
    build=_Unrecognised,
)

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
        value = _value(asked) if len(asked.body) > 50_000 else None
        return isinstance(value, dict) and any(isinstance(one, str) and len(one) > 50_000 for one in value.values())


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
