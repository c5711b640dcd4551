"""CSV text: which encoding, which delimiter, and why; then its records, read strictly.

The file is read piece by piece, never held whole: a large table costs no more memory than a small one.
"""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from sdk.errors import Text

from .types import SAMPLE_RECORDS, Opened, Reading, Record, Refused, TableOptions

DELIMITERS = (";", "\t", "|", ",")  # the order settles a tie: a decimal comma is the likeliest impostor
_SAMPLE_BYTES = 256 * 1024
_PIECE = 1024 * 1024
_LONGEST_CELL_LINES = 200


def open_text(path: Path, options: TableOptions, reading: Reading) -> Opened:
    """Encoding and delimiter found, written with their reasons into `reading`; then the records."""
    reading.kind = "csv"
    _find_encoding(path, options, reading)
    lines = _sample_lines(path, reading.encoding)
    skip = 0
    declared = re.fullmatch(r"sep=(.)\s*", lines[0]) if lines else None
    if declared and not options.delimiter:
        skip, reading.delimiter = 1, declared[1]
        reading.delimiter_why = Text(
            f"Séparateur {_named(declared[1])} : la première ligne le déclare (sep=).",
            en=f"Delimiter {_named(declared[1], english=True)}: the first line declares it (sep=).",
        )
    elif options.delimiter:
        reading.delimiter = options.delimiter
        reading.delimiter_why = Text(
            f"Séparateur {_named(options.delimiter)} : déclaré dans les réglages.",
            en=f"Delimiter {_named(options.delimiter, english=True)}: declared in the settings.",
        )
    else:
        _find_delimiter(lines, reading)

    def records(start: int) -> Iterator[Record]:
        with path.open(encoding=reading.encoding, errors="strict", newline="") as stream:
            yield from _records(stream, reading.delimiter, start)

    return Opened(_sample_records(lines[skip:], reading.delimiter, skip), records)


def pieces(path: Path) -> Iterator[bytes]:
    """The bytes of the file, a megabyte at a time."""
    with path.open("rb") as file:
        while piece := file.read(_PIECE):
            yield piece


def _find_encoding(path: Path, options: TableOptions, reading: Reading) -> None:
    def found(encoding: str, french: str, english: str) -> None:
        reading.encoding = encoding
        reading.encoding_why = Text(f"Encodage {encoding} : {french}.", en=f"Encoding {encoding}: {english}.")

    start = next(pieces(path), b"")[:4]
    bom = next((name for mark, name in _BOMS if start.startswith(mark)), "")
    if options.encoding:
        encoding = (
            "utf-8-sig" if bom == "utf-8-sig" and codecs.lookup(options.encoding).name == "utf-8" else options.encoding
        )
        found(encoding, "déclaré dans les réglages", "declared in the settings")
    elif bom:
        found(bom, "le fichier commence par sa marque d'ordre (BOM)", "the file begins with its byte order mark (BOM)")
    try:
        decoded = _decoded(path, reading.encoding or "utf-8")
    except _Undecodable as wrong:
        if reading.encoding:
            raise Refused(
                _line_at(path, wrong.at),
                f"octet impossible en {reading.encoding}",
                f"impossible byte in {reading.encoding}",
            ) from None
        decoded = _find_legacy_encoding(path, wrong, found)
    if not reading.encoding and decoded.plain:
        found("utf-8", "tous les caractères sont de l'ASCII", "every character is ASCII")
    elif not reading.encoding:
        count = sum(1 for character in decoded.start[:_SAMPLE_BYTES] if character > "\x7f")
        shown = _glyphs(decoded.start)
        found(
            "utf-8",
            f"tous les octets sont de l'UTF-8 valable ({count} caractères hors ASCII au début, dont {shown})",
            f"every byte is valid UTF-8 ({count} non-ASCII characters at the start, among them {shown})",
        )
    if decoded.null:
        raise Refused(
            decoded.null,
            'caractère nul : le fichier est-il en UTF-16 sans marque ? Déclarer alors encoding = "utf-16-le"',
            'null character: is the file UTF-16 without its mark? Then declare encoding = "utf-16-le"',
        )


@dataclass(slots=True)
class _Decoded:
    """What one reading of the whole text told: its start, whether all of it is ASCII, the line of a null character."""

    start: str = ""
    plain: bool = True
    null: int = 0


