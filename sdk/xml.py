"""The one XML parser of the house, and the ways out of its trees.

Every document that comes from outside (answers, files, WSDLs) goes through `parse`: a DOCTYPE is refused, nothing is
ever fetched, and bytes, elements, depth and distinct names are capped. What fails says where, never what: an error
holds no content. Sizes are bytes.
"""

from __future__ import annotations

import asyncio
import codecs
import re
import threading
import types
from collections.abc import Iterator, Mapping
from functools import lru_cache
from random import randrange
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin
from xml.etree import ElementTree

import pydantic
from lxml import etree

from .errors import Text, UpstreamInvalid
from .model import Model, read

__all__ = ["build", "element_to", "parse", "parse_async", "serialize", "to_dict"]

Element = Any  # lxml's element: its stubs are too narrow to be of help

MAX_BYTES = 10 * 1024 * 1024
MAX_ELEMENTS = 1_000_000
MAX_DEPTH = 200
PARSER_DEPTH = 256  # what the parser itself refuses to exceed, for nothing, unless the document is `huge`
MAX_NAMES = 20_000
SMALL = 64 * 1024  # below, a document cannot hold enough elements or names to hurt
MAX_TEXT = 10_000_000  # bytes of one text that the parser takes, unless the document is `huge`
OFF_THE_LOOP = 256 * 1024

XSI = "http://www.w3.org/2001/XMLSchema-instance"
_NIL = f"{{{XSI}}}nil"

_DECLARATION = re.compile(r"<\?xml\s[^>]{0,300}?\?>", re.ASCII)
_DECLARED_ENCODING = re.compile(rb"""^\s*<\?xml\b[^>]{0,200}?\bencoding\s*=\s*["']([A-Za-z0-9._-]{1,40})["']""")
_PLAINLY_UTF8 = re.compile(
    rb"""(?:<\?xml version=["']1\.0["'](?: encoding=["'](?i:utf-8)["'])?(?: standalone=["'](?:yes|no)["'])? ?\?>\s*)?"""
    rb"(?=<[A-Za-z])"
)
_UNWRITABLE = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))

M = TypeVar("M", bound=Model)


class XmlRefused(ValueError):
    """A document the parser does not take; the message names the reason and the place, without content."""


# --- bytes to trees ---------------------------------------------------------------------------------------------------


def parse(
    data: str | bytes,
    *,
    max_bytes: int = MAX_BYTES,
    max_elements: int = MAX_ELEMENTS,
    max_depth: int = MAX_DEPTH,
    huge: bool = False,
    charset: str | None = None,
) -> Element:
    """The root element of a document; comments and processing instructions are left out.

    `huge` allows texts above 10 MB (a file in base64). `charset` is the one of the HTTP header. A `str` is text
    already: the encoding its declaration names is ignored, as a document carried inside another one needs.
    Raises `UpstreamInvalid`.
    """
    try:
        return parse_strictly(
            data, max_bytes=max_bytes, max_elements=max_elements, max_depth=max_depth, huge=huge, charset=charset
        )
    except XmlRefused as refused:
        raise UpstreamInvalid(
            Text(
                "La réponse de l'éditeur n'est pas un document XML acceptable.",
                en="The publisher's answer is not an acceptable XML document.",
            ),
            detail=str(refused),
            code="xml",
        ) from None


async def parse_async(data: str | bytes, **limits: Any) -> Element:
    """`parse`, in a thread when the document is large enough to hold the loop."""
    if len(data) <= OFF_THE_LOOP:
        return parse(data, **limits)
    return await asyncio.to_thread(parse, data, **limits)


def parse_strictly(
    data: str | bytes,
    *,
    max_bytes: int = MAX_BYTES,
    max_elements: int = MAX_ELEMENTS,
    max_depth: int = MAX_DEPTH,
    max_names: int = MAX_NAMES,
    huge: bool = False,
    charset: str | None = None,
) -> Element:
    """`parse` for the documents of nobody in particular: raises `XmlRefused`."""
    content = in_utf8(data, charset=charset, max_bytes=max_bytes)
    return parse_utf8(content, max_elements=max_elements, max_depth=max_depth, max_names=max_names, huge=huge)


