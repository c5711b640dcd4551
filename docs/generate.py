"""Writes docs/reference.md from the code: the vocabulary of connectors, relais.toml, commands, errors, connectors.

`python docs/generate.py` writes it; with `--check`, only says whether it is what the code says (exit code 1 when not).
"""

from __future__ import annotations

import ast
import enum
import importlib
import inspect
import os
import re
import sys
import tomllib
import types
from collections.abc import Iterable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from importlib.util import resolve_name
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "reference.md"

os.environ["RELAIS_LANG"] = "en"  # before the commands are imported: their help is written in one language
sys.path.insert(0, str(ROOT))

import typer  # noqa: E402
from pydantic import BaseModel, RootModel  # noqa: E402
from pydantic_core import PydanticUndefined  # noqa: E402

import sdk  # noqa: E402
from gateway import errors as gateway_errors  # noqa: E402
from gateway import settings as gateway_settings  # noqa: E402
from gateway.__main__ import commands  # noqa: E402
from sdk import errors as sdk_errors  # noqa: E402
from sdk import model as sdk_model  # noqa: E402
from sdk.http import HttpOptions  # noqa: E402
from sdk.spec import Connector, ErrorCode  # noqa: E402

SUBJECTS: dict[str, tuple[str, ...]] = {
    "Declaring": (
        *("Connector", "get", "create", "update", "callback", "every", "rest_get", "rest_post", "csv_choices"),
        *("ErrorCode", "DeclarationError", "MINUTE", "HOUR", "DAY", "MEGABYTE"),
    ),
    "Settings, bodies and results": (
        *("Model", "Field", "Secret", "HttpUrl", "read", "Row", "Choice", "Hit", "Receipt", "Progress", "File"),
        *("FeatureCollection", "Feature", "Point", "Invoice", "Geocoded"),
    ),
    "Errors and texts": (
        *("Text", "RelaisError", "InvalidInput", "NotFound", "Rejected", "Misconfigured", "UpstreamInvalid"),
        *("UpstreamUnavailable", "Overloaded"),
    ),
    "Talking to the publisher": ("Http", "Request", "Response", "Send", "Policy", "Rest", "current_call"),
    "Proving who we are": ("basic", "bearer", "api_key", "oauth2_client_credentials"),
    "SOAP": ("Soap", "SoapFault", "UsernameToken", "NIL"),
    "Tables": ("Table", "TableOptions", "fold"),
}
"""Where each name is shown. One that is in no subject is shown under the last title."""
REST = "Other names"

MODULES: dict[str, str] = {
    "sdk.testing": "Tests without a gateway.",
    "sdk.samples": "Recorded cases.",
    "sdk.simulator": "A publisher's software in miniature.",
    "sdk.xml": "XML outside SOAP.",
    "sdk.soap": "What `Soap` answers, beside the names above.",
    "sdk.tabular": "What `Table` answers, beside the names above.",
}
XML_NAMES = (*("parse", "parse_async", "element_to", "to_dict", "local", "text_of"), *("build", "serialize"))

WHO_ACTS = {
    "InvalidInput": "the caller: correct the request",
    "NotFound": "nobody",
    "Rejected": "the citizen or the agent: read the reason",
    "Misconfigured": "the operator: address, credentials, settings",
    "UpstreamInvalid": "the publisher: its answer breaks its contract",
    "UpstreamUnavailable": "nobody: wait",
    "Overloaded": "nobody: wait",
    "UnsupportedType": "the caller: send JSON in UTF-8",
    "Unauthenticated": "the caller: credentials",
    "Forbidden": "the operator: rights; or the caller: address",
    "UnknownEndpoint": "the caller: address",
    "MethodNotAllowed": "the caller: method, see `Allow`",
    "TooSlow": "the caller's network",
    "TooLarge": "the caller: send less",
    "TooManyAttempts": "the caller: credentials, then wait",
    "InProgress": "nobody: wait for the first answer",
    "KeyMismatch": "the caller: take a new key",
    "OutcomeUnknown": "an agent: look into the business software before repeating",
    "Internal": "the operator: report it with `request_id`",
    "BadSettings": "the operator: correct relais.toml",
}


