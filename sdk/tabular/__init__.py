"""Tables (CSV, XLSX, ODS) as sources of lists: `Table` answers from an index that follows its file or address.

    table = Table(Path("rues.csv"), folder=http.folder, id="code", text="{type} {nom}")
    await table.choices(q="ile")                       # Choices: every typed word is in the label
    await table.rows(where={"ville": "Rennes", "habitants__gte": 1000}, order=("-habitants",), limit=10)

The index is a file in `folder`, built once for all processes, in a process apart, and mapped by all of them. A file is
looked at every second: its new version is read when it no longer changes, and answers from one instant on; the old one
keeps answering meanwhile, and for as long as the new one cannot be read.
"""

from __future__ import annotations

import asyncio
import contextvars
import fcntl
import hashlib
import json
import os
import sqlite3
import sys
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from math import inf
from pathlib import Path
from typing import Any, Protocol, TypeVar

import structlog

from sdk.call import current_call, new_call, serving
from sdk.errors import InvalidInput, Misconfigured, RelaisError, Text, UpstreamInvalid, UpstreamUnavailable
from sdk.matching import fold
from sdk.messages import Response
from sdk.model import Choices

from .building import Plan, build
from .index import OPERATORS, Index, Question, TooLong, Where, words
from .reading import is_sheet
from .templates import Place, UnknownColumn, fill, parts
from .types import BadLine, Column, ColumnType, Reading, Structure, Structured, TableOptions, to_decimal

__all__ = [
    "BadLine",
    "Column",
    "ColumnType",
    "Reading",
    "Structure",
    "Structured",
    "Table",
    "TableOptions",
    "UnknownColumn",
    "UrlSource",
    "columns_of",
    "fill",
    "to_decimal",
]

_SMALL = 256 * 1024  # bytes of CSV below which a thread is quicker than a process
_BUILD_SECONDS = 600.0
_ATTEMPT_EVERY = 0.05
_LOOK_EVERY = 1.0  # seconds; a changed file is read when two looks agree, so that a copy under way is left alone
_READINGS = 3  # of a file that changes while it is read, before it is taken as it is
_DIED = BadLine(
    0,
    Text(
        "le fichier demande trop de mémoire ou de temps pour être lu, ou sa lecture s'est arrêtée net",
        en="the file needs too much memory or time to be read, or its reading stopped short",
    ),
)
_ROOT = str(Path(__file__).resolve().parents[2])

_log = structlog.get_logger("relais.tabular")

A = TypeVar("A")


class _Gets(Protocol):
    def get(
        self,
        url: str,
        /,
        *,
        headers: Mapping[str, str] | None,
        timeout: float | None,
        max_bytes: int | None,
        follow: bool,
    ) -> Awaitable[Response]: ...


@dataclass(frozen=True, slots=True)
class UrlSource:
    """A table downloaded through a connector's `http`; asked again, conditionally, at each `Table.refresh`."""

    http: _Gets
    url: str


@dataclass(frozen=True, slots=True)
class _Fetched:
    path: Path
    stamp: dict[str, Any]
    temporary: bool


