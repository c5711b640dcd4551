"""The terminal: a search engine judged in one line, a report in a folder, and no secret anywhere."""

from __future__ import annotations

import asyncio
import json
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from contract_tests import toml
from contract_tests.__main__ import app
from contract_tests.reference import PASSWORD, USER, Asked, Reference, Reply


class Fragile(Reference):
    """Repeats the password it refuses, and answers relative addresses."""

    def unknown(self, user: str, password: str) -> Reply:
        reply = super().unknown(user, password)
        return reply.with_json({**reply.json, "err_desc": f"{user}:{password} refusé"})

    def search(self, asked: Asked, rest: str) -> Reply:
        value = super().search(asked, rest).json
        for hit in value["data"]:
            hit["url"] = "/dossiers/88"
        return self.success(value["data"])


def _served(service: Reference) -> Iterator[str]:
    """The service, in a thread: the command has an event loop of its own."""
    ready, stop = threading.Event(), asyncio.Event()
    held: dict[str, object] = {}

    async def serve() -> None:
        held["loop"] = asyncio.get_running_loop()
        async with service.served() as url:
            held["url"] = url
            ready.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    ready.wait()
    try:
        yield str(held["url"])
    finally:
        held["loop"].call_soon_threadsafe(stop.set)  # type: ignore[attr-defined]
        thread.join()


@pytest.fixture
def good() -> Iterator[str]:
    yield from _served(Reference())


@pytest.fixture
def fragile() -> Iterator[str]:
    yield from _served(Fragile())


@pytest.fixture(autouse=True)
def _somewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CONTRACT_TESTS_PASSWORD", raising=False)


def call(*words: str, input: str | None = None) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words), input=input)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result.exit_code, result.output


def test_one_line_judges_a_search_engine_and_leaves_a_private_report(good: str) -> None:
    code, said = call(
        "run",
        f"{good}/search",
        "--profile",
        "search",
        "--basic",
        f"{USER}:{PASSWORD}",
        "--example",
        "dupont",
        "--rate",
        "0",
    )
    assert code == 0, said
    assert "Conforme" in said
    folder = Path("contract-report")
    files = sorted(folder.iterdir())
    assert {one.name for one in files} >= {"report.json", "report.html", "junit.xml", "badge.svg"}
    assert all(stat.S_IMODE(one.stat().st_mode) == 0o600 for one in files)
    assert not any(PASSWORD in one.read_text("utf-8") for one in files)
    report = json.loads((folder / "report.json").read_text("utf-8"))
    assert report["run"]["rate_per_s"] == 0
    assert [one["verdict"] for one in report["profiles"]] == ["conformant"]


def test_one_line_without_an_example_finds_one_itself(good: str) -> None:
    code, said = call("run", f"{good}/search", "--profile", "search", "--basic", f"{USER}:{PASSWORD}", "--rate", "0")
    assert code == 0, said
    assert "Conforme" in said


def test_what_is_missing_to_judge_is_said(good: str) -> None:
    target = toml.dumps(
        {"name": "Simula", "base_url": good, "environment": "test", "auth": {"user": USER, "password": PASSWORD}},
        [{"profile": "sms", "path": "/sms", "to": ["+33600000000"]}],
    )
    Path("target.toml").write_text(target, "utf-8")
    code, said = call("run", "target.toml", "--rate", "0", "--english")
    assert code == 3
    assert "What is missing to judge the rest" in said
    assert "--allow-writes" in said