class _Undecodable(Exception):
    """A byte, counted from the start of the file, that is impossible in the encoding."""

    def __init__(self, at: int, byte: int) -> None:
        self.at, self.byte = at, byte


def _decoded(path: Path, encoding: str) -> _Decoded:
    """Decodes the whole text, keeping only its start. Raises _Undecodable."""
    found = _Decoded()
    decoder = codecs.getincrementaldecoder(encoding)()
    read = lines = 0
    last = ""
    for piece in _ending(pieces(path)):
        read += len(piece)
        try:
            text = decoder.decode(piece, final=not piece)
        except UnicodeDecodeError as error:
            raise _Undecodable(read - len(error.object) + error.start, error.object[error.start]) from None
        except UnicodeError:
            raise _Undecodable(0, 0) from None
        if len(found.start) < _PIECE:
            found.start += text[: _PIECE - len(found.start)]
        found.plain = found.plain and text.isascii()
        if "\0" in text and not found.null:
            found.null = lines + _line_ends(last, text[: text.index("\0")]) + 1
        lines += _line_ends(last, text)
        last = text[-1:] or last
    return found


def _ending(parts: Iterator[bytes]) -> Iterator[bytes]:
    yield from parts
    yield b""


_BOMS = ((codecs.BOM_UTF8, "utf-8-sig"), (codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16"))


def _find_legacy_encoding(path: Path, wrong: _Undecodable, found: Callable[[str, str, str], None]) -> _Decoded:
    """Not UTF-8: Windows-1252 (what French office software writes), unless the file is UTF-8 with damaged places."""
    line, byte = _line_at(path, wrong.at), wrong.byte
    damaged = right = 0
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    for piece in _ending(pieces(path)):
        lenient = decoder.decode(piece, final=not piece)
        escaped = len(_ESCAPED.findall(lenient))
        damaged += escaped
        right += len(lenient) - len(lenient.encode("ascii", "ignore")) - escaped
    if right > 4 * damaged:
        raise Refused(
            line,
            f"octet 0x{byte:02X} impossible en UTF-8, alors que le reste est en UTF-8 ({damaged} octets abîmés)",
            f"byte 0x{byte:02X} is impossible in UTF-8, though the rest of the file is UTF-8 ({damaged} damaged bytes)",
        )
    try:
        decoded = _decoded(path, "cp1252")
    except _Undecodable as unknown:
        raise Refused(
            _line_at(path, unknown.at),
            f"octet 0x{unknown.byte:02X} : ni UTF-8, ni Windows-1252 ; déclarer l'encodage dans les réglages",
            f"byte 0x{unknown.byte:02X}: neither UTF-8 nor Windows-1252; declare the encoding in the settings",
        ) from None
    shown = _glyphs(decoded.start)
    found(
        "cp1252",
        f"l'octet 0x{byte:02X} (ligne {line}) est impossible en UTF-8 ; lu en Windows-1252, le texte contient {shown}",
        f"byte 0x{byte:02X} (line {line}) is impossible in UTF-8; read as Windows-1252 the text holds {shown}",
    )
    return decoded


_ESCAPED = re.compile("[\udc80-\udcff]")


def _line_at(path: Path, at: int) -> int:
    """The line, counted from 1, of a byte counted from 0."""
    lines, last, before = 1, "", 0
    for piece in pieces(path):
        text = piece[: at - before].decode("latin-1")
        lines += _line_ends(last, text)
        last, before = text[-1:] or last, before + len(piece)
        if before >= at:
            break
    return lines


def _line_ends(last: str, text: str) -> int:
    """How many lines end in `text`, of which `last` is the character before; CR LF is one end."""
    return text.count("\n") + text.count("\r") - text.count("\r\n") - (last == "\r" and text.startswith("\n"))


def _glyphs(text: str) -> str:
    """A few of the telling characters of the text: single glyphs, never a word of it."""
    seen = Counter(re.findall(r"[^\x00-\x7f]", text))
    telling = sorted(seen, key=lambda glyph: (glyph not in "œŒ€’–—…", -seen[glyph]))
    return " ".join(telling[:6])


def _sample_lines(path: Path, encoding: str) -> list[str]:
    data = next(pieces(path), b"")
    head = codecs.getincrementaldecoder(encoding)("strict").decode(
        data[:_SAMPLE_BYTES], final=len(data) <= _SAMPLE_BYTES
    )
    lines = list(io.StringIO(head, newline=""))
    return lines[:-1] if len(data) > _SAMPLE_BYTES and len(lines) > 1 else lines


def _sample_records(lines: Iterable[str], delimiter: str, before: int = 0) -> list[Record]:
    """The first records, leniently: this is for looking, the strict reading comes after."""
    reader = csv.reader(lines, delimiter=delimiter)
    found: list[Record] = []
    previous = 0
    try:
        for cells in reader:
            if any(cells):
                found.append((before + previous + 1, cells))
            previous = reader.line_num
            if len(found) == SAMPLE_RECORDS:
                break
    except csv.Error:
        pass
    return found


def _records(stream: io.TextIOWrapper, delimiter: str, start: int) -> Iterator[Record]:
    """The records from line `start` on, strictly: an unclosed quote is an error, never a swallowed page."""
    for _ in range(start - 1):
        stream.readline()
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    line = start - 1
    try:
        for cells in reader:
            first, line = line + 1, start - 1 + reader.line_num
            if line - first > _LONGEST_CELL_LINES:
                raise Refused(
                    first,
                    f"une cellule s'étend sur plus de {_LONGEST_CELL_LINES} lignes : guillemet sans doute jamais fermé",
                    f"a cell runs over more than {_LONGEST_CELL_LINES} lines: a quote is probably not closed",
                )
            yield first, cells
    except csv.Error as error:
        french, english = next(
            (sentence for said, sentence in _CSV_FAULTS.items() if said in str(error)), ("CSV invalide", "invalid CSV")
        )
        raise Refused(line + 1, french, english) from None


_CSV_FAULTS = {
    "unexpected end of data": (
        "un guillemet ouvert à partir de cette ligne n'est jamais fermé",
        "a quote opened from this line on is never closed",
    ),
    "expected after": (
        "un guillemet fermant est suivi d'autre chose que le séparateur (guillemet à doubler, ou jamais fermé ?)",
        "a closing quote is followed by something else than the delimiter (quote to double, or never closed?)",
    ),
    "field larger than": (
        f"une cellule dépasse {csv.field_size_limit()} caractères (guillemet jamais fermé ?)",
        f"a cell exceeds {csv.field_size_limit()} characters (quote never closed?)",
    ),
}


def _find_delimiter(lines: list[str], reading: Reading) -> None:
    """The delimiter that cuts the most lines into the same number of cells, header included; cells may hold others."""
    scores: dict[str, tuple[float, float, int]] = {}
    for delimiter in DELIMITERS:
        widths = Counter(len(cells) for _, cells in _sample_records(lines, delimiter))
        width = max((w for w in widths if w > 1), key=lambda w: widths[w], default=1)
        if width > 1:
            share = widths[width] / sum(widths.values())
            scores[delimiter] = (share * share * (width - 1) ** 0.5, share, width)
    scores = {delimiter: score for delimiter, score in scores.items() if score[1] >= 0.5 or len(lines) < 4}
    if not scores:
        reading.delimiter = ";"
        reading.delimiter_why = Text(
            "Une seule colonne : aucun séparateur ne coupe les lignes régulièrement.",
            en="A single column: no delimiter cuts the lines regularly.",
        )
        return
    best = max(score[0] for score in scores.values())
    chosen = next(delimiter for delimiter in DELIMITERS if delimiter in scores and scores[delimiter][0] >= 0.95 * best)
    _, share, width = scores.pop(chosen)
    others = {d: s for d, s in scores.items() if s[2] > 1}
    french = "".join(f" ; {_named(d)} en couperait {s[1]:.0%} en {s[2]}" for d, s in others.items())
    english = "".join(f"; {_named(d, english=True)} would cut {s[1]:.0%} into {s[2]}" for d, s in others.items())
    reading.delimiter = chosen
    reading.delimiter_why = Text(
        f"Séparateur {_named(chosen)} : il coupe {share:.0%} des lignes en {width} cellules{french}.",
        en=f"Delimiter {_named(chosen, english=True)}: cuts {share:.0%} of the lines into {width} cells{english}.",
    )


def _named(delimiter: str, *, english: bool = False) -> str:
    if delimiter == "\t":
        return "tab" if english else "tabulation"
    return f'"{delimiter}"' if english else f"« {delimiter} »"
