"""A table searched the naive good way: aiohttp on uvloop, one handler, SQLite's trigrams inline, `json.dumps`.

`python -m benchmarks.bare_table --port 8003 --file streets.csv` answers `/?q=WORDS&limit=10` with the rows whose `text`
holds every word. Without rights, log, figures, templates, filters or anything that follows the file.
"""

from __future__ import annotations

import argparse
import csv
import json
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path

import uvloop
from aiohttp import web

from sdk.matching import fold


def indexed(source: Path, target: Path) -> sqlite3.Connection:
    """The file's rows, their folded `text`, and FTS5 with its usual trigram settings."""
    database = sqlite3.connect(target, isolation_level=None)
    database.executescript("PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF; BEGIN")
    with source.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file, delimiter=";")
        names = next(reader)
        at = names.index("text")

        def rows() -> Iterator[list[str]]:
            for row in reader:
                yield [*row, fold.__wrapped__(row[at])]

        columns = ", ".join(f'"{name}"' for name in names)
        database.execute(f"CREATE TABLE r(rid INTEGER PRIMARY KEY, {columns}, norm)")
        database.executemany(f"INSERT INTO r VALUES (NULL{', ?' * (len(names) + 1)})", rows())
    database.execute("CREATE VIRTUAL TABLE f USING fts5(norm, content='r', content_rowid='rid', tokenize='trigram')")
    database.execute("INSERT INTO f(f) VALUES ('rebuild')")
    database.execute("COMMIT")
    database.execute("PRAGMA mmap_size=2147418112")
    return database


def application(database: sqlite3.Connection) -> web.Application:
    """Words of three letters and more by the index, shorter ones in the rows."""
    names = [name for _, name, *_ in database.execute("PRAGMA table_info(r)")][1:-1]
    columns = ", ".join(f'r."{name}"' for name in names)

    async def answer(request: web.Request) -> web.Response:
        words = fold(request.query["q"]).split()
        phrases = ['"' + word.replace('"', '""') + '"' for word in words if len(word) >= 3]
        short = [word for word in words if len(word) < 3]
        source, kept, bound = "r", ["1"], list(short)
        if phrases:
            source, kept, bound = "f JOIN r ON r.rid = f.rowid", ["f MATCH ?"], [" AND ".join(phrases), *short]
        kept += ["instr(r.norm, ?)"] * len(short)
        by = "f.rowid" if phrases else "r.rid"
        sql = f"SELECT {columns} FROM {source} WHERE {' AND '.join(kept)} ORDER BY {by} LIMIT ?"
        found = database.execute(sql, [*bound, int(request.query["limit"])])
        data = [dict(zip(names, row, strict=True)) for row in found]
        return web.Response(text=json.dumps({"err": 0, "data": data}), content_type="application/json")

    app = web.Application()
    app.router.add_get("/", answer)
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--file", type=Path, required=True)
    args = parser.parse_args()
    uvloop.install()
    with tempfile.TemporaryDirectory(prefix="relais-bench-") as folder:
        app = application(indexed(args.file, Path(folder) / "table.sqlite"))
        web.run_app(app, host="127.0.0.1", port=args.port, access_log=None, print=None)


if __name__ == "__main__":
    main()
