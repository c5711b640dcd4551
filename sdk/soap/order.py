"""The order of elements read as XML Schema means it.

zeep flattens a choice or an optional sequence inside a sequence into plain required elements, copies all that is left
at each step of a repeated choice, and repeats an optional sequence for ever when nothing matches it. These readers
take the place of its own in a loaded contract (`set_order`).
"""

# mypy: disallow-untyped-calls=False
# (zeep is not annotated)

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from lxml import etree
from zeep import xsd
from zeep.exceptions import UnexpectedElementError
from zeep.xsd.elements import indicators
from zeep.xsd.elements.builtins import Schema

from sdk import xml

__all__ = ["set_order"]


class _Ahead:
    """The elements not read yet; a copy costs nothing, whatever is left."""

    __slots__ = ("at", "items")

    def __init__(self, items: list[Any], at: int = 0) -> None:
        self.items = items
        self.at = at

    def __len__(self) -> int:
        return len(self.items) - self.at

    def __getitem__(self, index: int) -> Any:
        return self.items[self.at + index]

    def __iter__(self) -> Iterator[Any]:
        return iter(self.items[self.at :])

    def __delitem__(self, index: int) -> None:
        self.items, self.at = self.items[self.at :], 0
        del self.items[index]

    def popleft(self) -> Any:
        self.at += 1
        return self.items[self.at - 1]

    def clear(self) -> None:
        self.at = len(self.items)

    def copy(self) -> _Ahead:
        return _Ahead(self.items, self.at)

    def become(self, other: _Ahead) -> None:
        self.items, self.at = other.items, other.at


def _repeat(node: Any, elements: Any, strict: bool, read_one: Callable[[_Ahead], Any]) -> list[Any]:
    """As many times as the schema allows, as long as something is read."""
    ahead = elements if isinstance(elements, _Ahead) else _Ahead(list(elements))
    most = node.max_occurs if isinstance(node.max_occurs, int) else None
    found: list[Any] = []
    while ahead and (most is None or len(found) < most):
        here = ahead.copy()
        try:
            one = read_one(here)
        except UnexpectedElementError:
            if strict and len(found) < node.min_occurs:
                raise
            break
        if len(here) == len(ahead):
            break
        ahead.become(here)
        found.append(one)
    if isinstance(elements, deque):
        for _ in range(len(elements) - len(ahead)):
            elements.popleft()
    return found


def _shown(node: Any, name: str | None, found: list[Any]) -> dict[str, Any]:
    if node.accepts_multiple:
        return {name or "_value_1": found}
    return found[0] if found else {}


class _Sequence(indicators.Sequence):
    def parse_xmlelements(
        self, xmlelements: Any, schema: Any, name: str | None = None, context: Any = None
    ) -> dict[str, Any]:
        def read_one(here: _Ahead) -> dict[str, Any]:
            members: dict[str, Any] = {}
            for member, element in self.elements_nested:
                if not here:
                    break
                try:
                    value = element.parse_xmlelements(here, schema, member, context=context)
                except UnexpectedElementError:
                    if schema.settings.strict:
                        raise
                    continue
                if not isinstance(element, indicators.Indicator):
                    value = {member: value}
                for key, each in (value or {}).items():
                    if key not in members or each not in (None, []):
                        members[key] = each
            return members

        return _shown(self, name, _repeat(self, xmlelements, schema.settings.strict, read_one))

    def render(self, parent: Any, value: Any, render_path: list[str]) -> None:
        """Leaves out the optional groups nothing is given for: zeep asks for their members."""
        values = value if isinstance(value, list) else [value]
        self.validate(values, render_path)
        for each in values:
            for member, element in self.elements_nested:
                if member is None:
                    if not element.is_optional or element.accept(each):
                        element.render(parent, each, list(render_path))
                    continue
                given = each[member] if member in each else xsd.const.NotSet  # noqa: SIM401 (not a dictionary)
                if given is not xsd.SkipValue and (given is not None or not element.is_optional):
                    element.render(parent, given, [*render_path, member] if member in each else list(render_path))


