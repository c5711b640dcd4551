"""A publisher's WSDL, read from vendored files: its operations, their names and types (zeep does the reading)."""

# mypy: disallow-untyped-calls=False
# (zeep is not annotated)

from __future__ import annotations

import os
import re
import threading
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import zeep.exceptions
from lxml import etree
from zeep import xsd
from zeep.settings import Settings
from zeep.wsdl.bindings import Soap12Binding
from zeep.xsd.elements import indicators

from sdk.errors import Misconfigured, Text
from sdk.pace import Pace

from .compiled import Readers
from .facets import choices
from .known_schemas import SOAP_ENCODING
from .order import set_order
from .reader import Key, Loader, StrictDocument, refused
from .writers import Writers

__all__ = ["Contract", "Operation", "load", "shown_member"]

_SHOWN = 12  # values of an enumeration that a signature shows

ENVELOPES = {"1.1": "http://schemas.xmlsoap.org/soap/envelope/", "1.2": "http://www.w3.org/2003/05/soap-envelope"}


@dataclass(frozen=True)
class Operation:
    """One operation of one binding."""

    name: str
    contract: Contract
    port: str
    grammar: Any = field(repr=False)
    """zeep's operation: `input`, `output` and `faults` carry the types."""
    version: str
    """Of SOAP: "1.1" or "1.2"."""
    encoded: frozenset[str]
    """Which of "input" and "output" use the SOAP encoding."""
    attachments: Mapping[str, str]
    """Parts of the answer that travel beside the envelope: name → media type."""
    addressed: bool = False
    """Whether the WSDL asks for WS-Addressing headers."""

    @property
    def envelope(self) -> str:
        return ENVELOPES[self.version]

    @property
    def one_way(self) -> bool:
        return self.grammar.output is None

    @property
    def action(self) -> str:
        return (self.grammar.soapaction or "").strip()

    @cached_property
    def parameters(self) -> dict[str, Any]:
        """What a call may name: parameter → zeep element or attribute."""
        body = self.grammar.input.body if self.grammar.input is not None else None
        if body is None:
            return {}
        if not isinstance(body.type, xsd.ComplexType):
            return {body.name: body}
        return dict([*body.type.elements, *body.type.attributes])

    @cached_property
    def sent(self) -> Any:
        """The element of its request, whose members are the arguments; None where it has another shape."""
        message = self.grammar.input
        if "input" in self.encoded or message._is_body_wrapped or message.body is None:
            return None
        return message.body if isinstance(message.body.type, xsd.ComplexType) else None

    @cached_property
    def headers(self) -> dict[str, Any]:
        """SOAP headers the WSDL declares for the request: name → zeep element."""
        header = self.grammar.input.header if self.grammar.input is not None else None
        return dict(header.type.elements) if header is not None else {}

    @cached_property
    def faults(self) -> dict[str, Any]:
        """Faults the WSDL declares for it: name → zeep element of their detail."""
        found = {}
        for name, message in self.grammar.abstract.fault_messages.items():
            parts = list(message.parts.values())
            if parts and parts[0].element is not None:
                found[name] = parts[0].element
        return found

    @cached_property
    def inner(self) -> str:
        """The member shown in place of the structure that is alone in the wrapper; "" when there is none."""
        if shown_member(self.grammar.output) is None:
            return ""
        alone = self.grammar.output.body.type.elements[0][1]
        return "" if shown_member(self.grammar.output) is alone else str(alone.type.elements[0][0])

    @cached_property
    def uncompiled(self) -> Text | None:
        """None when a compiled reader reads the answer; else why zeep does."""
        output = self.grammar.output
        if output is None or output.body is None:
            return Text("pas de résultat", en="no result")
        if "output" in self.encoded:
            return Text("l'encodage SOAP (rpc/encoded)", en="SOAP encoding (rpc/encoded)")
        if self.attachments:
            return Text("des parties jointes à l'enveloppe", en="parts bound to attachments")
        if self.grammar.style != "rpc" and output._is_body_wrapped:
            return Text("plusieurs parties dans un corps", en="several parts in one body")
        return None

    @cached_property
    def answered(self) -> str | None:
        """The element its answer is, `{namespace}name`; None where it may have any name (rpc), or there is none."""
        body = self.grammar.output.body if self.uncompiled is None and self.grammar.style != "rpc" else None
        return None if body is None else str(body.qname.text)

    @cached_property
    def whole(self) -> Any:
        """What reads its answer (`Readers.whole`); None where zeep does."""
        body = self.grammar.output.body if self.uncompiled is None else None
        return None if body is None else self.contract.readers.whole(body.type, body.name)

    @cached_property
    def typed(self) -> Any:
        """The same, for an answer that announces types."""
        body = self.grammar.output.body
        return self.contract.readers.whole(body.type, body.name, typed=True)

    @cached_property
    def arriving(self) -> Any:
        """What reads its answer while it comes (`Readers.arriving`); None where zeep is needed, or nothing repeats."""
        body = self.grammar.output.body if self.uncompiled is None else None
        return None if body is None else self.contract.readers.arriving(body.type, body.name)

    def left(self) -> dict[str, Text]:
        """What of its answer zeep reads, the rest being compiled: operation, structure or member → reason."""
        if self.grammar.output is None or self.grammar.output.body is None:
            return {}
        if self.uncompiled is not None:
            return {self.name: self.uncompiled}
        body = self.grammar.output.body
        return self.contract.readers.left(body.type, body.name)

    async def prepare(self, *, arriving: bool = False) -> None:
        """Compiles what reads its answers, once, in steps that do not hold the loop: some 0.5 ms a structure.

        `arriving`: what reads an answer while it comes.
        """
        if ("arriving" if arriving else "whole") not in self.__dict__ and self.uncompiled is None:
            body = self.grammar.output.body
            pace = None
            for _ in self.contract.readers.by_steps(body.type, body.name, arriving=arriving):
                pace = pace or Pace()
                await pace.breathe()

    def signature(self) -> str:
        """`find(name: string, limit?: int) → [{id: string}] ! NotKnown {reason: string}`, for people."""
        body = self.grammar.input.body if self.grammar.input is not None else None
        if body is not None and isinstance(body.type, xsd.ComplexType):
            given = ", ".join(_members(body.type, 3))
        else:
            given = f"{body.name}: {_type_text(body.type, 3)}" if body is not None else ""
        if self.headers:
            given += ("; " if given else "") + "headers: " + ", ".join(self.headers)
        faults = ", ".join(f"{name} {_type_text(element.type, 3)}" for name, element in self.faults.items())
        return f"{self.name}({given}) → {self._result()}" + (f" ! {faults}" if faults else "")

    def _result(self) -> str:
        output = self.grammar.output
        if output is None:
            return "nothing (one way)"
        if self.attachments:
            shown = [f"{name}: file" for name in self.attachments]
            if output.body is not None and self.grammar.style == "rpc":
                shown = _members(output.body.type, 3) + shown
            elif output.body is not None:
                shown.insert(0, f"{output.body.name}: {_type_text(output.body.type, 3)}")
            return "{" + ", ".join(shown) + "}"
        if output.body is None:
            return "nothing"
        inner = shown_member(output)
        return _many(inner, 3) if inner is not None else _type_text(output.body.type, 4)