class Table:
    """A table and its index.

    `source`: a file, or an address (`UrlSource`). `folder`: a private folder whose content can be rebuilt.
    `id` and `text`: a column, or a template (`"{Code_postal} {Nom_commune}"`); they make the choices. A template may
    change what it takes: `{nom|title}`, `upper`, `lower`, `trim`, `{code|zeros:5}`, `first:N`, `last:N`; `{{` is `{`.
    `index`: columns often filtered on; `filters`: filters often used (`code__gte`), whose columns are indexed too.
    `search`: columns looked at by `q`; those of `text` when left out, else all.
    `setting`: name of the setting that gives the source, for error texts.
    Columns are named as in the header; case, accents and punctuation may be left out (`code_postal`).
    """

    def __init__(
        self,
        source: Path | UrlSource,
        *,
        folder: Path,
        options: TableOptions | None = None,
        id: str = "",
        text: str = "",
        index: Sequence[str] = (),
        filters: Sequence[str] = (),
        search: Sequence[str] = (),
        setting: str = "file",
        sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
    ) -> None:
        self.source, self.folder, self.setting = source, folder, setting
        self.id, self.text = id, text
        self._sleep = sleep
        try:
            searched = tuple(search) or columns_of(text)
        except UnknownColumn as error:
            raise _misconfigured(setting, error.message) from None
        self._index_setting = tuple(index)
        indexed = tuple(dict.fromkeys([*index, *map(_column_of, filters)]))
        self._plan = Plan(options or TableOptions(), id, text, indexed, searched)
        place = str(source.resolve()) if isinstance(source, Path) else source.url
        self._of_source = _short_digest(place)
        plan = _short_digest(json.dumps(self._plan.pack(), sort_keys=True))
        self._path = folder / f"{self._of_source}-{plan}.sqlite"
        self._refused = self._path.with_suffix(".refused")
        self._index: Index | None = None
        self._task: asyncio.Task[Reading] | None = None
        self._following: asyncio.Task[None] | None = None
        self._attempted: dict[str, Any] | None = None
        self.refused: Reading | None = None

    @property
    def reading(self) -> Reading | None:
        """What was found in the version that answers; None before the first question. See also `refused`."""
        return self._index.reading if self._index else None

    async def refresh(self) -> Reading:
        """Takes the source's present version; returns what was found in it.

        Raises `Misconfigured` when it is missing or cannot be read as a table (line number in the text), or when it
        has not the columns of `id`, `text`, `index`, `search`; `UpstreamUnavailable` when the address does not answer.
        The version of before keeps answering.
        """
        reading = await asyncio.shield(self._start())
        plan = self._plan
        own = {"id": [self.id], "text": [self.text], "index": self._index_setting, "search": plan.search}
        for setting, expressions in own.items():
            await self.verify([each for each in expressions if each], setting=setting)
        return reading

    async def columns(self) -> tuple[Column, ...]:
        """The columns of the version that answers."""
        return (await self._ready()).columns.all

    async def rows(
        self,
        q: str | None = None,
        where: Where | None = None,
        *,
        order: Sequence[str] = (),
        distinct: Sequence[str] = (),
        columns: Sequence[str] | Mapping[str, str] = (),
        equal: tuple[str, str] | None = None,
        limit: int | None = None,
        offset: int = 0,
    ) -> list[dict[str, str]]:
        """The rows kept, in the file's order unless `order` says (`"-population"` for descending).

        `q`: every word must be in the row, without regard to case and accents. `where`: column → value, or
        `column__op` with ne, lt, lte, gt, gte, in, contains, startswith, empty. `distinct`: the first row of the
        file for each combination. `columns`: those wanted, or name → column or template; the words that the template
        named `text` writes itself are not looked for. `equal`: a column or template, and its text. All values are text.
        Raises `InvalidInput` naming an unknown column and listing the known ones.
        """
        label = columns.get("text", "") if isinstance(columns, Mapping) else ""
        asked = Question(_beyond(q, label), where or {}, equal, order, distinct, limit, offset)

        def pick(index: Index) -> list[dict[str, str]]:
            if isinstance(columns, Mapping) and columns:
                names, outputs = list(columns), list(columns.values())
            else:
                names = outputs = [index.columns.name(column) for column in columns] or index.columns.names
            return [dict(zip(names, values, strict=True)) for values in index.select(outputs, asked)]

        try:
            return await self._ask(pick)
        except UnknownColumn as error:
            raise InvalidInput(
                Text(f"Demande refusée : {error.message}.", en=f"Refused: {error.message.en}."),
                fields={error.name: [error.message]},
            ) from None

    async def choices(
        self,
        *,
        id: str = "",
        text: str = "",
        q: str | None = None,
        only: str | None = None,
        where: Where | None = None,
        order: Sequence[str] = (),
        extra: bool = True,
        limit: int | None = None,
    ) -> Choices:
        """The rows as a form's list: `id` and `text` are columns or templates, those of the table when left out.

        `q`: every word must be in the row's searched columns; with a `limit`, the choice whose label is exactly `q`
        comes first. `only`: the choice of that id, compared as text. `extra`: every column goes along.
        Rows without id are left out; of several rows with the same id the first is kept (`reading.warnings` counts
        them): give a composed id (`"{code}-{cp}"`) to offer them all. Raises `Misconfigured` for an unknown column.
        """
        id, text = id or self.id, text or self.text or id or self.id
        typed, where = _beyond(q, text), where or {}
        asked = Question(typed, where, None if only is None else (id, only), order, early=limit)

        def pick(index: Index) -> Choices:
            found = index.choices(id, text, asked, extra=extra)
            first: Iterable[tuple[str, bytes]] = ()
            if q and limit is not None and found and only is None and index.may_be(text, label := q.strip()):
                # w.c.s. finds a choice again by its whole label.
                first = index.choices(id, text, Question(typed, where, (text, label), order, early=limit), extra=extra)
            most = inf if limit is None else limit
            kept: dict[str, bytes] = {}
            for key, *written in chain(first, found):
                if key and key not in kept:
                    kept[key] = written[0] if len(written) == 1 else _joined(written)
                    if len(kept) >= most or only is not None:
                        break
            return Choices(list(kept.values())[:limit])

        try:
            return await self._ask(pick)
        except UnknownColumn as error:
            raise _misconfigured("id, text", error.message) from None

    async def verify(
        self, expressions: Sequence[str] = (), filters: Sequence[str] = (), *, setting: str = "columns"
    ) -> None:
        """Raises `Misconfigured` when a column, template or filter (`code__gte`) of `setting` is not of this table."""
        columns = (await self._ready()).columns
        try:
            for expression in expressions:
                columns.sql(expression)
            for name, operator in map(columns.filtered, filters):
                columns.at(name)
                if operator not in OPERATORS:
                    known = ", ".join(OPERATORS)
                    french = f"comparaison inconnue « {operator} » ; possibles : {known}"
                    raise UnknownColumn(operator, Text(french, en=f'unknown comparison "{operator}"; known: {known}'))
        except UnknownColumn as error:
            raise _misconfigured(setting, error.message) from None

    async def close(self) -> None:
        """Stops a build under way and the following of the file, and closes the index."""
        for task in (self._following, self._task):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait([task])
        if self._index is not None:
            self._index.close()
            self._index = None

    # --- the version that answers -----------------------------------------------------------------------------------

    async def _ready(self) -> Index:
        """The open index, built the first time; the source is followed from then on."""
        if self._following is None and isinstance(self.source, Path):
            # Not in the context of the call that happens to be the first.
            self._following = asyncio.get_running_loop().create_task(
                self._keep_following(self.source), context=contextvars.Context()
            )
        index = self._open()
        if index is not None:
            return index
        try:
            await asyncio.wait_for(asyncio.shield(self._start()), timeout=current_call().remaining())
        except TimeoutError:
            raise UpstreamUnavailable(
                Text("Le tableau est en cours de préparation.", en="The table is being prepared."),
                retry_after=5,
                processed=False,
            ) from None
        index = self._open()
        if index is None:
            raise _misconfigured(self.setting, Text("l'index n'a pu être écrit", en="the index could not be written"))
        return index

    def _open(self) -> Index | None:
        """The index of the current inode, reopened when another process has replaced the file."""
        try:
            status = self._path.stat()
        except OSError:
            return self._index
        if self._index is None or self._index.inode != (status.st_ino, status.st_mtime_ns):
            try:
                opened = Index(self._path, hurried=True)
            except (sqlite3.Error, KeyError, ValueError, OSError):
                return self._index  # torn by a crash of the machine: it is built again
            if self._index is not None:
                self._index.close()
            self._index = opened
        return self._index

    async def _ask(self, question: Callable[[Index], A]) -> A:
        """Asks at once what is soon answered, the rest in a thread, on a connection of its own."""
        index = await self._ready()
        try:
            return question(index)
        except TooLong:
            return await asyncio.to_thread(self._ask_apart, index, question)

    def _ask_apart(self, index: Index, question: Callable[[Index], A]) -> A:
        try:
            with index.another() as twin:
                return question(twin)
        except (OSError, sqlite3.OperationalError):
            pass  # replaced or removed under our feet
        newer = Index(self._path)
        try:
            return question(newer)
        finally:
            newer.close()

    # --- following the source ---------------------------------------------------------------------------------------

    async def _keep_following(self, source: Path) -> None:
        """Takes up a replaced file, whether or not anybody asks."""
        before = None
        while True:
            await self._sleep(_LOOK_EVERY)
            index = self._open()
            try:
                stamp = _stamp(source)
            except OSError:
                continue  # the last version read keeps answering; `refresh` says what is wrong
            settled, before = stamp == before, stamp
            if settled and index is not None and stamp not in (index.stamp, self._attempted):
                try:
                    reading = await asyncio.shield(self._start())
                    _log.info("table_replaced", folder=str(self.folder), rows=reading.rows)
                except Exception as error:  # whatever it is, the next version is followed all the same
                    reason = error.message if isinstance(error, RelaisError) else type(error).__name__
                    _log.warning("table_not_replaced", folder=str(self.folder), reason=str(reason))

    def _start(self) -> asyncio.Task[Reading]:
        """The build under way in this process, or a new one: it outlives the call that needed it."""
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._follow())
            self._task.add_done_callback(_forget)
        return self._task

    async def _follow(self) -> Reading:
        with serving(new_call(_BUILD_SECONDS)):
            try:
                self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
                lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise _misconfigured("folder", _os_fault(error)) from None
            try:
                while not _locked(lock):
                    await self._sleep(_ATTEMPT_EVERY)
                return await self._renew()
            finally:
                os.close(lock)

    async def _renew(self) -> Reading:
        """With the lock held: nothing to do when another process has just done it."""
        index = self._open()
        building = self._path.with_suffix(".building")
        reading = None
        for attempt in range(1, _READINGS + 1):
            fetched = await self._fetch(index)
            if fetched is None:
                assert index is not None
                self._refuse(None)
                return index.reading
            reading = await self._read(fetched, building)
            if fetched.temporary or attempt == _READINGS or _unchanged(fetched):
                break
        assert reading is not None
        if reading.fault is not None:
            self._refuse(reading)
            building.unlink(missing_ok=True)
            raise _misconfigured(self.setting, reading.fault.text)
        os.replace(building, self._path)
        for old in self.folder.glob(f"{self._of_source}-*.sqlite"):
            if old != self._path:
                old.unlink(missing_ok=True)  # made for former settings
        self._refuse(None)
        return reading

    async def _read(self, fetched: _Fetched, building: Path) -> Reading:
        refused = self._refusal(fetched.stamp)
        self._attempted, self.refused = fetched.stamp, refused
        try:
            return refused or await self._build(fetched, building)
        except sqlite3.Error as error:
            fault = Text(f"index impossible à écrire ({type(error).__name__})", en="the index cannot be written")
            raise _misconfigured("folder", fault) from None
        finally:
            if fetched.temporary:
                fetched.path.unlink(missing_ok=True)

    def _refusal(self, stamp: Mapping[str, Any]) -> Reading | None:
        """What was found when these very bytes were refused, here or in another process: no need to read them again."""
        refused = self.refused if self._attempted == stamp else None
        if refused is None:
            try:
                kept = json.loads(self._refused.read_bytes())
            except (OSError, ValueError):
                return None
            refused = Reading.unpack(kept["reading"]) if kept["stamp"] == stamp else None
        return None if refused is None or refused.fault == _DIED else refused

    def _refuse(self, reading: Reading | None) -> None:
        """Remembers a refused version, for the other processes too; None when the present version answers."""
        self.refused = reading
        if reading is None:
            self._refused.unlink(missing_ok=True)
        else:
            self._refused.write_text(json.dumps({"stamp": self._attempted, "reading": reading.pack()}), "utf-8")

    async def _fetch(self, index: Index | None) -> _Fetched | None:
        """The source's present version, or None when it is the one already indexed."""
        if isinstance(self.source, Path):
            try:
                stamp = _stamp(self.source)
                self.source.open("rb").close()
            except OSError as error:
                raise _misconfigured(self.setting, _os_fault(error)) from None
            return None if index and index.stamp == stamp else _Fetched(self.source, stamp, False)
        known = index.stamp if index else {}
        headers = {"If-None-Match": known.get("etag"), "If-Modified-Since": known.get("modified")}
        answer = await self.source.http.get(
            self.source.url,
            headers={name: value for name, value in headers.items() if value},
            timeout=60.0,
            follow=True,
            max_bytes=self._plan.options.max_bytes,
        )
        if answer.status == 304 and index:
            return None
        if answer.status != 200:
            raise _status_error(self.setting, answer.status)
        digest = hashlib.sha256(answer.body).hexdigest()
        if digest == known.get("digest"):
            return None
        headers = {"etag": answer.headers.get("ETag"), "modified": answer.headers.get("Last-Modified")}
        path = self._path.with_suffix(".source")
        await asyncio.to_thread(path.write_bytes, answer.body)
        return _Fetched(path, {"digest": digest, **headers}, True)

    async def _build(self, fetched: _Fetched, target: Path) -> Reading:
        """Small CSV text in a thread; the rest in a process: the loop is not slowed, and a hostile sheet dies alone."""
        try:
            small = fetched.path.stat().st_size <= _SMALL and not is_sheet(fetched.path)
        except OSError as error:
            raise _misconfigured(self.setting, _os_fault(error)) from None
        if small:
            return await asyncio.to_thread(build, fetched.path, target, self._plan, fetched.stamp)
        job = {
            "source": str(fetched.path),
            "target": str(target),
            "plan": self._plan.pack(),
            "stamp": fetched.stamp,
        }
        known = os.pathsep.join(filter(None, (_ROOT, os.environ.get("PYTHONPATH"))))
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-c",
            f"from {__package__}.building import work; work()",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": known},
        )
        try:
            async with asyncio.timeout(_BUILD_SECONDS):
                out, _ = await process.communicate(json.dumps(job).encode())
        except TimeoutError:
            out = b""
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        if process.returncode != 0 or not out:
            return Reading(fault=_DIED)
        return Reading.unpack(json.loads(out))


