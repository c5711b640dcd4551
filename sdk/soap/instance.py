"""What an answer says of its own elements: `xsi:nil`, `xsi:type`."""

# mypy: disallow-untyped-calls=False
# (zeep is not annotated)

from __future__ import annotations

from typing import Any

import zeep.exceptions
from lxml import etree

from sdk import xml

from .values import invalid

__all__ = ["XSI_NIL", "XSI_TYPE", "is_bare", "is_odd", "settle"]

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


def is_odd(tree: Any) -> bool:
    """Whether something in it must be settled before it is read: a type announced, or a nil element that is not empty.

    An empty element reads the same whether it is nil or not.
    """
    return bool(_ODD(tree))


def is_bare(element: Any) -> bool:
    """Whether an element has no attribute but `xsi:nil`."""
    return not element.attrib or element.attrib.keys() == [XSI_NIL]


def settle(tree: Any, schema: Any) -> bool:
    """nil elements emptied, `xsi:type` the contract does not know removed; whether there are others.

    Raises `UpstreamInvalid` where they are announced among too many namespaces.
    """
    typed = False
    known: dict[Any, bool] = {}
    for element in _MARKED(tree):
        nil, name = element.get(XSI_NIL), element.get(XSI_TYPE)
        if nil in ("true", "1"):
            element.attrib.clear()
            element.text = None
            del element[:]
            continue
        if nil is not None:
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
