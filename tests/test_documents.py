"""What the documents say is true: links lead somewhere, the reference is the code's, every snippet runs."""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

import sdk
from gateway import app
from gateway.demo import demo_settings
from gateway.registry import installed, simulator_of
from gateway.settings import load, validate_settings
from sdk.http import HttpOptions

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "connectors/**/*.md", "benchmarks/*.md", "contract_tests/**/*.md")
    for path in ROOT.glob(pattern)
)
README, INTEGRATOR, OPERATOR = (ROOT / name for name in ("README.md", "docs/integrator.md", "docs/operator.md"))

_BLOCK = re.compile(
    r"(?:^\*\*`(?P<file>[^`\n]+)`\*\*\n\n)?^```(?P<kind>\w+)\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")


def _blocks(document: Path) -> Iterator[tuple[str | None, str, str]]:
    """(file name written above it, language, text) of each fenced block."""
    for found in _BLOCK.finditer(document.read_text("utf-8")):
        yield found["file"], found["kind"], found["text"]


def _write_files(document: Path, folder: Path) -> None:
    for name, _, text in _blocks(document):
        if name is not None and not name.startswith("/"):
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")


def _environment(*folders: Path) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    return {**inherited, "PYTHONPATH": os.pathsep.join(map(str, (*folders, ROOT))), "RELAIS_LANG": "en"}


def _run(*command: str, folder: Path, path: tuple[Path, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command], cwd=folder, env=_environment(*path), capture_output=True, text=True, timeout=100
    )


# --- links and reference ----------------------------------------------------------------------------------------------


def _anchors(document: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.M | re.S), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_relative_link_leads_somewhere(document: Path) -> None:
    text = re.sub(r"^```.*?^```$|`[^`\n]*`", "", document.read_text("utf-8"), flags=re.M | re.S)
    for target in _LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, fragment = target.partition("#")
        path = (document.parent / name).resolve() if name else document
        assert path.exists(), f"{document.name} points to {target}"
        assert not fragment or fragment in _anchors(path), f"{document.name} points to {target}"


def test_the_reference_is_what_the_code_says(tmp_path: Path) -> None:
    found = _run(str(ROOT / "docs" / "generate.py"), "--check", folder=tmp_path)
    assert found.returncode == 0, found.stderr


def test_the_reference_has_every_name_of_the_vocabulary() -> None:
    text = (ROOT / "docs" / "reference.md").read_text("utf-8")
    assert [name for name in sdk.__all__ if f"#### `{name}`" not in text] == []


def test_every_decision_is_listed_and_short() -> None:
    folder = ROOT / "docs" / "adr"
    listed = (folder / "README.md").read_text("utf-8")
    for path in sorted(folder.glob("0*.md")):
        lines = path.read_text("utf-8").splitlines()
        assert path.name in listed
        assert lines[0].startswith(f"# {path.name[:4]} ")
        assert len(lines) <= 25


def test_every_file_that_the_architecture_names_exists() -> None:
    named = re.findall(r"`((?:sdk|gateway|connectors|contract_tests)/[\w./]*)`", (ROOT / "ARCHITECTURE.md").read_text())
    assert len(named) > 20
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize("document", [README, INTEGRATOR, OPERATOR], ids=lambda path: path.name)
def test_every_make_target_named_exists(document: Path) -> None:
    targets = set(re.findall(r"^([a-z]+|\$\(VENV\)/\w+):", (ROOT / "Makefile").read_text("utf-8"), re.M))
    named = set(re.findall(r"^make ([\w./]+)", document.read_text("utf-8"), re.M))
    named |= set(re.findall(r"`make ([\w./]+)`", document.read_text("utf-8")))
    assert {name.replace(".venv", "$(VENV)") for name in named} <= targets


# --- the integrators' guide -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package that the guide writes, file by file."""
    folder = tmp_path_factory.mktemp("town")
    _write_files(INTEGRATOR, folder)
    (folder / "mytown" / "__init__.py").touch()
    return folder


# The blocks of these two are run by the tests of the contract suite.
OF_THE_SUITE = {"publisher-guide.fr.md", "certification.md"}


@pytest.mark.parametrize(
    "document", [d for d in DOCUMENTS if d.name not in OF_THE_SUITE], ids=lambda path: str(path.relative_to(ROOT))
)
def test_every_python_block_is_a_whole_file(document: Path) -> None:
    assert [text for name, kind, text in _blocks(document) if kind == "python" and name is None] == []


def test_the_tests_of_the_guide_pass(town: Path) -> None:
    recorded = _run("record.py", folder=town, path=(town,))
    assert recorded.returncode == 0, recorded.stderr
    found = _run("-m", "pytest", "-q", "-W", "error", "-p", "no:cacheprovider", folder=town)
    assert found.returncode == 0, found.stdout[-3000:]
    assert "skipped" not in found.stdout


def test_what_the_guide_shows_of_a_contract_is_what_is_printed(town: Path, tmp_path: Path) -> None:
    shown = INTEGRATOR.read_text("utf-8")
    alone = tmp_path / "permits.wsdl"
    alone.write_text((town / "mytown" / "permits" / "permits.wsdl").read_text("utf-8"), "utf-8")
    refused = _run("-m", "gateway", "wsdl", str(alone), folder=tmp_path)
    assert refused.returncode == 1
    assert refused.stderr.strip() in shown
    found = _run("-m", "gateway", "wsdl", "mytown/permits/permits.wsdl", folder=town)
    assert found.stdout.strip() in shown


