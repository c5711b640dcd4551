"""Files: what a form attaches, what a publisher returns.

A file travels in JSON as `{filename, content_type, content, content_is_base64}` and comes back as bytes with a
`Content-Disposition` that w.c.s. can read. The announced type is only a hint: the first bytes decide.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import unicodedata
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_serializer, model_validator
from pydantic.json_schema import JsonSchemaValue

from .errors import Text

__all__ = ["Decoded", "File", "disposition", "sniff"]

OCTETS = "application/octet-stream"
_WORD = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"
_EXCEL = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
_POWERPOINT = "application/vnd.openxmlformats-officedocument.presentationml.presentation"
_ODF = "application/vnd.oasis.opendocument."

_EXTENSIONS: Mapping[str, str] = {
    "application/pdf": "pdf",
    "image/png": "png",
    "image/jpeg": "jpg",
    "image/gif": "gif",
    "image/tiff": "tif",
    "image/webp": "webp",
    "image/bmp": "bmp",
    "image/heic": "heic",
    "image/svg+xml": "svg",
    "application/zip": "zip",
    "application/gzip": "gz",
    "application/x-7z-compressed": "7z",
    "application/epub+zip": "epub",
    "application/rtf": "rtf",
    "application/msword": "doc",
    "application/vnd.ms-excel": "xls",
    "application/vnd.ms-powerpoint": "ppt",
    "application/vnd.ms-outlook": "msg",
    _WORD: "docx",
    _EXCEL: "xlsx",
    _POWERPOINT: "pptx",
    _ODF + "text": "odt",
    _ODF + "spreadsheet": "ods",
    _ODF + "presentation": "odp",
    _ODF + "graphics": "odg",
    "application/xml": "xml",
    "text/xml": "xml",
    "text/html": "html",
    "text/csv": "csv",
    "text/plain": "txt",
    "text/calendar": "ics",
    "application/json": "json",
    OCTETS: "bin",
}
_ALIASES: Mapping[str, frozenset[str]] = {
    "jpg": frozenset({"jpeg", "jpe"}),
    "tif": frozenset({"tiff"}),
    "html": frozenset({"htm", "xhtml"}),
    "txt": frozenset({"text", "log", "md", "csv", "asc"}),
    "xml": frozenset({"xsd", "wsdl", "gml", "kml"}),
    "zip": frozenset({"docm", "xlsm", "pptm"}),
}
_SYNONYMS: Mapping[str, str] = {
    "application/x-pdf": "application/pdf",
    "image/jpg": "image/jpeg",
    "image/pjpeg": "image/jpeg",
    "image/x-png": "image/png",
    "application/x-zip-compressed": "application/zip",
    "application/x-gzip": "application/gzip",
    "text/rtf": "application/rtf",
}
_GENERIC = frozenset(
    {OCTETS, "binary/octet-stream", "application/binary", "application/unknown", "application/force-download"}
    | {"application/download", "application/x-download", "application/x-unknown", "unknown/unknown"}
)

_MAGIC: tuple[tuple[bytes, int, str], ...] = (
    (b"%PDF-", 0, "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", 0, "image/png"),
    (b"\xff\xd8\xff", 0, "image/jpeg"),
    (b"GIF87a", 0, "image/gif"),
    (b"GIF89a", 0, "image/gif"),
    (b"II*\x00", 0, "image/tiff"),
    (b"MM\x00*", 0, "image/tiff"),
    (b"WEBP", 8, "image/webp"),
    (b"ftypheic", 4, "image/heic"),
    (b"ftypheix", 4, "image/heic"),
    (b"ftypmif1", 4, "image/heic"),
    (b"PK\x03\x04", 0, "application/zip"),
    (b"PK\x05\x06", 0, "application/zip"),
    (b"\x1f\x8b\x08", 0, "application/gzip"),
    (b"7z\xbc\xaf\x27\x1c", 0, "application/x-7z-compressed"),
    (b"{\\rtf", 0, "application/rtf"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", 0, "application/x-ole-storage"),
)
_SIGNED = frozenset(kind for _, _, kind in _MAGIC) | {_WORD, _EXCEL, _POWERPOINT, "application/epub+zip"}
_OLE = frozenset(
    {"application/msword", "application/vnd.ms-excel", "application/vnd.ms-powerpoint", "application/vnd.ms-outlook"}
    | {"application/vnd.visio", "application/vnd.ms-project", "application/x-ole-storage"}
)
_OOXML = ((b"word/document", _WORD), (b"xl/workbook", _EXCEL), (b"ppt/presentation", _POWERPOINT))
_MIMETYPE_ENTRY = re.compile(rb"mimetype(application/[a-z0-9.+-]{3,80})")
_MEDIA_TYPE = re.compile(r"[a-z0-9][a-z0-9!#$&^_.+-]{0,60}/[a-z0-9][a-z0-9!#$&^_.+-]{0,100}")
_WINDOW = 8192  # bytes looked at to tell text from binary


def sniff(content: bytes) -> str:
    """The media type the bytes themselves show, without parameters; `application/octet-stream` when they show none.

    PDF, PNG, JPEG, GIF, TIFF, WebP, HEIC, ZIP, OOXML, ODF, EPUB, gzip, 7z, RTF, OLE, XML, SVG, HTML, JSON, CSV and
    plain text are told apart.
    """
    for magic, offset, kind in _MAGIC:
        if content.startswith(magic, offset):
            if kind == "image/webp" and not content.startswith(b"RIFF"):
                continue
            return _inside_zip(content) if kind == "application/zip" else kind
    if b"%PDF-" in content[:1024]:  # readers accept a few stray bytes before the mark
        return "application/pdf"
    return _text_kind(content)


def _inside_zip(content: bytes) -> str:
    opening = _MIMETYPE_ENTRY.match(content, 30)
    if opening:
        kind = opening[1].decode("ascii").partition("PK")[0]
        for known in (_ODF + "text", _ODF + "spreadsheet", _ODF + "presentation", _ODF + "graphics"):
            if kind == known:
                return known
        if kind == "application/epub+zip":
            return kind
    names = content[:4096] + content[-65536:]  # local headers at the start, the directory at the end
    if b"[Content_Types].xml" in names:
        for entry, kind in _OOXML:
            if entry in names:
                return kind
    return "application/zip"


def _text_kind(content: bytes) -> str:
    window = _as_text(content[:_WINDOW])
    if window is None:
        return OCTETS
    start = window.lstrip("\ufeff \t\r\n")
    low = start[:1024].lower()
    if low.startswith(("<!doctype html", "<html", "<head", "<body", "<script")):
        return "text/html"
    if low.startswith(("<?xml", "<!doctype")):
        if "<html" in low:
            return "text/html"
        return "image/svg+xml" if "<svg" in low else "application/xml"
    if low.startswith("<svg"):
        return "image/svg+xml"
    end = content[-64:].rstrip(b"\x00 \t\r\n")
    if re.match(r"<[a-z_][\w.:-]*[\s/>]", low) and end.endswith(b">"):
        return "application/xml"
    if (start[:1], end[-1:]) in (("{", b"}"), ("[", b"]")):
        return "application/json"
    return "text/csv" if _looks_tabular(start, whole=len(content) <= _WINDOW) else "text/plain"


def _as_text(window: bytes) -> str | None:
    if window.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        text = window[: len(window) // 2 * 2].decode("utf-16", "replace")
    else:
        try:
            text = codecs.getincrementaldecoder("utf-8")().decode(window)  # a character cut at the edge is no fault
        except UnicodeDecodeError:
            text = window.decode("cp1252", "replace")
            if "\ufffd" in text:
                return None
    controls = sum(1 for char in text if char < " " and char not in "\t\n\r\f\x1b")
    return text if text and not controls else None


def _looks_tabular(text: str, *, whole: bool) -> bool:
    lines = [line for line in text.splitlines() if line.strip()]
    if not whole:
        lines = lines[:-1]
    lines = lines[:6]
    if len(lines) < 2:
        return False
    for delimiter in ";\t|,":
        counts = {line.count(delimiter) for line in lines}
        if len(counts) == 1 and counts != {0} and not (delimiter == "," and any(", " in line for line in lines)):
            return True
    return False


def _settled_type(declared: str | None, content: bytes) -> str:
    """The announced type where the bytes do not contradict it, else what the bytes show."""
    shown = sniff(content)
    kind = (declared or "").partition(";")[0].strip().lower()
    kind = _SYNONYMS.get(kind, kind)
    if not _MEDIA_TYPE.fullmatch(kind) or kind in _GENERIC:
        return shown
    if kind == shown or not content:
        return kind
    if shown == "application/x-ole-storage":
        return kind if kind in _OLE else shown
    if shown == "application/zip":
        return kind if _kept_in_zip(kind) and kind not in (_WORD, _EXCEL, _POWERPOINT) else shown
    if shown in (_WORD, _EXCEL, _POWERPOINT):
        return kind if kind not in _SIGNED and _kept_in_zip(kind) else shown
    if shown in _SIGNED or shown.startswith(_ODF):
        return shown
    if kind in _SIGNED or kind in _OLE or kind.startswith(_ODF):
        return shown  # it lacks the mark its announced type always has
    if shown == OCTETS:
        return shown if kind.startswith("text/") or kind in ("application/json", "application/xml") else kind
    if shown == "application/xml":
        return kind if kind.endswith(("/xml", "+xml")) or kind == "text/html" else shown
    if shown in ("text/html", "image/svg+xml"):
        return shown  # what a browser would run is never shown under a tamer name
    return shown if kind.startswith(("image/", "audio/", "video/", "font/")) else kind


def _kept_in_zip(kind: str) -> bool:
    return kind.startswith(("application/vnd.", "application/x-")) or kind.endswith("+zip") or kind == "application/jar"


# --- names ------------------------------------------------------------------------------------------------------------

_LIGATURES = str.maketrans({"œ": "oe", "Œ": "OE", "æ": "ae", "Æ": "AE", "ß": "ss", "ø": "o", "Ø": "O", "’": "-"})


def _extension(content_type: str) -> str:
    return _EXTENSIONS.get(content_type.partition(";")[0].strip().lower(), "")


def safe_name(filename: str, content_type: str = "") -> str:
    """The name as w.c.s. will write it: ASCII letters, digits, `.`, `_` and `-`, at most 120 characters.

    The folder part is dropped, accents are removed, the extension is completed from the type where it is missing.
    """
    last = re.split(r"[/\\]", filename)[-1].translate(_LIGATURES)
    plain = unicodedata.normalize("NFKD", last).encode("ascii", "ignore").decode("ascii")
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", plain)
    plain = re.sub(r"-*\.[-.]*", ".", plain).strip("-_")
    stem, dot, written = plain.rpartition(".")
    if not dot or not re.fullmatch(r"[A-Za-z0-9]{1,10}", written):
        stem, written = plain, ""
    wanted = _extension(content_type)
    if wanted and wanted != "bin" and written.lower() not in {wanted, *_ALIASES.get(wanted, ())}:
        if written and written.lower() not in _KNOWN_EXTENSIONS:
            stem = f"{stem}.{written}"  # "v1.2": a part of the name, not an extension
        written = wanted
    elif wanted and not written:
        written = wanted
    stem = stem[:100].strip("-._") or "fichier"
    return f"{stem}.{written}" if written else stem


_KNOWN_EXTENSIONS = frozenset(_EXTENSIONS.values()) | frozenset().union(*_ALIASES.values())


def disposition(filename: str, content_type: str = "") -> str:
    """The `Content-Disposition` of a download: one plain ASCII `filename`, last, because w.c.s. reads what follows the
    last `filename=` and makes it a slug (an RFC 5987 `filename*` would garble the name)."""
    return f'attachment; filename="{safe_name(filename, content_type)}"'


# --- the value --------------------------------------------------------------------------------------------------------

_FROM_WCS = frozenset({"url", "thumbnail_url", "field_id", "size"})  # sent beside the content by "the complete form"
_MEMBERS = frozenset({"filename", "content_type", "content", "content_is_base64"})


class Decoded:
    """A long base64 text of a body, decoded while the body was read: it stands in the JSON where the text was.

    `taken` tells that a `File` holds it; where none does, its reader puts `text()` back.
    """

    __slots__ = ("content", "taken")

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.taken = False

    def text(self) -> str:
        """The base64 it was."""
        return base64.b64encode(self.content).decode("ascii")


class File(BaseModel):
    """A file of a form, or a file an endpoint returns: `filename`, `content_type`, `content` (bytes).

    In a request body: `{"filename", "content_type", "content", "content_is_base64"}`, `content` in base64 unless
    `content_is_base64` is false (then it is raw text). In code: `File(content=b"…", filename="avis.pdf")`.
    `content_type` is what the bytes show when the announced one is absent, generic or contradicted.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True, strict=True)

    filename: str = ""
    content_type: str = ""
    content: bytes = Field(repr=False)

    @model_validator(mode="before")
    @classmethod
    def _from_members(cls, data: Any) -> Any:
        if not isinstance(data, Mapping):
            return data
        members = {name: value for name, value in data.items() if name not in _FROM_WCS}
        for name in sorted(str(name) for name in members if name not in _MEMBERS):
            label = name[:40] if name.isprintable() else "?"
            raise ValueError(
                Text(
                    f"contient « {label} », qui n'est pas attendu dans un fichier",
                    en=f'holds "{label}", which is not expected in a file',
                )
            )
        encoded = members.pop("content_is_base64", None)
        content = _content(members.get("content"), encoded)
        content_type = _settled_type(_optional_text(members.get("content_type"), "content_type"), content)
        filename = _optional_text(members.get("filename"), "filename").strip()
        if not filename:
            extension = _extension(content_type)
            filename = f"fichier.{extension}" if extension else "fichier"
        return {"filename": filename, "content_type": content_type, "content": content}

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: Any, handler: Any) -> JsonSchemaValue:
        return {
            "type": "object",
            "title": "File",
            "description": "A file. Its content is base64 unless `content_is_base64` is false (raw text).",
            "properties": {
                "filename": {"type": "string", "description": "Name shown to people", "examples": ["avis.pdf"]},
                "content_type": {
                    "type": "string",
                    "description": "Media type; recognised from the content when absent or wrong",
                    "examples": ["application/pdf"],
                },
                "content": {"type": "string", "description": "The content, base64 without line breaks"},
                "content_is_base64": {
                    "type": "boolean",
                    "default": True,
                    "description": "false: `content` is the text itself",
                },
            },
            "required": ["content"],
            "examples": [
                {
                    "filename": "note.txt",
                    "content_type": "text/plain",
                    "content": "Qm9uam91cg==",
                    "content_is_base64": True,
                }
            ],
        }

    @model_serializer
    def _as_sent(self) -> dict[str, Any]:
        """As w.c.s. reads a file inside a JSON answer; without the flag it would take the base64 for text."""
        content = base64.b64encode(self.content).decode("ascii")
        return {
            "filename": self.filename,
            "content_type": self.content_type,
            "content": content,
            "content_is_base64": True,
        }

    @property
    def disposition(self) -> str:
        """The `Content-Disposition` header of this file."""
        return disposition(self.filename, self.content_type)

    @property
    def size(self) -> int:
        """Bytes of content."""
        return len(self.content)

    def __repr__(self) -> str:
        return f"File({self.content_type}, {len(self.content)} bytes)"

    __str__ = __repr__


