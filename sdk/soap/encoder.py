"""From arguments to the bytes of a SOAP request, by the types its WSDL declares (zeep writes the body)."""

# mypy: disallow-untyped-calls=False
# (zeep is not annotated)

from __future__ import annotations

import base64
import hashlib
import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import zeep.exceptions
from lxml import etree
from pydantic import SecretStr
from zeep import xsd

from sdk import xml
from sdk.errors import Misconfigured, Text
from sdk.model import invalid_input

from .arguments import Fitting, item_type, ready, reason, wrong
from .facets import INVALID
from .known_schemas import SOAP_ENCODING, SOAP_ENCODING_12
from .wsdl import ENVELOPES, Operation, shown_member

__all__ = ["NIL", "UsernameToken", "encode", "encode_answer", "encode_fault", "http_headers"]

NIL = xsd.Nil
"""Sends an empty element marked `xsi:nil`; None leaves the element out where the schema allows."""

XSI_TYPE = f"{{{xml.XSI}}}type"
WSA = "http://www.w3.org/2005/08/addressing"
_OASIS = "http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-"
WSSE = _OASIS + "wssecurity-secext-1.0.xsd"
WSU = _OASIS + "wssecurity-utility-1.0.xsd"
_ANONYMOUS = WSA + "/anonymous"


def _now() -> datetime:
    return datetime.now(UTC)


def _nonce() -> bytes:
    return os.urandom(16)


@dataclass(frozen=True, slots=True)
class UsernameToken:
    """WS-Security UsernameToken 1.0. Text by default; `digest=True` sends SHA-1 of nonce, time and password.

    Time and nonce accompany a digest always, a text only when `stamped=True` (many servers refuse them).
    """

    username: str
    password: str | SecretStr = field(repr=False)
    digest: bool = False
    stamped: bool = False
    must_understand: bool = False
    now: Callable[[], datetime] = field(default=_now, repr=False)
    nonce: Callable[[], bytes] = field(default=_nonce, repr=False)

    def element(self, envelope_namespace: str) -> Any:
        """The `wsse:Security` header. Raises `Misconfigured` when XML cannot carry the name or the password."""
        secret = self.password.get_secret_value() if isinstance(self.password, SecretStr) else self.password
        if xml.unwritable(self.username) or xml.unwritable(secret):
            raise Misconfigured(
                Text(
                    "L'identifiant ou le mot de passe du webservice contient un caractère interdit.",
                    en="The webservice's user name or password holds a forbidden character.",
                ),
                code="credentials",
            )
        security = etree.Element(f"{{{WSSE}}}Security", nsmap={"wsse": WSSE, "wsu": WSU})
        if self.must_understand:
            security.set(f"{{{envelope_namespace}}}mustUnderstand", "1")
        token = etree.SubElement(security, f"{{{WSSE}}}UsernameToken")
        etree.SubElement(token, f"{{{WSSE}}}Username").text = self.username
        password = etree.SubElement(token, f"{{{WSSE}}}Password")
        profile = _OASIS + "username-token-profile-1.0#"
        password.set("Type", profile + ("PasswordDigest" if self.digest else "PasswordText"))
        password.text = secret
        if self.digest or self.stamped:
            nonce = self.nonce()
            created = self.now().astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            if self.digest:
                mixed = nonce + created.encode() + secret.encode()
                password.text = base64.b64encode(hashlib.sha1(mixed).digest()).decode()  # noqa: S324 (the profile's)
            stamp = etree.SubElement(token, f"{{{WSSE}}}Nonce")
            stamp.set("EncodingType", _OASIS + "soap-message-security-1.0#Base64Binary")
            stamp.text = base64.b64encode(nonce).decode()
            etree.SubElement(token, f"{{{WSU}}}Created").text = created
        return security


_ENVELOPE = {
    version: (
        f"<?xml version='1.0' encoding='UTF-8'?>\n<soap-env:Envelope xmlns:soap-env=\"{namespace}\">",
        "</soap-env:Envelope>",
    )
    for version, namespace in ENVELOPES.items()
}


# --- a request --------------------------------------------------------------------------------------------------------


