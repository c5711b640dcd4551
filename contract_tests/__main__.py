"""`contract-tests`: certify a webservice from a terminal. French first; `--english` for English.

Exit codes of `run`: 0 every profile conformant, 1 not conformant, 3 partial or not tested, 2 misuse.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn
from urllib.parse import parse_qsl, unquote, urlsplit

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

import contract_tests
from contract_tests import coverage as coverage_of
from contract_tests import openapi
from contract_tests.core.endpoints import ENDPOINTS
from contract_tests.core.requirement import catalogue
from contract_tests.core.target import BadTarget, Target
from contract_tests.core.verdict import Outcome
from contract_tests.init import ask_target, described, written
from contract_tests.text import Language, Text

__all__ = ["main"]

app = typer.Typer(
    help="Certifier un webservice pour Publik. / Certify a webservice for Publik.",
    epilog="Dans vos tests pytest, une ligne / in your pytest files, one line: "
    'test_contract = contract_tests.pytest_plugin.suite("target.toml")',
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
English = Annotated[bool, typer.Option("--english", help="In English")]
_QUICK = ("search", "choices", "envelope", "map", "statistics", "cell", "file")
_EXIT = {"conformant": 0, "not-conformant": 1, "partial": 3, "not-tested": 3}
_COLOURS = {"fail": "red", "warn": "yellow", "error": "magenta", "skip": "cyan"}


def main() -> None:
    """The entry point of `contract-tests`."""
    app()


def _language(english: bool) -> Language:
    return "en" if english else "fr"


def _stop(message: Text, language: Language) -> NoReturn:
    Console(stderr=True).print(f"[red]contract-tests[/] {escape(message.to(language))}")
    raise typer.Exit(2)


# --- run --------------------------------------------------------------------------------------------------------------


@app.command()
def run(
    target: Annotated[str, typer.Argument(help="target.toml, ou l'adresse d'un endpoint / or one endpoint's address")],
    profile: Annotated[list[str], typer.Option(help="Profil(s) à vérifier / profile(s) to verify")] = [],  # noqa: B006
    basic: Annotated[str, typer.Option(help="user, ou/or user:password (CONTRACT_TESTS_PASSWORD)")] = "",
    header: Annotated[str, typer.Option(help="« X-API-Key: valeur / value »")] = "",
    example: Annotated[str, typer.Option(help="Terme qui a des résultats / a term with results")] = "",
    missing: Annotated[str, typer.Option(help="Profil file : un fichier absent / a missing file")] = "",
    allow_writes: Annotated[bool, typer.Option("--allow-writes", help="Crée des demandes / creates requests")] = False,
    rate: Annotated[float, typer.Option(min=0, help="Requêtes par seconde, 0 sans limite / requests per second")] = 1.0,
    seed: Annotated[int | None, typer.Option(help="Rejouer un essai / replay a run")] = None,
    output: Annotated[Path, typer.Option(help="Dossier du rapport / report folder")] = Path("contract-report"),
    resolve: Annotated[list[str], typer.Option(help="hôte=adresse / host=address")] = [],  # noqa: B006
    ca: Annotated[Path | None, typer.Option(help="Autorité privée, PEM / private authority")] = None,
    english: English = False,
) -> None:
    """Essayer une cible et écrire le rapport. / Try a target and write the report."""
    language = _language(english)
    try:
        found = _target(target, profile, basic, header, example, missing)
        unknown = set(profile) - {endpoint.profile for endpoint in found.endpoints} - {"signed"}
        if unknown:
            raise BadTarget(Text(f"la cible n'a pas ces profils : {sorted(unknown)}", f"not in target: {unknown}"))
        names = dict(one.partition("=")[::2] for one in resolve)
        if allow_writes and found.environment != "test":
            raise BadTarget(
                Text(
                    'écrire demande une cible marquée environment = "test"',
                    'writing needs a target marked environment = "test"',
                )
            )
        done = asyncio.run(_run(found, profile, allow_writes, rate, seed, names, ca, language))
    except OSError as error:
        _stop(Text(f"--ca : {error}", f"--ca: {error}"), language)
    except BadTarget as error:
        _stop(error.message, language)
    except KeyboardInterrupt:
        _stop(Text("interrompu : aucun rapport", "interrupted: no report"), language)
    raise typer.Exit(_told(done, output, language))


def _target(
    target: str, profiles: list[str], basic: str, header: str, example: str, missing: str
) -> contract_tests.Target:
    if not target.startswith(("http://", "https://")):
        return contract_tests.load(Path(target))
    parts = urlsplit(target)
    chosen = profiles or ["envelope"]
    if wrong := [one for one in chosen if one not in _QUICK]:
        raise BadTarget(
            Text(
                f"une adresse seule suffit pour {', '.join(_QUICK)} ; pour {wrong[0]} : contract-tests init {target}",
                f"an address is enough for {', '.join(_QUICK)}; for {wrong[0]}: contract-tests init {target}",
            )
        )
    user, _, password = basic.partition(":")
    if parts.username is not None:
        user, password = unquote(parts.username), unquote(parts.password or "")
    if user and not password:
        password = os.environ.get("CONTRACT_TESTS_PASSWORD") or typer.prompt("Mot de passe / password", hide_input=True)
    name, _, value = header.partition(":")
    auth = {"user": user, "password": password} if user else {"header": name.strip(), "value": value.strip()}
    host = parts.netloc.rpartition("@")[2]
    given = dict(parse_qsl(parts.query, keep_blank_values=True))
    endpoints = []
    for one in chosen:
        table: dict[str, Any] = {"profile": one, "path": parts.path or "/", "params": dict(given)}
        if one == "search" and "q" in given:
            table["example"] = table["params"].pop("q")
        if example and one in ("search", "choices"):
            table["example"] = example
        if missing and one == "file":
            table["missing"] = missing
        endpoints.append(table)
    return contract_tests.read(
        {
            "name": f"{host}{parts.path}",
            "base_url": f"{parts.scheme}://{host}",
            "auth": auth if user or name else {},
            "endpoints": endpoints,
        }
    )


async def _run(
    target: Target,
    profiles: list[str],
    allow_writes: bool,
    rate: float,
    seed: int | None,
    names: dict[str, str],
    ca: Path | None,
    language: Language,
) -> contract_tests.Run:
    console = Console()
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("…", total=None)

        def shown(outcome: Outcome, done: int, total: int) -> None:
            title = outcome.check.title.to(language) if outcome.check else ""
            progress.update(task, completed=done, total=total, description=escape(title)[:60].ljust(60))
            if outcome.status in ("fail", "error"):
                colour = _COLOURS[outcome.status]
                ids = " ".join(one.id for one in outcome.requirements)
                line = f"[{colour}]✘ {ids}[/] {escape(_clean(title))} ({escape(_clean(outcome.place))})"
                progress.console.print(line)

        return await contract_tests.certify(
            target,
            profiles=profiles,
            allow_writes=allow_writes,
            rate=rate,
            seed=seed,
            resolve=names,
            ca=ca,
            command=_command(),
            on_outcome=shown,
        )


def _clean(text: str) -> str:
    return "".join(char if char.isprintable() else "·" for char in text)


def _command() -> str:
    """The command line, without what `--basic` and `--header` were given; values are masked again by the report."""
    words = ["contract-tests"]
    hide = False
    for word in sys.argv[1:]:
        if hide or word.startswith(("--basic=", "--header=")):
            words.append(word.partition(":")[0] + ":…")
        else:
            words.append(word)
        hide = word in ("--basic", "--header")
    return " ".join(words)


def _told(done: contract_tests.Run, output: Path, language: Language) -> int:
    from contract_tests import report

    data = contract_tests.sealed(done)
    written_files = report.write(data, output, language=language)
    console = Console()
    console.print(report.summary(data, language))
    for path in written_files:
        console.print(f"  {path}", highlight=False, style="dim")
    codes = {_EXIT[one.judgement] for one in done.verdicts}
    return 1 if 1 in codes else max(codes, default=3)


# --- reports ----------------------------------------------------------------------------------------------------------


def _read(file: Path, language: Language) -> tuple[bytes, dict[str, Any]]:
    try:
        content = file.read_bytes()
        data = json.loads(content)
    except (OSError, ValueError):
        _stop(Text(f"{file} n'est pas un rapport lisible", f"{file} is not a readable report"), language)
    if not isinstance(data, dict):
        _stop(Text(f"{file} n'est pas un rapport", f"{file} is not a report"), language)
    return content, data


@app.command()
def report(
    file: Annotated[Path, typer.Argument(help="report.json")],
    output: Annotated[Path | None, typer.Option(help="Dossier / folder")] = None,
    english: English = False,
) -> None:
    """Écrire à nouveau tout ce qui vient d'un report.json. / Write again all that comes from a report.json."""
    from contract_tests import report as written_report

    language = _language(english)
    _, data = _read(file, language)
    try:
        folder = output or file.parent
        for path in written_report.write(data, folder, ("html", "junit", "badge", "har"), language=language):
            typer.echo(str(path))
        Console().print(written_report.summary(data, language))
    except ValidationError:
        _stop(Text("ce rapport n'a pas la forme attendue", "this report is malformed"), language)


