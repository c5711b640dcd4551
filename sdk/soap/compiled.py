"""Readers compiled from the types of a contract: one flat Python function per structure, over a tree of lxml or
ElementTree.

`Readers` walks zeep's own type objects once and writes, for each structure, the function one would write by hand:

    def Book(element, absent=True):
        children = iter(element[:])
        child = next(children, END)
        tag = child.tag
        if not tag and absent and is_bare(element):
            return None
        v_code = None
        v_subject = []
        if tag == '{urn:example:library}code':
            v_code = child.text
            child = next(children, END)
            tag = child.tag
        …
        value = Record()
        value['code'] = v_code
        value['subject'] = v_subject
        return value

A reader answers what it was compiled for and nothing else: at anything unexpected (an element out of order, a text that
does not convert) it raises, and the caller lets zeep decide, so that errors, tolerance and rare shapes are zeep's own.
What cannot be compiled (`Left`) is read by zeep where it stands.
"""

# mypy: disallow-untyped-calls=False
# (zeep is not annotated)

from __future__ import annotations

import builtins as python
import keyword
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

import zeep.exceptions
from lxml import etree
from zeep import xsd
from zeep.xsd.context import XmlParserContext
from zeep.xsd.elements import indicators
from zeep.xsd.types import builtins

from sdk import xml
from sdk.errors import Text

from .instance import XSI_NIL, XSI_TYPE, is_bare, is_nil, settle
from .reader import BadValue, Reference
from .values import Record, plain

__all__ = ["UNSURE", "Readers", "Unsure"]


class Unsure(Exception):
    """The tree is not what the reader was compiled for: zeep must say what it is worth."""


class _End:
    """Stands after the last child."""

    tag = None


UNSURE = (
    *(Unsure, BadValue, zeep.exceptions.Error, RecursionError),
    *(ValueError, TypeError, LookupError, AttributeError, ArithmeticError),
)
"""What a compiled reader raises at a tree it was not compiled for."""


class Left(Exception):
    """A type that is not compiled."""

    def __init__(self, reason: Text) -> None:
        super().__init__(reason)
        self.reason = reason


_ALIKE = Text("un choix dont les branches commencent de même", en="a choice whose alternatives begin alike")
_BOUNDED = Text("un contenu libre d'un nombre borné d'éléments", en="open content of a bounded number of elements")
_OPEN = Text("un contenu libre (xs:any, xs:anyType)", en="open content (xs:any, xs:anyType)")


@dataclass(slots=True)
class Function:
    """One reader: its source, or the reason why zeep reads in its place; and those it calls."""

    name: str
    source: str = ""
    reason: Text | None = None
    calls: set[str] = field(default_factory=set)