def encode(
    operation: Operation,
    positional: Sequence[Any] = (),
    named: Mapping[str, Any] | None = None,
    *,
    headers: Mapping[str, Any] | None = None,
    security: UsernameToken | None = None,
    address: str = "",
    message_id: Callable[[], uuid.UUID] = uuid.uuid4,
) -> bytes:
    """The envelope of a call.

    Raises `InvalidInput` naming the arguments that hold what their type or XML cannot, TypeError when the arguments are
    not those of the operation (a bug of the connector).
    """
    named, headers = named or {}, headers or {}
    declared = {name: value for name, value in headers.items() if not name.startswith("{")}
    body = None if declared else _plain_body(operation, positional, named)
    if body is None:
        envelope = _fitted(operation, positional, named, declared)
    extra = [xml.build(name, ready(headers[name], xml.local(name))) for name in headers if name not in declared]
    if operation.addressed:
        extra += _addressing(operation, address, message_id)
    if security is not None:
        extra.append(security.element(operation.envelope))
    if body is not None:
        return _around(operation, body, extra)
    if extra:
        header = envelope.find(f"{{{operation.envelope}}}Header")
        if header is None:
            header = etree.Element(f"{{{operation.envelope}}}Header")
            envelope.insert(0, header)
        header.extend(extra)
    return _bytes(operation, envelope, "input")


def _plain_body(operation: Operation, positional: Sequence[Any], named: Mapping[str, Any]) -> str | None:
    """The body's content, where a writer takes the arguments as they are."""
    if operation.sent is None:
        return None
    if positional:
        given = dict(zip(operation.parameters, positional, strict=False))
        if len(given) < len(positional) or not given.keys().isdisjoint(named):
            return None
        named = {**given, **named}
    return operation.contract.writers.write(operation.sent, named)


def _around(operation: Operation, body: str, header: Sequence[Any]) -> bytes:
    """The envelope of a body and of the elements of its header."""
    start, end = _ENVELOPE[operation.version]
    if header:
        start += (
            "<soap-env:Header>"
            + "".join(etree.tostring(each, encoding="unicode") for each in header)
            + "</soap-env:Header>"
        )
    return f"{start}<soap-env:Body>{body}</soap-env:Body>{end}".encode()


def _fitted(
    operation: Operation, positional: Sequence[Any], named: Mapping[str, Any], headers: Mapping[str, Any]
) -> Any:
    """The envelope of arguments held to their types one by one, written by zeep."""
    fitting = Fitting(operation)
    given = _named_arguments(operation, positional, named)
    body = _fitted_body(fitting, operation.grammar.input, given)
    declared = _declared_headers(fitting, headers)
    fitting.settle()
    return _written(operation, operation.grammar.input, body, declared)


def http_headers(operation: Operation) -> dict[str, str]:
    """The HTTP headers that go with a request."""
    accepted = "text/xml, application/soap+xml, multipart/related, application/xml;q=0.9"
    if operation.version == "1.2":
        action = f'; action="{operation.action}"' if operation.action else ""
        return {"Content-Type": f"application/soap+xml; charset=utf-8{action}", "Accept": accepted}
    return {
        "Content-Type": "text/xml; charset=utf-8",
        "SOAPAction": f'"{operation.action}"',
        "Accept": accepted,
    }