# --- types and values, as a reader writes them ------------------------------------------------------------------------

_WORDS: dict[Any, str] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    Decimal: "exact decimal",
    date: "date",
    datetime: "date and time",
    Path: "path",
    sdk.Secret: "secret",
    sdk.File: "file",
    gateway_settings.Right: "right",
    Any: "anything",
    type(None): "nothing",
}


def type_words(annotation: Any) -> str:
    """`tuple[str, ...] | None` → `list of text, optional`."""
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation in _WORDS if isinstance(annotation, type) else annotation is Any:
        return _WORDS[annotation]
    if origin is Annotated:
        if annotation is gateway_settings.Cidr:
            return "network"
        return type_words(arguments[0])
    if origin in (Union, types.UnionType):
        named = list(dict.fromkeys(type_words(each) for each in arguments if each is not type(None)))
        return " or ".join(named) + (", optional" if type(None) in arguments else "")
    if origin is Literal:
        return ", ".join(f"`{each}`" if each != "" else "empty" for each in arguments)
    if origin in (list, tuple, set, frozenset):
        return f"list of {type_words(arguments[0])}"
    if origin is dict:
        return f"table of {type_words(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        return ", ".join(f"`{each.value}`" for each in annotation)
    if isinstance(annotation, TypeVar):
        return annotation.__name__
    name = getattr(annotation, "__name__", str(annotation))
    return "network" if name.startswith("IPv") else "table" if name == "Raw" else name


def value_words(value: Any) -> str:
    """A default, as one would write it in TOML."""
    if value in (None, "", (), {}, []) or isinstance(value, sdk.Secret | BaseModel):
        return "–"
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, Path):
        return f"`{value.as_posix()}`"
    if isinstance(value, float) and value == int(value):
        return f"`{int(value)}`"
    return f"`{value}`" if isinstance(value, int | float) else f"`{value}`".replace("|", "\\|")


def cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield "| " + " | ".join(head) + " |"
    yield "|" + "---|" * len(head)
    for row in rows:
        yield "| " + " | ".join(row) + " |"
    yield ""


def fields(model: type[BaseModel]) -> Iterator[str]:
    """The fields of a model that are written by people."""
    rows = []
    for name, field in model.model_fields.items():
        if field.exclude:
            continue
        default = "**required**" if field.is_required() else value_words(field.get_default(call_default_factory=True))
        if field.default is PydanticUndefined and not field.is_required():
            default = "–"
        about = cell(field.description or "") or "–"
        rows.append((f"`{field.alias or name}`", cell(type_words(field.annotation)), default, about))
    if rows:
        yield from table(("Name", "Type", "Default", "Meaning"), rows)


# --- names ------------------------------------------------------------------------------------------------------------


def paragraphs(text: str | None) -> Iterator[str]:
    """A docstring as Markdown: its indented parts are code."""
    block: list[str] = []
    code = False
    for line in [*inspect.cleandoc(text or "").splitlines(), ""]:
        indented = line.startswith("    ")
        if indented != code and line:
            yield from _closed(block, code)
            block, code = [], indented
        block.append(line[4:] if code else line)
    yield from _closed(block, code)


def _closed(block: list[str], code: bool) -> Iterator[str]:
    while block and not block[-1]:
        block.pop()
    if not block:
        return
    if code:
        yield from ("```text", *block, "```", "")
    else:
        yield from (*(line.replace("<", "&lt;") for line in block), "")