@app.command()
def badge(
    file: Annotated[Path, typer.Argument(help="report.json")],
    output: Annotated[Path | None, typer.Option(help="Dossier / folder")] = None,
    english: English = False,
) -> None:
    """Dessiner à nouveau le badge, gris une fois périmé. / Draw the badge again, grey once expired."""
    from contract_tests import report as written_report

    language = _language(english)
    _, data = _read(file, language)
    try:
        for path in written_report.write(data, output or file.parent, ("badge",), language=language):
            typer.echo(str(path))
    except ValidationError:
        _stop(Text("ce rapport n'a pas la forme attendue", "this report is malformed"), language)


@app.command()
def verify(
    file: Annotated[Path, typer.Argument(help="report.json")],
    key: Annotated[Path | None, typer.Option(help="Clé publique / public key (.pub)")] = None,
    english: English = False,
) -> None:
    """Vérifier un rapport, sans réseau. / Verify a report, offline."""
    from contract_tests import certificate

    language = _language(english)
    content, _ = _read(file, language)
    known = catalogue()
    try:
        findings = certificate.verify(content, key, requirements={known.version: known.digest})
    except (certificate.Refused, OSError) as error:
        text = error.text if isinstance(error, certificate.Refused) else Text(str(error), str(error))
        _stop(text, language)
    colours = {"error": "red", "warning": "yellow", "note": "dim"}
    console = Console()
    for one in findings:
        console.print(f"[{colours[one.level]}]{one.level} {one.code}[/] {escape(one.text.to(language))}")
    if not certificate.holds(findings):
        raise typer.Exit(1)
    console.print(Text("Le rapport est intact.", "The report is intact.").to(language), style="green")


