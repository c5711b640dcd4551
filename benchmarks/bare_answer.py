"""The floor of an answer: aiohttp on uvloop, one handler, bytes that are ready.

`python -m benchmarks.bare_answer --port 8002 --folder answers` answers `/NAME` with the content of `answers/NAME.json`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import uvloop
from aiohttp import web


def application(folder: Path) -> web.Application:
    """Every answer is in memory."""
    answers = {path.stem: path.read_bytes() for path in folder.glob("*.json")}

    async def answer(request: web.Request) -> web.Response:
        return web.Response(body=answers[request.match_info["name"]], content_type="application/json")

    app = web.Application()
    app.router.add_get("/{name}", answer)
    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--folder", type=Path, required=True)
    args = parser.parse_args()
    uvloop.install()
    web.run_app(application(args.folder), host="127.0.0.1", port=args.port, access_log=None, print=None)


if __name__ == "__main__":
    main()
