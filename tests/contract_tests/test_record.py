"""What a run leaves behind: the report's data, without a secret, its evidence tied together."""

from __future__ import annotations

import base64
import json
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

import contract_tests
from contract_tests import certificate, shape
from contract_tests.checks import registry
from contract_tests.core.credentials import Basic, Header, Signature
from contract_tests.core.execute import Run, execute
from contract_tests.core.record import masking, record
from contract_tests.core.requirement import FILE, BadCatalogue, catalogue
from contract_tests.core.target import Target, Waiver
from contract_tests.mutants import all_mutants
from contract_tests.reference import Asked, Reference, Reply

ODD = "pâsse/w0rd+é\"'&"


class Talkative(Reference):
    """Repeats all it received, in every way."""

    def finish(self, asked: Asked, reply: Reply) -> Reply:
        seen = {**asked.headers, "query": asked.query, "raw": ODD, "b64": base64.b64encode(ODD.encode()).decode()}
        reply.headers["X-Debug"] = quote(ODD)
        value = json.loads(reply.body) if reply.kind != "file" else None
        return reply.with_json({**value, "debug": seen}) if isinstance(value, dict) else reply

    def authenticate(self, asked: Asked) -> Reply | None:
        return None


async def _run(service: Reference, target: Target, **options: Any) -> Run:
    return await execute(target, service.send, registry, seed=1, **options)


@pytest.mark.parametrize(
    "credentials", [Basic("publik", ODD), Header("X-Own-Key", ODD), Signature("a.example.org", ODD)], ids=repr
)
async def test_no_secret_is_in_the_report_however_it_was_written(credentials: Any) -> None:
    service = Talkative()
    target = replace(service.target(), credentials=credentials, signature=None)
    run = await _run(service, target, only=["search", "choices"])
    text = json.dumps(contract_tests.sealed(run), ensure_ascii=False)
    for form in (ODD, quote(ODD), quote(ODD, safe=""), base64.b64encode(ODD.encode()).decode(), json.dumps(ODD)[1:-1]):
        assert form not in text
    for secret in credentials.secrets():
        assert secret not in text
    assert "[masqué]" in text


def test_masking_leaves_other_words_alone() -> None:
    mask = masking(["secret-word", "ab"])
    assert mask("a secret-word, an about page") == "a [masqué], an about page"
    assert mask("https://user:other@host/x") == "https://[masqué]@host/x"


async def test_a_password_that_is_a_common_word_is_not_told_by_a_hole_in_a_known_sentence() -> None:
    service = Talkative()
    target = replace(service.target(), credentials=Basic("publik", "essai"), signature=None)
    data = record(await _run(service, target, only=["search"]))
    own = [(one["title"], one["consequence"], one["remedy"], one["requirements"]) for one in data["outcomes"]]
    assert "[masqué]" not in json.dumps(own, ensure_ascii=False)
    assert "essai" in json.dumps(own, ensure_ascii=False)
    assert "publik:essai" not in json.dumps(data["evidence"], ensure_ascii=False)


async def test_the_report_has_its_shape_and_its_chain_holds() -> None:
    service = Reference()
    run = await _run(service, service.target(), allow_writes=True)
    data = contract_tests.sealed(run)
    report = shape.read(data)
    assert [one for one in certificate.verify(shape.document(data)) if one.level == "error"] == []
    assert report.requirements.digest == catalogue().digest
    assert len(report.outcomes) > 400
    assert len(shape.document(data)) < 2_000_000
    failing = [one for one in report.outcomes if one.status == "omit"]
    assert all(one.message.fr and one.message.en for one in failing)


@pytest.mark.parametrize(
    "name", ["latin-1", "byte-order-mark", "eleven-megabytes", "connection-cut", "nan", "html-echo"]
)
async def test_the_report_of_a_faulty_service_can_be_sealed_too(name: str) -> None:
    mutant = next(one for one in all_mutants() if one.name == name)
    service = mutant.build()
    data = contract_tests.sealed(await _run(service, service.target(), allow_writes=True))
    shape.read(data)
    assert [one for one in certificate.verify(shape.document(data)) if one.level == "error"] == []


async def test_the_exchange_that_proves_a_failure_comes_first_in_its_evidence() -> None:
    service = next(one for one in all_mutants() if one.name == "list-shuffled").build()
    data = record(await _run(service, service.target(), only=["choices"]))
    failed = next(one for one in data["outcomes"] if one["status"] == "fail")
    assert failed["check"] == "choices.the-order-is-stable"
    assert failed["evidence"][0] > failed["evidence"][1]
    assert failed["caller"][0]["source"]


async def test_the_same_seed_asks_the_same_questions() -> None:
    async def asked(seed: int) -> list[str]:
        service = Reference()
        run = await execute(service.target(), service.send, registry, seed=seed, only=["search"])
        return [one.request.url for one in run.exchanges]

    assert await asked(7) == await asked(7)
    assert await asked(7) != await asked(8)


@pytest.mark.parametrize(("until", "verdict"), [(date(2999, 1, 1), "partial"), (date(2000, 1, 1), "not-conformant")])
async def test_a_waiver_is_shown_and_leaves_the_profile_partial_until_it_ends(until: date, verdict: str) -> None:
    service = next(one for one in all_mutants() if one.name == "relative-url").build()
    waiver = Waiver(requirement="PUB-SEARCH-3", reason="en version 4.3", author="Anne Martin", until=until)
    run = await _run(service, replace(service.target(), waivers=(waiver,)), only=["search"])
    assert [one.judgement for one in run.verdicts] == [verdict]
    data = contract_tests.sealed(run)
    failed = next(one for one in data["outcomes"] if one["status"] == "fail")
    assert failed["waiver"]["author"] == "Anne Martin"
    assert data["waivers"][0]["reason"] == "en version 4.3"
    assert certificate.holds(certificate.verify(shape.document(data)))


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('[requirements.PUB-X]\nlevel = "MUST"', "PUB-FAMILY-number"),
        ('[requirements.PUB-X-1]\nlevel = "MUST"', "missing"),
        ('[requirements.PUB-X-1]\nlevel = "SHALL"\nprofile = "every"\nfr = "a"\nen = "a"\nsource = "s"', "level"),
        ('[requirements.PUB-X-1]\nlevel = "MUST"\nprofile = "magic"\nfr = "a"\nen = "a"\nsource = "s"', "profile"),
        ('[requirements.PUB-X-1]\nlevel = "MUST"\nprofil = "every"', "unknown members"),
    ],
)
def test_a_wrong_catalogue_is_refused(tmp_path: Path, line: str, said: str) -> None:
    file = tmp_path / "requirements.toml"
    file.write_text(f'version = "1"\n[profiles]\nsearch = {{ fr = "a", en = "a" }}\n{line}\n', "utf-8")
    with pytest.raises(BadCatalogue, match=said):
        catalogue(file)


def test_the_catalogue_is_read_once_and_names_its_file() -> None:
    assert catalogue() is catalogue()
    assert FILE.exists()
