"""What a call gives, held to the types of its operation before it is written (zeep drops what it does not know)."""

# mypy: disallow-untyped-calls=False
# (zeep is not annotated)

from __future__ import annotations

import copy
import re
from collections.abc import Iterable, Mapping, Sequence
from enum import Enum
from typing import TYPE_CHECKING, Any

from lxml import etree
from pydantic import BaseModel, SecretStr
from zeep import xsd
from zeep.xsd.elements import indicators

from sdk import xml
from sdk.errors import Text
from sdk.files import File
from sdk.model import invalid_input

from .facets import complaint

if TYPE_CHECKING:
    from .wsdl import Operation

__all__ = ["Fitting", "item_type", "ready", "reason", "wrong"]

_FORBIDDEN = Text(
    "contient un caractère interdit (caractère de contrôle ou texte mal encodé)",
    en="holds a forbidden character (a control character, or badly encoded text)",
)


def wrong(operation: Operation, what: str) -> TypeError:
    """A bug of the connector, told with what the operation expects."""
    return TypeError(f"{operation.name}: {what}. Expected: {operation.signature()}")


def reason(error: Exception) -> str:
    """What zeep says of an argument, without its own signature of the type."""
    found = re.search(r"(?:\{[^}]*\})?(\w+)\(\) got an unexpected keyword argument '([^']+)'", str(error))
    if found:
        return f"{found[2]} is not a member of {found[1]}"
    return f"{type(error).__name__}: {str(error)[:300]}"


