"""From arguments to the bytes of a SOAP request, by the types its WSDL declares (zeep writes the body)."""

# mypy: disallow-untyped-calls=False
# (zeep is not annotated)

from __future__ import annotations

import base64
import copy
import hashlib
import os
import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Any

import zeep.exceptions
from lxml import etree
from pydantic import BaseModel, SecretStr
from zeep import xsd

from sdk import xml
from sdk.errors import InvalidInput, Misconfigured, Text
from sdk.files import File

from .known_schemas import SOAP_ENCODING, SOAP_ENCODING_12
from .wsdl import Operation, shown_member

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

    Raises `InvalidInput` naming the argument that holds what XML cannot, TypeError when the arguments are not those of
    the operation (a bug of the connector).
    """
    known = operation.parameters
    if unknown := [name for name in named or {} if name not in known]:
        raise TypeError(_wrong(operation, f"{', '.join(unknown)} is not an argument of it"))
    if len(positional) > len(known):
        raise TypeError(_wrong(operation, f"it takes at most {len(known)} arguments, {len(positional)} were given"))
    given = {name: _ready(operation, value, name) for name, value in (named or {}).items()}
    ordered = [_ready(operation, value, name) for name, value in zip(known, positional, strict=False)]
    envelope = _written(operation, operation.grammar.input, ordered, given, _declared_headers(operation, headers))
    header = envelope.find(f"{{{operation.envelope}}}Header")
    extra = [
        xml.build(name, _ready(operation, value, xml.local(name)))
        for name, value in (headers or {}).items()
        if name.startswith("{")
    ]
    if operation.addressed:
        extra += _addressing(operation, address, message_id)
    if security is not None:
        extra.append(security.element(operation.envelope))
    if extra:
        if header is None:
            header = etree.Element(f"{{{operation.envelope}}}Header")
            envelope.insert(0, header)
        header.extend(extra)
    return _bytes(operation, envelope, "input")


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


def _declared_headers(operation: Operation, headers: Mapping[str, Any] | None) -> dict[str, Any] | None:
    declared = {name: value for name, value in (headers or {}).items() if not name.startswith("{")}
    known = operation.headers
    if unknown := [name for name in declared if name not in known]:
        listed = ", ".join(known) or "none"
        raise TypeError(
            f"{operation.name}: {', '.join(unknown)} is not a SOAP header its WSDL declares ({listed}). "
            'Write any other as "{namespace}Name".'
        )
    return {name: _ready(operation, value, name) for name, value in declared.items()} or None


def _wrong(operation: Operation, what: str) -> str:
    return f"{operation.name}: {what}. Expected: {operation.signature()}"


def _ready(operation: Operation, value: Any, path: str) -> Any:
    """A value as the codec takes it, every text checked."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, str):
        if xml.unwritable(value):
            raise InvalidInput(
                Text(
                    f"Le champ « {path} » contient un caractère interdit (caractère de contrôle ou texte mal encodé).",
                    en=f'The field "{path}" holds a forbidden character (a control character, or badly encoded text).',
                ),
                fields={path: ["forbidden character"]},
            )
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, Enum):
        return _ready(operation, value.value, path)
    if isinstance(value, File):
        return value.content
    if isinstance(value, etree._Element):
        return copy.deepcopy(value)  # it is moved into the message: the caller's must stay whole
    if isinstance(value, BaseModel):
        value = value.model_dump(by_alias=True, exclude_none=True)
    if isinstance(value, Mapping):
        members = {name: _ready(operation, each, f"{path}.{name}") for name, each in value.items()}
        kind = members.pop("xsi:type", None)
        return members if kind is None else _named_type(operation, kind)(**members)
    if isinstance(value, list | tuple) and not hasattr(value, "_xsd_type"):
        return [_ready(operation, each, f"{path}.{at}") for at, each in enumerate(value)]
    return value


def _named_type(operation: Operation, name: str) -> Any:
    types = operation.contract.document.types
    if name.startswith("{"):
        return types.get_type(name)
    found = [
        kind for kind in types.types if kind.name == name and kind.qname.namespace != "http://www.w3.org/2001/XMLSchema"
    ]
    if len(found) != 1:
        raise TypeError(_wrong(operation, f'xsi:type "{name}" names {len(found)} types; write "{{namespace}}{name}"'))
    return found[0]


