"""What an answer says of its own elements: `xsi:nil`, `xsi:type`."""

# mypy: disallow-untyped-calls=False
# (zeep is not annotated)

from __future__ import annotations

import re
from enum import Enum
from typing import Any

import zeep.exceptions
from lxml import etree

from sdk import xml

from .values import invalid

__all__ = ["XSI_NIL", "XSI_TYPE", "Marks", "is_bare", "is_marked", "is_nil", "is_odd", "marks_of", "settle"]

XSI_TYPE = f"{{{xml.XSI}}}type"
XSI_NIL = f"{{{xml.XSI}}}nil"
MOST_NAMESPACES = 200
"""Known in one place: every type announced there costs the reading of all of them."""

# Along the attribute axis, because a predicate on every element would cost as much as parsing; and no step after it,
# because the library would compare each node found with all the others.
_ODD: Any = etree.XPath(
    "boolean(descendant-or-self::*/@i:*[local-name() = 'type' or ../node() or ../@*[2]])", namespaces={"i": xml.XSI}
)
_MARKED: Any = etree.XPath("descendant-or-self::*[@i:*]", namespaces={"i": xml.XSI})

_XSI_BYTES = xml.XSI.encode()
_MARK = re.compile(rb""":(?:nil(?!=["'](?:true|1)["']\s*(?:/>|></))|type\s*=)""")
_LONGEST = 64  # bytes in which a mark is whole


class Marks(Enum):
    """What the bytes of a document tell of the marks of its elements."""

    NONE = 0
    """None is nil or announces a type: nearly every answer declares the prefix, few use it."""
    EMPTY = 1
    """None announces a type, and those that are nil have nothing inside: they read the same as if they were not."""
    UNKNOWN = 2
    """The tree must be asked (`is_odd`)."""


def marks_of(content: bytes) -> Marks:
    """Those of a document in UTF-8."""
    if is_marked(content) and _XSI_BYTES in content:
        return Marks.UNKNOWN
    return Marks.EMPTY if b":nil" in content else Marks.NONE


def is_marked(content: bytes, start: int = 0, end: int | None = None) -> bool:
    """Whether the marks of a document in UTF-8, or of what begins in a piece of it, may be unknown."""
    if end is None:
        return _MARK.search(content) is not None
    found = _MARK.search(content, start, end + _LONGEST)
    return found is not None and found.start() < end


def is_odd(tree: Any) -> bool:
    """Whether something in it must be settled before it is read: a type announced, or a nil element that is not empty.

    An empty element reads the same whether it is nil or not.
    """
    return bool(_ODD(tree))


def is_bare(element: Any) -> bool:
    """Whether an element has no attribute, or is nil, whatever the others say."""
    attributes = element.attrib
    return not attributes or is_nil(element) or (len(attributes) == 1 and XSI_NIL in attributes)


def is_nil(element: Any) -> bool:
    """Whether an element says that it is nil."""
    return element.get(XSI_NIL) in ("true", "1")


def settle(tree: Any, schema: Any) -> bool:
    """nil elements emptied, `xsi:type` the contract does not know removed; whether there are others.

    Raises `UpstreamInvalid` where they are announced among too many namespaces.
    """
    typed = False
    known: dict[Any, bool] = {}
    for element in _MARKED(tree):
        name = element.get(XSI_TYPE)
        if is_nil(element):
            element.attrib.clear()
            element.text = None
            del element[:]
            continue
        if XSI_NIL in element.attrib:
            del element.attrib[XSI_NIL]
        if name is not None:
            prefix, colon, local = name.strip().rpartition(":")
            namespaces = element.nsmap
            if len(namespaces) > MOST_NAMESPACES:
                raise invalid(f"more than {MOST_NAMESPACES} namespaces in one place")
            qname = (namespaces.get(prefix if colon else None), local)
            if qname not in known:
                known[qname] = _knows(schema, qname)
            if known[qname]:
                typed = True
            else:
                del element.attrib[XSI_TYPE]
    return typed


def _knows(schema: Any, qname: tuple[str | None, str]) -> bool:
    try:
        return schema.get_type(etree.QName(*qname), fail_silently=True) is not None
    except (zeep.exceptions.Error, ValueError):
        return False
