"""Writers of requests: from what a call gives to the text of its body, held to the schema on the way.

A writer is made once for each message whose structures are sequences of elements without defaults. At anything else
(nil, a chosen type, an absent required member, a value its type refuses) it gives up: the same arguments are then held
to their types one by one (`Fitting`), and refused by name or written by zeep.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Callable, Mapping
from datetime import date, datetime, time
from decimal import Decimal
from typing import Any
from xml.sax.saxutils import quoteattr

from zeep import xsd
from zeep.xsd.elements import indicators
from zeep.xsd.types import builtins

from sdk import xml
from sdk.errors import RelaisError

from .arguments import ready
from .facets import choices, complaint, text_lengths, whole_numbers

__all__ = ["Writers"]

Write = Callable[[Any], str]
"""From a value to the content of its element."""


class Unfit(Exception):
    """The value is not of the plain kind."""


_UNFIT = (Unfit, RelaisError, ValueError, TypeError, AttributeError, ArithmeticError, LookupError, RecursionError)


class Writers:
    """The writers of one contract, made as they are met."""

    def __init__(self) -> None:
        self._made: dict[int, tuple[Any, Write | None]] = {}

    def write(self, element: Any, given: Mapping[str, Any]) -> str | None:
        """The element of a message, holding its members; None where it must be written in the long way."""
        if id(element) not in self._made:
            self._made[id(element)] = (element, _Message(element).writer())
        write = self._made[id(element)][1]
        if write is None:
            return None
        try:
            return write(given)
        except _UNFIT:
            return None


class _Message:
    """The writers of what an element may hold, with the prefixes of all their namespaces declared once, by it."""

    def __init__(self, element: Any) -> None:
        self._element = element
        self._prefixes: dict[str, str] = {}
        self._made: dict[int, Write | None] = {}

    def writer(self) -> Write | None:
        """None where a part of it is not plain."""
        tag, fill = self._tag(self._element.qname), self._of(self._element.type)
        if fill is None:
            return None
        declared = "".join(f" xmlns:{prefix}={quoteattr(name)}" for name, prefix in self._prefixes.items())

        def write(given: Any) -> str:
            content = fill(given)
            return f"<{tag}{declared}>{content}</{tag}>" if content else f"<{tag}{declared}/>"

        return write

    def _tag(self, qname: Any) -> str:
        if not qname.namespace:
            return str(qname.localname)
        return f"{self._prefixes.setdefault(qname.namespace, f'ns{len(self._prefixes)}')}:{qname.localname}"

    def _of(self, kind: Any) -> Write | None:
        if id(kind) not in self._made:
            self._made[id(kind)] = self._late(kind)  # a type may hold itself
            self._made[id(kind)] = self._make(kind)
        return self._made[id(kind)]

    def _late(self, kind: Any) -> Write:
        def write(value: Any) -> str:
            made = self._made[id(kind)]
            if made is None:
                raise Unfit
            return made(value)

        return write

    def _make(self, kind: Any) -> Write | None:
        if isinstance(kind, xsd.AnySimpleType):
            return _simple(kind)
        if not isinstance(kind, xsd.ComplexType) or kind.attributes or kind._array_type is not None:
            return None
        members: list[tuple[str, Any, str, Write]] = []
        group: Any = kind._element
        if group is not None and not _is_plain(group):
            return None
        for name, element in group.elements_nested if group is not None else ():
            write = self._of(element.type)
            if write is None or element.default is not None:
                return None
            members.append((name, element, self._tag(element.qname), write))
        return _structure(members)


def _is_plain(group: Any) -> bool:
    return (
        isinstance(group, indicators.Sequence)
        and not group.accepts_multiple
        and not group.is_optional
        and all(isinstance(element, xsd.Element) for _, element in group.elements_nested)
    )


def _structure(members: list[tuple[str, Any, str, Write]]) -> Write:
    names = frozenset(name for name, *_ in members)
    steps = [
        (name, f"<{tag}>", f"</{tag}>", write, each.is_optional, _occurrences(each) if each.accepts_multiple else None)
        for name, each, tag, write in members
    ]

    def write(given: Any) -> str:
        if type(given) is not dict:
            given = ready(given, "")
        if not given.keys() <= names:
            raise Unfit
        text = ""
        for name, start, end, fill, optional, occurrences in steps:
            value = given.get(name)
            if value is None:
                if not optional:
                    raise Unfit
            elif occurrences is not None and type(value) is list:
                if len(value) not in occurrences:
                    raise Unfit
                for one in value:
                    text += start + fill(one) + end
            else:
                text += start + fill(value) + end
        return text

    return write


def _occurrences(element: Any) -> range:
    most = element.max_occurs if isinstance(element.max_occurs, int) else 2**31
    return range(element.min_occurs, most + 1)


# --- texts ------------------------------------------------------------------------------------------------------------

_PLAIN = frozenset((str, int, float, bool, Decimal, date, datetime, time, bytes))
_MARKUP = re.compile("[&<>\r]")


def _simple(kind: Any) -> Write:
    """What writes the values of a simple type: those of the usual class quickly, others once `complaint` took them."""

    def write(value: Any) -> str:
        if type(value) not in _PLAIN:
            value = ready(value, "")
            if type(value) not in _PLAIN:
                raise Unfit
        if complaint(kind, value) is not None:
            raise Unfit
        return _escaped(kind.xmlvalue(value))

    if isinstance(kind, builtins.Base64Binary):
        return lambda value: b64encode(value if type(value) is bytes else ready(value, "")).decode()
    if isinstance(kind, builtins.Date):
        return lambda value: value.isoformat() if type(value) is date else write(value)
    if (numbers := whole_numbers(kind)) is not None:
        return lambda value: str(value) if type(value) is int and value in numbers else write(value)
    known = {each: _escaped(each) for each in choices(kind) if complaint(kind, each) is None}
    if known and isinstance(kind, builtins.String):
        return lambda value: known[value] if type(value) is str and value in known else write(value)
    if (lengths := text_lengths(kind)) is not None:
        return lambda value: _escaped(value) if type(value) is str and len(value) in lengths else write(value)
    return write


def _escaped(text: str) -> str:
    if xml.unwritable(text):
        raise Unfit
    if _MARKUP.search(text):
        text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("\r", "&#13;")
    return text