class _Choice(indicators.Choice):
    def parse_xmlelements(
        self, xmlelements: Any, schema: Any, name: str | None = None, context: Any = None
    ) -> dict[str, Any]:
        def read_one(here: _Ahead) -> dict[str, Any]:
            best, rest = None, here
            for member, element in self.elements_nested:
                if isinstance(element, xsd.Element) and xml.local(here[0]) != element.qname.localname:
                    continue
                trial = here.copy()
                try:
                    value = element.parse_xmlelements(trial, schema, member, context=context)
                except UnexpectedElementError:
                    continue
                if len(trial) < len(rest):
                    best = value if isinstance(element, indicators.Indicator) else {member: value}
                    rest = trial
            here.become(rest)
            return best or {}

        return _shown(self, name, _repeat(self, xmlelements, False, read_one))

    def parse_kwargs(self, kwargs: Any, name: str | None, available_kwargs: set[str]) -> dict[str, Any]:
        """The alternative that takes most of what is given, not the first that takes something."""
        if self.accepts_multiple:
            found: dict[str, Any] = super().parse_kwargs(kwargs, name, available_kwargs)
            return found
        best: dict[str, Any] = {}
        most, rest = 0, set(available_kwargs)
        for member, element in self.elements_nested:
            left = set(available_kwargs)
            values = element.parse_kwargs(kwargs, member, left) or {}
            given = sum(1 for key in available_kwargs - left if kwargs[key] is not None)
            if given > most:
                best, most, rest = values, given, left
        names = [key for key, _ in self.elements]
        available_kwargs &= rest
        available_kwargs -= {key for key in names if key in kwargs and kwargs[key] is None}
        if best:
            for key in names:
                best.setdefault(key, None)
        return best


class _Group(indicators.Group):
    def parse_xmlelements(
        self, xmlelements: Any, schema: Any, name: str | None = None, context: Any = None
    ) -> dict[str, Any]:
        def read_one(here: _Ahead) -> Any:
            return self.child.parse_xmlelements(here, schema, "_value_1", context=context)

        return _shown(self, name, _repeat(self, xmlelements, schema.settings.strict, read_one))


class _InlineSchema(Schema):
    """A schema an answer carries (an ADO DataSet): passed over. A publisher's answer does not define our types, nor
    make us load what it imports."""

    min_occurs = max_occurs = 1

    def parse_xmlelements(self, xmlelements: Any, schema: Any, name: str | None = None, context: Any = None) -> None:
        if xmlelements and xmlelements[0].tag == self.qname:
            xmlelements.popleft()

    def render(self, parent: Any, value: Any, render_path: Any = None) -> None:
        if isinstance(value, etree._Element):
            parent.append(value)


_READERS = {indicators.Sequence: _Sequence, indicators.Choice: _Choice, indicators.Group: _Group}


def set_order(kinds: Iterable[Any]) -> None:
    """Gives these types and elements, and all they lead to, the readers of this module."""
    stack = list(kinds)
    seen: set[int] = set()
    while stack:
        node = stack.pop()
        if node is None or id(node) in seen:
            continue
        seen.add(id(node))
        reader = _READERS.get(type(node))
        if reader is not None:
            node.__class__ = reader
        if isinstance(node, xsd.ComplexType):
            _set_extension(node)
            stack.append(node._element)
            array = node._array_type
            stack.append(array.array_type if array is not None else None)
        elif isinstance(node, xsd.Element):
            stack.append(node.type)
        elif isinstance(node, indicators.Group):
            stack.append(node.child)
        elif isinstance(node, indicators.OrderIndicator):
            stack.extend(node)
        elif isinstance(node, Schema):
            node.__class__ = _InlineSchema


def _set_extension(kind: Any) -> None:
    """An extension of a type that has only attributes is not one of a simple type: there is no `_value_1` in it."""
    inner = kind._element
    if isinstance(inner, xsd.Element) and inner.name == "_value_1" and isinstance(inner.type, xsd.ComplexType):
        kind._element = None
        for name in ("elements", "elements_nested", "attributes"):
            kind.__dict__.pop(name, None)
