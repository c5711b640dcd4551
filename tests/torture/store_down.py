"""What the journal stands on goes away under load: PostgreSQL killed, a disk that is full.

    python -m tests.torture.store_down [--kills 10] [--keys 1500]

The kill loop's callers, publisher and ledger. Nothing told done is lost, nothing is sent that has no row, and the
service is back within five seconds of the repair. The full disk is a file system of 2 MiB where this process may mount
one; elsewhere the gateway's files may not grow beyond 2 MiB.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.postgres import Cluster, NotInstalled

from .kill_loop import Figures, Run

SIZE = 2 * 1024 * 1024
SOME = 20
"""Refusals after which the trouble has been felt."""


@dataclass
class InTrouble(Run):
    """A run whose gateway lives while what it stands on does not."""

    async def felt(self) -> None:
        """Waits until callers are refused for want of a journal."""
        await self._more("StoreUnavailable", self.answers["StoreUnavailable"] + SOME)

    async def calm(self) -> None:
        """Waits until callers are served."""
        await self._more("done", self.answers["done"] + SOME)

    async def back(self, figures: Figures) -> None:
        """Notes how long the next success takes; to be called once all is repaired."""
        began = time.monotonic()
        await self._more("done", self.answers["done"] + 1)
        figures.back_after = max(figures.back_after, round(time.monotonic() - began, 2))

    async def _more(self, word: str, wanted: int) -> None:
        limit = time.monotonic() + 60
        while self.answers[word] < wanted and time.monotonic() < limit:  # noqa: ASYNC110 counted, not told
            await asyncio.sleep(0.01)


@dataclass
class DatabaseKilled(InTrouble):
    """kill -9 of PostgreSQL, which is started again a second later."""

    cluster: Cluster | None = None

    async def strike(
        self, served: asyncio.subprocess.Process, held: socket.socket, upstream: str, figures: Figures
    ) -> asyncio.subprocess.Process:
        assert self.cluster is not None
        await self.calm()
        self.cluster.kill()
        await self.felt()
        await asyncio.to_thread(self.cluster.start)
        await self.back(figures)
        return served


@dataclass
class DiskFull(InTrouble):
    """The journal grows until its disk is full; then there is room again."""

    size: int = SIZE
    lasting: float = 4.0
    """Seconds during which there is no room: longer than the lease of a process."""
    how: str = field(default="", init=False)

    @contextmanager
    def disk(self) -> Iterator[None]:
        """The folder of the data, on a disk of its own where that can be."""
        data = self.folder / "data"
        data.mkdir(mode=0o700)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={self.size}", "none", str(data)]
        if os.geteuid() == 0 and subprocess.run(mount, check=False, capture_output=True).returncode == 0:
            self.how = f"a file system of {self.size // 1024} KiB"
            try:
                yield
            finally:
                subprocess.run(["umount", "-l", str(data)], check=True)
        else:
            self.how = f"files that may not grow beyond {self.size // 1024} KiB"
            yield

    async def strike(
        self, served: asyncio.subprocess.Process, held: socket.socket, upstream: str, figures: Figures
    ) -> asyncio.subprocess.Process:
        await self.calm()
        mounted = self.how.startswith("a file system")
        if not mounted:
            resource.prlimit(served.pid, resource.RLIMIT_FSIZE, (self.size, resource.RLIM_INFINITY))
        await self.felt()
        await asyncio.sleep(self.lasting)
        if mounted:
            again = ["mount", "-o", f"remount,size={64 * self.size}", str(self.folder / "data")]
            await asyncio.to_thread(subprocess.run, again, check=True)
        else:
            resource.prlimit(served.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        await self.back(figures)
        return served


def database_killed(folder: Path, kills: int, keys: int) -> Figures:
    """PostgreSQL killed again and again. Raises `NotInstalled`."""
    with Cluster(durable=True) as cluster:
        return asyncio.run(DatabaseKilled(folder, kills, keys, store=cluster.url, share=0.1, cluster=cluster)())


def disk_full(folder: Path, keys: int, size: int = SIZE, lasting: float = 4.0) -> tuple[Figures, str]:
    """A disk of `size` bytes that fills up once, and how it was made."""
    run = DiskFull(folder, 1, keys, share=0.1, between=(0.0, 0.0), size=size, lasting=lasting)
    with run.disk():
        return asyncio.run(run()), run.how


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--keys", type=int, default=1500)
    chosen = parser.parse_args()
    found: dict[str, Figures] = {}
    with tempfile.TemporaryDirectory() as folder:
        try:
            killed = database_killed(Path(folder), chosen.kills, chosen.keys)
            found[f"PostgreSQL killed × {killed.kills}"] = killed
        except NotInstalled as absent:
            print(absent)
    with tempfile.TemporaryDirectory() as folder:
        full, how = disk_full(Path(folder), chosen.keys)
        found[f"SQLite on {how}"] = full
    print("| trouble | keys | refused meanwhile | lost | twice | sent without a row | unfinished | back after |")
    print("|---|---|---|---|---|---|---|---|")
    for name, one in found.items():
        refused = one.answers.get("StoreUnavailable", 0)
        print(
            f"| {name} | {one.keys} | {refused} | **{one.lost}** | **{one.duplicates}** | **{one.without_row}** |"
            f" {one.unfinished} | {one.back_after} s |"
        )
    sys.exit(any(one.wrong or not one.answers.get("StoreUnavailable") for one in found.values()))


if __name__ == "__main__":
    main()
