"""What a SOAP answer becomes: plain Python values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lxml import etree
from zeep.xsd.valueobjects import CompoundValue

from sdk import xml
from sdk.errors import Text, UpstreamInvalid

from . import mime
from .mime import Part
from .reader import Reference

__all__ = ["Record", "invalid", "plain", "untyped"]


class Record(dict[str, Any]):
    """A structure of the answer: `row["code"]` or `row.code` (names that `dict` uses itself only by `[...]`)."""

    __slots__ = ()

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


def invalid(detail: str, *, code: str = "soap") -> UpstreamInvalid:
    return UpstreamInvalid(
        Text(
            "La réponse du webservice de l'éditeur n'est pas conforme à son contrat.",
            en="The answer of the publisher's webservice breaks its contract.",
        ),
        detail=detail,
        code=code,
    )


def plain(value: Any, parts: Sequence[Part] = ()) -> Any:
    """A value of the codec as plain Python. What the schema leaves open (`xs:any`) is a list of `{name: content}`."""
    if isinstance(value, CompoundValue):
        if getattr(value._xsd_type, "_array_type", None) is not None:
            return plain(next(iter(value.__values__.values()), None) or [], parts)
        return Record(
            {name: plain(member, parts) for name, member in value.__values__.items() if name != "_raw_elements"}
        )
    if isinstance(value, Mapping):
        return Record({str(name): plain(member, parts) for name, member in value.items()})
    if isinstance(value, list | tuple):
        items = [plain(member, parts) for member in value]
        return items if isinstance(value, list) else tuple(items)
    if isinstance(value, Reference):
        part = mime.attachment(parts, value)
        if part is None:
            raise invalid("a reference to an attachment that is absent")
        return part.content
    if isinstance(value, str) and value.startswith("cid:"):
        part = mime.attachment(parts, value)
        return part.file() if part is not None else value
    if isinstance(value, etree._Element):
        return Record({xml.local(value): untyped(value)})
    return value


def untyped(element: Any) -> Any:
    """The text of a leaf, else a record: children by local name (a list when repeated), `@attribute`, `#text`."""
    members = Record()
    for name, value in element.attrib.items():
        if not name.startswith(f"{{{xml.XSI}}}"):
            members["@" + xml.local(name)] = value
    for child in element:
        name, value = xml.local(child), untyped(child)
        if name not in members:
            members[name] = value
        elif isinstance(members[name], list):
            members[name].append(value)
        else:
            members[name] = [members[name], value]
    text = (element.text or "").strip()
    if not members:
        return text
    if text:
        members["#text"] = text
    return members
