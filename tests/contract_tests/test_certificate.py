from __future__ import annotations

import base64
import json
import re
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from copy import deepcopy
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from contract_tests import certificate, report
from contract_tests.certificate import Refused, holds, keygen, seal, sign, verify
from contract_tests.shape import document
from tests.contract_tests.report_kit import NOW, report_data

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
OTHER = Ed25519PrivateKey.from_private_bytes(b"o" * 32)
PUBLIC = KEY.public_key()


@pytest.fixture(scope="module")
def signed() -> dict[str, Any]:
    return sign(report_data(40), KEY, now=NOW)


def small() -> dict[str, Any]:
    """One profile, one outcome: small enough for every byte to be tried."""
    data = report_data(1, perfect=True, sealed=False)
    data["profiles"] = data["profiles"][:1]
    return seal(data)


def codes(data: dict[str, Any] | bytes, **options: Any) -> set[str]:
    wanted: dict[str, Any] = {"key": PUBLIC, "now": NOW, **options}
    return {finding.code for finding in verify(data, **wanted) if finding.level == "error"}


def changed(data: dict[str, Any], change: Callable[[dict[str, Any]], object]) -> dict[str, Any]:
    copy = deepcopy(data)
    change(copy)
    return copy


def test_a_signed_report_verifies_offline_from_its_bytes(signed: dict[str, Any]) -> None:
    findings = verify(document(signed), PUBLIC, now=NOW)
    assert holds(findings)
    assert {finding.code for finding in findings} <= {"waived", "waiver-ended"}


def test_any_changed_byte_of_a_signed_report_is_an_error() -> None:
    content = document(sign(small(), KEY, now=NOW))
    assert holds(verify(content, PUBLIC, now=NOW))
    unseen = []
    for position in range(len(content)):
        # Another digit or letter, another case: each position in two ways.
        for value in (content[position] ^ 1, content[position] ^ 0x20):
            tampered = content[:position] + bytes([value]) + content[position + 1 :]
            if holds(verify(tampered, PUBLIC, now=NOW)):
                unseen.append((position, value))
    assert unseen == []


def test_any_byte_removed_or_added_is_an_error() -> None:
    content = document(sign(small(), KEY, now=NOW))
    for position in range(0, len(content), 3):
        assert not holds(verify(content[:position] + content[position + 1 :], PUBLIC, now=NOW)), position
        assert not holds(verify(content[:position] + b" " + content[position:], PUBLIC, now=NOW)), position


def test_any_changed_byte_of_an_unsigned_report_breaks_its_chain() -> None:
    content = document(small())
    assert holds(verify(content, now=NOW))
    for position in range(len(content)):
        tampered = content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]
        assert not holds(verify(tampered, now=NOW)), position


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if isinstance(value, dict):
        for name, inner in value.items():
            yield from leaves(inner, (*path, name))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from leaves(inner, (*path, position))
    else:
        yield path


def test_every_value_is_covered_by_the_signature_and_not_only_by_the_layout() -> None:
    data = sign(report_data(8), KEY, now=NOW)
    for path in leaves(data):
        tampered = deepcopy(data)
        holder = tampered
        for step in path[:-1]:
            holder = holder[step]
        value = holder[path[-1]]
        match value:
            case bool():
                holder[path[-1]] = not value
            case int() | float():
                holder[path[-1]] = value + 1
            case str():
                holder[path[-1]] = value + "x"
            case None:
                holder[path[-1]] = "x"
        assert codes(tampered), path