def ready(value: Any, path: str) -> Any:
    """A value as the codec takes it, every text checked. Raises `InvalidInput`."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, str):
        if xml.unwritable(value):
            raise invalid_input({path: [_FORBIDDEN]})
        return value.value if isinstance(value, Enum) else value
    if isinstance(value, Enum):
        return ready(value.value, path)
    if isinstance(value, File):
        return value.content
    if isinstance(value, etree._Element):
        return copy.deepcopy(value)  # it is moved into the message: the caller's must stay whole
    if isinstance(value, BaseModel):
        value = value.model_dump(by_alias=True, exclude_none=True)
    if isinstance(value, Mapping):
        return {name: ready(each, f"{path}/{name}") for name, each in value.items()}
    if isinstance(value, list | tuple) and not hasattr(value, "_xsd_type"):
        return [ready(each, f"{path}/{at}") for at, each in enumerate(value)]
    return value


class Fitting:
    """Holds values to the types of an operation: unknown members and misplaced structures are a TypeError at once, the
    values a type refuses are gathered for one `InvalidInput` (`settle`). `exact=False` does not look at them."""

    def __init__(self, operation: Operation, *, exact: bool = True) -> None:
        self.operation = operation
        self.exact = exact
        self.fields: dict[str, list[str]] = {}
        self._known = operation.contract.members

    def settle(self) -> None:
        if self.fields:
            raise invalid_input(self.fields)

    def structure(self, kind: Any, given: Mapping[str, Any], path: str = "") -> dict[str, Any]:
        """The members given for a structure."""
        known = self._known.get(id(kind))
        if known is None:
            known = dict(_members(kind.elements_nested))
            known.update(kind.attributes)
            self._known[id(kind)] = known
        return self._fitted(known, given, path, kind.name)

    def value(self, kind: Any, value: Any, path: str) -> Any:
        """One value of a type."""
        if value is None or value is xsd.Nil or value is xsd.SkipValue or isinstance(value, etree._Element):
            return value
        if isinstance(value, Mapping) and "xsi:type" in value:
            return self._chosen(value, path)
        if isinstance(kind, xsd.ComplexType):
            return self._complex(kind, value, path)
        if isinstance(kind, xsd.AnySimpleType):
            return self._simple(kind, value, path)
        return self._open(value, path)

    # Inside.

    def _fitted(
        self, known: Mapping[str, Any], given: Mapping[str, Any], path: str, owner: str | None
    ) -> dict[str, Any]:
        if unknown := [str(name) for name in given if name not in known]:
            owner = owner or path or self.operation.name
            listed = "is not a member" if len(unknown) == 1 else "are not members"
            raise wrong(self.operation, f"{', '.join(unknown)} {listed} of {owner}")
        return {name: self._part(known[name], each, f"{path}/{name}" if path else name) for name, each in given.items()}

    def _part(self, node: Any, value: Any, path: str) -> Any:
        """What is given for a name: an element, an attribute, or the items of a repeated group."""
        if value is None or isinstance(node, xsd.Any | xsd.AnyAttribute):
            return self._open(value, path)
        inside = getattr(node, "child", node)
        if isinstance(inside, indicators.OrderIndicator):
            known = dict(_members(inside.elements_nested))
            return [
                self._fitted(known, each, f"{path}/{at}", None) if isinstance(each, Mapping) else each
                for at, each in enumerate(value if isinstance(value, list) else [value])
            ]
        kind = getattr(node, "type", None)
        if isinstance(value, list) and node.accepts_multiple:
            return [self.value(kind, each, f"{path}/{at}") for at, each in enumerate(value)]
        return self.value(kind, value, path)

    def _complex(self, kind: Any, value: Any, path: str) -> Any:
        if isinstance(value, Mapping):
            return self.structure(kind, value, path)
        if isinstance(value, list) and not hasattr(value, "_xsd_type"):
            if kind._array_type is None:
                raise wrong(self.operation, f"{path} takes a single value")
            item = item_type(kind)
            return [self.value(item, each, f"{path}/{at}") for at, each in enumerate(value)]
        content = kind._element
        if isinstance(content, xsd.Element) and isinstance(content.type, xsd.AnySimpleType):
            return self._simple(content.type, value, path)
        if isinstance(value, str | int | float | bytes):
            raise wrong(self.operation, f"{path} takes a structure")
        return value

    def _simple(self, kind: Any, value: Any, path: str) -> Any:
        many = isinstance(kind, xsd.ListType) or (isinstance(kind, xsd.UnionType) and isinstance(value, list))
        if isinstance(value, Mapping) or isinstance(value, list) != many:
            raise wrong(self.operation, f"{path} takes {'a list' if many else 'a single value'}")
        if self.exact and (said := complaint(kind, value)) is not None:
            self.fields.setdefault(path, []).append(said)
        return value

    def _open(self, value: Any, path: str) -> Any:
        """Where the schema takes anything."""
        if isinstance(value, Mapping):
            if "xsi:type" in value:
                return self._chosen(value, path)
            return {name: self._open(each, f"{path}/{name}") for name, each in value.items()}
        if isinstance(value, list) and not hasattr(value, "_xsd_type"):
            return [self._open(each, f"{path}/{at}") for at, each in enumerate(value)]
        return value

    def _chosen(self, value: Mapping[str, Any], path: str) -> Any:
        kind = self._named(value["xsi:type"])
        members = {name: each for name, each in value.items() if name != "xsi:type"}
        if isinstance(kind, xsd.ComplexType):
            members = self.structure(kind, members, path)
        try:
            return kind(**members)
        except TypeError as error:
            raise wrong(self.operation, reason(error)) from None

    def _named(self, name: str) -> Any:
        types = self.operation.contract.document.types
        if name.startswith("{"):
            return types.get_type(name)
        found = [kind for kind in types.types if kind.name == name and kind.qname.namespace != _XSD]
        if len(found) != 1:
            raise wrong(self.operation, f'xsi:type "{name}" names {len(found)} types; write "{{namespace}}{name}"')
        return found[0]


_XSD = "http://www.w3.org/2001/XMLSchema"


def item_type(kind: Any) -> Any:
    """Of a SOAP array: the type of its items."""
    declared = [element.type for _, element in kind.elements if element.name]
    return declared[0] if declared else kind._array_type.array_type


def _members(nested: Iterable[Any]) -> Sequence[tuple[str, Any]]:
    """Every name that may be given, those of the groups that are not repeated among them."""
    found: list[tuple[str, Any]] = []
    for name, node in nested:
        inside = getattr(node, "child", node)
        if isinstance(inside, indicators.OrderIndicator) and not node.accepts_multiple:
            found += _members(inside.elements_nested)
        elif name is not None:
            found.append((name, node))
    return found