def parse_utf8(
    content: bytes,
    *,
    max_elements: int = MAX_ELEMENTS,
    max_depth: int = MAX_DEPTH,
    max_names: int = MAX_NAMES,
    huge: bool = False,
) -> Element:
    """`parse_strictly` for what `in_utf8` gave."""
    huge = huge and len(content) > MAX_TEXT  # in a smaller one the parser's own limits are free, and harmless
    declared = not (content[:1] == b"<" and content[1:2].isalpha())  # no DOCTYPE can come after the root
    if declared:
        _refuse_doctype(content)
    try:
        if _is_worth_counting(content, max_elements, max_names):
            root = _counted(content, _options(huge), max_elements, max_names)
        else:
            root = etree.fromstring(content, _parser(huge))
    except (etree.LxmlError, ValueError) as error:
        raise _refused(error) from None
    if (max_depth < PARSER_DEPTH or huge) and _is_deeper(root, max_depth):
        raise XmlRefused(f"deeper than {max_depth} elements")
    if declared:
        _refuse_internal_subset(root)
    return root


def _options(huge: bool) -> dict[str, Any]:
    return {
        "encoding": "utf-8",
        "resolve_entities": False,
        "load_dtd": False,
        "dtd_validation": False,
        "no_network": True,
        "huge_tree": huge,
        "remove_pis": True,
        "remove_comments": True,
        "collect_ids": False,
    }


_kept = threading.local()


def _parser(huge: bool) -> Any:
    """One per thread: making one costs a fifth of parsing a small document."""
    name = "huge" if huge else "usual"
    found = getattr(_kept, name, None)
    if found is None:
        found = etree.XMLParser(**_options(huge))
        setattr(_kept, name, found)
    return found


def _refused(error: Exception) -> XmlRefused:
    if isinstance(error, XmlRefused):
        return error
    if isinstance(error, etree.XMLSyntaxError):
        return XmlRefused(f"not well-formed: {_reason(error)}")
    return XmlRefused(f"not parsable: {type(error).__name__}")


def _refuse_internal_subset(root: Element) -> None:
    info = root.getroottree().docinfo
    if info.doctype or info.internalDTD is not None:
        raise XmlRefused("it has a DOCTYPE")


@lru_cache(maxsize=32)
def _has_depth(depth: int) -> Any:
    return etree.XPath("boolean(" + "/*" * depth + ")")


def _is_deeper(root: Element, depth: int) -> bool:
    """The short question first: nearly no document is deeper than its answer."""
    return bool(_has_depth(min(12, depth + 1))(root) and _has_depth(depth + 1)(root))


_TAGS = re.compile(rb"<([^\s/>!?]+)")
_ATTRIBUTES = re.compile(rb"\s([^\s=<>\"']{1,200})\s*=")


class _Sample:
    """Whether a document may hold more elements or names than it may.

    Looking at every tag costs as much as parsing, so this looks at slices drawn at random, sixteen times fewer bytes:
    what is near a limit is then counted exactly.
    """

    PERIOD = 16 * 4 * 1024

    def __init__(self, max_elements: int, max_names: int) -> None:
        self._max_elements = max_elements
        self._max_names = max_names
        self._elements = 0
        self._names: set[Any] = set()

    def look(self, content: bytes, start: int) -> bool:
        """Draws one slice of the period that begins at `start`; whether it is time to count."""
        at = start + randrange(self.PERIOD - 4 * 1024)  # noqa: S311 (a sample, not a secret)
        some = content[at : at + 4 * 1024]
        tags = _TAGS.findall(some)
        self._elements += len(tags)
        self._names.update(tags)
        if some.count(b"=") > 16:
            self._names.update(_ATTRIBUTES.findall(some))
        return self._elements * 16 > self._max_elements * 0.8 or len(self._names) * 16 > self._max_names * 0.8


def _is_worth_counting(content: bytes, max_elements: int, max_names: int) -> bool:
    if len(content) <= SMALL:
        return max_elements < SMALL // 4 and content.count(b"<") > max_elements
    sample = _Sample(max_elements, max_names)
    return any(sample.look(content, start) for start in range(0, len(content), _Sample.PERIOD))