def _swap(rows: list[Any]) -> None:
    rows[1], rows[2] = rows[2], rows[1]


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: data["evidence"].pop(3), "shape"),  # an outcome leans on it
        (lambda data: _swap(data["evidence"]), "chain-broken"),
        (lambda data: data["evidence"].append(deepcopy(data["evidence"][-1])), "chain-broken"),
        (lambda data: data["evidence"][5]["response"].update(body="{}"), "evidence-changed"),
        (lambda data: data["evidence"][5]["request"]["headers"].pop(0), "evidence-changed"),
        (lambda data: _swap(data["outcomes"]), "head-changed"),
        (lambda data: data["outcomes"][4].update(replay=""), "head-changed"),
        (lambda data: data["profiles"][0]["why"].update(fr="Parfait."), "head-changed"),
        (lambda data: data["waivers"].clear(), "head-changed"),
        (lambda data: data["target"].update(base_url="https://autre.exemple.fr"), "chain-broken"),
        (lambda data: data["run"].update(ended="2026-03-19T09:31:12Z"), "chain-broken"),
        (lambda data: data["requirements"].update(digest="sha256:" + "00" * 32), "chain-broken"),
    ],
)
def test_each_tampering_is_named_even_in_an_unsigned_report(
    change: Callable[[dict[str, Any]], object], code: str
) -> None:
    data = report_data(40)
    tampered = changed(data, change)
    assert code in {finding.code for finding in verify(tampered, now=NOW)}
    assert not holds(verify(tampered, now=NOW))


def test_evidence_nobody_leans_on_cannot_be_removed_from_the_end() -> None:
    data = report_data(6, perfect=True, sealed=False)
    data["outcomes"][-1]["evidence"] = []
    data = seal(data)
    assert holds(verify(data, now=NOW))
    assert "head-changed" in codes(changed(data, lambda copy: copy["evidence"].pop()), key=None)


def test_an_outcome_cannot_be_removed_with_its_count() -> None:
    def remove(data: dict[str, Any]) -> None:
        outcome = data["outcomes"].pop()
        profile = next(profile for profile in data["profiles"] if profile["id"] == outcome["profile"])
        profile["counts"][outcome["status"]] -= 1

    assert codes(changed(report_data(40), remove), key=None) == {"head-changed"}


def test_a_report_resealed_and_signed_by_someone_else_is_refused(signed: dict[str, Any]) -> None:
    forged = sign(seal(changed(signed, lambda data: data["target"].update(name="Un autre"))), OTHER, now=NOW)
    assert codes(forged) == {"other-key"}
    # Without the expected key nothing tells them apart, and the finding says so.
    findings = verify(forged, now=NOW)
    assert holds(findings)
    assert "key-not-checked" in {finding.code for finding in findings if finding.level == "warning"}


def test_a_signature_removed_is_an_error_for_who_expects_one(signed: dict[str, Any]) -> None:
    stripped = changed(signed, lambda data: data.update(signature=None))
    assert codes(stripped) == {"unsigned"}
    assert "unsigned" in {finding.code for finding in verify(stripped, now=NOW) if finding.level == "warning"}


def test_the_signature_block_cannot_be_prolonged_or_given_another_key(signed: dict[str, Any]) -> None:
    other = sign(report_data(40), OTHER, now=NOW)["signature"]
    for change in (
        {"expires": "2027-03-13T09:31:12Z"},
        {"signed_at": "2026-03-20T08:59:00Z"},
        {"public_key": other["public_key"]},
        {"public_key": other["public_key"], "key_id": other["key_id"]},
        {"key_id": other["key_id"]},
        {"value": other["value"]},
    ):
        tampered = {**signed, "signature": {**signed["signature"], **change}}
        assert "signature-invalid" in codes(tampered), change


def test_another_spelling_of_the_same_signature_is_refused(signed: dict[str, Any]) -> None:
    value = signed["signature"]["value"]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    twin = value[:-3] + alphabet[alphabet.index(value[-3]) ^ 1] + "=="
    assert base64.b64decode(twin) == base64.b64decode(value)
    assert "signature-invalid" in codes({**signed, "signature": {**signed["signature"], "value": twin}})


def test_a_certificate_expires_to_the_second() -> None:
    data = sign(report_data(20, perfect=True), KEY, days=30, now=NOW)
    end = datetime(2026, 4, 13, 9, 31, 12, tzinfo=UTC)
    assert data["signature"]["expires"] == "2026-04-13T09:31:12Z"
    assert codes(data, now=end) == set()
    assert codes(data, now=end + timedelta(seconds=1)) == {"expired"}


def test_signing_later_does_not_make_a_run_younger() -> None:
    early = sign(report_data(20, perfect=True), KEY, now=NOW)
    late = sign(report_data(20, perfect=True), KEY, now=NOW + timedelta(days=200))
    assert early["signature"]["expires"] == late["signature"]["expires"] == "2027-03-14T09:31:12Z"
    with pytest.raises(Refused, match="too old"):
        sign(report_data(20, perfect=True), KEY, now=NOW + timedelta(days=400))


