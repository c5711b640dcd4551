"""Writers of the plain structures of a request: straight into the tree, without zeep's objects between.

A writer is made once for each structure that is a sequence of elements without defaults. At anything else (nil, a
chosen type, an absent required member, a value its type cannot hold) it gives up, and zeep writes or refuses instead.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from lxml import etree
from zeep import xsd
from zeep.xsd.elements import indicators

__all__ = ["Writers"]

Write = Callable[[Any, Any], None]
"""(element to fill, value)."""


class Unfit(Exception):
    """The value is not of the plain kind."""


class Writers:
    """The writers of one contract, made as they are met."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Any, Write | None]] = {}

    def write(self, place: Any, element: Any, given: Mapping[str, Any]) -> bool:
        """Adds the element holding `given` to `place`; False when zeep must do it, elsewhere."""
        write = self._of(element.type)
        if write is None:
            return False
        node = etree.SubElement(place, element.qname)
        try:
            write(node, given)
        except (Unfit, ValueError, TypeError, AttributeError, ArithmeticError, LookupError):
            return False
        return True

    def _of(self, kind: Any) -> Write | None:
        found = self._made.get(id(kind))
        if found is None:
            self._made[id(kind)] = (kind, _late(self, kind))  # a type may hold itself
            found = self._made[id(kind)] = (kind, self._make(kind))
        return found[1]

    def _make(self, kind: Any) -> Write | None:
        if isinstance(kind, xsd.AnySimpleType):
            return _text(kind.xmlvalue)
        if not isinstance(kind, xsd.ComplexType) or kind.attributes or kind._array_type is not None:
            return None
        members: list[tuple[str, Any, Write]] = []
        group: Any = kind._element
        for name, element in group.elements_nested if _is_plain(group) else ():
            write = self._of(element.type)
            if write is None or element.default is not None:
                return None
            members.append((name, element, write))
        return _structure(members) if members else None


def _is_plain(group: Any) -> bool:
    return (
        isinstance(group, indicators.Sequence)
        and not group.accepts_multiple
        and not group.is_optional
        and all(isinstance(element, xsd.Element) for _, element in group.elements_nested)
    )


def _late(writers: Writers, kind: Any) -> Write:
    def write(node: Any, value: Any) -> None:
        made = writers._of(kind)
        if made is None:
            raise Unfit
        made(node, value)

    return write


def _text(xmlvalue: Callable[[Any], Any]) -> Write:
    def write(node: Any, value: Any) -> None:
        node.text = xmlvalue(value)

    return write


def _structure(members: list[tuple[str, Any, Write]]) -> Write:
    steps = [(name, each.qname, write, each.accepts_multiple, each.is_optional, each) for name, each, write in members]

    def write(node: Any, given: Any) -> None:
        if type(given) is not dict:
            raise Unfit
        for name, qname, fill, many, optional, element in steps:
            value = given.get(name)
            if value is None and optional:
                continue
            values: Any = (value,)
            if many and type(value) is list:
                values = value
                if len(values) < element.min_occurs or len(values) > _most(element):
                    raise Unfit
            for one in values:
                if one is None or one is xsd.Nil or one is xsd.SkipValue or hasattr(one, "_xsd_type"):
                    raise Unfit
                fill(etree.SubElement(node, qname), one)

    return write


def _most(element: Any) -> float:
    return element.max_occurs if isinstance(element.max_occurs, int) else math.inf