def _counted(content: bytes, options: Mapping[str, Any], max_elements: int, max_names: int) -> Element:
    """Counts while parsing, because a name once read stays in the memory of the process."""
    parser: Any = etree.XMLPullParser(events=("start",), **options)
    elements = 0
    names: set[Any] = set()
    for start in range(0, len(content), SMALL):
        parser.feed(content[start : start + SMALL])
        for _, element in parser.read_events():
            elements += 1
            names.add(element.tag)
            names.update(element.attrib)
        if elements > max_elements:
            raise XmlRefused(f"more than {max_elements} elements")
        if len(names) > max_names:
            raise XmlRefused(f"more than {max_names} distinct names")
    return parser.close()


class Growing:
    """A document whose elements are read, and removed, while the rest of it is still being parsed.

    It is a tree of ElementTree: its elements cost a quarter of lxml's to walk, and its names are forgotten with it,
    which is why they are not counted. It holds to the other limits of `parse`, but for a depth that begins and ends in
    one piece; and it takes nothing that `parse` refuses, but for a namespace that is no URI.
    """

    def __init__(self, content: bytes, size: int = 4 * 1024, *, huge: bool = False) -> None:
        """`content` is what `in_utf8` gave, `size` the bytes of a piece. Raises `XmlRefused`."""
        if not content[1:2].isalpha() or (len(content) > MAX_TEXT and not huge):
            raise XmlRefused("something before its root, or as large as a text may not be")
        self._content = content
        self._size = self._next_size = size
        self._at = self._elements = 0
        self._builder = ElementTree.TreeBuilder()
        self._above = self._last = self._builder.start("", {})
        self._parser = ElementTree.XMLParser(target=self._builder)  # noqa: S314 (no entity without a DOCTYPE)
        self.ended = False

    @property
    def root(self) -> Element | None:
        """The root element, from its start tag on. An element is whole when another follows it, or it has `ended`."""
        return self._above[0] if len(self._above) else None

    def step(self) -> tuple[int, int]:
        """Parses the next piece: from which byte to which. Raises `XmlRefused`, for `parse` to say it better."""
        start, end = self._at, min(self._at + self._next_size, len(self._content))
        try:
            self._parser.feed(self._content[start:end])
            if end == len(self._content):
                self._parser.close()
                self.ended = True
        except (ElementTree.ParseError, ValueError) as error:
            raise XmlRefused(f"not well-formed: {type(error).__name__}") from None
        self._at = end
        self._elements += self._content.count(b"<", start, end)  # one at least for each
        if self._elements > MAX_ELEMENTS:
            raise XmlRefused(f"more than {MAX_ELEMENTS} elements")
        last, depth = self._above, 0
        while len(last):
            last, depth = last[-1], depth + 1
        if depth > PARSER_DEPTH:
            raise XmlRefused(f"deeper than {PARSER_DEPTH} elements")
        # Where no element began, the parser looks again at all that it did not finish: more must come at once.
        self._next_size = 2 * self._next_size if last is self._last else self._size
        self._last = last
        return start, end


def in_utf8(data: str | bytes, *, charset: str | None = None, max_bytes: int = MAX_BYTES) -> bytes:
    """A document in UTF-8, without mark nor declaration: nothing is left to say otherwise. Raises `XmlRefused`."""
    if isinstance(data, str):
        if len(data) > max_bytes:
            raise XmlRefused(f"larger than {max_bytes} bytes")
        text = data.removeprefix("\ufeff").lstrip()
        declaration = _DECLARATION.match(text)
        try:
            data = text[declaration.end() if declaration else 0 :].encode("utf-8")
        except UnicodeEncodeError:
            raise XmlRefused("a character outside Unicode") from None
        charset = "utf-8"
    if len(data) > max_bytes:
        raise XmlRefused(f"larger than {max_bytes} bytes")
    if charset in (None, "utf-8", "UTF-8") and (plainly := _PLAINLY_UTF8.match(data)):
        return data[plainly.end() :]
    encoding = _encoding(data, charset)
    if encoding == "utf-8":
        content = data.removeprefix(codecs.BOM_UTF8).lstrip()
    else:
        try:
            text = data.decode(encoding)
        except (LookupError, ValueError):
            raise XmlRefused("bytes that are not in the announced encoding") from None
        content = text.removeprefix("\ufeff").lstrip().encode("utf-8", "surrogatepass")
    if content.startswith(b"<?xml"):  # its encoding is settled: the parser must not have a second opinion
        content = content[content.find(b"?>") + 2 :].lstrip() if b"?>" in content[:400] else content
    return content


