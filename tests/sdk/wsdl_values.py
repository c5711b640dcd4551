"""Values made from the types of a WSDL: arguments for a request, results for an answer."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

from zeep import xsd
from zeep.xsd.elements import indicators
from zeep.xsd.types import builtins

from sdk import xml
from sdk.soap.facets import choices, complaint

DEEP = 4  # below, optional members are left out

# The first class that matches gives the value: derived types come before what they derive from.
_SIMPLE: tuple[tuple[Any, Any], ...] = (
    (builtins.Boolean, True),
    (builtins.Integer, 42),
    (builtins.Decimal, Decimal("12.50")),
    (builtins.Float, 1.5),
    (builtins.Double, 2.5),
    (builtins.Duration, dt.timedelta(hours=2)),
    (builtins.DateTime, dt.datetime(2025, 3, 14, 9, 26, 53, tzinfo=dt.UTC)),
    (builtins.Time, dt.time(9, 26, 53)),
    (builtins.Date, dt.date(2025, 3, 14)),
    (builtins.gYearMonth, (2025, 3, None)),
    (builtins.gYear, (2025, None)),
    (builtins.gMonthDay, (3, 14, None)),
    (builtins.gDay, (14, None)),
    (builtins.gMonth, (3, None)),
    (builtins.HexBinary, "0aff"),
    (builtins.Base64Binary, b"\x00\xffcontent"),
    (builtins.AnyURI, "https://example.org/a?b=c"),
    (builtins.String, "Été à Metz <&>"),
)


def value_of(kind: Any, depth: int = 0) -> Any:
    """A value of this type, every member present down to a certain depth."""
    if isinstance(kind, xsd.ComplexType):
        if kind._array_type is not None:
            return [_item_of(kind, depth), _item_of(kind, depth)]
        return members_of(kind, depth)
    if isinstance(kind, xsd.ListType):
        item = value_of(kind.item_type, depth)
        return ["one", "two"] if isinstance(item, str) else [item, item]
    if isinstance(kind, xsd.UnionType) and kind.item_class is not None:
        return value_of(kind.item_class(), depth)
    found: Any = next((value for known, value in _SIMPLE if isinstance(kind, known)), "text")
    return found if complaint(kind, found) is None else _within(kind, found)


def _within(kind: Any, value: Any) -> Any:
    """A value that the schema's enumeration, range or length takes."""
    number = int if isinstance(kind, builtins.Integer) else Decimal
    cast = number if isinstance(kind, builtins.Decimal) else str
    limits = [limit for facets in kind.facets for _, limit in facets.bounds] if hasattr(kind, "facets") else []
    tried = [*filter(None, choices(kind)), *(limit + step for limit in limits for step in (0, 1, -1)), -42]
    if cast is str:
        tried += ["x" * length for length in range(100)]
    return next(cast(each) for each in tried if complaint(kind, cast(each)) is None)


def members_of(kind: Any, depth: int = 0) -> dict[str, Any]:
    """The members of a structure, as a dictionary."""
    members: dict[str, Any] = {}
    for name, element in kind.elements_nested:
        members.update(_of_indicator(name, element, depth))
    for name, attribute in kind.attributes:
        if attribute.name is not None and (depth < DEEP or attribute.required):
            members[name] = value_of(attribute.type, depth + 1)
    return members


def _item_of(kind: Any, depth: int) -> Any:
    inner = kind._array_type.array_type
    if isinstance(kind._element, xsd.Sequence) and kind._element:
        inner = kind._element[0].type
    return value_of(inner, depth + 1)


def _of_indicator(name: str | None, node: Any, depth: int) -> dict[str, Any]:
    if isinstance(node, xsd.Element):
        return {name: _of_element(node, depth)} if name and _wanted(node, depth) else {}
    if isinstance(node, xsd.Any):
        return {name: _of_any(node)} if name and _wanted(node, depth) else {}
    if isinstance(node, indicators.Group):
        return _repeated(name, node, _of_indicator(None, node.child, depth))
    if not isinstance(node, indicators.OrderIndicator):
        return {}  # a reference to xs:schema
    if isinstance(node, xsd.Choice):
        if depth >= DEEP:
            return {}
        for child_name, child in node.elements_nested:
            one = _of_indicator(child_name, child, depth)
            if one:
                return _repeated(name, node, one)
        return {}
    several: dict[str, Any] = {}
    for child_name, child in node.elements_nested:
        several.update(_of_indicator(child_name, child, depth))
    return _repeated(name, node, several)


def _repeated(name: str | None, node: Any, members: dict[str, Any]) -> dict[str, Any]:
    return {name: [members]} if node.accepts_multiple and name else members


def _wanted(node: Any, depth: int) -> bool:
    return depth < DEEP or not node.is_optional


def _of_element(element: Any, depth: int) -> Any:
    if depth > 3 * DEEP:
        raise RecursionError(f"{element.name} cannot end")
    value = value_of(element.type, depth + 1)
    if not element.accepts_multiple:
        return value
    most = element.max_occurs if isinstance(element.max_occurs, int) else 2
    return [value] * max(element.min_occurs, min(2, most))


def _of_any(element: Any) -> Any:
    made = xml.build("{urn:example:open}thing", {"{urn:example:open}name": "open"})
    return [made] if element.accepts_multiple else made