class Readers:
    """The readers of one contract, each compiled when it is first asked for."""

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._strict = bool(schema.settings.strict)
        self._names: dict[tuple[int, str], str] = {}
        self._kinds: list[Any] = []  # kept, so that an id stays theirs
        self.functions: dict[str, Function] = {}
        self._space: dict[str, Any] = {
            "Record": Record,
            "Unsure": Unsure,
            "END": _End,
            "is_bare": is_bare,
            "is_nil": is_nil,
            "shown": plain,
            "decimal": _decimal,
            "rest": _rest,
            "chosen": self._chosen,
        }

    def whole(self, kind: Any, hint: str = "", *, typed: bool = False) -> Any:
        """`element → value` for a complete element. `typed`: `xsi:type` attributes are there, and are followed."""
        return self._space[self._named(kind, hint, "typed" if typed else "plain")]

    def arriving(self, kind: Any, hint: str = "") -> Any:
        """`(element, closed) → generator` whose result is the value, of an element of `xml.Growing`; `closed()` tells
        whether it has come whole. None where nothing repeats, a type holds itself, or zeep is needed."""
        if self.left(kind, hint) or not _grows(kind, set()) or _nests(kind, [], set()):
            return None
        name = self._named(kind, hint, "arriving")
        return None if self.functions[name].reason else self._space[name]

    def by_steps(self, kind: Any, hint: str = "", *, arriving: bool = False) -> Iterator[None]:
        """Compiles all that `whole`, or `arriving`, compiles for a type: one structure a step, the innermost first."""
        waiting: list[tuple[Any, Any, str, bool]] = [(kind, hint, "plain", False)]
        if arriving:
            waiting.append((kind, hint, _flavour(kind, arriving), False))
        seen: set[tuple[int, str]] = set()
        while waiting:
            one, name, flavour, within = waiting.pop()
            key = (id(one), flavour)
            if within:
                self._named(one, name, flavour)
                yield
            elif key not in self._names and key not in seen:
                seen.add(key)
                waiting.append((one, name, flavour, True))
                for _, each in getattr(one, "elements", ()):
                    if isinstance(each, xsd.Element) and isinstance(each.type, xsd.ComplexType):
                        arrives = flavour == "arriving" and not each.accepts_multiple
                        waiting.append((each.type, each.name, _flavour(each.type, arrives), False))

    def left(self, kind: Any, hint: str = "") -> dict[str, Text]:
        """Of all that a type leads to, what zeep reads: name → reason."""
        waiting, seen = [self._named(kind, hint, "plain")], set[str]()
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting.extend(self.functions[name].calls)
        return {name: reason for name in sorted(seen) if (reason := self.functions[name].reason) is not None}

    # Inside.

    def _named(self, kind: Any, hint: str, flavour: str) -> str:
        """The name of the reader of a type, compiled if need be."""
        key = (id(kind), flavour)
        if key in self._names:
            return self._names[key]
        plain_name = kind.name or hint or "value"
        # ASCII alone: Python reads other letters in a normal form, where two names may be one.
        name = wanted = re.sub(r"^v_|[^A-Za-z_]", "_", plain_name) + ("" if flavour == "plain" else f"_{flavour}")
        while name in self._space or name in self.functions or name in _TAKEN:
            name = f"{wanted}_{len(self.functions)}"
        self._names[key] = name
        self._kinds.append(kind)
        function = self.functions[name] = Function(name)
        try:
            function.source = _Source(self, function, kind, flavour).text()
            exec(compile(function.source, f"<reader {name}>", "exec"), self._space)  # noqa: S102 (written here)
        except Left as left:
            function.reason = left.reason
            self._space[name] = self._by_zeep(kind)
        return name

    def _bind(self, prefix: str, value: Any) -> str:
        """A name under which the functions find a value."""
        name = f"{prefix}_{len(self._space)}"
        while name in self._space or name in self.functions:
            name += "_"
        self._space[name] = value
        return name

    def _by_zeep(self, kind: Any) -> Callable[..., Any]:
        """zeep reads an element of a type, whatever its `xsi:type` says."""

        def read(element: Any, absent: bool = True) -> Any:
            settle(element, self._schema)
            context = XmlParserContext(settings=self._schema.settings)
            return plain(_of(kind).parse(element, self._schema, allow_none=absent, context=context))

        return read

    def _open(self, node: Any) -> Callable[[Any], Any]:
        """zeep reads what stands where the schema takes anything."""

        def read(element: Any) -> Any:
            settle(element, self._schema)
            context = XmlParserContext(settings=self._schema.settings)
            return node.parse(element, self._schema, context=context)

        return read

    def _chosen(self, element: Any, declared: Callable[[Any], Any], simple: bool = False) -> Any:
        """The element read by the type it announces. Those the contract does not know were removed before."""
        announced = element.get(XSI_TYPE)
        if announced is None:
            return declared(element)
        prefix, colon, name = announced.strip().rpartition(":")
        kind = self._schema.get_type(etree.QName(element.nsmap.get(prefix if colon else None), name))
        if isinstance(kind, xsd.ComplexType):
            return self.whole(kind, typed=True)(element)
        if not simple:
            raise Unsure  # a text where a structure is declared
        return plain(kind.parse_xmlelement(element, self._schema))