def columns_of(text: str) -> tuple[str, ...]:
    """The columns a template takes, or the column itself. Raises UnknownColumn for a malformed template."""
    if "{" not in text:
        return (text,) * bool(text)
    return tuple(dict.fromkeys(part.column for part in parts(text) if isinstance(part, Place)))


def _column_of(key: str) -> str:
    """The column of a filter, before the columns are known; one that is none is passed over when the index is built."""
    name, _, operator = key.rpartition("__")
    return name if name and operator in OPERATORS else key


def _beyond(q: str | None, text: str) -> list[str]:
    """The words of `q` that the template's own words do not already hold: those are in every label."""
    if not q:
        return []
    literal = _literal(text) if "{" in text else ""
    return [word for word in words(q) if word not in literal]


@lru_cache(maxsize=256)
def _literal(template: str) -> str:
    return fold(" ".join(part for part in parts(template) if isinstance(part, str)))


def _joined(objects: Sequence[bytes]) -> bytes:
    """JSON objects as one, with the members of all."""
    return b"{" + b",".join(each[1:-1] for each in objects) + b"}"


def _short_digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _stamp(source: Path) -> dict[str, Any]:
    status = source.stat()
    return {"size": status.st_size, "mtime": status.st_mtime_ns, "inode": status.st_ino}