def shown_member(output: Any) -> Any:
    """The element whose value stands for the whole answer: the only one of the wrapper, or the only one of that one
    when it is a structure without attribute; None when the wrapper itself is shown."""
    kind = output.body.type
    if output._is_body_wrapped or not isinstance(kind, xsd.ComplexType) or kind.attributes or len(kind.elements) != 1:
        return None
    element = kind.elements[0][1]
    inner = element.type
    if (
        not element.accepts_multiple
        and isinstance(inner, xsd.ComplexType)
        and inner._array_type is None
        and not inner.attributes
        and len(inner.elements) == 1
    ):
        return inner.elements[0][1]
    return element


def _members(kind: Any, depth: int) -> list[str]:
    found: dict[str, str] = {}
    for name, element, optional in _flat(kind.elements_nested, False):
        found.setdefault(name, f"{name}{'?' if optional else ''}: {_many(element, depth)}")
    for name, attribute in kind.attributes:
        optional = not getattr(attribute, "required", False)
        found.setdefault(name, f"{name}{'?' if optional else ''}: {_many(attribute, depth)}")
    return list(found.values())


def _flat(nested: Any, optional: bool) -> Iterator[tuple[str, Any, bool]]:
    """Name, element, and whether it may be left out: by itself, or with the group or alternative it is in."""
    for name, node in nested:
        inside = getattr(node, "child", node)
        if isinstance(inside, indicators.OrderIndicator) and not node.accepts_multiple:
            loose = optional or node.is_optional or isinstance(inside, indicators.Choice)
            yield from _flat(inside.elements_nested, loose)
        elif name is not None:
            yield name, node, optional or node.is_optional


def _many(element: Any, depth: int) -> str:
    inside = getattr(element, "child", element)
    if isinstance(inside, indicators.OrderIndicator):
        members = (f"{name}: {_many(each, depth - 1)}" for name, each, _ in _flat(inside.elements_nested, True))
        text = "{" + ", ".join(members) + "}" if depth > 0 else "{…}"
    else:
        text = _type_text(getattr(element, "type", None), depth)
    return f"[{text}]" if getattr(element, "accepts_multiple", False) else text