_TAKEN = {
    *(*keyword.kwlist, *dir(python)),
    *("absent", "child", "children", "closed", "element", "found", "seen", "tag", "value", "x"),
}
"""Names that a function already uses."""


def _of(kind: Any) -> Any:
    """An element of a type, for what zeep only does with elements."""
    return xsd.Element("{urn:relais}any", kind)


# --- writing a function -----------------------------------------------------------------------------------------------


class _Source:
    """The text of one reader."""

    def __init__(self, readers: Readers, function: Function, kind: Any, flavour: str) -> None:
        self._readers = readers
        self._function = function
        self._kind = kind
        self._flavour = flavour
        self._arriving = flavour == "arriving"
        self._lines: list[str] = []
        self._members: dict[str, str] = {}  # name of a member → its variable
        self._tags: set[str] = set()  # local names of the elements met so far

    def text(self) -> str:
        """The whole function. Raises `Left`."""
        kind = self._kind
        if isinstance(kind, xsd.AnySimpleType):
            read = self._simple(kind, "element")
            return f"def {self._function.name}(element, absent=True):\n    return {read}\n"
        if not isinstance(kind, xsd.ComplexType):
            raise Left(_OPEN)
        if kind._array_type is not None:
            raise Left(Text("un tableau de l'encodage SOAP", en="an array of the SOAP encoding"))
        content = kind._element
        top_choice = False
        if not kind.attributes and not kind.elements:
            self._add(1, "return None")
        elif isinstance(content, xsd.Element) and isinstance(content.type, xsd.AnySimpleType):
            name = kind.elements_nested[0][0]
            self._declare(name, None)
            self._add(1, f"{self._members[name]} = {self._simple(content.type, 'element')}")
            if kind.attributes:  # nil, it would have none
                self._add(1, f"if {self._members[name]} is None and is_nil(element):", "    raise Unsure")
        else:
            self._first()
            if content is not None:
                top_choice = isinstance(content, indicators.Choice)
                self._defaults(kind)
                self._group(content, 1, required=True)
            self._add(1, "if tag:", "    raise Unsure")
        elements = dict(self._members)
        for name, attribute in kind.attributes:
            self._attribute(name, attribute)
        self._result(elements, top_choice)
        parameters = "element, closed, absent=True" if self._arriving else "element, absent=True"
        return "\n".join([f"def {self._function.name}({parameters}):", *self._lines]) + "\n"

    def _result(self, elements: Mapping[str, str], top_choice: bool) -> None:
        if self._lines[-1:] == ["    return None"] and not self._members:
            return
        own = [(name, variable) for name, variable in self._members.items() if not top_choice or name not in elements]
        self._add(1, "value = Record()", *(f"value[{name!r}] = {variable}" for name, variable in own))
        if top_choice and any(node.accepts_multiple for _, node in _flat(self._kind.elements_nested)):
            raise Left(Text("un choix d'éléments répétés", en="a choice of repeated elements"))
        if top_choice and elements:  # zeep shows the members of a choice only when one of them holds something
            given = " or ".join(f"{variable} is not None" for variable in elements.values())
            shown = ", ".join(f"{name!r}: {variable}" for name, variable in elements.items())
            self._add(1, f"if {given}:", f"    value.update({{{shown}}})")
        self._add(1, "return value")

    def _add(self, depth: int, *lines: str) -> None:
        self._lines += ["    " * depth + line for line in lines]

    def _declare(self, name: str, default: Any) -> None:
        if name in self._members:
            raise Left(Text(f"deux membres nommés {name}", en=f"two members named {name}"))
        variable = f"v_{name}" if name.isidentifier() and name.isascii() else f"v{len(self._members)}"
        self._members[name] = variable
        written = repr(default) if default is None or default == [] or isinstance(default, str) else None
        self._add(1, f"{variable} = {written or self._readers._bind('default', default)}")

    def _defaults(self, kind: Any) -> None:
        for name, node in _flat(kind.elements_nested):
            self._declare(name, node.default_value)

    # Steps from child to child.

    def _first(self) -> None:
        if self._arriving:
            self._add(1, "while not len(element) and not closed():", "    yield")
            self._add(1, "child = element[0] if len(element) else END")
        else:
            self._add(1, "children = iter(element[:])", "child = next(children, END)")
        self._add(1, "tag = child.tag", "if not tag and absent and is_bare(element):", "    return None")

    def _step(self, depth: int) -> None:
        if self._arriving:
            self._add(depth, "del element[0]", "child = element[0] if len(element) else END", "tag = child.tag")
        else:
            self._add(depth, "child = next(children, END)", "tag = child.tag")

    def _wait(self, depth: int) -> None:
        """Until the current child has come whole."""
        if self._arriving:
            self._add(depth, "while len(element) < 2 and not closed():", "    yield")

    # Groups of elements.

    def _group(self, node: Any, depth: int, *, required: bool) -> None:
        if node.accepts_multiple:
            raise Left(Text("un groupe répété", en="a repeated group"))
        if isinstance(node, indicators.Group):
            self._group(node.child, depth, required=required and not node.is_optional)
        elif isinstance(node, indicators.All):
            self._all(node, depth)
        elif isinstance(node, indicators.Choice):
            self._choice(node, depth)
        elif isinstance(node, indicators.Sequence):
            required = required and not node.is_optional
            if not required and any(not _optional(each) for _, each in node.elements_nested):
                self._add(depth, f"if tag in {_starts(node)!r}:")
                depth += 1
            self._sequence(node, depth)
        else:
            raise Left(Text(f"un groupe {type(node).__name__}", en=f"a group of kind {type(node).__name__}"))

    def _sequence(self, node: Any, depth: int) -> None:
        if not len(node):
            self._add(depth, "pass")
        for name, each in node.elements_nested:
            if isinstance(each, xsd.Any):
                self._any(name, each, depth)
            elif isinstance(each, xsd.Element):
                self._element(name, each, depth)
            elif isinstance(each, indicators.Indicator):
                self._group(each, depth, required=True)
            else:
                raise Left(Text("un schéma dans la réponse", en="a schema inside the answer"))

    def _element(self, name: str, element: Any, depth: int) -> None:
        variable, tag = self._members[name], element.qname.text
        self._tags.add(element.qname.localname)
        self._add(depth, f"{'while' if element.accepts_multiple else 'if'} tag == {tag!r}:")
        self._take(element, variable, depth + 1)
        if element.accepts_multiple and isinstance(element.max_occurs, int):
            self._add(depth, f"if len({variable}) > {element.max_occurs}:", "    raise Unsure")
        if not element.is_optional and self._readers._strict:
            missing = f"if tag and not {variable}:" if element.accepts_multiple else "elif tag:"
            self._add(depth, missing, "    raise Unsure")

    def _take(self, element: Any, variable: str, depth: int) -> None:
        """Reads the current child into its variable, and goes to the next one."""
        if element.accepts_multiple:
            self._wait(depth)
            self._add(depth, f"{variable}.append({self._value(element)})")
        elif self._arriving and _grows(element.type, set()):
            called = self._call(element, "arriving")
            self._add(depth, f"{variable} = yield from {called}(child, lambda: len(element) > 1 or closed())")
        else:
            self._wait(depth)
            self._add(depth, f"{variable} = {self._value(element)}")
        self._step(depth)

    def _choice(self, node: Any, depth: int) -> None:
        starts: set[str] = set()
        word = "if"
        names = [name for name, _ in _flat([(None, node)])]
        for name, each in node.elements_nested:
            if isinstance(each, xsd.Any):
                raise Left(Text("un choix qui prend n'importe quoi", en="a choice that takes anything"))
            one = {each.qname.text} if isinstance(each, xsd.Element) else set(_starts(each))
            locals_ = {xml.local(tag) for tag in one}
            if starts & locals_:
                raise Left(
                    Text("un choix dont les branches commencent de même", en="a choice whose alternatives begin alike")
                )
            starts |= locals_
            if isinstance(each, xsd.Element):
                self._tags.add(each.qname.localname)
                self._add(depth, f"{word} tag == {each.qname.text!r}:")
                variable = self._members[name]
                if each.accepts_multiple:
                    self._add(depth + 1, f"while tag == {each.qname.text!r}:")
                    self._take(each, variable, depth + 2)
                    if isinstance(each.max_occurs, int):
                        self._add(depth + 1, f"if len({variable}) > {each.max_occurs}:", "    raise Unsure")
                else:
                    self._take(each, variable, depth + 1)
                others = [self._members[other] for other in names if other != name]
                if others:
                    self._add(depth + 1, f"if {variable} is not None:", f"    {' = '.join(others)} = None")
            else:
                if each.accepts_multiple or any(one.accepts_multiple for _, one in _flat([(None, each)])):
                    raise Left(Text("un choix de groupes répétés", en="a choice of repeated groups"))
                inside = [self._members[inner] for inner, _ in _flat([(None, each)])]
                others = [self._members[other] for other in names if self._members[other] not in inside]
                self._add(depth, f"{word} tag in {tuple(sorted(one))!r}:")
                self._group(each, depth + 1, required=True)
                if others:
                    given = " or ".join(f"{variable} is not None" for variable in inside)
                    self._add(depth + 1, f"if {given}:", f"    {' = '.join(others)} = None")
            word = "elif"

    def _all(self, node: Any, depth: int) -> None:
        if node._consume_other or self._arriving:
            raise Left(Text("des éléments dans n'importe quel ordre", en="elements in any order"))
        self._add(depth, "seen = set()", "while tag:", "    if tag in seen:", "        raise Unsure")
        self._add(depth + 1, "seen.add(tag)")
        word = "if"
        for name, each in node.elements_nested:
            if not isinstance(each, xsd.Element) or each.accepts_multiple:
                raise Left(Text("des éléments répétés dans n'importe quel ordre", en="repeated elements in any order"))
            self._add(depth + 1, f"{word} tag == {each.qname.text!r}:")
            self._take(each, self._members[name], depth + 2)
            word = "elif"
        self._add(depth + 1, "else:", "    raise Unsure")

    def _any(self, name: str, node: Any, depth: int) -> None:
        """All that is left, or as many elements as the schema takes."""
        variable, known = self._members[name], tuple(sorted(self._tags))
        reader = self._readers._bind("open", self._readers._open(node))
        self._leave(name)
        most = node.max_occurs if isinstance(node.max_occurs, int) else None
        if most is not None and most != 1:
            raise Left(
                Text("un contenu libre d'un nombre borné d'éléments", en="open content of a bounded number of elements")
            )
        if most is None:
            self._add(depth, "if tag:", f"    {variable} = []")
        self._add(depth, "if tag:" if most == 1 else "while tag:")
        if known:  # zeep reads a declared element even in another namespace than its own
            self._add(depth + 1, f"if tag.rpartition('}}')[2] in {known!r}:", "    raise Unsure")
        if most == 1:
            self._add(depth + 1, f"{variable} = shown({reader}(child))")
        else:
            self._add(depth + 1, f"found = {reader}(child)", "if found is not None:")
            self._add(depth + 2, f"{variable}.append(shown(found))")
        self._step(depth + 1)

    # Values.

    def _value(self, element: Any) -> str:
        """What reads the current child."""
        kind = element.type
        if isinstance(kind, xsd.ComplexType):
            called = self._call(element, "typed" if self._flavour == "typed" else "plain")
            if self._flavour == "typed" and not self._readers.functions[called].reason:
                return f"chosen(child, {called})"
            return f"{called}(child)"
        if isinstance(kind, xsd.AnySimpleType):
            read = self._simple(kind, "child")
            return f"chosen(child, lambda child: {read}, True)" if self._flavour == "typed" else read
        self._leave(element.name)
        reader = self._readers._bind("open", self._readers._by_zeep(kind))
        return f"{reader}(child)"

    def _call(self, element: Any, flavour: str) -> str:
        called = self._readers._named(element.type, element.name, flavour)
        self._function.calls.add(called)
        return called

    def _leave(self, member: str) -> None:
        """Notes a member that zeep reads."""
        name = f"{self._function.name}.{member}"
        self._readers.functions[name] = Function(name, reason=_OPEN)
        self._function.calls.add(name)

    def _simple(self, kind: Any, element: str) -> str:
        """The value of the text of an element."""
        if isinstance(kind, xsd.UnionType):
            return f"{self._readers._bind('union', _union(kind, self._readers._schema))}({element})"
        if isinstance(kind, builtins.Base64Binary):
            return f"{self._readers._bind('binary', _binary(kind))}({element})"
        converted = self._converted(kind)
        if converted == "x":
            return f"{element}.text"
        return f"None if (x := {element}.text) is None else {converted}"

    def _attribute(self, name: str, attribute: Any) -> None:
        if isinstance(attribute, xsd.AnyAttribute):
            self._declare(name, None)
            known = tuple(each.qname.text for _, each in self._kind.attributes if each.qname is not None)
            self._add(1, "if element.attrib:", f"    {self._members[name]} = rest(element, {known!r})")
            return
        self._declare(name, attribute.default_value)
        kind = attribute.type
        if not isinstance(kind, xsd.AnySimpleType) or isinstance(kind, builtins.Base64Binary):
            raise Left(Text(f"un attribut de type {kind.name}", en=f"an attribute of type {kind.name}"))
        converted = self._converted(kind)
        self._add(1, f"x = element.get({attribute.qname.text!r})", "if x is not None:")
        self._add(2, f"{self._members[name]} = {converted}")

    def _converted(self, kind: Any) -> str:
        """An expression of the text `x`."""
        if isinstance(kind, xsd.UnionType | xsd.ListType) or not hasattr(kind, "exact_class"):
            if type(kind) is xsd.AnySimpleType:
                return "x"
            return f"{self._readers._bind('read', _own(kind))}(x)"
        exact = kind.exact_class
        if type(kind).pythonvalue is not exact.pythonvalue:
            return f"{self._readers._bind('read', _own(kind))}(x)"
        known = exact.__mro__[1]
        if known in _TEXTS:
            return "x"
        if self._readers._strict and known.pythonvalue in (builtins.Integer.pythonvalue, builtins.Long.pythonvalue):
            return "int(x)"
        if self._readers._strict and known is builtins.Decimal:
            return "decimal(x)"
        if self._readers._strict and known in (builtins.Float, builtins.Double):
            return "float(x)"
        quick = _QUICK.get(known)
        return f"{self._readers._bind('read', quick(kind) if quick is not None else _own(kind))}(x)"


