"""Request bodies, from bytes to plain values: strict, bounded, and precise about what is wrong.

Nothing here raises anything but `InvalidInput` (400) and `UnsupportedType` (415), whatever the bytes.
JSON: UTF-8 only, no byte-order mark, depth at most 32, whole numbers of 64 bits, no NaN or infinity, no key twice,
no NUL, no lone surrogate; texts and keys come out in Unicode NFC.
"""

from __future__ import annotations

import binascii
import io
import json
import math
import re
import secrets
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl

from sdk.errors import InvalidInput, Text
from sdk.files import Decoded
from sdk.model import invalid_input

from .errors import UnsupportedType

__all__ = [
    "CALLBACK_PARAMETER",
    "SIGNATURE_PARAMETERS",
    "Incoming",
    "business_query",
    "decode_body",
    "decode_form",
    "decode_json",
    "is_json",
    "unflatten",
]

SIGNATURE_PARAMETERS = frozenset({"orig", "algo", "timestamp", "nonce", "signature"})
CALLBACK_PARAMETER = "callback-url"
"""Names the address to be told at; no method's parameter can bear this name, since it is no Python word."""
_NOT_BUSINESS = SIGNATURE_PARAMETERS | {CALLBACK_PARAMETER}

MAX_DEPTH = 32
MAX_KEYS = 10_000  # of a form or of a flat object: what one rebuilds, not what one receives nested
LONG = 64 * 1024  # characters of base64 above which a file's content is decoded apart from its JSON
MAX_NUMBER = 400  # characters of a number: far above any amount, far below what is slow to read


# --- JSON -------------------------------------------------------------------------------------------------------------


def decode_json(raw: bytes, cut: Mapping[str, Decoded] | None = None) -> Any:
    """A JSON document as dict, list, str, int, float, bool or None; a text that `cut` names is what it names.

    Raises `InvalidInput` naming the place: line and column for the syntax, `a/b/0` for a value.
    """
    text = _utf8(raw)
    if not text.strip(" \t\r\n"):
        raise InvalidInput(
            Text("Le corps de la requête est vide : du JSON est attendu.", en="Empty request body: JSON is expected.")
        )
    try:
        value = json.loads(
            text, object_pairs_hook=_object, parse_int=_whole, parse_float=_real, parse_constant=_not_a_number
        )
    except RecursionError:
        raise _too_deep("") from None
    except json.JSONDecodeError as error:
        raise InvalidInput(
            Text(
                f"Le corps de la requête n'est pas du JSON valable (ligne {error.lineno}, colonne {error.colno}).",
                en=f"The request body is not valid JSON (line {error.lineno}, column {error.colno}).",
            ),
            detail=error.msg,
        ) from None
    return _checked(value, cut or {})


def _utf8(raw: bytes) -> str:
    if raw.startswith(b"\xef\xbb\xbf"):
        raise InvalidInput(
            Text(
                "Le JSON commence par une marque d'ordre des octets (BOM) : envoyez de l'UTF-8 sans BOM.",
                en="The JSON starts with a byte-order mark: send UTF-8 without BOM.",
            )
        )
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")) or (len(raw) > 1 and 0 in raw[:2]):
        raise InvalidInput(
            Text(
                "Le JSON est en UTF-16 ou UTF-32 : envoyez de l'UTF-8.",
                en="The JSON is in UTF-16 or UTF-32: send UTF-8.",
            )
        )
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InvalidInput(
            Text(
                f"Le JSON n'est pas en UTF-8 (octet {error.start + 1}) : vérifiez l'encodage.",
                en=f"The JSON is not UTF-8 (byte {error.start + 1}): check the encoding.",
            )
        ) from None


@dataclass(frozen=True, slots=True)
class _Fault:
    """Stands where a refused value was, until the walk knows its path."""

    sentence: Text
    key: str | None = None


_TOO_BIG = _Fault(Text("dépasse 64 bits : envoyez ce nombre en texte", en="exceeds 64 bits: send this number as text"))
_NOT_FINITE = _Fault(Text("n'est pas un nombre fini", en="is not a finite number"))
_TOO_LONG = _Fault(Text("est un nombre écrit avec trop de chiffres", en="is a number with too many digits"))
_TWICE = Text("est présent deux fois", en="is present twice")


def _object(pairs: list[tuple[str, Any]]) -> Any:
    found = dict(pairs)
    if len(found) == len(pairs):
        return found
    seen: set[str] = set()
    for key, _ in pairs:
        if key in seen:
            return _Fault(_TWICE, key)
        seen.add(key)
    raise AssertionError