@app.command()
def keygen(file: Annotated[Path, typer.Argument(help="Clé à créer / key to create")], english: English = False) -> None:
    """Créer une paire de clés. / Create a key pair."""
    from contract_tests import certificate

    try:
        typer.echo(certificate.keygen(file))
    except certificate.Refused as error:
        _stop(error.text, _language(english))


@app.command()
def sign(
    file: Annotated[Path, typer.Argument(help="report.json")],
    key: Annotated[Path, typer.Option(help="Clé privée / private key")],
    days: Annotated[int, typer.Option(help="Durée / duration")] = 365,
    english: English = False,
) -> None:
    """Signer un rapport et dessiner son badge. / Sign a report and draw its badge."""
    from contract_tests import certificate
    from contract_tests import report as written_report

    language = _language(english)
    _, data = _read(file, language)
    try:
        signed = certificate.sign(data, key, days=days)
    except certificate.Refused as error:
        _stop(error.text, language)
    except OSError as error:
        _stop(Text(f"clé illisible : {error}", f"unreadable key: {error}"), language)
    for path in written_report.write(signed, file.parent, language=language):
        typer.echo(str(path))


# --- requirements -----------------------------------------------------------------------------------------------------


@app.command(name="list")
def list_(
    profile: Annotated[str, typer.Option(help="Un seul profil / one profile")] = "",
    english: English = False,
) -> None:
    """Lister les exigences. / List the requirements."""
    language = _language(english)
    known = catalogue()
    if profile and profile not in (*known.profiles, "every"):
        _stop(
            Text(f"profils : every, {', '.join(known.profiles)}", f"profiles: every, {', '.join(known.profiles)}"),
            language,
        )
    table = Table(box=None, pad_edge=False, show_header=False)
    for one in known.requirements.values():
        if profile in ("", one.profile) or (one.profile != "every" and known.profiles[profile].judged_by(one.profile)):
            mark = "" if one.reason is None else " (–)"
            table.add_row(f"[bold]{one.id}[/]{mark}", one.level, one.profile, escape(one.sentence.to(language)))
    Console().print(table)