def _optional_text(value: Any, member: str) -> str:
    if value is None:
        return ""
    if not isinstance(value, str):
        raise ValueError(
            Text(
                f"a un « {member} » qui n'est pas un texte",
                en=f'has a "{member}" that is not text',
            )
        )
    return value


def _content(value: Any, encoded: Any) -> bytes:
    if value is None:
        raise ValueError(
            Text("n'a pas de « content » (le contenu, en base64)", en='has no "content" (the content, in base64)')
        )
    if isinstance(value, bytes):
        return value
    if isinstance(value, Decoded):
        value.taken = True
        if encoded in (None, "", True):
            return value.content
        value = value.text()
    if not isinstance(value, str):
        raise ValueError(Text("a un « content » qui n'est pas un texte", en='has a "content" that is not text'))
    if encoded is None or encoded == "":
        encoded = True
    if isinstance(encoded, str):
        encoded = {"true": True, "false": False}.get(encoded.lower())
    if not isinstance(encoded, bool):
        raise ValueError(
            Text(
                "a un « content_is_base64 » qui n'est ni vrai ni faux",
                en='has a "content_is_base64" that is neither true nor false',
            )
        )
    if not encoded:
        return value.encode("utf-8")
    try:
        if "\n" in value or "\r" in value or " " in value:
            value = "".join(value.split())  # MIME-style lines of 76 characters
        return base64.b64decode(value.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise ValueError(
            Text(
                "a un « content » qui n'est pas du base64 (pour du texte brut, « content_is_base64 » vaut false)",
                en='has a "content" that is not base64 (for raw text, set "content_is_base64" to false)',
            )
        ) from None
