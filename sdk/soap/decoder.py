"""From a SOAP envelope to plain values, by the types its WSDL declares.

`decode(operation, envelope)` is the one door to the codecs behind: compiled readers, and zeep. Values are plain:
`Record` (a dictionary), list, str, int, Decimal, date, datetime, bool, bytes, `File`. Cardinality comes from the
schema: a list of one is a list, an absent list is `[]`, an absent optional value is None.
"""

# mypy: disallow-untyped-calls=False
# (zeep is not annotated)

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import zeep.exceptions
from lxml import etree
from zeep.xsd.context import XmlParserContext
from zeep.xsd.valueobjects import CompoundValue

from sdk import xml
from sdk.files import File

from .compiled import UNSURE, Unsure
from .instance import XSI_TYPE, Marks, is_nil, is_odd, settle
from .mime import Part
from .reader import BadValue
from .references import ReferenceRefused, without_references
from .values import Record, invalid, plain, untyped
from .wsdl import ENVELOPES, Operation, shown_member

__all__ = [
    "TAGS",
    "XOP",
    "Answer",
    "SoapFault",
    "attach",
    "decode",
    "headers",
    "named",
    "shown",
]

XOP = "http://www.w3.org/2004/08/xop/include"


@dataclass(frozen=True, slots=True)
class SoapFault:
    """What a publisher answers instead of a result. `string` may hold anything: never show or log it.

    `code` is the publisher's own when the detail has one (its `code`, `errorCode`… member), else the subcode, else
    `name`, else `faultcode`, without prefix. `name` is the WSDL's name for the fault, when its detail is that of a
    single fault the operation declares (`NoSuchCustomerException`), else "". `type` is the name of the detail's first
    element (`NoSuchCustomer`), or "". `detail` maps the name of each element of the detail to its content, typed when
    the WSDL declares it.
    """

    code: str
    faultcode: str
    type: str = ""
    actor: str = ""
    string: str = field(default="", repr=False)
    detail: Mapping[str, Any] = field(default_factory=dict, repr=False)
    name: str = ""


@dataclass(slots=True)  # not frozen, which would double what it costs
class Answer:
    """All that came back: the value, the SOAP headers by local name, the attachments by Content-ID."""

    value: Any = field(default=None, repr=False)
    headers: Mapping[str, Any] = field(default_factory=dict, repr=False)
    attachments: Mapping[str, File] = field(default_factory=dict, repr=False)
    fault: SoapFault | None = None
    compiled: bool = False
    """Whether a compiled reader gave the value, not zeep."""


# --- an envelope to values --------------------------------------------------------------------------------------------


def decode(
    operation: Operation,
    envelope: Any,
    parts: Sequence[Part] = (),
    *,
    attached: bool = True,
    marks: Marks = Marks.UNKNOWN,
) -> Answer:
    """The value of an answer, as the operation's output type says; `parts` are what travelled beside the envelope.

    The answer's wrapper is not shown: when it holds a single element, the value is that element's; and when that is in
    turn a structure of a single element without attribute (`ArrayOf…`), its content. Both follow from the types alone.
    What is known from the bytes: `attached` is False where nothing in the envelope can refer to a part, `marks` are
    those of its elements.
    """
    tags = TAGS.get(envelope.tag)
    if tags is None:
        raise invalid(f"a document <{xml.local(envelope)[:60]}> instead of a SOAP envelope")
    if "output" in operation.encoded:
        if envelope.find(tags.body) is None:
            raise invalid("an envelope without a body")
        try:
            envelope = without_references(envelope)
        except ReferenceRefused as refused:
            raise invalid(str(refused)) from None
    header, body = _parts(envelope, tags)
    if body is None:
        raise invalid("an envelope without a body")
    fault = None
    for child in body:
        if child.tag in (tags.fault, "Fault"):
            fault = child
            break
    nil = typed = False
    if marks is not Marks.NONE:
        nil = is_nil(next(iter(body), envelope))
        if (nil or attached or header is not None or fault is not None) or (
            marks is Marks.UNKNOWN and is_odd(envelope)
        ):
            typed = settle(envelope, operation.contract.document.types)
    if attached:
        attach(envelope)
    try:
        if fault is not None:
            return Answer(fault=_fault(operation, fault, parts))
        value, compiled = None, False
        if not (nil and _expected(operation, body)):
            value, compiled = _value(operation, body, parts, typed=typed, attached=attached)
        return Answer(
            value=value,
            headers=headers(operation, header, parts),
            attachments={part.content_id: part.file() for part in parts},
            compiled=compiled,
        )
    except BadValue as error:
        raise invalid(f"{_where(error)}: a text that is not of type {error}") from None
    except zeep.exceptions.Error as error:
        raise invalid(f"{_where(error)}: {_without_values(error)}") from None
    except RecursionError:
        raise invalid("elements nested too deeply") from None
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise invalid(f"{_where(error)}: not decodable ({type(error).__name__})") from None


