"""How large each connector is: lines of code without docstrings, comments and blank lines, and its recorded samples.

python -m tests.connectors.sizes
"""

from __future__ import annotations

import ast
import io
import tokenize
from pathlib import Path

CONNECTORS = Path(__file__).resolve().parents[2] / "connectors"
_SILENT = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENCODING}


def code_lines(source: str) -> int:
    """Lines that hold code."""
    documented: set[int] = set()
    for node in ast.walk(ast.parse(source)):
        body = getattr(node, "body", None)
        for each in body if isinstance(body, list) else []:
            # Docstrings, and the texts under an attribute that say what it is.
            if (
                isinstance(each, ast.Expr)
                and isinstance(each.value, ast.Constant)
                and isinstance(each.value.value, str)
            ):
                documented.update(range(each.lineno, (each.end_lineno or each.lineno) + 1))
    held: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in _SILENT and token.type != tokenize.ENDMARKER:
            held.update(range(token.start[0], token.end[0] + 1))
    return len(held - documented)


def sizes() -> list[tuple[str, int, int, int, int]]:
    """For each connector: its name, its lines, its simulator's, its endpoints that have samples, and its samples."""
    found = []
    for folder in sorted(path for path in CONNECTORS.iterdir() if (path / "__init__.py").is_file()):
        files = {path: code_lines(path.read_text("utf-8")) for path in folder.glob("*.py")}
        playing = sum(lines for path, lines in files.items() if path.name.startswith(("simulator", "people")))
        cases = list((folder / "samples").glob("*/*/call.json"))
        found.append(
            (
                folder.name,
                sum(files.values()) - playing,
                playing,
                len({case.parent.parent for case in cases}),
                len(cases),
            )
        )
    return found


if __name__ == "__main__":
    print(f"{'connector':<16} {'code':>6} {'simulator':>10} {'sampled endpoints':>18} {'samples':>8}")
    for name, code, playing, endpoints, cases in sizes():
        print(f"{name:<16} {code:>6} {playing:>10} {endpoints:>18} {cases:>8}")