def _flat(nested: Iterable[tuple[str | None, Any]]) -> Iterator[tuple[str, Any]]:
    """Every member of a structure, those of its groups among them."""
    for name, node in nested:
        inside = getattr(node, "child", node)
        if isinstance(inside, indicators.OrderIndicator):
            if node.accepts_multiple or inside.accepts_multiple:
                raise Left(Text("un groupe répété", en="a repeated group"))
            yield from _flat(inside.elements_nested)
        elif name is not None:
            yield name, node


def _optional(node: Any) -> bool:
    """Whether a part of a sequence may be absent."""
    if node.is_optional:
        return True
    inside = getattr(node, "child", node)
    if isinstance(inside, indicators.Sequence):
        return inside.is_optional or all(_optional(each) for _, each in inside.elements_nested)
    return False


def _starts(node: Any) -> tuple[str, ...]:
    """The elements a group may begin with."""
    found: list[str] = []
    inside = getattr(node, "child", node)
    for _, each in inside.elements_nested:
        if isinstance(each, xsd.Element):
            found.append(each.qname.text)
        elif isinstance(each, indicators.Indicator):
            found += _starts(each)
        else:
            raise Left(
                Text(
                    "un groupe facultatif qui commence par un contenu libre",
                    en="an optional group that begins with open content",
                )
            )
        if isinstance(inside, indicators.Sequence) and not _optional(each):
            break
    return tuple(sorted(set(found)))


