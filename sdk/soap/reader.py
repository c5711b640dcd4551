"""What zeep sees of a WSDL: vendored files only, safely parsed, set right, and types that do not lose values.

The bytes come from `Loader`, which opens files of the WSDL's folder and of the `locations` map, never the network, and
passes each through the safe parser. What publishers get wrong without harm (multipart bodies, `parts`, undeclared
faults, the SOAP 1.2 encoding namespace) is set right before zeep reads it.
"""

# mypy: disallow-untyped-calls=False
# (zeep is not annotated)

from __future__ import annotations

import base64
import hashlib
import os
import re
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, cast
from urllib.parse import urlsplit

from lxml import etree
from zeep import xsd
from zeep.loader import absolute_location
from zeep.wsdl import Document
from zeep.wsdl.bindings import Soap11Binding, Soap12Binding
from zeep.xsd.types import builtins

from sdk import xml
from sdk.errors import Misconfigured, Text

from .facets import FacetSchema
from .known_schemas import KNOWN_SCHEMAS, SOAP_ENCODING, SOAP_ENCODING_12, location_of

__all__ = ["BadValue", "Key", "Loader", "Reference", "StrictDocument", "refused"]

WSDL = "http://schemas.xmlsoap.org/wsdl/"
WSAW = "http://www.w3.org/2006/05/addressing/wsdl"
WSAW_2004 = "http://www.w3.org/2005/08/addressing/wsdl"
WSAM = "http://www.w3.org/2007/05/addressing/metadata"
WSU_ID = "{http://docs.oasis-open.org/wss/2004/01/oasis-200401-wss-wssecurity-utility-1.0.xsd}Id"
MIME = "http://schemas.xmlsoap.org/wsdl/mime/"
XSD = "http://www.w3.org/2001/XMLSchema"
_ADDRESSING = (f"{{{WSAW}}}UsingAddressing", f"{{{WSAM}}}Addressing", f"{{{WSAW_2004}}}UsingAddressing")
SOAP_BINDINGS = ("http://schemas.xmlsoap.org/wsdl/soap/", "http://schemas.xmlsoap.org/wsdl/soap12/")

MAX_DOCUMENTS = 500
MAX_DOCUMENT_BYTES = 32 * 1024 * 1024

Key = tuple[str, str, str]
"""(binding's local name, operation, "input" or "output")."""


def refused(french: str, english: str) -> Misconfigured:
    return Misconfigured(Text(french, en=english), code="wsdl", processed=False)


# --- strict values ----------------------------------------------------------------------------------------------------


class BadValue(Exception):
    """A text that is not of its declared type. The name of the type, never the text."""


class Reference(str):
    """Stands for binary content that travels beside the envelope (`cid:…`)."""