@app.command()
def explain(identifier: Annotated[str, typer.Argument(help="PUB-ENV-1")], english: English = False) -> None:
    """Expliquer une exigence. / Explain a requirement."""
    language = _language(english)
    known = catalogue()
    found = known.requirements.get(identifier.upper())
    if found is None:
        near = [name for name in known.requirements if name.startswith(identifier.upper())]
        hint = ", ".join(near) or "contract-tests list"
        _stop(
            Text(f"exigence inconnue : {identifier} ({hint})", f"unknown requirement: {identifier} ({hint})"), language
        )
    line = next(one for one in coverage_of.coverage() if one.requirement.id == found.id)
    console = Console()
    console.print(f"[bold]{found.id}[/] {found.level} · {found.profile}\n{escape(found.sentence.to(language))}")
    console.print(f"Source : {escape(found.source)}" if language == "fr" else f"Source: {escape(found.source)}")
    if found.reason is not None:
        label = Text("Non vérifiable : ", "Not testable: ").to(language)
        console.print(label + escape(found.reason.to(language)))
    from contract_tests.checks import registry

    for name in line.checks:
        check = registry[name]
        for heading, said in (
            (Text("Vérification", "Check"), check.title),
            (Text("Conséquence", "Consequence"), check.consequence),
            (Text("À faire", "What to do"), check.remedy),
        ):
            console.print(f"[bold]{heading.to(language)}[/] {escape(said.to(language))}")
    if line.mutants:
        label = Text("Services fautifs qui la prouvent", "Faulty services that prove it").to(language)
        console.print(f"[bold]{label}[/] {', '.join(line.mutants)}", highlight=False)


@app.command()
def coverage(
    check: Annotated[bool, typer.Option("--check", help="Échoue si incomplet / fails when incomplete")] = False,
    english: English = False,
) -> None:
    """Ce que la suite vérifie, et ce qui prouve qu'elle le voit. / What is verified, and what proves it."""
    console = Console()
    for name, count in coverage_of.figures().items():
        console.print(f"{name}: {count}", highlight=False)
    found = coverage_of.problems()
    for problem in found:
        console.print(f"[red]✘[/] {escape(problem)}")
    if found and check:
        raise typer.Exit(1)


@app.command()
def mutants(english: English = False) -> None:
    """Lancer la suite sur chaque service fautif. / Run the suite on every faulty service."""
    from contract_tests.mutants import all_mutants, run_mutant

    console = Console()
    wrong = 0
    for one in all_mutants():
        failing = asyncio.run(run_mutant(one)).failing()
        good = failing == one.fails
        wrong += not good
        mark = "[green]✔[/]" if good else "[red]✘[/]"
        console.print(f"{mark} {one.name} → {', '.join(sorted(failing))}", highlight=False)
    console.print(f"{len(all_mutants()) - wrong} / {len(all_mutants())}")
    if wrong:
        raise typer.Exit(1)


# --- init -------------------------------------------------------------------------------------------------------------


@app.command()
def init(
    url: Annotated[str, typer.Argument(help="Le service, ou son OpenAPI / the service, or its OpenAPI document")],
    output: Annotated[Path, typer.Option(help="Fichier à écrire / file to write")] = Path("target.toml"),
    basic: Annotated[str, typer.Option(help="user (mot de passe / password: CONTRACT_TESTS_PASSWORD)")] = "",
    english: English = False,
) -> None:
    """Écrire un target.toml, par questions ou depuis OpenAPI. / Write a target.toml, by questions or from OpenAPI."""
    language = _language(english)
    if output.exists():
        _stop(Text(f"{output} existe déjà", f"{output} already exists"), language)
    try:
        document = asyncio.run(described(url, basic))
        if document is not None and openapi.derived(document).endpoints:
            text = written(url, document, basic, language)
        else:
            text = ask_target(url, basic, tuple(ENDPOINTS), typer.prompt, typer.confirm, language)
    except BadTarget as error:
        _stop(error.message, language)
    output.touch(mode=0o600)
    output.write_text(text, "utf-8")
    typer.echo(str(output))


if __name__ == "__main__":
    main()