class _Said:
    """Stands in a signature for what its `repr` would spoil."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def signature(name: str, value: Any, *, bound: bool = False) -> str:
    try:
        found = inspect.signature(value)
    except (TypeError, ValueError):
        return name
    parameters = [
        each.replace(annotation=_annotation(each.annotation), default=_default(each.default))
        for at, each in enumerate(found.parameters.values())
        if not (bound and at == 0) and not each.name.startswith("_")
    ]
    return f"{name}{found.replace(parameters=parameters, return_annotation=_annotation(found.return_annotation))}"


def _annotation(annotation: Any) -> Any:
    return _Said(annotation.strip("'\"")) if isinstance(annotation, str) else annotation


def _default(default: Any) -> Any:
    if isinstance(default, Path):
        return _Said(f'Path("{default.as_posix()}")')
    hidden = default is ... or (callable(default) and default is not inspect.Parameter.empty)
    return _Said("…") if hidden else default


def code(text: str) -> Iterator[str]:
    """A signature, cut after commas when it is long."""
    lines = [text]
    if len(text) > 110 and "(" in text:
        start, rest = text.split("(", 1)
        inner, _, end = rest.rpartition(")")
        lines = [f"{start}(", *(f"    {each}," for each in _split(inner)), f"){end}"]
    yield from ("```text", *lines, "```", "")


def _split(inner: str) -> Iterator[str]:
    depth, start = 0, 0
    for at, char in enumerate(inner):
        depth += (char in "([{") - (char in ")]}")
        if char == "," and depth == 0:
            yield inner[start:at].strip()
            start = at + 1
    if inner[start:].strip():
        yield inner[start:].strip()


def described(name: str, value: Any, where: str, level: int = 4) -> Iterator[str]:
    """A name of the vocabulary: signature, docstring, members."""
    yield f"{'#' * level} `{name}`"
    yield ""
    if isinstance(value, type) and issubclass(value, BaseModel):
        yield from paragraphs(value.__doc__ if "__doc__" in vars(value) else "")
        if value is not sdk.File and not issubclass(value, RootModel):
            yield from fields(value)
        yield from members(value)
    elif isinstance(value, type):
        if not issubclass(value, Exception) or "__init__" in vars(value):
            yield from code(signature(name, value))
        yield from paragraphs(value.__doc__)
        yield from members(value)
    elif inspect.ismodule(value):
        yield from paragraphs((value.__doc__ or "").partition("\n\n")[0])
        for public in getattr(value, "__all__", ()):
            yield from described(f"{name}.{public}", getattr(value, public), value.__name__, level + 1)
    elif inspect.isroutine(value):
        yield from code(signature(("async " if inspect.iscoroutinefunction(value) else "") + name, value))
        yield from paragraphs(value.__doc__)
    else:
        written, about = assignment(where, name.rpartition(".")[2])
        yield from code(f"{name} = {written}")
        yield from paragraphs(about)


def members(owner: type) -> Iterator[str]:
    """The public methods and properties that a class itself defines."""
    lines: list[str] = []
    for name, raw in vars(owner).items():
        if name.startswith("_") or name in ("model_config", "settings_model"):
            continue
        value = raw.__func__ if isinstance(raw, classmethod | staticmethod) else raw
        if isinstance(raw, property):
            said, about = name, raw.__doc__
        elif inspect.isfunction(value):
            asynchronous = "async " if inspect.iscoroutinefunction(value) else ""
            said = asynchronous + signature(name, value, bound=not isinstance(raw, staticmethod))
            about = value.__doc__
        else:
            continue
        if about:
            lines.append(f"- `{cell(said)}`: {' '.join(inspect.cleandoc(about).split())}".replace("<", "&lt;"))
    if lines:
        yield from lines
        yield ""


def assignment(module: str, name: str) -> tuple[str, str]:
    """(the right-hand side, the text that follows it) of a constant, in the module or where it takes it from."""
    loaded = importlib.import_module(module)
    body = ast.parse(inspect.getsource(loaded)).body
    for at, node in enumerate(body):
        if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == name for t in node.targets):
            after = body[at + 1] if at + 1 < len(body) else None
            about = ""
            if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
                about = str(after.value.value)
            return ast.unparse(node.value), about
        if isinstance(node, ast.ImportFrom) and node.level and any(each.name == name for each in node.names):
            return assignment(resolve_name("." * node.level + (node.module or ""), loaded.__package__ or ""), name)
    return "…", ""


def homes() -> dict[str, str]:
    """Name of the vocabulary → module that defines it."""
    tree = ast.parse((ROOT / "sdk" / "__init__.py").read_text("utf-8"))
    return {
        alias.asname or alias.name: f"sdk.{node.module}" if node.module else f"sdk.{alias.name}"
        for node in tree.body
        if isinstance(node, ast.ImportFrom) and node.level == 1
        for alias in node.names
    }


# --- chapters ---------------------------------------------------------------------------------------------------------


def vocabulary() -> Iterator[str]:
    yield from ("## What a connector imports", "", "Everything here is `from sdk import …`.", "")
    where = homes()
    placed = {name for names in SUBJECTS.values() for name in names}
    left = tuple(name for name in sdk.__all__ if name not in placed)
    for subject, names in {**SUBJECTS, **({REST: left} if left else {})}.items():
        yield from (f"### {subject}", "")
        for name in names:
            if name not in sdk.__all__:
                continue
            if name == "Field":
                yield from (
                    "#### `Field`",
                    "",
                    "pydantic's `Field`: `Field(default, description=…, examples=[…])`.",
                    "",
                )
                continue
            yield from described(name, getattr(sdk, name), where.get(name, "sdk"))


def modules() -> Iterator[str]:
    yield from ("## Modules a connector may also import", "")
    for module, about in MODULES.items():
        loaded = importlib.import_module(module)
        names = XML_NAMES if module == "sdk.xml" else tuple(getattr(loaded, "__all__", ()))
        if not names:
            names = tuple(n for n, v in vars(loaded).items() if getattr(v, "__module__", "") == module and n[0] != "_")
        yield from (f"### `{module}`", "", about, "")
        for name in names:
            if name not in sdk.__all__:
                yield from described(name, getattr(loaded, name), module)


def settings() -> Iterator[str]:
    yield from ("## relais.toml", "")
    yield from paragraphs((gateway_settings.__doc__ or "").partition("\n")[2])
    tables: tuple[tuple[str, type[BaseModel]], ...] = (
        ("[gateway]", gateway_settings.GatewayOptions),
        ("[egress]", gateway_settings.EgressOptions),
        ("[clients.NAME]", gateway_settings.ClientSettings),
        ("[clients.NAME.basic]", gateway_settings.BasicCredentials),
        ("[clients.NAME.signature]", gateway_settings.SignatureKey),
        ("[instances.CONNECTOR.INSTANCE]", gateway_settings.InstanceSettings),
        ("[instances.CONNECTOR.INSTANCE.http]", HttpOptions),
    )
    for title, model in tables:
        yield from (f"### `{title}`", "")
        yield from fields(model)
    yield from ("`[instances.CONNECTOR.INSTANCE.settings]` is the connector's own: see below.", "")


def command_line() -> Iterator[str]:
    yield from ("## Commands", "", "In French unless `RELAIS_LANG=en` or the locale is English.", "")
    group: Any = typer.main.get_command(commands)
    for name, command in group.commands.items():
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        usage = " ".join(f"[{p.metavar or p.name}]" if not p.required else str(p.metavar or p.name) for p in arguments)
        yield from (f"### `relais {name}{' ' + usage if usage else ''}`", "", command.help or "", "")
        rows = []
        for parameter in command.params:
            said = ", ".join(parameter.opts) if parameter.param_type_name == "option" else str(parameter.metavar)
            default = value_words(parameter.default) if not callable(parameter.default) else "–"
            rows.append((f"`{said}`", cell(getattr(parameter, "help", "") or ""), default))
        yield from table(("Option", "Meaning", "Default"), rows)


def errors() -> Iterator[str]:
    yield from (
        "## Errors",
        "",
        "`err_class` of an answer, its HTTP status, that status where a file was asked for, and who must act.",
        "",
    )
    for title, module in (("From a connector", sdk_errors), ("From the gateway itself", gateway_errors)):
        found = [
            value
            for name, value in vars(module).items()
            if isinstance(value, type)
            and issubclass(value, sdk_errors.RelaisError)
            and value.__module__ == module.__name__
            and name != "RelaisError"
            and not name.startswith("_")
        ]
        yield from (f"### {title}", "")
        yield from table(
            ("Class", "Status", "File", "`err_origin`", "Who acts", "Meaning"),
            (
                (
                    f"`{error.__name__}`",
                    "503, 504 after a timeout" if error is sdk_errors.UpstreamUnavailable else str(error.status),
                    str(error.file_status or "same"),
                    error.origin,
                    WHO_ACTS.get(error.__name__, "–"),
                    cell(inspect.cleandoc(error.__doc__ or "").split("\n\n")[0]),
                )
                for error in found
            ),
        )


def connectors() -> Iterator[str]:
    yield from ("## The connectors that come with Relais", "")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    for target in project["entry-points"]["relais.connectors"].values():
        module, _, attribute = target.partition(":")
        yield from one_connector(getattr(importlib.import_module(module), attribute))


def one_connector(kind: type[Connector[Any]]) -> Iterator[str]:
    yield from (f"### {kind.name}: {kind.title}", "", kind.summary, "")
    if (kind.folder() / "README.md").is_file():
        yield from (f"Everything about it: [README](../connectors/{kind.folder().name}/README.md).", "")
    if kind.confidence:
        yield from (f"*Assumed, not verified:* {cell(kind.confidence)}", "")
    yield from (f"Settings, `[instances.{kind.name}.INSTANCE.settings]`:", "")
    yield from fields(kind.settings_model)
    for name, nested in _nested(kind.settings_model):
        yield from (f"Each `{name}`:", "")
        yield from fields(nested)
    yield from ("Endpoints:", "")
    yield from table(
        ("Method", "Path", "Answers", "What it does"),
        (
            (
                endpoint.method,
                f"`{endpoint.path}`",
                endpoint.result.contract,
                cell(endpoint.summary) + (f" *{cell(_first(endpoint.english))}*" if endpoint.english else ""),
            )
            for endpoint in kind.endpoints
        ),
    )
    codes = {
        error.code: error
        for endpoint in kind.endpoints
        for error in endpoint.declaration.errors
        if isinstance(error, ErrorCode)
    }
    if codes:
        yield from ("Documented `err_code`s:", "")
        yield from table(
            ("Code", "Class", "Meaning"),
            ((f"`{each.code}`", f"`{each.error.__name__}`", cell(each.meaning)) for each in codes.values()),
        )


def _first(text: str) -> str:
    return re.split(r"(?<=\.)\s|: `|\n\n", text, maxsplit=1)[0].rstrip(".") + "."


def _nested(model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    for name, field in model.model_fields.items():
        for each in get_args(field.annotation):
            if isinstance(each, type) and issubclass(each, sdk_model.Model):
                yield name, each


def reference() -> str:
    """The whole document."""
    lines = [
        "# Reference",
        "",
        "Written from the code by `make docs`: do not edit. Guides: [integrators](integrator.md), "
        "[operators](operator.md).",
        "",
    ]
    chapters = (vocabulary(), modules(), settings(), command_line(), errors(), connectors())
    bodies = [line for chapter in chapters for line in chapter]
    titles = [line.removeprefix("## ") for line in bodies if line.startswith("## ")]
    lines += [f"- [{title}](#{anchor(title)})" for title in titles]
    return "\n".join([*lines, "", *bodies]).rstrip() + "\n"


def anchor(title: str) -> str:
    """The fragment GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def main() -> None:
    text = reference()
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text, "utf-8")
    elif not TARGET.is_file() or TARGET.read_text("utf-8") != text:
        sys.exit("docs/reference.md is not what the code says: run `make docs`.")


if __name__ == "__main__":
    main()