def test_an_unsigned_report_ages_too() -> None:
    assert "expired" in codes(report_data(5, perfect=True), key=None, now=NOW + timedelta(days=90))
    assert codes(report_data(5, perfect=True), key=None, now=NOW + timedelta(days=60)) == set()


def with_waiver(until: str, verdict: str) -> dict[str, Any]:
    data = report_data(14, perfect=True, sealed=False)
    outcome = next(row for row in data["outcomes"] if row["profile"] == "map")
    outcome |= {"status": "fail", "waiver": {"reason": "Correctif prévu", "author": "DSI", "until": until}}
    profile = next(row for row in data["profiles"] if row["id"] == "map")
    profile["verdict"] = verdict
    profile["counts"] |= {"pass": profile["counts"]["pass"] - 1, "fail": 1}
    return seal(data)


def test_a_certificate_never_outlives_a_waiver_it_leans_on() -> None:
    data = sign(with_waiver("2026-05-01", "partial"), KEY, now=NOW)
    assert data["signature"]["expires"] == "2026-05-01T23:59:59Z"
    assert codes(data) == set()
    assert "waived" in {finding.code for finding in verify(data, PUBLIC, now=NOW)}
    assert codes(data, now=datetime(2026, 5, 2, tzinfo=UTC)) == {"expired"}


def test_a_waiver_holds_until_the_end_of_its_last_day_and_is_then_ignored() -> None:
    # The run ended on 14 March.
    assert codes(with_waiver("2026-03-14", "partial"), key=None, now=datetime(2026, 3, 14, 12, tzinfo=UTC)) == set()
    ended = with_waiver("2026-03-13", "partial")
    assert "verdict-contradicted" in codes(ended, key=None)
    assert "waiver-ended" in {finding.code for finding in verify(ended, now=NOW) if finding.level == "warning"}


def test_a_waived_failure_is_never_conformant() -> None:
    assert "verdict-contradicted" in codes(with_waiver("2026-12-31", "conformant"), key=None)


@pytest.mark.parametrize("status", ["fail", "skip", "error"])
def test_a_verdict_better_than_its_outcomes_is_refused_whoever_signs(status: str) -> None:
    data = report_data(14, perfect=True, sealed=False)
    data["outcomes"][0]["status"] = status
    counts = data["profiles"][0]["counts"]
    counts["pass"] -= 1
    counts[status] += 1
    data = seal(data)
    assert codes(data, key=None) == {"verdict-contradicted"}
    with pytest.raises(Refused) as refused:
        sign(data, KEY, now=NOW)
    assert "meilleur" in refused.value.text.fr


def test_a_conformant_profile_needs_an_obligation_that_passed() -> None:
    data = report_data(7, perfect=True, sealed=False)
    data["outcomes"][0]["status"] = "omit"
    data["profiles"][0]["counts"] |= {"pass": 0, "omit": 1}
    assert codes(seal(data), key=None) == {"verdict-contradicted"}


def test_a_broken_report_cannot_be_signed() -> None:
    with pytest.raises(Refused, match="cannot be signed"):
        sign(changed(report_data(20), lambda data: data["outcomes"].reverse()), KEY, now=NOW)


@pytest.mark.parametrize("days", [0, -1, 366])
def test_a_lifetime_out_of_bounds_is_refused(days: int) -> None:
    with pytest.raises(Refused, match="365"):
        sign(report_data(7, perfect=True), KEY, days=days, now=NOW)