def test_a_failing_service_is_told_what_its_users_will_see_and_no_secret_is_kept(fragile: str) -> None:
    url = fragile.replace("http://", f"http://{USER}:{PASSWORD}@")
    code, said = call("run", f"{url}/search?q=dupont", "--profile", "search", "--rate", "0", "--english")
    assert code == 1
    assert "Not conformant" in said
    assert "Every address is absolute" in said
    assert PASSWORD not in said
    for one in Path("contract-report").iterdir():
        assert PASSWORD not in one.read_text("utf-8"), one
        assert "wrong-zqx" not in one.read_text("utf-8"), one
    report = json.loads(Path("contract-report/report.json").read_text("utf-8"))
    failed = next(one for one in report["outcomes"] if one["check"] == "search.every-url-is-absolute")
    assert failed["status"] == "fail"
    assert failed["replay"].startswith(f"curl -i -H 'Accept: application/json' -u '{USER}'")
    assert failed["caller"]
    assert failed["evidence"]
    assert {"fr", "en"} == set(failed["consequence"])


def test_a_report_is_verified_offline_and_one_changed_byte_is_seen(good: str) -> None:
    call("run", f"{good}/town", "--basic", f"{USER}:{PASSWORD}", "--rate", "0")
    code, said = call("verify", "contract-report/report.json")
    assert code == 0, said
    file = Path("contract-report/report.json")
    file.write_text(file.read_text("utf-8").replace('"conformant"', '"partial"', 1), "utf-8")
    code, said = call("verify", "contract-report/report.json")
    assert code == 1


def test_a_report_is_signed_and_verified_with_the_public_key(good: str) -> None:
    call("run", f"{good}/town", "--basic", f"{USER}:{PASSWORD}", "--rate", "0")
    assert call("keygen", "key")[0] == 0
    assert call("sign", "contract-report/report.json", "--key", "key")[0] == 0
    code, said = call("verify", "contract-report/report.json", "--key", "key.pub")
    assert code == 0, said
    assert call("badge", "contract-report/report.json")[0] == 0
    assert call("report", "contract-report/report.json", "--english")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "absent.toml"), "n'existe pas"),
        (("run", "http://127.0.0.1:1/", "--profile", "request"), "contract-tests init"),
        (("run", "http://127.0.0.1:1/", "--allow-writes"), "environment"),
        (("verify", "absent.json"), "lisible"),
        (("explain", "PUB-NOWHERE-1"), "inconnue"),
        (("list", "--profile", "magie"), "profils"),
        (("init", "http://127.0.0.1:1/"), "injoignable"),
        (("init", "openapi.json"), "n'est pas une adresse"),
    ],
)
def test_misuse_is_told_in_a_sentence(words: tuple[str, ...], said: str) -> None:
    code, output = call(*words)
    assert code == 2
    assert said in " ".join(output.split())
    assert "Traceback" not in output


def test_an_unreachable_target_ends_with_its_own_code() -> None:
    code, said = call("run", "http://127.0.0.1:1/", "--rate", "0")
    assert code == 3, said


def test_requirements_are_listed_and_explained() -> None:
    code, said = call("list", "--profile", "signed", "--english")
    assert code == 0
    assert "PUB-SIGN-1" in said
    assert "PUB-ENV-1" not in said
    code, said = call("explain", "pub-list-6", "--english")
    assert code == 0
    assert "Source: publik-contracts" in said
    assert "id-does-not-round-trip" in said
    code, said = call("explain", "PUB-SIGN-12")
    assert "Non vérifiable" in said


def test_the_coverage_is_complete() -> None:
    code, said = call("coverage", "--check")
    assert code == 0, said
    assert "mutants" in said


def test_a_target_file_is_written_from_questions_then_run(good: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONTRACT_TESTS_PASSWORD", PASSWORD)
    answers = "\n".join(["Simula", "a@example.org", "y", "search", "/search", "dupont", "n", ""])
    code, said = call("init", f"{good}/openapi.json", "--basic", USER, input=answers)
    assert code == 0, said
    assert PASSWORD not in Path("target.toml").read_text("utf-8")
    assert stat.S_IMODE(Path("target.toml").stat().st_mode) == 0o600
    code, said = call("run", "target.toml", "--rate", "0", "--seed", "7")
    assert code == 0, said
    assert json.loads(Path("contract-report/report.json").read_text("utf-8"))["run"]["seed"] == 7