def _type_text(kind: Any, depth: int) -> str:
    if isinstance(kind, xsd.ComplexType):
        if kind._array_type is not None:
            declared = [element.type for _, element in kind.elements if element.name]
            return f"[{_type_text(declared[0] if declared else kind._array_type.array_type, depth)}]"
        return "{" + ", ".join(_members(kind, depth - 1)) + "}" if depth > 0 else "{…}"
    if isinstance(kind, xsd.ListType):
        return f"[{_type_text(kind.item_type, depth)}]"
    if values := choices(kind):
        return "|".join([*(f'"{value}"' for value in values[:_SHOWN]), *(["…"] if len(values) > _SHOWN else [])])
    name = getattr(kind, "name", None) or getattr(getattr(kind, "_default_qname", None), "localname", None)
    return str(name or "any")


@dataclass(frozen=True)
class Contract:
    """A loaded WSDL: shared by all the instances of a process, knows no address."""

    path: Path
    document: Any = field(repr=False)
    encoded: frozenset[Key] = field(repr=False)
    attached: Mapping[Key, Mapping[str, str]] = field(repr=False)
    addressed: frozenset[str] = field(repr=False)
    digest: str = field(repr=False)
    """SHA-256 over all its documents, to tell when a publisher's contract changed."""
    members: dict[int, dict[str, Any]] = field(default_factory=dict, repr=False, kw_only=True)
    """What a request may give for each structure, by its type's identity: filled as they are met."""
    writers: Writers = field(default_factory=Writers, repr=False, kw_only=True)
    """What writes the plain structures of requests."""
    readers: Readers = field(repr=False)
    """What reads its answers, compiled as they are met."""
    notes: tuple[str, ...] = ()
    """What had to be left out, for `relais check`."""
    _ports: dict[tuple[str | None, str | None], dict[str, Operation]] = field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def port(self, service: str | None = None, port: str | None = None) -> tuple[str, Any]:
        """(full name, zeep port); by default the first SOAP port that has operations. Raises `Misconfigured`."""
        found = [
            (f"{owner.name}/{each.name}", each)
            for owner in self.document.services.values()
            for each in owner.ports.values()
            if each.binding is not None and service in (None, owner.name) and port in (None, each.name)
        ]
        for name, each in found:
            if each.binding.all():
                return name, each
        if found:
            return found[0]
        known = [f"{owner.name}/{each}" for owner in self.document.services.values() for each in owner.ports]
        if known and (service or port):
            wanted = "/".join(name or "*" for name in (service, port))
            raise refused(
                f"Le WSDL {self.path.name} n'a pas de port SOAP « {wanted} » ; il a : {', '.join(known)}.",
                f'The WSDL {self.path.name} has no SOAP port "{wanted}"; it has: {", ".join(known)}.',
            )
        raise refused(
            f"Le WSDL {self.path.name} ne déclare aucun port SOAP sur HTTP : ce n'est qu'un fragment, ou il utilise un "
            "autre transport (JMS, HTTP GET/POST) que Relais ne parle pas.",
            f"The WSDL {self.path.name} declares no SOAP port over HTTP: it is only a fragment, or it uses another "
            "transport (JMS, HTTP GET/POST) that Relais does not speak.",
        )

    def address(self, service: str | None = None, port: str | None = None) -> str:
        """The address the WSDL gives; often a placeholder."""
        options = self.port(service, port)[1].binding_options or {}
        return str(options.get("address") or "")

    def operations(self, service: str | None = None, port: str | None = None) -> dict[str, Operation]:
        """The operations of one port, by name: the same ones for every instance."""
        known = self._ports.get((service, port))
        if known is None:
            known = self._ports[service, port] = self._operations(service, port)
        return known

    def _operations(self, service: str | None, port: str | None) -> dict[str, Operation]:
        full_name, found = self.port(service, port)
        binding = found.binding
        local = etree.QName(binding.name).localname
        version = "1.2" if isinstance(binding, Soap12Binding) else "1.1"
        found_operations = {
            name: Operation(
                name=name,
                contract=self,
                port=full_name,
                grammar=grammar,
                version=version,
                encoded=frozenset(way for way in ("input", "output") if (local, name, way) in self.encoded),
                attachments=self.attached.get((local, name, "output"), {}),
                addressed=local in self.addressed,
            )
            for name, grammar in binding.all().items()
            if grammar.input is not None
        }
        if not found_operations:
            why = f" ({'; '.join(self.notes)})" if self.notes else ""
            raise refused(
                f"Le port {full_name} du WSDL {self.path.name} n'a aucune opération utilisable{why}.",
                f"The port {full_name} of the WSDL {self.path.name} has no usable operation{why}.",
            )
        return found_operations


