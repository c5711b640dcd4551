"""The versions of a table: the index that answers, and the next one, made from the source and put in its place.

One process builds, under a lock; all see the new file at their next question. What was refused is remembered beside it.
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
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import structlog

from sdk.call import current_call, new_call, serving
from sdk.errors import Misconfigured, RelaisError, Text, UpstreamInvalid, UpstreamUnavailable
from sdk.messages import Response

from .building import Plan, build
from .index import Index
from .reading import is_sheet
from .types import BadLine, Reading

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


class Versions:
    """The index of a source, made by `plan` in `folder`. `setting` names the source in error texts."""

    def __init__(
        self,
        source: Path | UrlSource,
        folder: Path,
        plan: Plan,
        setting: str,
        sleep: Callable[[float], Awaitable[object]],
    ) -> None:
        self.source, self.folder, self.setting = source, folder, setting
        self._plan = plan
        self._sleep = sleep
        place = str(source.resolve()) if isinstance(source, Path) else source.url
        self._of_source = _short_digest(place)
        self.path = folder / f"{self._of_source}-{_short_digest(json.dumps(plan.pack(), sort_keys=True))}.sqlite"
        self._refused = self.path.with_suffix(".refused")
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
        """Takes the source's present version; raises as `Table.refresh`."""
        return await asyncio.shield(self._start())

    async def close(self) -> None:
        """Stops a build under way and the following of the file, and closes the index."""
        for task in (self._following, self._task):
            if task is not None and not task.done():
                task.cancel()
                await asyncio.wait([task])
        if self._index is not None:
            self._index.close()
            self._index = None

    async def current(self) -> Index:
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
            raise misconfigured(self.setting, Text("l'index n'a pu être écrit", en="the index could not be written"))
        return index

    def _open(self) -> Index | None:
        """The index of the current inode, reopened when another process has replaced the file."""
        try:
            status = self.path.stat()
        except OSError:
            return self._index
        if self._index is None or self._index.inode != (status.st_ino, status.st_mtime_ns):
            try:
                opened = Index(self.path, hurried=True)
            except (sqlite3.Error, KeyError, ValueError, OSError):
                return self._index  # torn by a crash of the machine: it is built again
            if self._index is not None:
                self._index.close()
            self._index = opened
        return self._index

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
                lock = os.open(self.path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise misconfigured("folder", _os_fault(error)) from None
            try:
                while not _locked(lock):
                    await self._sleep(_ATTEMPT_EVERY)
                return await self._renew()
            finally:
                os.close(lock)

    async def _renew(self) -> Reading:
        """With the lock held: nothing to do when another process has just done it."""
        index = self._open()
        building = self.path.with_suffix(".building")
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
            raise misconfigured(self.setting, reading.fault.text)
        os.replace(building, self.path)
        for old in self.folder.glob(f"{self._of_source}-*.sqlite"):
            if old != self.path:
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
            raise misconfigured("folder", fault) from None
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
                raise misconfigured(self.setting, _os_fault(error)) from None
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
        path = self.path.with_suffix(".source")
        await asyncio.to_thread(path.write_bytes, answer.body)
        return _Fetched(path, {"digest": digest, **headers}, True)

    async def _build(self, fetched: _Fetched, target: Path) -> Reading:
        """Small CSV text in a thread; the rest in a process: the loop is not slowed, and a hostile sheet dies alone."""
        try:
            small = fetched.path.stat().st_size <= _SMALL and not is_sheet(fetched.path)
        except OSError as error:
            raise misconfigured(self.setting, _os_fault(error)) from None
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


def misconfigured(setting: str, fault: str) -> Misconfigured:
    """A setting that is the operator's to mend."""
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
        return misconfigured(setting, Text(f"l'adresse répond {status}", en=f"the address answers {status}"))
    return UpstreamInvalid(Text(f"L'adresse du tableau répond {status}.", en=f"The table's address answers {status}."))