def _written(
    operation: Operation, message: Any, ordered: Sequence[Any], named: Mapping[str, Any], headers: Any = None
) -> Any:
    envelope = etree.Element(f"{{{operation.envelope}}}Envelope", nsmap={"soap-env": operation.envelope})
    try:
        if headers:
            envelope.append(message._serialize_header(headers, {"soap-env": operation.envelope}))
        if message.body is None:
            etree.SubElement(envelope, f"{{{operation.envelope}}}Body")
            return envelope
        kind = message.body.type
        if isinstance(kind, xsd.ComplexType):
            if message.type in operation.encoded:
                ordered, named = _encoded_values(kind, ordered, named)
            value = message.body(*ordered, **named)
        else:  # a single value, whatever its name
            value = next(iter([*ordered, *named.values()]), None)
        place = envelope
        if not message._is_body_wrapped:
            place = etree.SubElement(envelope, f"{{{operation.envelope}}}Body")
        message.body.render(place, value)
    except zeep.exceptions.ValidationError as error:
        raise TypeError(_wrong(operation, str(error))) from None
    except (TypeError, AttributeError, KeyError, zeep.exceptions.Error) as error:
        raise TypeError(_wrong(operation, _reason(error))) from None
    except (ValueError, ArithmeticError) as error:
        path = _where(error)
        if "accept collections" in str(error):
            raise TypeError(_wrong(operation, f"{path} takes a single value")) from None
        raise InvalidInput(
            Text(f"Le champ « {path} » n'a pas une valeur valable.", en=f'The field "{path}" has no valid value.'),
            fields={path: ["invalid value"]},
        ) from None
    return envelope


def _reason(error: Exception) -> str:
    found = re.search(r"(?:\{[^}]*\})?(\w+)\(\) got an unexpected keyword argument '([^']+)'", str(error))
    if found:
        return f"{found[2]} is not a member of {found[1]}"
    return f"{type(error).__name__}: {str(error)[:300]}"


def _where(error: BaseException) -> str:
    """The path of the argument being written, taken from the writer's own frames."""
    path: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        found = trace.tb_frame.f_locals.get("render_path")
        path = [str(step) for step in found if step] if isinstance(found, list) and found else path
        trace = trace.tb_next
    return ".".join(path[1:] or path) or "?"


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


def _encoded_values(kind: Any, ordered: Sequence[Any], named: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    """Arrays marked, and None said (`xsi:nil`) where the encoding has no other way to leave a part out."""
    kinds = {name: element.type for name, element in kind.elements}
    places = [_shaped(each, value) for each, value in zip(kinds.values(), ordered, strict=False)]
    names = {name: _shaped(kinds.get(name), value) for name, value in named.items()}
    return (
        [NIL if value is None else value for value in places],
        {name: NIL if value is None else value for name, value in names.items()},
    )


def _shaped(kind: Any, value: Any) -> Any:
    """Lists that stand for SOAP arrays marked as such at every depth: zeep only sees to the outermost."""
    if isinstance(value, list) and isinstance(kind, xsd.ComplexType) and kind._array_type is not None:
        return kind._array_class([_shaped(_item_type(kind), each) for each in value])
    if isinstance(value, list):
        return [_shaped(kind, each) for each in value]
    if isinstance(value, dict) and isinstance(kind, xsd.ComplexType):
        known = {name: element.type for name, element in kind.elements}
        return {name: _shaped(known.get(name), each) for name, each in value.items()}
    return value


def _item_type(kind: Any) -> Any:
    declared = [element.type for _, element in kind.elements if element.name]
    return declared[0] if declared else kind._array_type.array_type


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
        return _bytes(operation, _written(operation, output, [], {}), "none")
    ready = _ready(operation, value, "result")
    if isinstance(output.body.type, xsd.ComplexType):
        envelope = _written(operation, output, [], _wrapped(output, ready))
    else:
        envelope = _written(operation, output, [ready], {})
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
    if element is inner or value is None or hasattr(value, "_xsd_type"):
        return {name: value}
    return {name: {element.type.elements[0][0]: value}}


def encode_fault(operation: Operation, code: str, string: str, detail: Any = None, *, name: str = "") -> bytes:
    """The envelope of a fault; `name` is a fault the WSDL declares, `detail` its members, `code` a local name."""
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
        message = operation.grammar.faults.get(name)
        parts = list(message.abstract.parts.values()) if message is not None and message.abstract is not None else []
        if not parts or parts[0].element is None:
            known = ", ".join(operation.grammar.faults) or "none"
            raise TypeError(f'{operation.name} declares no fault "{name}": {known}')
        element = parts[0].element
        ready = _ready(operation, detail or {}, name)
        value = element(**ready) if isinstance(ready, dict) else element(ready)
        element.render(etree.SubElement(fault, place), value)
    return _bytes(operation, envelope, "none")
