"""What a schema asks of a simple value beyond its type: enumerations, ranges, lengths (zeep drops them).

They are held on sending only: a publisher's answer may hold a value its schema does not know yet. Patterns are not
read: XML Schema's regular expressions are not Python's, and one badly written would hold up every call.
"""

# mypy: disallow-untyped-calls=False
# (zeep is not annotated)

from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, cast

from lxml import etree
from zeep import xsd
from zeep.loader import absolute_location
from zeep.xsd.schema import Schema, SchemaDocument
from zeep.xsd.types import builtins
from zeep.xsd.types.unresolved import UnresolvedCustomType
from zeep.xsd.visitor import SchemaVisitor

from sdk.errors import Text

__all__ = ["INVALID", "FacetSchema", "choices", "complaint", "text_lengths", "whole_numbers"]

XSD = "{http://www.w3.org/2001/XMLSchema}"
_SHOWN = 10  # values of an enumeration that a sentence lists


@dataclass(frozen=True, slots=True)
class Facets:
    """Those of one restriction, as the schema writes them."""

    values: tuple[str, ...] = ()
    bounds: tuple[tuple[str, Decimal], ...] = ()
    """(name of the facet, limit)."""
    shortest: int | None = None
    longest: int | None = None


# --- from the schemas -------------------------------------------------------------------------------------------------


class _Restricted(UnresolvedCustomType):
    """A restriction that keeps its facets: the class zeep makes for it has them, before those of its base."""

    own: Facets

    def resolve(self) -> Any:
        base = self.base_type.resolve()
        if isinstance(base, xsd.ListType):
            return base  # zeep would take the name for the type of the items
        found = super().resolve()
        type(found).facets = (self.own, *getattr(base, "facets", ()))
        return found


_PLAIN_MEMBER = {"name", "type", "minOccurs", "maxOccurs", "nillable", "default"}


class _Visitor(SchemaVisitor):
    def __init__(self, schema: Any, document: Any) -> None:
        super().__init__(schema, document)
        self._kinds: dict[tuple[str, str], Any] = {}

    def visit_simple_type(self, node: Any, parent: Any) -> Any:
        found = super().visit_simple_type(node, parent)
        restriction = node.find(f"{XSD}restriction")
        if type(found) is UnresolvedCustomType and restriction is not None:
            found.__class__ = _Restricted
            cast(_Restricted, found).own = _read(restriction)
        return found

    def visit_union(self, node: Any, parent: Any) -> Any:
        """With the types written inside it, which zeep forgets when it also names some."""
        found = super().visit_union(node, parent)
        if node.get("memberTypes"):
            found.item_types += [self.visit_simple_type(each, node) for each in node.findall(f"{XSD}simpleType")]
        return found

    def visit_element(self, node: Any, parent: Any) -> Any:
        """A member that only names its type, as nearly all are, is read in one go; zeep reads every other."""
        name = node.get("name", "").strip()
        prefix, _, kind = node.get("type", "").strip().partition(":")
        namespace, target = node.nsmap.get(prefix), self.document._target_namespace
        if (
            not (name and kind and namespace and target and self.document._element_form == "qualified")
            or ":" in name
            or len(node)
            or parent.tag == f"{XSD}schema"
            or not _PLAIN_MEMBER.issuperset(node.keys())
        ):
            return super().visit_element(node, parent)
        key = (namespace, kind)
        if key not in self._kinds:
            self._kinds[key] = self._get_type(etree.QName(namespace, kind))
        most = node.get("maxOccurs", "1")
        return xsd.Element(
            name=etree.QName(target, name),
            type_=self._kinds[key],
            min_occurs=0 if parent.tag == f"{XSD}choice" else int(node.get("minOccurs", "1")),
            max_occurs=most if most == "unbounded" else int(most),
            nillable=node.get("nillable") == "true",
            default=node.get("default"),
        )

    def _retrieve_data(self, url: Any, base_url: Any = None) -> Any:
        """The loader's tree itself: zeep would parse its text a second time."""
        return self.schema._transport.tree(absolute_location(url, base_url))

    visitors: Any = {
        **SchemaVisitor.visitors,
        f"{XSD}simpleType": visit_simple_type,
        f"{XSD}element": visit_element,
    }


class _Document(SchemaDocument):
    def load(self, schema: Any, node: Any) -> None:
        if node is not None:
            _Visitor(schema, self).visit_schema(node)


class FacetSchema(Schema):
    """zeep's schema, whose simple types keep their facets."""

    def create_new_document(self, node: Any, url: Any, base_url: Any = None, target_namespace: Any = None) -> Any:
        namespace = (node.get("targetNamespace") if node is not None else None) or target_namespace
        document = _Document(namespace, url, base_url or url)
        self.documents.add(document)
        document.load(self, node)
        return document