def test_the_package_of_the_guide_is_found_by_entry_point(town: Path, tmp_path: Path) -> None:
    options = ("--quiet", "--no-deps", "--no-index", "--no-build-isolation", "--disable-pip-version-check")
    pip = _run("-m", "pip", "install", *options, "--target", str(tmp_path / "site"), ".", folder=town)
    assert pip.returncode == 0, pip.stderr
    listed = _run("-m", "gateway", "connectors", folder=tmp_path, path=(tmp_path / "site",))
    assert "streets\tRues\t1\tmytown.streets\t" in listed.stdout, listed.stderr
    checked = _run(
        "-m", "gateway", "check", "-c", str(town / "relais.toml"), folder=tmp_path, path=(tmp_path / "site",)
    )
    assert checked.stdout.startswith("streets/mytown\tunchecked"), checked.stderr
    (tmp_path / "relais-data").mkdir(exist_ok=True)


@pytest.mark.parametrize("name", ["streets", "schools", "trees", "reports", "permits", "events", "certificates"])
def test_every_connector_of_the_guide_is_usable_and_documented(town: Path, name: str) -> None:
    target = f"mytown.{name}:{name.capitalize()}"
    described = _run("-m", "gateway", "openapi", name, "--connector", target, folder=town, path=(town,))
    assert json.loads(described.stdout)["openapi"] == "3.1.0", described.stderr


def test_the_settings_of_the_guide_are_accepted(town: Path) -> None:
    (town / "secrets").mkdir(exist_ok=True)
    (town / "secrets" / "permits-session").write_text("token\n")
    (town / "ecoles.csv").write_text("code;nom;quartier;capacite\n1;A;B;3\n")
    options = ("--offline", "--connector", "mytown.permits:Permits", "--connector", "mytown.schools:Schools")
    environment = {**_environment(town), "PERMITS_PASSWORD": "p", "FORMS_KEY": "0123456789abcdef"}
    checked = subprocess.run(
        [sys.executable, "-m", "gateway", "check", "-c", "more.toml", *options],
        cwd=town,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert checked.returncode == 0, checked.stderr


# --- README and operators' guide --------------------------------------------------------------------------------------


def _shown_exchanges(document: Path) -> list[tuple[str, str, str]]:
    """(address, user:password, answer) of each `$ curl …` and its answer."""
    found = []
    for _, kind, text in _blocks(document):
        if kind == "console":
            asked, answered = text.strip().split("\n", 1)
            address = re.search(r"http://127\.0\.0\.1:8080([^\s']*)", asked)
            user = re.search(r"-u (\S+)", asked)
            assert address is not None
            found.append((address[1], user[1] if user else "", answered))
    return found


async def _answers(server: app.Server, exchanges: list[tuple[str, str, str]]) -> None:
    listening = app.bind("127.0.0.1:0")
    base = f"http://127.0.0.1:{listening.getsockname()[1]}"
    await server.start(listening)
    try:
        async with aiohttp.ClientSession() as session:
            for address, user, shown in exchanges:
                headers = {"Authorization": aiohttp.encode_basic_auth(*user.split(":"))} if user else {}
                async with session.get(f"{base}{address}", headers=headers) as answer:
                    body = (await answer.text()).rstrip()
                assert re.sub(r'"request_id":"\w+"', '"request_id":"…"', body) == shown
    finally:
        await server.drain(grace=1.0)


async def test_the_lines_of_the_readme_answer_what_it_shows_in_the_demonstration(tmp_path: Path) -> None:
    connectors = installed().connectors
    exchanges = [each for each in _shown_exchanges(README) if not each[1]]
    assert len(exchanges) == 2
    simulators = {name: kind() for name, each in connectors.items() if (kind := simulator_of(each)) is not None}
    try:
        await asyncio.gather(*(simulator.start() for simulator in simulators.values()))
        await _answers(app.Server(demo_settings(tmp_path, 0, simulators), connectors), exchanges)
    finally:
        await asyncio.gather(*(simulator.stop() for simulator in simulators.values()))


async def test_the_connector_of_the_readme_answers_what_it_shows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write_files(README, tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    settings = load(tmp_path / "relais.toml", {})
    exchanges = [each for each in _shown_exchanges(README) if each[1]]
    assert len(exchanges) == 2
    await _answers(app.Server(settings, installed(["streets:Streets"]).connectors), exchanges)


def test_the_settings_of_the_operators_guide_are_accepted(tmp_path: Path) -> None:
    _write_files(OPERATOR, tmp_path)
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "portal").write_text("0123456789abcdef\n")
    environment = {"RELAIS_DEMARCHES_KEY": "k" * 48, "RELAIS_SUPERVISION_PASSWORD": "p" * 24}
    settings = load(tmp_path / "relais.toml", environment)
    connectors = installed().connectors
    for name, instance in settings.every_instance():
        kind = connectors[name.partition("/")[0]]
        validate_settings(kind.settings_model, instance.settings, name)
        validate_settings(HttpOptions, instance.http, name)


def test_the_operators_guide_names_every_class_of_error_and_metric() -> None:
    text = OPERATOR.read_text("utf-8")
    reference = (ROOT / "docs" / "reference.md").read_text("utf-8")
    errors = set(re.findall(r"^\| `([A-Z]\w+)` \| \d{3}", reference, re.M)) - {"InProgress", "KeyMismatch"}
    assert {name for name in errors if f"`{name}`" not in text} == set()
    metrics = set(re.findall(r'"(relais_\w+)"', (ROOT / "gateway" / "metrics.py").read_text("utf-8")))
    assert {name for name in metrics if name not in text} == set()