def _named_arguments(operation: Operation, positional: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """All of them by name: what zeep is given by position it does not look into."""
    known = operation.parameters
    if unknown := [name for name in named if name not in known]:
        raise wrong(operation, f"{', '.join(unknown)} is not an argument of it")
    if len(positional) > len(known):
        raise wrong(operation, f"it takes at most {len(known)} arguments, {len(positional)} were given")
    given = dict(zip(known, positional, strict=False))
    if twice := [name for name in named if name in given]:
        raise wrong(operation, f"{', '.join(twice)} is given twice, by position and by name")
    return {name: ready(value, name) for name, value in {**given, **named}.items()}


def _fitted_body(fitting: Fitting, message: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    if message.body is None:
        return {}
    if isinstance(message.body.type, xsd.ComplexType):
        return fitting.structure(message.body.type, given)
    return {name: fitting.value(message.body.type, value, name) for name, value in given.items()}


def _declared_headers(fitting: Fitting, headers: Mapping[str, Any]) -> dict[str, Any] | None:
    operation = fitting.operation
    known = operation.headers
    if unknown := [name for name in headers if name not in known]:
        listed = ", ".join(known) or "none"
        raise TypeError(
            f"{operation.name}: {', '.join(unknown)} is not a SOAP header its WSDL declares ({listed}). "
            'Write any other as "{namespace}Name".'
        )
    return {name: fitting.value(known[name].type, ready(value, name), name) for name, value in headers.items()} or None


def _written(operation: Operation, message: Any, given: Mapping[str, Any], headers: Any = None) -> Any:
    envelope = etree.Element(f"{{{operation.envelope}}}Envelope", nsmap={"soap-env": operation.envelope})
    try:
        if headers:
            envelope.append(message._serialize_header(headers, {"soap-env": operation.envelope}))
        if message.body is None:
            etree.SubElement(envelope, f"{{{operation.envelope}}}Body")
            return envelope
        kind = message.body.type
        if isinstance(kind, xsd.ComplexType):
            value = message.body(**(_encoded_values(kind, given) if message.type in operation.encoded else given))
        else:  # a single value, whatever its name
            value = next(iter(given.values()), None)
        place = envelope
        if not message._is_body_wrapped:
            place = etree.SubElement(envelope, f"{{{operation.envelope}}}Body")
        message.body.render(place, value)
    except zeep.exceptions.ValidationError as error:
        raise wrong(operation, str(error)) from None
    except (TypeError, AttributeError, KeyError, zeep.exceptions.Error) as error:
        raise wrong(operation, reason(error)) from None
    except (ValueError, ArithmeticError) as error:
        raise invalid_input({_where(error): [INVALID]}) from None
    return envelope


def _where(error: BaseException) -> str:
    """The path of the argument being written, taken from the writer's own frames."""
    path: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        found = trace.tb_frame.f_locals.get("render_path")
        path = [str(step) for step in found if step] if isinstance(found, list) and found else path
        trace = trace.tb_next
    return "/".join(path[1:] or path) or "?"


def _bytes(operation: Operation, envelope: Any, direction: str) -> bytes:
    encoded = direction in operation.encoded
    if encoded:
        _mark_types(operation, envelope, direction)
    content = bytes(etree.tostring(envelope, xml_declaration=True, encoding="UTF-8"))
    if encoded and operation.version == "1.2":
        content = content.replace(SOAP_ENCODING.encode(), SOAP_ENCODING_12.encode())
    return content


def _addressing(operation: Operation, address: str, message_id: Callable[[], uuid.UUID]) -> list[Any]:
    action = operation.grammar.abstract.wsa_action or operation.action
    if not action:
        owner = operation.grammar.binding.port_type.name
        action = f"{owner.namespace.rstrip('/')}/{owner.localname}/{operation.name}Request"
    reply = etree.Element(f"{{{WSA}}}ReplyTo", nsmap={"wsa": WSA})
    etree.SubElement(reply, f"{{{WSA}}}Address").text = _ANONYMOUS
    simple = (("Action", action), ("MessageID", f"urn:uuid:{message_id()}"), ("To", address))
    elements = []
    for name, text in simple:
        element = etree.Element(f"{{{WSA}}}{name}", nsmap={"wsa": WSA})
        element.text = text
        elements.append(element)
    return [*elements, reply]


# --- rpc/encoded ------------------------------------------------------------------------------------------------------


def _mark_types(operation: Operation, envelope: Any, direction: str) -> None:
    """The encoding style and the `xsi:type` of each value, which zeep leaves out and old servers need."""
    body = envelope.find(f"{{{operation.envelope}}}Body")
    message = getattr(operation.grammar, direction)
    for wrapper in body:
        wrapper.set(f"{{{operation.envelope}}}encodingStyle", SOAP_ENCODING)
        if message.body is not None and isinstance(message.body.type, xsd.ComplexType):
            _mark_children(wrapper, message.body.type)


def _mark_children(node: Any, kind: Any) -> None:
    known = {element.name: element.type for _, element in kind.elements if element.name}
    array = kind._array_type
    for child in node:
        declared = known.get(xml.local(child))
        if declared is None and array is not None:
            declared = array.array_type
        _mark(child, declared)
    if array is not None and array.array_type is not None and array.array_type.qname is not None:
        _set_name(node, f"{{{SOAP_ENCODING}}}arrayType", array.array_type.qname, f"[{len(node)}]")


def _mark(node: Any, kind: Any) -> None:
    if kind is None:
        return
    complex_type = isinstance(kind, xsd.ComplexType)
    if node.get(XSI_TYPE) is None and node.get(f"{{{xml.XSI}}}nil") is None:
        if complex_type and kind._array_type is not None:
            _set_name(node, XSI_TYPE, etree.QName(SOAP_ENCODING, "Array"))
        elif isinstance(kind, xsd.AnyType) and not isinstance(kind, xsd.AnySimpleType | xsd.ComplexType):
            _set_name(node, XSI_TYPE, etree.QName("http://www.w3.org/2001/XMLSchema", "string"))
        elif kind.qname is not None:
            _set_name(node, XSI_TYPE, kind.qname)
    if complex_type:
        _mark_children(node, kind)


def _encoded_values(kind: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Arrays marked, and None said (`xsi:nil`) where the encoding has no other way to leave a part out."""
    kinds = {name: element.type for name, element in kind.elements}
    shaped = {name: _shaped(kinds.get(name), value) for name, value in given.items()}
    return {name: NIL if value is None else value for name, value in shaped.items()}


def _shaped(kind: Any, value: Any) -> Any:
    """Lists that stand for SOAP arrays marked as such at every depth: zeep only sees to the outermost."""
    if isinstance(value, list) and isinstance(kind, xsd.ComplexType) and kind._array_type is not None:
        return kind._array_class([_shaped(item_type(kind), each) for each in value])
    if isinstance(value, list):
        return [_shaped(kind, each) for each in value]
    if isinstance(value, dict) and isinstance(kind, xsd.ComplexType):
        known = {name: element.type for name, element in kind.elements}
        return {name: _shaped(known.get(name), each) for name, each in value.items()}
    return value


def _set_name(node: Any, attribute: str, qname: Any, suffix: str = "") -> None:
    node.set(attribute, qname)  # the library finds or declares the prefix
    if suffix:
        node.set(attribute, node.get(attribute) + suffix)


# --- the publisher's side: simulators and tests -----------------------------------------------------------------------


def encode_answer(operation: Operation, value: Any) -> bytes:
    """The envelope a publisher answers for `value`, given as `call` would return it."""
    output = operation.grammar.output
    if output is None:
        raise TypeError(f"{operation.name} is one way: nothing is answered")
    if output.body is None:
        return _bytes(operation, _written(operation, output, {}), "none")
    given = ready(value, "result")
    named = _wrapped(output, given) if isinstance(output.body.type, xsd.ComplexType) else {"result": given}
    fitting = Fitting(operation, exact=False)  # a simulator may answer what its publisher should not
    envelope = _written(operation, output, _fitted_body(fitting, output, named))
    if operation.grammar.style == "rpc":
        wrapper = envelope.find(f"{{{operation.envelope}}}Body")[0]
        wrapper.tag = etree.QName(etree.QName(wrapper).namespace, operation.name + "Response")
    return _bytes(operation, envelope, "output")


def _wrapped(output: Any, value: Any) -> dict[str, Any]:
    """The reverse of the decoder's unwrapping."""
    inner = shown_member(output)
    if inner is None:
        return dict(value or {})
    name, element = output.body.type.elements[0]
    if element is inner or value is None or (isinstance(value, dict) and "xsi:type" in value):
        return {name: value}
    return {name: {element.type.elements[0][0]: value}}


def encode_fault(operation: Operation, code: str, string: str, detail: Any = None, *, name: str = "") -> bytes:
    """The envelope of a fault; `name` is a fault the WSDL declares or its element, `detail` its members."""
    namespace = operation.envelope
    envelope = etree.Element(f"{{{namespace}}}Envelope", nsmap={"env": namespace})
    fault = etree.SubElement(etree.SubElement(envelope, f"{{{namespace}}}Body"), f"{{{namespace}}}Fault")
    if operation.version == "1.2":
        holder = etree.SubElement(etree.SubElement(fault, f"{{{namespace}}}Code"), f"{{{namespace}}}Value")
        text = etree.SubElement(etree.SubElement(fault, f"{{{namespace}}}Reason"), f"{{{namespace}}}Text")
        text.set("{http://www.w3.org/XML/1998/namespace}lang", "fr")
        place = f"{{{namespace}}}Detail"
    else:
        holder, text = etree.SubElement(fault, "faultcode"), etree.SubElement(fault, "faultstring")
        place = "detail"
    holder.text, text.text = f"env:{code}", string
    if name:
        elements = {**{element.name: element for element in operation.faults.values()}, **operation.faults}
        if name not in elements:
            known = ", ".join(operation.faults) or "none"
            raise TypeError(f'{operation.name} declares no fault "{name}": {known}')
        element, given = elements[name], ready(detail or {}, name)
        fitted = Fitting(operation, exact=False).value(element.type, given, name)
        value = element(**fitted) if isinstance(fitted, dict) else element(fitted)
        element.render(etree.SubElement(fault, place), value)
    return _bytes(operation, envelope, "none")