def _flavour(kind: Any, arriving: bool) -> str:
    """Of the reader of an element, which comes while it is read or is complete."""
    return "arriving" if arriving and _grows(kind, set()) else "plain"


def _grows(kind: Any, seen: set[int]) -> bool:
    """Whether an answer of this type is long because something in it repeats."""
    if not isinstance(kind, xsd.ComplexType) or id(kind) in seen or kind._array_type is not None:
        return False
    seen.add(id(kind))
    try:
        members = list(_flat(kind.elements_nested))
    except Left:
        return False
    if any(isinstance(node, xsd.Element) and node.accepts_multiple for _, node in members):
        return True
    return any(isinstance(node, xsd.Element) and _grows(node.type, seen) for _, node in members)


def _nests(kind: Any, above: list[Any], done: set[int]) -> bool:
    """Whether a type holds itself, so that an answer of it may be as deep as it likes."""
    if not isinstance(kind, xsd.ComplexType) or id(kind) in done:
        return False
    if any(kind is each for each in above):
        return True
    members = [node.type for _, node in _flat(kind.elements_nested) if isinstance(node, xsd.Element)]
    if any(_nests(each, [*above, kind], done) for each in members):
        return True
    done.add(id(kind))
    return False


# --- texts to values --------------------------------------------------------------------------------------------------