def test_a_signature_from_the_future_or_for_too_long_is_refused_even_with_the_right_key() -> None:
    def resign(data: dict[str, Any], **change: str) -> dict[str, Any]:
        block = {**data["signature"], **change}
        unsigned = {**data, "signature": block}
        value = KEY.sign(certificate._signed_bytes(unsigned))
        return {**data, "signature": {**block, "value": base64.b64encode(value).decode()}}

    data = sign(report_data(7, perfect=True), KEY, now=NOW)
    assert codes(resign(data)) == set()
    assert codes(resign(data, signed_at="2026-03-21T09:00:00Z")) == {"signed-too-soon"}
    assert codes(resign(data, signed_at="2026-03-13T09:00:00Z")) == {"signed-too-soon"}
    assert codes(resign(data, expires="2036-03-14T09:31:12Z")) == {"too-long"}
    # A key's id that is another's would deceive who compares it by eye.
    assert codes(resign(data, key_id="0000-0000-0000-0000")) == {"signature-invalid"}
    # A certificate that its signer prolonged beyond a waiver it leans on.
    waived = resign(sign(with_waiver("2026-05-01", "partial"), KEY, now=NOW), expires="2026-12-31T00:00:00Z")
    assert codes(waived) == set()
    assert codes(waived, now=datetime(2026, 5, 2, tzinfo=UTC)) == {"expired"}


def test_a_weakened_requirement_set_under_a_known_number_is_seen(signed: dict[str, Any]) -> None:
    digest = signed["requirements"]["digest"]
    assert codes(signed, requirements={"2026.1": digest}) == set()
    assert codes(signed, requirements={"2026.1": "sha256:" + "00" * 32}) == {"other-requirements"}
    assert codes(signed, requirements={"2025.9": "sha256:" + "00" * 32}) == set()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"schema": 1}',
        b'{"schema": NaN}',
        b'{"a": "\\ud800"}',
        b'{"a": 1e999}',
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_what_is_not_a_report_is_an_error_and_never_an_exception(content: bytes) -> None:
    assert not holds(verify(content, PUBLIC, now=NOW))


def test_a_member_written_twice_is_an_error(signed: dict[str, Any]) -> None:
    content = document(signed).decode()
    twice = content.replace('{\n "evidence"', '{\n "head": "sha256:' + "0" * 64 + '",\n "evidence"', 1)
    assert json.loads(twice) == signed
    assert codes(twice.encode()) == {"not-json"}


def test_sealing_twice_changes_nothing_and_does_not_touch_its_argument() -> None:
    raw = report_data(20, sealed=False)
    before = deepcopy(raw)
    sealed = seal(raw)
    assert raw == before
    assert seal(sealed) == sealed


def test_a_key_pair_signs_and_verifies_from_its_files(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "certifier"
    name = keygen(path)
    data = sign(report_data(7, perfect=True), path, now=NOW)
    assert data["signature"]["key_id"] == name
    assert codes(document(data), key=path.with_name("certifier.pub")) == set()
    assert codes(document(data), key=path.with_name("certifier.pub").read_text()) == set()
    assert codes(document(data), key=data["signature"]["public_key"]) == set()
    assert codes(document(data)) == {"other-key"}
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_key_is_never_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "key"
    keygen(path)
    before = path.read_bytes()
    with pytest.raises(Refused, match="exists"):
        keygen(path)
    path.rename(tmp_path / "moved")
    with pytest.raises(Refused):
        keygen(path)  # its public half is still there
    assert (tmp_path / "moved").read_bytes() == before


def test_a_private_key_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    keygen(path)
    path.chmod(0o640)
    with pytest.raises(Refused, match="chmod 600"):
        sign(report_data(7, perfect=True), path, now=NOW)


@pytest.mark.parametrize("content", [b"", b"nothing", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"])
def test_what_is_not_a_key_is_refused_with_a_sentence(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(Refused, match="Ed25519"):
        certificate.private_key(path)
    with pytest.raises(Refused, match="Ed25519"):
        certificate.public_key(path)


def test_a_third_party_verifies_with_the_documented_lines_and_not_our_code(tmp_path: Path) -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "certification.md"
    found = re.search(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    script = tmp_path / "check.py"
    script.write_text(found[1], encoding="utf-8")
    data = sign(report_data(20), KEY, now=NOW)
    public = data["signature"]["public_key"]
    report.write(data, tmp_path, ["json"], now=NOW)

    def run() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-I", str(script), str(tmp_path / "report.json"), public]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)

    good = run()
    assert good.returncode == 0, good.stderr
    for change in (
        lambda copy: copy["outcomes"].reverse(),
        lambda copy: copy["evidence"][2].update(error="x"),
        lambda copy: copy["signature"].update(expires="2029-01-01T00:00:00Z"),
    ):
        (tmp_path / "report.json").write_bytes(document(changed(data, change)))
        assert run().returncode != 0