def _encoding(data: bytes, charset: str | None) -> str:
    """BOM, then HTTP header, then declaration; but what claims to be UTF-8 somewhere, and is, is UTF-8."""
    for bom, name in _BOMS:
        if data.startswith(bom):
            return name
    if data[:4] in (b"<\x00?\x00", b"<\x00s\x00") or data[:2] == b"<\x00":
        return "utf-16-le"
    if data[:2] == b"\x00<":
        return "utf-16-be"
    found = _DECLARED_ENCODING.match(data)
    declared = _codec(found[1].decode("ascii")) if found else "utf-8"
    header = _codec(charset) if charset else declared
    if declared == header:
        return declared
    if "utf-8" in (declared, header):
        try:
            data.decode("utf-8")
        except UnicodeDecodeError:
            return declared if header == "utf-8" else header
        return "utf-8"
    return header


def _codec(name: str) -> str:
    try:
        return codecs.lookup(name.strip("\"' ")).name
    except LookupError:
        return name
    except ValueError:
        return "unknown"


def to_lxml(element: Element) -> Element:
    """An element of `Growing`, as `parse` would give it. Raises `XmlRefused`."""
    return parse_strictly(ElementTree.tostring(element))


def _refuse_doctype(content: bytes) -> None:
    """Looks at what comes before the root, so that no declaration is ever acted upon."""
    at = 0
    while True:
        while content[at : at + 1].isspace():
            at += 1
        if content.startswith(b"<?", at):
            end = content.find(b"?>", at)
        elif content.startswith(b"<!--", at):
            end = content.find(b"-->", at) + 1
        elif content.startswith(b"<!", at):
            raise XmlRefused("it has a DOCTYPE")
        else:
            return
        if end <= 0:
            return  # not well-formed: the parser says it better
        at = end + 2


def _reason(error: etree.XMLSyntaxError) -> str:
    log = getattr(error, "error_log", None)
    last = log[-1] if log else None
    name = getattr(last, "type_name", None) or "ERR_SYNTAX"
    line, column = error.position if error.position else (0, 0)
    return f"{name}, line {line}, column {column}"


# --- trees to values --------------------------------------------------------------------------------------------------


def local(element: Element) -> str:
    """The name of an element or attribute without its namespace."""
    tag = element if isinstance(element, str) else element.tag
    return str(tag).rpartition("}")[2]


def text_of(element: Element) -> str | None:
    """The stripped text; None when `xsi:nil`."""
    if element.get(_NIL) in ("true", "1"):
        return None
    return (element.text or "").strip()


def element_to(model: type[M], element: Element, *, paths: Mapping[str, str] | None = None) -> M:
    """An element as a model; the model decides what is a list, so a list of one stays a list.

    A field is read from the child of its name (or of its alias, or at `paths[field]`); namespaces do not count.
    A path is `child/grandchild`, `@attribute`, `child/@attribute` or `.` for the element's own text. `list[…]` takes
    all matches, a nested model is read the same way, texts are stripped, `xsi:nil` and absent elements leave the
    default. What the model does not name is ignored. Raises `UpstreamInvalid` naming the fields, without values.
    """
    try:
        return read(model, _members(model, element, paths or {}))
    except pydantic.ValidationError as error:
        where = "; ".join(
            f"{'.'.join(str(step) for step in fault['loc'])}: {fault['type']}"
            for fault in error.errors(include_input=False, include_context=False, include_url=False)[:10]
        )
        raise UpstreamInvalid(
            Text(
                "La réponse de l'éditeur ne contient pas ce qu'elle devrait.",
                en="The publisher's answer does not hold what it should.",
            ),
            detail=f"{local(element)} as {model.__name__}: {where}",
            code="xml",
        ) from None