def _bytes_of(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except ValueError:
        raise BadValue("base64Binary") from None


def _read_exactly(self: Any, value: str) -> Any:
    # zeep logs the text and gives None instead: a silent loss.
    if isinstance(self, builtins.Base64Binary):
        return Reference(value) if value.startswith("cid:") else _bytes_of(value)
    try:
        found = super(self.exact_class, self).pythonvalue(value)
        if isinstance(found, Decimal) and not found.is_finite():
            raise BadValue("decimal")
        if isinstance(found, bool) and value.strip() not in ("true", "false", "1", "0"):
            return {"true": True, "false": False}[value.strip().lower()]
    except (ValueError, TypeError, ArithmeticError, LookupError):
        raise BadValue(str(self._default_qname.localname)) from None
    return found


def _read_leniently(self: Any, value: str) -> Any:
    try:
        return _read_exactly(self, value)
    except BadValue:
        return value


def _plain_text(self: Any, value: Any) -> str:
    if isinstance(value, list | dict | set):
        raise ValueError("text does not accept collections")
    return value.decode("utf-8") if isinstance(value, bytes) else "" if value is None else xml.plain_text(value)


def _boolean_text(self: Any, value: Any) -> str:
    text = str(value).strip().lower()
    if text not in ("true", "false", "1", "0"):
        raise ValueError("a boolean is expected")
    return text


def _decimal_text(self: Any, value: Any) -> str:
    number = Decimal(repr(value) if isinstance(value, float) else str(value).strip())
    if not number.is_finite() or isinstance(value, bool) or abs(number.adjusted()) > _MOST_DIGITS:
        raise ValueError("a number is expected")
    return f"{number:f}"


def _integer_text(self: Any, value: Any) -> str:
    text = _decimal_text(self, value)
    whole, _, rest = text.partition(".")
    if rest.strip("0"):
        raise ValueError("a whole number is expected")
    return whole


def _date_text(self: Any, value: Any) -> str:
    text = value.date().isoformat() if isinstance(value, datetime) else xml.plain_text(value).strip()
    if not _DATE.fullmatch(text):
        raise ValueError("a date is expected")
    return text


def _date_time_text(self: Any, value: Any) -> str:
    text = xml.plain_text(value).strip().replace("+00:00", "Z")
    if _DATE.fullmatch(text):
        text = text[:10] + "T00:00:00" + text[10:]
    if not _DATE_TIME.fullmatch(text):
        raise ValueError("a date and time are expected")
    return text


def _hexadecimal_text(self: Any, value: Any) -> str:
    text = bytes(value).hex() if isinstance(value, bytes | bytearray) else str(value)
    bytes.fromhex(text)
    return text


_MOST_DIGITS = 1_000  # "1e999999999" is one short text

_ZONE = r"(Z|[+-]\d\d:\d\d)?"
_DATE = re.compile(r"\d{4}-\d\d-\d\d" + _ZONE, re.ASCII)
_DATE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?" + _ZONE, re.ASCII)

# What zeep writes without looking ("True" for true, 1e-07 for a decimal, any text for a date). A class comes before
# those it derives from.
_WRITERS: tuple[tuple[type, Any], ...] = (
    (builtins.Boolean, _boolean_text),
    (builtins.Integer, _integer_text),
    (builtins.Decimal, _decimal_text),
    (builtins.Date, _date_text),
    (builtins.DateTime, _date_time_text),
    (builtins.HexBinary, _hexadecimal_text),
    (builtins.String, _plain_text),
)


def _exact(kind: type, strict: bool) -> Any:
    members = {"pythonvalue": _read_exactly if strict else _read_leniently}
    for known, writer in _WRITERS:
        if issubclass(kind, known):
            members["xmlvalue"] = writer
            break
    exact: Any = type(kind.__name__, (kind,), members)
    exact.exact_class = exact
    return exact(is_global=True)


class StrictDocument(Document):
    """zeep's document, with types that keep their facets and do not swallow what they cannot read."""

    def load(self, location: Any) -> None:
        self.types = FacetSchema(transport=self.transport, location=self.location, settings=self.settings)
        for document in self.types.documents.get_by_namespace(XSD, False):
            for kind in builtins._types:
                if kind not in (xsd.AnyType, xsd.AnySimpleType):
                    document.register_type(kind._default_qname, _exact(kind, self.settings.strict))
        super().load(location)

    def _get_xml_document(self, location: Any, **_: Any) -> Any:
        """The loader's tree itself: zeep would parse its text a second time."""
        return cast(Any, self.transport).tree(absolute_location(location, self.location))


# --- files ------------------------------------------------------------------------------------------------------------


class Loader:
    """What zeep takes for a transport: it only ever opens vendored files."""

    binding_classes = (Soap11Binding, Soap12Binding)

    def __init__(self, wsdl: Path, locations: Mapping[str, Path]) -> None:
        self.wsdl = wsdl
        self.folder = wsdl.parent.resolve()
        self.locations = locations
        self.digest = hashlib.sha256()
        self.documents = 0
        self.encoded: set[Key] = set()
        self.kept: dict[Key, frozenset[str]] = {}
        self.attached: dict[Key, dict[str, str]] = {}
        self.addressed: set[str] = set()

    def load(self, url: str) -> bytes:
        """What zeep asks for by itself (the SOAP encoding)."""
        return bytes(etree.tostring(self.tree(url)))

    def tree(self, url: str) -> Any:
        """The root element of a document, set right."""
        self.documents += 1
        if self.documents > MAX_DOCUMENTS:
            raise refused(
                f"Le WSDL {self.wsdl.name} importe plus de {MAX_DOCUMENTS} documents.",
                f"The WSDL {self.wsdl.name} imports more than {MAX_DOCUMENTS} documents.",
            )
        content = self._content(url)
        self.digest.update(hashlib.sha256(content).digest())
        content = content.replace(SOAP_ENCODING_12.encode(), SOAP_ENCODING.encode())
        name = Path(urlsplit(url).path).name or url
        try:
            root = xml.parse_strictly(content, max_bytes=MAX_DOCUMENT_BYTES)
        except xml.XmlRefused as reason:
            raise refused(
                f"Le document {name} du WSDL {self.wsdl.name} est refusé : {_french(str(reason))}.",
                f"The document {name} of the WSDL {self.wsdl.name} is refused: {reason}.",
            ) from None
        if root.get("targetNamespace") == SOAP_ENCODING:  # its `id` and `href` are resolved before decoding
            return xml.parse_strictly(KNOWN_SCHEMAS[SOAP_ENCODING])
        if root.tag == f"{{{WSDL}}}definitions":
            self._set_right(root)
        elif url == str(self.wsdl):
            raise refused(
                f"Le fichier {self.wsdl.name} n'est pas un WSDL 1.1 : sa racine est <{xml.local(root)}>.",
                f"The file {self.wsdl.name} is not a WSDL 1.1: its root is <{xml.local(root)}>.",
            )
        for node in root.iter(f"{{{XSD}}}import"):
            if not node.get("schemaLocation") and (known := location_of(node.get("namespace"))):
                node.set("schemaLocation", known)
        return root

    def _content(self, url: str) -> bytes:
        mapped = self._mapped(url) if url.rstrip("/") != SOAP_ENCODING.rstrip("/") else None
        if mapped is not None:
            return self._file(mapped, url)
        known = KNOWN_SCHEMAS.get(url)
        if known is not None:
            return known
        if urlsplit(url).scheme or url.startswith(("//", "\\")):
            # A copy saved under its own name stands for the address it was saved from.
            beside = self.folder / Path(urlsplit(url).path).name
            if urlsplit(url).query or not beside.is_file():
                raise self._missing(url)
            return self._file(beside, url)
        path = Path(url)
        if not path.resolve().is_relative_to(self.folder):
            raise refused(
                f"Le WSDL {self.wsdl.name} importe « {self._shown(url)} », hors de son dossier. Copiez ce document "
                "dans le dossier, ou donnez son chemin dans `locations`.",
                f'The WSDL {self.wsdl.name} imports "{self._shown(url)}", outside its folder. Copy the document into '
                "the folder, or give its path in `locations`.",
            )
        return self._file(path, url)

    def _mapped(self, url: str) -> Path | None:
        if url in self.locations:
            return self.locations[url]
        return self.locations.get(self._shown(url))

    def _shown(self, url: str) -> str:
        """The location as the WSDL writes it, when it is in its folder or not far."""
        near = any(url.startswith(f"{folder}{os.sep}") for folder in (self.folder, *self.folder.parents[:2]))
        return os.path.relpath(url, self.folder) if near else url

    def _file(self, path: Path, url: str) -> bytes:
        try:
            if path.stat().st_size > MAX_DOCUMENT_BYTES:
                raise refused(
                    f"Le document {path.name} dépasse {MAX_DOCUMENT_BYTES} octets.",
                    f"The document {path.name} is larger than {MAX_DOCUMENT_BYTES} bytes.",
                )
            return path.read_bytes()
        except OSError:
            raise self._missing(url) from None

    def _missing(self, url: str) -> Misconfigured:
        shown = self._shown(url)
        if url == str(self.wsdl):
            return refused(f"Le WSDL {url} est illisible ou absent.", f"The WSDL {url} cannot be read.")
        name = Path(urlsplit(url).path).name
        beside = name if name and not urlsplit(url).query and urlsplit(url).scheme in ("http", "https") else ""
        return refused(
            f"Le WSDL {self.wsdl.name} importe « {shown} », qui n'est pas fourni avec lui et n'est jamais cherché sur "
            "le réseau. Copiez ce document à côté du WSDL"
            + (f", sous le nom {beside}, ou ailleurs avec" if beside else " et ajoutez")
            + f' locations={{"{shown}": chemin}}.',
            f'The WSDL {self.wsdl.name} imports "{shown}", which does not come with it and is never fetched from the '
            "network. Copy the document beside the WSDL"
            + (f", under the name {beside}, or elsewhere with" if beside else " and add")
            + f' locations={{"{shown}": path}}.',
        )

    # What publishers get wrong without harm.

    def _set_right(self, root: Any) -> None:
        self._drop_undeclared_faults(root)
        self._note_addressing(root)
        for binding in root.findall(f"{{{WSDL}}}binding"):
            for operation in binding.findall(f"{{{WSDL}}}operation"):
                for direction in ("input", "output"):
                    node = operation.find(f"{{{WSDL}}}{direction}")
                    if node is not None:
                        key = (binding.get("name", ""), operation.get("name", ""), direction)
                        self._hoist_multipart(node, key)
                        self._note_body(node, key)

    def _drop_undeclared_faults(self, root: Any) -> None:
        """zeep would drop the whole operation."""
        if root.find(f"{{{WSDL}}}import") is not None:
            return
        declared = {message.get("name") for message in root.findall(f"{{{WSDL}}}message")}
        for fault in root.findall(f"{{{WSDL}}}portType/{{{WSDL}}}operation/{{{WSDL}}}fault"):
            if (fault.get("message") or "").rpartition(":")[2] not in declared:
                fault.getparent().remove(fault)

    def _note_addressing(self, root: Any) -> None:
        """Bindings that ask for WS-Addressing headers, themselves, by their port or by a policy."""
        asking = {above for mark in root.iter(*_ADDRESSING) for above in mark.iterancestors()}
        if not asking:
            return
        policies = {element.get(WSU_ID) for element in asking} - {None}
        for element in root.iter(f"{{{WSDL}}}binding", f"{{{WSDL}}}port"):
            name = (element.get("binding") or element.get("name") or "").rpartition(":")[2]
            references = {
                (each.get("URI") or "").removeprefix("#")
                for each in element.iter()
                if etree.QName(each).localname == "PolicyReference"
            }
            if element in asking or references & policies:
                self.addressed.add(name)

    def _hoist_multipart(self, node: Any, key: Key) -> None:
        for multipart in node.findall(f"{{{MIME}}}multipartRelated"):
            for part in multipart.findall(f"{{{MIME}}}part"):
                for child in list(part):
                    name = etree.QName(child)
                    if name.namespace in SOAP_BINDINGS and name.localname in ("body", "header"):
                        node.append(child)
                    elif name.namespace == MIME and child.get("part"):
                        self.attached.setdefault(key, {})[child.get("part")] = child.get("type", "")
            node.remove(multipart)

    def _note_body(self, node: Any, key: Key) -> None:
        for namespace in SOAP_BINDINGS:
            body = node.find(f"{{{namespace}}}body")
            if body is not None:
                if body.get("use") == "encoded":
                    self.encoded.add(key)
                if body.get("parts") is not None:
                    self.kept[key] = frozenset(body.get("parts").split())


_FRENCH = {
    "it has a DOCTYPE": "il a un DOCTYPE (retirez-le de la copie)",
    "not well-formed": "XML mal formé",
    "larger than": "plus de",
    "more than": "plus de",
    "deeper than": "plus profond que",
}


def _french(reason: str) -> str:
    for english, french in _FRENCH.items():
        if reason.startswith(english):
            return french + reason[len(english) :]
    return reason