@dataclass(frozen=True, slots=True)
class Tags:
    """The names of the parts of an envelope."""

    header: str
    body: str
    fault: str


TAGS = {
    f"{{{namespace}}}Envelope": Tags(*(f"{{{namespace}}}{name}" for name in ("Header", "Body", "Fault")))
    for namespace in ENVELOPES.values()
}


def _parts(envelope: Any, tags: Tags) -> tuple[Any, Any]:
    header = body = None
    for child in envelope:
        tag = child.tag
        if body is None and tag == tags.body:
            body = child
        elif header is None and tag == tags.header:
            header = child
    return header, body


def _expected(operation: Operation, body: Any) -> bool:
    output = operation.grammar.output
    if output is None or output.body is None or len(body) != 1:
        return False
    return operation.grammar.style == "rpc" or named(body[0], output.body.qname)


def _value(operation: Operation, body: Any, parts: Sequence[Part], *, typed: bool, attached: bool) -> tuple[Any, bool]:
    """The value, and whether a compiled reader gave it."""
    output = operation.grammar.output
    if output is None or output.body is None:
        return _with_attachments(operation, None, None, parts), False
    schema = operation.contract.document.types
    wrapped = operation.grammar.style != "rpc" and output._is_body_wrapped
    if wrapped:
        element = body
    else:
        element = next(iter(body), None)
        if element is None:
            if operation.grammar.style != "rpc" and output.body.type is not None and output.body.is_optional:
                return None, False
            raise invalid("an empty body where a result is declared")
        if operation.grammar.style != "rpc" and not named(element, output.body.qname):
            raise invalid(f"<{xml.local(element)[:60]}> instead of <{output.body.name}>")
        if operation.grammar.style == "rpc":
            _name_result(element, output.body.type)
    if not attached and operation.whole is not None:
        try:
            read = operation.typed if typed else operation.whole
            return shown(operation, read(element, False), element if typed else None), True
        except UNSURE:
            settle(element, schema)  # zeep says what it is worth
    context = XmlParserContext(settings=operation.contract.document.settings)
    value = output.body.parse(element, schema, context=context)
    if operation.attachments:
        return _with_attachments(operation, output.body, value, parts), False
    found = plain(value if wrapped else _unwrapped(value), parts)
    return (_empty(shown_member(output)) if found is None else found), False


def shown(operation: Operation, value: Any, element: Any = None) -> Any:
    """What is shown of the value a compiled reader gave: `_unwrapped`, by the declared types."""
    if element is not None and any(XSI_TYPE in each.attrib for each in (element, *element)):
        raise Unsure  # what is shown depends on the types announced
    if isinstance(value, Record):
        if len(value) == 1:
            (value,) = value.values()
            if isinstance(value, Record) and operation.inner:
                value = value[operation.inner]
        elif not value:
            value = None
    return _empty(shown_member(operation.grammar.output)) if value is None else value


def _empty(element: Any) -> Any:
    """An absent list and an empty one are the same list."""
    if element is None:
        return None
    array = getattr(element.type, "_array_type", None)
    return [] if element.accepts_multiple or array is not None else None


def _name_result(wrapper: Any, kind: Any) -> None:
    """SOAP 1.1 §7.1: the name of the first part of a result is not significant."""
    names = [element.name for _, element in kind.elements]
    given = [xml.local(child) for child in wrapper]
    if names and given and given[0] not in names and names[0] not in given:
        wrapper[0].tag = kind.elements[0][1].qname


def named(element: Any, qname: Any) -> bool:
    if element.tag == qname.text:
        return True
    found = etree.QName(element)
    return found.localname == qname.localname and (
        not found.namespace or not qname.namespace or found.namespace == qname.namespace
    )


def _unwrapped(value: Any) -> Any:
    if not isinstance(value, CompoundValue):
        return value
    members = value.__values__
    if len(members) != 1:
        return value if members else None
    inner = next(iter(members.values()))
    if isinstance(inner, CompoundValue):
        kind = inner._xsd_type
        if len(kind.elements) == 1 and not kind.attributes:
            return inner[kind.elements[0][0]]
    return inner


def _with_attachments(operation: Operation, element: Any, value: Any, parts: Sequence[Part]) -> Any:
    """A record of the body's parts and of the parts the WSDL binds to attachments."""
    if not operation.attachments:
        return None
    shown = plain(value, parts)
    record = Record()
    if element is not None:
        record.update(shown if operation.grammar.style == "rpc" and isinstance(shown, dict) else {element.name: shown})
    left = list(parts)
    for name in operation.attachments:
        part = next((each for each in left if each.content_id.partition("=")[0] == name), None)
        part = part or (left[0] if left else None)
        if part is not None:
            left.remove(part)
        record[name] = part.file() if part is not None else None
    return record


