"""Mutants of what every profile rests on: envelope and HTTP."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from contract_tests.reference import Asked, Reference, Reply

from . import documents, mutant, replies

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
    return replace(reply, trouble="broken")


@replies("eleven-megabytes", "PUB-HTTP-11", at="/search")
def _huge(asked: Asked, reply: Reply) -> Reply:
    """11 MB of results."""
    return replace(reply, body=b'{"err": 0, "data": ["' + b"a" * (11 * 1024 * 1024))