def _unchanged(fetched: _Fetched) -> bool:
    """Whether the file read is still the one that is there: one written meanwhile may have been read in halves."""
    try:
        return _stamp(fetched.path) == fetched.stamp
    except OSError:
        return True  # taken away since: what was read was whole


def _locked(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _forget(task: asyncio.Task[Reading]) -> None:
    """A background build that failed is told by `refresh`; asyncio must not report it as lost."""
    if not task.cancelled():
        task.exception()


def _misconfigured(setting: str, fault: str) -> Misconfigured:
    english = getattr(fault, "en", fault)
    return Misconfigured(
        Text(f"Réglage « {setting} » : {fault}.", en=f'Setting "{setting}": {english}.'), processed=False
    )


def _os_fault(error: OSError) -> Text:
    if isinstance(error, FileNotFoundError):
        return Text("fichier introuvable", en="file not found")
    if isinstance(error, PermissionError):
        return Text("fichier interdit de lecture", en="file not readable")
    return Text(f"fichier inaccessible ({type(error).__name__})", en=f"file out of reach ({type(error).__name__})")


def _status_error(setting: str, status: int) -> RelaisError:
    if status >= 500 or status in (408, 425, 429):
        return UpstreamUnavailable(
            Text(f"L'adresse du tableau répond {status}.", en=f"The table's address answers {status}."), processed=False
        )
    if 300 <= status < 500:
        return _misconfigured(setting, Text(f"l'adresse répond {status}", en=f"the address answers {status}"))
    return UpstreamInvalid(Text(f"L'adresse du tableau répond {status}.", en=f"The table's address answers {status}."))