_TEXTS = (builtins.String, builtins.HexBinary)


def _decimal(text: str) -> Decimal:
    number = Decimal(text)
    if not number.is_finite():
        raise Unsure
    return number


def _own(kind: Any) -> Callable[[str], Any]:
    """The type's own way."""

    def read(text: str) -> Any:
        value = kind.pythonvalue(text)
        if isinstance(value, Reference):
            raise Unsure
        return value

    return read


def _quick_date(kind: Any) -> Callable[[str], Any]:
    own, quick = kind.pythonvalue, date.fromisoformat

    def read(text: str) -> Any:
        if len(text) == 10:
            try:
                return quick(text)
            except ValueError:
                pass
        return own(text)

    return read


def _quick_datetime(kind: Any) -> Callable[[str], Any]:
    own, quick = kind.pythonvalue, datetime.fromisoformat

    def read(text: str) -> Any:
        size = len(text)
        if size in (19, 20, 25) and text[10] == "T" and text.isascii():
            zone = text[19:]
            if not zone or zone == "Z" or (zone[0] in "+-" and zone[3] == ":"):
                try:
                    return quick(text)
                except ValueError:
                    pass
        return own(text)

    return read


_BOOLEANS = {"true": True, "false": False, "1": True, "0": False}


def _quick_boolean(kind: Any) -> Callable[[str], Any]:
    own, quick = kind.pythonvalue, _BOOLEANS.get

    def read(text: str) -> Any:
        value = quick(text)
        return own(text) if value is None else value

    return read


_QUICK: Mapping[Any, Callable[[Any], Callable[[str], Any]]] = {
    builtins.Date: _quick_date,
    builtins.DateTime: _quick_datetime,
    builtins.Boolean: _quick_boolean,
}


def _union(kind: Any, schema: Any) -> Callable[[Any], Any]:
    def read(element: Any) -> Any:
        return plain(kind.parse_xmlelement(element, schema))

    return read


def _binary(kind: Any) -> Callable[[Any], Any]:
    own = _own(kind)

    def read(element: Any) -> Any:
        text = element.text
        if text is None and len(element):
            raise Unsure  # content that travels beside the envelope
        return None if text is None else own(text)

    return read


def _rest(element: Any, known: tuple[str, ...]) -> Any:
    """The attributes the schema does not name."""
    left = {name: value for name, value in element.attrib.items() if name not in known and name != XSI_TYPE}
    return None if list(left) == [XSI_NIL] else plain(left)