def _read(restriction: Any) -> Facets:
    """What cannot be read is left out: a broken facet must not cost a contract."""
    found: dict[str, list[str]] = {}
    for each in restriction.iterchildren(f"{XSD}*"):
        if each.get("value") is not None:
            found.setdefault(each.tag.removeprefix(XSD), []).append(each.get("value"))
    bounds = [(name, limit) for name in _BOUNDS for limit in map(_number, found.get(name, ())) if limit is not None]
    length = _length(found.get("length"))
    return Facets(
        values=tuple(found.get("enumeration", ())),
        bounds=tuple(bounds),
        shortest=_length(found.get("minLength")) if length is None else length,
        longest=_length(found.get("maxLength")) if length is None else length,
    )


def _number(text: str) -> Decimal | None:
    try:
        number = Decimal(text.strip())
    except ArithmeticError:
        return None
    return number if number.is_finite() else None


def _length(texts: Sequence[str] | None) -> int | None:
    return int(texts[-1]) if texts and texts[-1].strip().isdecimal() else None


# --- for people -------------------------------------------------------------------------------------------------------


def choices(kind: Any) -> tuple[str, ...]:
    """The only values the type takes, as they are written on the wire; () when it is not an enumeration."""
    if isinstance(kind, xsd.UnionType):
        members = [choices(each) for each in kind.item_types]
        own = _enumerated(kind)
        return own or (tuple(value for each in members for value in each) if all(members) else ())
    return _enumerated(kind) if isinstance(kind, _COMPARED) else ()


def _enumerated(kind: Any) -> tuple[str, ...]:
    return next((each.values for each in getattr(kind, "facets", ()) if each.values), ())


# --- for values -------------------------------------------------------------------------------------------------------

_BOUNDS: dict[str, tuple[Any, str, str]] = {
    "minInclusive": (Decimal.__ge__, "doit être au moins {}", "must be at least {}"),
    "maxInclusive": (Decimal.__le__, "doit être au plus {}", "must be at most {}"),
    "minExclusive": (Decimal.__gt__, "doit être supérieur à {}", "must be greater than {}"),
    "maxExclusive": (Decimal.__lt__, "doit être inférieur à {}", "must be less than {}"),
}

# A class comes before those it derives from.
_RANGES: tuple[tuple[Any, int | None, int | None], ...] = (
    (builtins.Byte, -(2**7), 2**7 - 1),
    (builtins.Short, -(2**15), 2**15 - 1),
    (builtins.Int, -(2**31), 2**31 - 1),
    (builtins.Long, -(2**63), 2**63 - 1),
    (builtins.UnsignedByte, 0, 2**8 - 1),
    (builtins.UnsignedShort, 0, 2**16 - 1),
    (builtins.UnsignedInt, 0, 2**32 - 1),
    (builtins.UnsignedLong, 0, 2**64 - 1),
    (builtins.PositiveInteger, 1, None),
    (builtins.NonNegativeInteger, 0, None),
    (builtins.NegativeInteger, None, -1),
    (builtins.NonPositiveInteger, None, 0),
)

_EXPECTED: tuple[tuple[Any, Text], ...] = (
    (builtins.Boolean, Text("doit être vrai ou faux", en="must be true or false")),
    (builtins.Integer, Text("doit être un nombre entier", en="must be a whole number")),
    (builtins.Decimal, Text("doit être un nombre", en="must be a number")),
    (builtins.Float, Text("doit être un nombre", en="must be a number")),
    (builtins.Double, Text("doit être un nombre", en="must be a number")),
    (builtins.Date, Text("doit être une date AAAA-MM-JJ", en="must be a date YYYY-MM-DD")),
    (
        builtins.DateTime,
        Text("doit être une date et une heure ISO 8601", en="must be an ISO 8601 date and time"),
    ),
)
_NOT_ONE_WORD = Text(
    "est envoyé séparé par des espaces : aucun élément ne peut être vide ni contenir d'espace",
    en="is sent separated by spaces: no item may be empty or hold a space",
)
INVALID = Text("n'est pas valable", en="is not valid")

_COMPARED = (builtins.String, builtins.Decimal, builtins.AnyURI)
_LISTS = (builtins.NmTokens, builtins.IDREFS, builtins.Entities)  # their length counts items