def _whole(literal: str) -> Any:
    if len(literal) > 20:
        return _TOO_BIG
    value = int(literal)
    return value if -(2**63) <= value < 2**63 else _TOO_BIG


def _real(literal: str) -> Any:
    if len(literal) > MAX_NUMBER:
        return _TOO_LONG
    value = float(literal)
    return value if math.isfinite(value) else _NOT_FINITE


def _not_a_number(_: str) -> Any:
    return _NOT_FINITE


def _checked(root: Any, cut: Mapping[str, Decoded]) -> Any:
    """The same value with texts in NFC; refuses what a hook marked, what is too deep, what is not clean text.

    Containers are changed in place, without recursion.
    """
    holder = [root]
    todo: list[tuple[Any, _Path]] = [(holder, None)]
    while todo:
        container, path = todo.pop()
        depth = path[2] if path else 0
        if isinstance(container, dict):
            _clean_keys(container, path)
            members: Iterator[tuple[Any, Any]] = iter(container.items())
        else:
            members = enumerate(container)
        for key, value in members:
            if isinstance(value, str):
                if value in cut:
                    container[key] = cut[value]
                elif not value.isascii() or "\x00" in value:
                    container[key] = _clean(value, (path, key, depth + 1))
            elif isinstance(value, dict | list):
                if depth + 1 > MAX_DEPTH:
                    raise _too_deep(_shown(path))
                if value:
                    todo.append((value, (path, key, depth + 1)))
            elif isinstance(value, _Fault):
                place: _Path = (path, key, depth + 1)
                raise _refused((place, value.key, depth + 2) if value.key is not None else place, value.sentence)
    return holder[0]


_Path = tuple["_Path", Any, int] | None  # (parent, key or index, depth); the root holder's index is never shown


def _clean_keys(container: dict[str, Any], path: _Path) -> None:
    if all(key.isascii() and "\x00" not in key for key in container):
        return
    depth = path[2] if path else 0
    renamed: dict[str, Any] = {}
    for key, value in container.items():
        name = _clean(key, (path, key, depth + 1))
        if name in renamed:
            raise _refused((path, name, depth + 1), _TWICE)
        renamed[name] = value
    container.clear()
    container.update(renamed)


def _clean(text: str, path: _Path) -> str:
    fault = _text_fault(text)
    if fault:
        raise _refused(path, fault)
    return unicodedata.normalize("NFC", text)


def _text_fault(text: str) -> Text | None:
    if "\x00" in text:
        return Text("contient un caractère nul", en="contains a NUL character")
    if not text.isascii() and any("\ud800" <= char <= "\udfff" for char in text):
        return Text("contient une moitié de caractère Unicode", en="contains half a Unicode character")
    return None


def _too_deep(where: str) -> InvalidInput:
    return invalid_input(
        {where or "body": [Text(f"dépasse {MAX_DEPTH} niveaux d'imbrication", en=f"exceeds {MAX_DEPTH} nested levels")]}
    )


def _refused(path: _Path, sentence: Text) -> InvalidInput:
    return invalid_input({_shown(path) or "body": [sentence]})


def _shown(path: _Path) -> str:
    steps: list[str] = []
    while path is not None and path[0] is not None:
        steps.append(str(path[1]))
        path = path[0]
    return _legible("/".join(reversed(steps)))


def _legible(name: str) -> str:
    """A key as a message may show it: short, on one line."""
    shown = "".join(char if char.isprintable() else "\ufffd" for char in name[:200])
    return shown + "…" if len(name) > 200 else shown


# --- long contents ----------------------------------------------------------------------------------------------------

_CONTENT = b'"content"'
_VALUE = re.compile(_CONTENT + rb'[ \t\r\n]{0,64}:[ \t\r\n]{0,64}"')
_LONGEST_START = len(_CONTENT) + 64 + 1 + 64 + 1  # bytes of what _VALUE finds