_loaded: dict[Any, Contract] = {}
_loading = threading.Lock()


def load(path: Path, locations: Mapping[str, Path] | None = None, *, strict: bool = True) -> Contract:
    """The contract of a WSDL file, read once per process and version of the file.

    `locations` gives the file that stands for a location the WSDL imports (an address, or a name as it is written).
    It blocks: load where connectors are made, not in a call. Raises `Misconfigured` with a sentence naming the cause.
    """
    path = Path(os.path.abspath(path))
    locations = dict(locations or {})
    try:
        state = path.stat()
    except OSError:
        raise refused(f"Le WSDL {path} est illisible ou absent.", f"The WSDL {path} cannot be read.") from None
    key = (path, state.st_mtime_ns, state.st_size, tuple(sorted(locations.items())), strict)
    with _loading:
        if key not in _loaded:
            contract = _load(path, locations, strict)
            for older in [each for each in _loaded if each[0] == path and each[3:] == key[3:]]:
                del _loaded[older]
            _loaded[key] = contract
        return _loaded[key]


def _load(path: Path, locations: Mapping[str, Path], strict: bool) -> Contract:
    loader = Loader(path, locations)
    notes: list[str] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            document = StrictDocument(
                str(path), cast(Any, loader), settings=Settings(strict=strict, forbid_entities=True)
            )
            notes = [str(each.message) for each in caught if not issubclass(each.category, ResourceWarning)]
            document.types.get_type(etree.QName(SOAP_ENCODING, "Array"))  # now, not in the middle of a call
    except Misconfigured:
        raise
    except RecursionError:
        raise _unreadable(path, "types nested too deeply") from None
    except Exception as error:
        raise _unreadable(path, _cause(error)) from None
    kinds = [*document.types.types, *document.types.elements]
    for service in document.services.values():
        for port in service.ports.values():
            if port.binding is not None:
                _settle_parts(port.binding, loader)
                for operation in port.binding.all().values():
                    messages = (operation.input, operation.output)
                    kinds += [each for message in messages if message for each in (message.body, message.header)]
    set_order(kinds)
    attached = {key: dict(parts) for key, parts in loader.attached.items()}
    return Contract(
        path,
        document,
        frozenset(loader.encoded),
        attached,
        frozenset(loader.addressed),
        loader.digest.hexdigest(),
        Readers(document.types),
        tuple(notes),
    )


def _unreadable(path: Path, cause: str) -> Misconfigured:
    return refused(
        f"Le WSDL {path.name} est incohérent : {cause}. C'est un défaut du document : corrigez la copie, ou "
        "demandez-en une autre à l'éditeur.",
        f"The WSDL {path.name} is inconsistent: {cause}. The document itself is at fault: mend the copy, or ask the "
        "publisher for another.",
    )


def _cause(error: Exception) -> str:
    if isinstance(error, zeep.exceptions.Error):
        text = str(error)
    elif isinstance(error, IndexError | KeyError | AttributeError | LookupError) and error.args:
        text = str(error.args[0])
    else:
        text = f"{type(error).__name__} {error}".strip()
    return re.sub(r"\s+", " ", text).rstrip(". ")[:400]


def _settle_parts(binding: Any, loader: Loader) -> None:
    """Leaves out of a body the parts that `parts` does not list or that travel as attachments: zeep sends them all."""
    local = etree.QName(binding.name).localname
    for name, operation in binding.all().items():
        for direction in ("input", "output"):
            message = getattr(operation, direction)
            key = (local, name, direction)
            kept, attached = loader.kept.get(key), loader.attached.get(key, {})
            if message is None or message.body is None or (kept is None and not attached):
                continue
            parts = message.abstract.parts
            wanted = [part for part in parts if (kept is None or part in kept) and part not in attached]
            if operation.style == "rpc":
                elements = [
                    each
                    for each in message.body.type._element
                    if each.attr_name in wanted or _is_part(each, parts, wanted)
                ]
                message.body = xsd.Element(message.body.qname, xsd.ComplexType(xsd.Sequence(elements)))
            elif message._is_body_wrapped:
                elements = [each for each in message.body.type._element if each.attr_name in wanted]
                message._is_body_wrapped = len(elements) > 1
                if message._is_body_wrapped:
                    message.body = xsd.Element(message.body.qname, xsd.ComplexType(xsd.All(elements)))
                else:
                    message.body = elements[0] if elements else None
            elif not wanted:
                message.body = None


def _is_part(element: Any, parts: Mapping[str, Any], wanted: list[str]) -> bool:
    return any(parts[name].element is element for name in wanted)