def complaint(kind: Any, value: Any) -> Text | None:
    """What a simple type refuses in a value to send, to be said after the name of its field; None when it takes it."""
    if isinstance(kind, xsd.ListType):
        items = value if isinstance(value, list) else [value]
        if any(each is None or (isinstance(each, str) and len(each.split()) != 1) for each in items):
            return _NOT_ONE_WORD
        return next((said for each in items if (said := complaint(kind.item_type, each)) is not None), None)
    if isinstance(kind, xsd.UnionType):
        taken = [complaint(each, value) for each in kind.item_types]
        if None in taken:
            return _not_among(kind, str(value)) if _enumerated(kind) and isinstance(value, str) else None
        return _among(choices(kind)) if choices(kind) else taken[0]
    if isinstance(kind, builtins.Base64Binary):
        return None  # nothing to compare, and large
    try:
        text = kind.xmlvalue(value)
    except (ValueError, ArithmeticError):
        return next((said for known, said in _EXPECTED if isinstance(kind, known)), INVALID)
    except (TypeError, AttributeError):
        return None  # writing it will tell
    return next(_complaints(kind, text), None)


def _complaints(kind: Any, text: str) -> Iterator[Text]:
    if isinstance(kind, builtins.Decimal):
        yield from _out_of_range(kind, Decimal(text))
    if choices(kind) and (said := _not_among(kind, text)) is not None:
        yield said
    if isinstance(kind, builtins.String) and not isinstance(kind, _LISTS):
        length = len(_collapsed(kind, text))
        for facets in getattr(kind, "facets", ()):
            if facets.longest is not None and length > facets.longest:
                yield Text(
                    f"compte au plus {facets.longest} caractères", en=f"takes at most {facets.longest} characters"
                )
            if facets.shortest is not None and length < facets.shortest:
                yield Text(
                    f"doit compter au moins {facets.shortest} caractère(s)",
                    en=f"needs at least {facets.shortest} character(s)",
                )


def _limits(kind: Any) -> list[tuple[str, Decimal]]:
    """(name of the facet, limit), those of the built-in type among them."""
    limits = [each for facets in getattr(kind, "facets", ()) for each in facets.bounds]
    least, most = next(((low, high) for known, low, high in _RANGES if isinstance(kind, known)), (None, None))
    limits += [("minInclusive", Decimal(least))] if least is not None else []
    limits += [("maxInclusive", Decimal(most))] if most is not None else []
    return limits


def _out_of_range(kind: Any, number: Decimal) -> Iterator[Text]:
    for name, limit in _limits(kind):
        inside, french, english = _BOUNDS[name]
        if not inside(number, limit):
            yield Text(french.format(f"{limit:f}"), en=english.format(f"{limit:f}"))


def whole_numbers(kind: Any) -> range | None:
    """The numbers an integer type takes, of those that are not very large; None where more than limits tells."""
    if not isinstance(kind, builtins.Integer) or choices(kind):
        return None
    least, most = -(2**63), 2**63
    for name, limit in _limits(kind):
        if name.startswith("min"):
            least = max(least, math.floor(limit) + 1 if name == "minExclusive" else math.ceil(limit))
        else:
            most = min(most, math.ceil(limit) - 1 if name == "maxExclusive" else math.floor(limit))
    return range(least, most + 1)


def text_lengths(kind: Any) -> range | None:
    """How many characters a text may have, where this is all that its type asks; None where more tells."""
    if not isinstance(kind, builtins.String) or isinstance(kind, builtins.Token) or choices(kind):
        return None
    facets = getattr(kind, "facets", ())
    least = max((each.shortest for each in facets if each.shortest is not None), default=0)
    most = min((each.longest for each in facets if each.longest is not None), default=sys.maxsize - 1)
    return range(least, most + 1)


def _not_among(kind: Any, text: str) -> Text | None:
    values = _enumerated(kind)
    if isinstance(kind, builtins.Decimal):
        found = any(_number(each) == Decimal(text) for each in values)
    else:
        found = _collapsed(kind, text) in {_collapsed(kind, each) for each in values}
    return None if found else _among(values)


def _collapsed(kind: Any, text: str) -> str:
    plain = isinstance(kind, builtins.String) and not isinstance(kind, builtins.Token)
    return text if plain else " ".join(text.split())


def _among(values: Sequence[str]) -> Text:
    *others, last = (f"'{value}'" for value in values[:_SHOWN])
    if len(values) > _SHOWN:
        listed, more = ", ".join([*others, last]), len(values) - _SHOWN
        return Text(f"doit valoir {listed} ou l'une de {more} autres valeurs", en=f"must be {listed} or {more} others")
    french, english = (f"{', '.join(others)} {word} {last}" if others else last for word in ("ou", "or"))
    return Text(f"doit valoir {french}", en=f"must be {english}")