class Incoming:
    """A large JSON body while it arrives: the long base64 contents of its files are decoded as they come.

    Of a file of 50 MB neither the text nor a copy is ever held, and no step takes longer than what has just come.
    What is not plain base64, on one line and in its one canonical form, stays in the document.
    """

    def __init__(self) -> None:
        self._mark = secrets.token_hex(16)
        self._document = bytearray()
        self._looked = 0  # up to where the document holds no start of a content
        self._content: _Content | None = None  # the one whose text is arriving
        self._found: dict[str, Decoded] = {}

    def extend(self, data: bytes) -> None:
        """The next bytes of the body."""
        while data:
            if self._content is None:
                self._document += data
                data = self._text_begun()
                continue
            end = data.find(b'"')
            taken = self._content.extend(data if end < 0 else data[:end])
            if end >= 0 or not taken:
                self._text_ended()
            data = data[end:] if end >= 0 else b""

    def ended(self) -> tuple[bytes, dict[str, Decoded]]:
        """The document, with a name in the place of each content that was decoded; and these, by name."""
        if self._content is not None:
            self._document += self._content.text()  # cut off in the middle: its reader tells where
        document, self._document = bytes(self._document), bytearray()
        return document, self._found

    def _text_begun(self) -> bytes:
        """Looks for the start of a content; what follows it, taken from the document. Nothing when there is none."""
        document = self._document
        while (at := document.find(_CONTENT, self._looked)) >= 0:
            found = _VALUE.match(document, at)
            if found is None and len(document) < at + _LONGEST_START:
                self._looked = at  # the rest of it may still come
                return b""
            self._looked = at + len(_CONTENT)
            if found is not None and document[at - 1 : at] != b"\\":  # else an escaped quote, the end of another name
                text = bytes(document[found.end() :])
                del document[found.end() :]
                self._content = _Content()
                return text
        self._looked = max(self._looked, len(document) - len(_CONTENT) + 1)
        return b""

    def _text_ended(self) -> None:
        assert self._content is not None
        content, self._content = self._content, None
        decoded = content.decoded()
        if decoded is None:
            self._document += content.text()
        else:
            name = f"{self._mark}-{len(self._found)}"
            self._found[name] = Decoded(decoded)
            self._document += name.encode()
        self._looked = len(self._document)


class _Content:
    """The text of one content, decoded once it is `LONG`."""

    def __init__(self) -> None:
        self._text = bytearray()  # not decoded
        self._out = io.BytesIO()  # gives what it holds without a copy
        self._begun = self._padded = self._refused = False

    def extend(self, text: bytes) -> bool:
        """False when it is not the base64 that encoding would give: then there is no use in giving more."""
        self._text += text
        whole = len(self._text) - len(self._text) % 4
        if not whole or (not self._begun and len(self._text) < LONG):
            return True
        self._begun = True
        decoded = None if self._padded else _canonical(self._text[:whole])
        if decoded is None:
            self._refused = True
            return False
        self._padded = 4 * len(decoded) != 3 * whole
        self._out.write(decoded)
        del self._text[:whole]
        return True

    def decoded(self) -> bytes | None:
        """The bytes of the whole text; None when it is short, or not canonical base64."""
        return self._out.getvalue() if self._begun and not self._refused and not self._text else None

    def text(self) -> bytes:
        """The text itself."""
        return binascii.b2a_base64(self._out.getvalue(), newline=False) + self._text


def _canonical(text: bytearray) -> bytes | None:
    """The bytes of a base64 text; None when it is not exactly what encoding them again would give."""
    try:
        decoded = binascii.a2b_base64(text, strict_mode=True)
    except binascii.Error:
        return None
    last = decoded[-(len(decoded) % 3 or 3) :]
    return decoded if binascii.b2a_base64(last, newline=False) == text[-4:] else None


# --- flat keys --------------------------------------------------------------------------------------------------------

_SLASHES = re.compile("/+")


def unflatten(data: Any) -> Any:
    """The nested value a flat object stands for, by w.c.s.'s rule: `a/b/0/c` nests, `//` is a plain slash.

    Steps written in digits are positions in a list; a list must be complete. Values are left as they are.
    Anything but an object is returned unchanged. Raises `InvalidInput` naming the faulty key.
    """
    if not isinstance(data, dict) or not data:
        return data
    if len(data) > MAX_KEYS:
        raise InvalidInput(
            Text(f"Plus de {MAX_KEYS} clés dans la requête.", en=f"More than {MAX_KEYS} keys in the request.")
        )
    root: dict[str | int, Any] = {}
    node: Any
    groups: dict[int, str] = {id(root): ""}  # every container built here, and how it was first written
    for key, value in data.items():
        *parents, last = _steps(key)
        node = root
        for position, step in enumerate(parents):
            child = node.get(step)
            if child is None and step not in node:
                child = node[step] = {}
                groups[id(child)] = _written(parents[: position + 1])
            elif id(child) not in groups:
                raise _conflict(key, _written(parents[: position + 1]))
            node = child
        if last in node:
            if id(node[last]) in groups:
                raise _conflict(key, _written([*parents, last]))
            raise invalid_input({_legible(key): [_TWICE]})
        node[last] = value
    return _rebuilt(root, groups)