def headers(operation: Operation, header: Any, parts: Sequence[Part]) -> dict[str, Any]:
    if header is None:
        return {}
    found = {xml.local(child): untyped(child) for child in header}
    output = operation.grammar.output
    if output is not None and output.header is not None and output.header.type._element:
        context = XmlParserContext(settings=operation.contract.document.settings)
        typed = output.header.parse(header, operation.contract.document.types, context=context)
        if isinstance(typed, CompoundValue):
            found.update({name: plain(value, parts) for name, value in typed.__values__.items() if name[0] != "_"})
    return found


def attach(envelope: Any) -> None:
    """Contents that travel beside the envelope marked by their reference."""
    for include in list(envelope.iter(f"{{{XOP}}}Include")):
        parent = include.getparent()
        parent.remove(include)
        href = include.get("href", "")
        parent.text = href if href.startswith("cid:") else "cid:"


# --- faults -----------------------------------------------------------------------------------------------------------

_CODE_NAMES = frozenset({"code", "errorcode", "codeerreur", "code_erreur", "errcode", "error_code", "faultcode"})


def _fault(operation: Operation, fault: Any, parts: Sequence[Part]) -> SoapFault:
    by_name = {xml.local(child): child for child in fault}
    if "Code" in by_name:  # SOAP 1.2
        steps = [_local_value(each) for each in by_name["Code"].iter() if xml.local(each) == "Value"]
        faultcode, code = (steps[0], steps[-1]) if steps else ("", "")
        reason = next((each for each in by_name["Reason"] if each.text), None) if "Reason" in by_name else None
        string, actor, detail = reason, by_name.get("Role"), by_name.get("Detail")
    else:
        faultcode = code = _local_value(by_name.get("faultcode"))
        string, actor, detail = by_name.get("faultstring"), by_name.get("faultactor"), by_name.get("detail")
    entries = [entry for entry in detail if isinstance(entry.tag, str)] if detail is not None else []
    names = [name for name, element in operation.faults.items() if entries and named(entries[0], element.qname)]
    name = names[0] if len(names) == 1 else ""  # several faults of one element cannot be told apart
    if code == faultcode:
        code = name or code
    content: dict[str, Any] = {xml.local(entry): _fault_detail(operation, entry, parts) for entry in entries}
    for entry in content.values():
        own = next((v for k, v in entry.items() if k.lower() in _CODE_NAMES and v), None) if _is_map(entry) else None
        if isinstance(own, str | int):
            code = str(own).strip()
            break
    return SoapFault(
        code=code,
        faultcode=faultcode,
        type=xml.local(entries[0]) if entries else "",
        actor=(actor.text or "").strip() if actor is not None else "",
        string=(string.text or "").strip() if string is not None else "",
        detail=content,
        name=name,
    )


def _is_map(value: Any) -> bool:
    return isinstance(value, Mapping)


def _local_value(element: Any) -> str:
    return (element.text or "").strip().rpartition(":")[2] if element is not None else ""


def _fault_detail(operation: Operation, entry: Any, parts: Sequence[Part]) -> Any:
    """Typed when the contract knows the element and it reads; a fault is never made worse by its detail."""
    schema = operation.contract.document.types
    declared = [element for element in operation.faults.values() if named(entry, element.qname)]
    try:
        element = declared[0] if declared else schema.get_element(etree.QName(entry))
        value = plain(element.parse(entry, schema), parts)
    except (zeep.exceptions.Error, BadValue, ValueError, TypeError, LookupError, AttributeError, ArithmeticError):
        return untyped(entry)
    return value if value is not None else untyped(entry)


# --- what may be said of an error -------------------------------------------------------------------------------------


def _where(error: BaseException) -> str:
    """The names of the elements being read when it happened, taken from the reader's own frames."""
    names: list[str] = []
    trace = error.__traceback__
    while trace is not None:
        element = trace.tb_frame.f_locals.get("xmlelement")
        if isinstance(element, etree._Element) and (not names or names[-1] != xml.local(element)):
            names.append(xml.local(element))
        trace = trace.tb_next
    return "/".join(names[-8:]) or "body"


def _without_values(error: zeep.exceptions.Error) -> str:
    found = re.search(r"[Uu]nexpected element '(?:\{[^}]*\})?([^']{1,80})'", str(error))
    return f"unexpected element <{found[1]}>" if found else type(error).__name__