def _members(model: type[Model], element: Element, paths: Mapping[str, str]) -> dict[str, Any]:
    members: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        alias = field.validation_alias if isinstance(field.validation_alias, str) else field.alias
        found = list(_at(element, paths.get(name) or alias or name))
        kind = _bare(field.annotation)
        if get_origin(kind) in (list, tuple, set, frozenset):
            inner = _bare(get_args(kind)[0]) if get_args(kind) else str
            members[alias or name] = [value for each in found if (value := _value(inner, each)) is not None]
        elif len(found) > 1:
            raise UpstreamInvalid(
                Text(
                    "La réponse de l'éditeur répète un élément qui devrait être unique.",
                    en="The publisher's answer repeats an element that should be single.",
                ),
                detail=f"{local(element)}: {len(found)} times {paths.get(name) or alias or name}",
                code="xml",
            )
        elif found and (value := _value(kind, found[0])) is not None:
            members[alias or name] = value
    return members


def _at(element: Element, path: str) -> Iterator[Any]:
    step, _, rest = path.partition("/")
    if step in (".", "#text"):
        yield element
    elif step.startswith("@"):
        wanted = step[1:]
        for name, value in element.attrib.items():
            if name == wanted or local(name) == wanted:
                yield value
                return
    else:
        for child in element:
            if local(child) == step:
                if rest:
                    yield from _at(child, rest)
                else:
                    yield child


def _bare(annotation: Any) -> Any:
    """The type behind `Annotated` and `| None`."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _bare(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
        return _bare(kinds[0]) if len(kinds) == 1 else annotation
    return annotation


def _value(kind: Any, found: Any) -> Any:
    if isinstance(found, str):
        return found.strip()
    if isinstance(kind, type) and issubclass(kind, Model):
        return None if found.get(_NIL) in ("true", "1") else _members(kind, found, {})
    if kind in (dict, Any) or get_origin(kind) is dict:
        return to_dict(found)[local(found)]
    return text_of(found)


def to_dict(element: Element, *, lists: tuple[str, ...] = ()) -> dict[str, Any]:
    """An untyped dictionary `{name: content}`: attributes as `@name`, text as `#text`, namespaces left out.

    What comes once is a value and what comes several times is a list, unless its name is in `lists` (always a list):
    prefer `element_to`. Takes an element from `parse` only.
    """
    import xmltodict  # only untyped answers need it

    bare = xmltodict.parse(etree.tostring(_without_namespaces(element)), force_list=lists or None)
    return dict(bare)


def _without_namespaces(element: Element) -> Element:
    copy = etree.Element(local(element))
    stack = [(element, copy)]
    while stack:
        source, target = stack.pop()
        target.text = source.text
        for name, value in source.attrib.items():
            target.set(local(name), value)
        for child in source:
            stack.append((child, etree.SubElement(target, local(child))))
            target[-1].tail = child.tail
    return copy


# --- values to trees --------------------------------------------------------------------------------------------------


def unwritable(text: str) -> bool:
    """Whether a text holds a character no XML document may hold (NUL, most controls, a lone surrogate)."""
    return _UNWRITABLE.search(text) is not None


def build(name: str, content: Any = None) -> Element:
    """An element `name` (`"{namespace}local"` or `"local"`) holding `content`.

    `content` is a text, a number, a boolean, a date, None (empty), a list of pairs, or a dictionary: its keys are
    child names, or `@attribute`, or `#text`, and a list among its values repeats the child. Children without a
    namespace in their name have none. Raises ValueError when a text cannot be XML.
    """
    element = etree.Element(name)
    _fill(element, content)
    return element


def _fill(element: Element, content: Any) -> None:
    pairs = content.items() if isinstance(content, Mapping) else content if isinstance(content, list) else None
    if pairs is None:
        if content is not None:
            element.text = plain_text(content)
        return
    for name, value in pairs:
        if name == "#text":
            element.text = plain_text(value)
        elif name.startswith("@"):
            element.set(name[1:], plain_text(value))
        else:
            for each in value if isinstance(value, list | tuple) else [value]:
                _fill(etree.SubElement(element, name), each)


def plain_text(value: Any) -> str:
    """A value as XML Schema writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def serialize(element: Element) -> bytes:
    """The document as UTF-8 bytes, with its declaration."""
    return bytes(etree.tostring(element, xml_declaration=True, encoding="UTF-8"))