def _steps(key: str) -> list[str | int]:
    names: list[str] = [""]
    position = 0
    for run in _SLASHES.finditer(key):
        names[-1] += key[position : run.start()]
        position = run.end()
        length = len(run[0])
        if length == 1:
            names.append("")
        elif length % 2:
            raise invalid_input(
                {_legible(key): [Text("a trois barres obliques de suite", en="has three slashes in a row")]}
            )
        else:
            names[-1] += "/" * (length // 2)
    names[-1] += key[position:]
    if len(names) > MAX_DEPTH:
        raise _too_deep(_legible(key))
    if len(names) > 1 and "" in names:
        raise invalid_input({_legible(key): [Text("contient un nom vide", en="has an empty name in it")]})
    return [_step(name, key) for name in names]


def _step(name: str, key: str) -> str | int:
    if not (name.isascii() and name.isdecimal()):
        return name
    if len(name) > 9:
        raise invalid_input({_legible(key): [Text("a une position trop grande", en="has too large a position")]})
    return int(name)


def _written(steps: list[str | int]) -> str:
    return _legible("/".join(str(step).replace("/", "//") for step in steps))


def _conflict(key: str, group: str) -> InvalidInput:
    return invalid_input(
        {
            _legible(key): [
                Text(
                    f"contredit une autre clé : « {group} » serait à la fois une valeur et un groupe",
                    en=f'contradicts another key: "{group}" would be both a value and a group',
                )
            ]
        }
    )


def _rebuilt(root: dict[str | int, Any], groups: dict[int, str]) -> Any:
    """Groups whose names are all positions become lists; deepest first, so that each is rebuilt before its parent."""
    order: list[dict[str | int, Any]] = [root]
    for node in order:
        order.extend(child for child in node.values() if id(child) in groups)
    built: dict[int, Any] = {}
    for node in reversed(order):
        members = {step: built.get(id(child), child) for step, child in node.items()}
        positions = sorted(step for step in members if isinstance(step, int))
        if not positions:
            built[id(node)] = members
            continue
        prefix = groups[id(node)]
        named = next((step for step in members if isinstance(step, str)), None)
        if named is not None:
            raise _mixed(prefix, named, positions[0])
        if positions[-1] != len(positions) - 1:
            raise _hole(prefix, positions)
        built[id(node)] = [members[position] for position in positions]
    return built[id(root)]


def _mixed(prefix: str, name: str, position: int) -> InvalidInput:
    start = f"{prefix}/" if prefix else ""
    named = _legible(start + name.replace("/", "//"))
    return invalid_input(
        {
            named: [
                Text(
                    f"contredit « {start}{position} » : on ne mélange pas noms et positions",
                    en=f'contradicts "{start}{position}": names and positions do not mix',
                )
            ]
        }
    )


def _hole(prefix: str, positions: list[int]) -> InvalidInput:
    start = f"{prefix}/" if prefix else ""
    missing, after = next((i, found) for i, found in enumerate(positions) if i != found)
    return invalid_input(
        {
            f"{start}{after}": [
                Text(
                    f"laisse un trou dans la liste : « {start}{missing} » manque",
                    en=f'leaves a hole in the list: "{start}{missing}" is missing',
                )
            ]
        }
    )


# --- forms and queries ------------------------------------------------------------------------------------------------

_CHARSETS = {
    "": "utf-8",
    "utf-8": "utf-8",
    "utf8": "utf-8",
    "us-ascii": "utf-8",
    "iso-8859-1": "cp1252",  # what browsers mean by it
    "iso-8859-15": "iso-8859-15",
    "windows-1252": "cp1252",
    "cp1252": "cp1252",
}
_AS_IT_IS = re.compile(r"[A-Za-z0-9_.~=&-]{1,1000}")  # most queries: nothing to decode, at most 1000 parameters
_BAD_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")


def decode_form(raw: bytes, charset: str = "utf-8") -> Any:
    """An `application/x-www-form-urlencoded` body: texts, a list where a key is repeated; flat keys are rebuilt."""
    encoding = _CHARSETS.get(charset.strip().strip('"').lower())
    if encoding is None:
        raise UnsupportedType(
            Text("Le formulaire doit être en UTF-8.", en="The form must be in UTF-8."), detail="form charset"
        )
    try:
        text = raw.decode(encoding)
        if _BAD_ESCAPE.search(text):
            raise InvalidInput(
                Text(
                    "Le formulaire contient un « % » qui n'est pas suivi de deux chiffres hexadécimaux.",
                    en='The form holds a "%" that two hexadecimal digits do not follow.',
                )
            )
        pairs = parse_qsl(text, keep_blank_values=True, encoding=encoding, errors="strict", max_num_fields=MAX_KEYS)
    except UnicodeDecodeError:
        raise InvalidInput(
            Text(f"Le formulaire n'est pas en {encoding}.", en=f"The form is not in {encoding}.")
        ) from None
    except ValueError:
        raise InvalidInput(
            Text(f"Le formulaire a plus de {MAX_KEYS} champs.", en=f"The form has more than {MAX_KEYS} fields.")
        ) from None
    found: dict[str, Any] = {}
    for written, value in pairs:
        key = _clean_member(written, written)
        cleaned = _clean_member(value, written)
        if key not in found:
            found[key] = cleaned
        elif isinstance(found[key], list):
            found[key].append(cleaned)
        else:
            found[key] = [found[key], cleaned]
    return unflatten(found) if any("/" in key for key in found) else found


def _clean_member(text: str, key: str) -> str:
    fault = _text_fault(text)
    if fault:
        raise invalid_input({_legible(key): [fault]})
    return unicodedata.normalize("NFC", text)


def business_query(raw_query: str) -> list[tuple[str, str]]:
    """The query's pairs but those of Publik's signature and of callbacks, in order, blank ones kept, texts in NFC."""
    if not raw_query:
        return []
    if _AS_IT_IS.fullmatch(raw_query):
        plainly = [pair.partition("=") for pair in raw_query.split("&") if pair]
        return [(name, value) for name, _, value in plainly if name not in _NOT_BUSINESS]
    if _BAD_ESCAPE.search(raw_query):
        raise InvalidInput(
            Text(
                "L'adresse contient un « % » qui n'est pas suivi de deux chiffres hexadécimaux.",
                en='The address holds a "%" that two hexadecimal digits do not follow.',
            )
        )
    try:
        plain = raw_query.encode("utf-8", "surrogateescape").decode("utf-8")
        pairs = parse_qsl(plain, keep_blank_values=True, errors="strict", max_num_fields=1000)
    except (UnicodeDecodeError, UnicodeEncodeError):
        raise InvalidInput(
            Text("Les paramètres de l'adresse ne sont pas en UTF-8.", en="The query is not UTF-8.")
        ) from None
    except ValueError:
        raise InvalidInput(
            Text("L'adresse a plus de 1000 paramètres.", en="The address has more than 1000 parameters.")
        ) from None
    return [(_clean_member(key, key), _clean_member(value, key)) for key, value in pairs if key not in _NOT_BUSINESS]


# --- by type ----------------------------------------------------------------------------------------------------------


def decode_body(content_type: str | None, raw: bytes, cut: Mapping[str, Decoded] | None = None) -> Any:
    """The body as plain values: JSON, or a form; flat keys are rebuilt. None when there is neither type nor body.

    `cut`: what was cut out of it, by name. A body without a type is read as JSON. Any other raises `UnsupportedType`.
    """
    kind, charset = _media_type(content_type or "")
    if not kind and not raw:
        return None
    if kind == "application/x-www-form-urlencoded":
        return decode_form(raw, charset)
    if not is_json(content_type):
        raise UnsupportedType()
    if _CHARSETS.get(charset) != "utf-8":
        raise UnsupportedType(Text("Le JSON doit être en UTF-8.", en="JSON must be in UTF-8."), detail="JSON charset")
    value = decode_json(raw, cut)
    if isinstance(value, dict) and any("/" in key for key in value):
        return unflatten(value)
    return value


def is_json(content_type: str | None) -> bool:
    """Whether a body of this type is read as JSON; one without a type is."""
    kind, _ = _media_type(content_type or "")
    return kind in ("", "application/json", "text/json") or (kind.startswith("application/") and kind.endswith("+json"))


def _media_type(header: str) -> tuple[str, str]:
    kind, *parameters = header.split(";")
    charset = ""
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            charset = value.strip().strip('"').lower()
    return kind.strip().lower(), charset
