from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import stat
from collections import Counter
from copy import deepcopy
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from pydantic import ValidationError
from rich.console import Console

from contract_tests import report
from contract_tests.certificate import seal, sign
from contract_tests.page import LIMIT
from tests.contract_tests.report_kit import NOW, report_data

KEY = Ed25519PrivateKey.from_private_bytes(b"k" * 32)
LATER = datetime(2028, 1, 1, tzinfo=UTC)
SVG = "{http://www.w3.org/2000/svg}"


class Page(HTMLParser):
    """What a browser would build: tags with their attributes, ids, and the text outside script and style."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str]]] = []
        self.words: list[str] = []
        self.raw: dict[str, str] = {}
        self._open = ""
        self.feed(source)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, {name: value or "" for name, value in attrs}))
        self._open = tag

    def handle_endtag(self, tag: str) -> None:
        self._open = ""

    def handle_data(self, data: str) -> None:
        if self._open in ("script", "style"):
            self.raw[self._open] = self.raw.get(self._open, "") + data
        else:
            self.words.append(data)

    def values(self, name: str) -> list[str]:
        return [attributes[name] for _, attributes in self.tags if name in attributes]


def written(tmp_path: Path, data: dict[str, Any], **options: Any) -> Path:
    report.write(data, tmp_path, **{"now": NOW} | options)
    return tmp_path


def page(tmp_path: Path, data: dict[str, Any], **options: Any) -> Page:
    return Page((written(tmp_path, data, **options) / "report.html").read_text(encoding="utf-8"))


# --- the document


def test_every_artefact_is_readable_by_its_owner_only_even_over_an_older_open_one(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "run"
    folder.mkdir(parents=True)
    older = folder / "report.json"
    older.write_text("older")
    older.chmod(0o666)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text("kept")
    (folder / "badge.svg").symlink_to(elsewhere)
    paths = report.write(report_data(20), folder, now=NOW)
    assert [path.name for path in paths] == ["report.json", "report.html", "junit.xml", "badge.svg", "evidence.har"]
    assert {stat.S_IMODE(path.lstat().st_mode) for path in paths} == {0o600}
    assert elsewhere.read_text() == "kept"
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in paths)


def test_only_the_formats_asked_for_are_written(tmp_path: Path) -> None:
    assert [path.name for path in report.write(report_data(5), tmp_path, ["badge"], now=NOW)] == ["badge.svg"]
    assert [path.name for path in tmp_path.iterdir()] == ["badge.svg"]


def test_the_json_master_says_exactly_what_it_was_given(tmp_path: Path) -> None:
    data = report_data(20)
    assert json.loads((written(tmp_path, data) / "report.json").read_text(encoding="utf-8")) == data


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("evidence", 0, "request", "headers", 1), ["Authorization", "Basic YWdlbnQ6c2VjcmV0"]),
        (("evidence", 0, "request", "headers", 1), ["authorization", "Bearer abc"]),
        (("evidence", 0, "request", "headers", 1), ["X-API-Key", "abc"]),
        (("evidence", 0, "response", "headers", 1), ["Set-Cookie", "session=abc; Path=/"]),
        (("evidence", 0, "request", "url"), "https://agent:secret@metier.exemple.fr/"),
    ],
)
def test_a_readable_credential_is_refused_and_nothing_is_written(
    tmp_path: Path, where: tuple[Any, ...], value: Any
) -> None:
    data = report_data(5, sealed=False)
    holder: Any = data
    for step in where[:-1]:
        holder = holder[step]
    holder[where[-1]] = value
    with pytest.raises(ValidationError, match="must"):
        report.write(seal(data), tmp_path / "run", now=NOW)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("value", ["***", "Basic ***", "Bearer [masqué]", "[masqué]", "Basic <redacted>", ""])
def test_masked_credentials_are_accepted(tmp_path: Path, value: str) -> None:
    data = report_data(5, sealed=False)
    data["evidence"][0]["request"]["headers"][1] = ["Authorization", value]
    data["evidence"][1]["request"]["url"] = "https://[masqué]@metier.exemple.fr/?q=1"
    assert len(report.write(seal(data), tmp_path, now=NOW)) == 5


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda data: data.update(extra=1), "extra"),
        (lambda data: data["outcomes"][0].update(extra=1), "extra"),
        (lambda data: data["profiles"][0]["counts"].update({"pass": 0}), "count of pass"),
        (lambda data: data["outcomes"][0].update(evidence=[99]), "not in the report"),
        (lambda data: data["outcomes"][0].update(evidence=[-1]), "not in the report"),
        (lambda data: data["outcomes"][0].update(status="ok"), "status"),
        (lambda data: data["outcomes"][0].update(profile="other"), "unknown profile"),
        (lambda data: data["outcomes"].append(data["outcomes"][0]), "twice"),
        (lambda data: data["run"].update(seed="12"), "seed"),
        (lambda data: data["run"].update(ended="2026-03-14 09:31"), "written"),
        (lambda data: data.update(head=""), "head"),
        (lambda data: data.update(schema=2), "schema"),
    ],
)
def test_data_of_another_shape_is_refused(tmp_path: Path, change: Any, told: str) -> None:
    data = deepcopy(report_data(10))
    change(data)
    with pytest.raises(ValidationError, match=told):
        report.write(data, tmp_path, now=NOW)


# --- the page


def test_a_thousand_outcomes_make_a_page_under_two_megabytes(tmp_path: Path) -> None:
    data = report_data(1000)
    assert {outcome["status"] for outcome in data["outcomes"]} == {"pass", "omit", "skip", "warn", "fail", "error"}
    shown = page(tmp_path, data)
    assert (tmp_path / "report.html").stat().st_size < 2_000_000
    for outcome in data["outcomes"]:
        assert outcome["case"] in shown.text


@pytest.mark.parametrize("filling", ["<&>", '"', "é", "\x00", "a"])
def test_bodies_that_grow_when_escaped_do_not_break_the_limit(tmp_path: Path, filling: str) -> None:
    data = report_data(1000, sealed=False)
    for evidence in data["evidence"]:
        if evidence["response"]:
            evidence["response"]["body"] = filling * 8000
    written(tmp_path, seal(data), formats=["html"])
    assert (tmp_path / "report.html").stat().st_size <= LIMIT


def test_the_page_is_whole_without_any_other_file(tmp_path: Path) -> None:
    shown = page(tmp_path, report_data(50))
    assert not {"link", "img", "iframe", "object", "embed", "base", "form"} & {tag for tag, _ in shown.tags}
    assert shown.values("src") == []
    links = [link for link in shown.values("href") if not link.startswith("#")]
    assert links == ["https://metier.exemple.fr"]
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest|import\(", shown.raw["style"] + shown.raw["script"])


def test_the_page_lets_nothing_run_but_its_own_script(tmp_path: Path) -> None:
    shown = page(tmp_path, report_data(50))
    policy = next(attributes["content"] for tag, attributes in shown.tags if attributes.get("http-equiv"))
    for kind in ("script", "style"):
        digest = base64.b64encode(hashlib.sha256(shown.raw[kind].encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert shown.values("style") == []  # the policy would refuse them


def poisoned(data: dict[str, Any], payload: str) -> dict[str, Any]:
    """The payload in every text that a target, or who declares it, can choose."""
    bodies = data["evidence"][0]
    bodies["request"] |= {"url": "https://metier.exemple.fr/" + payload, "body": payload, "method": "GET"}
    bodies["request"]["headers"].append(["X-" + payload, payload])
    bodies["response"] |= {"body": payload, "reason": payload}
    bodies["response"]["headers"].append([payload, payload])
    bodies["error"] = payload
    both = {"fr": payload, "en": payload}
    data["target"] |= dict.fromkeys(("name", "base_url", "contact", "software", "version"), payload)
    data["run"]["command"] = payload
    data["suite"] |= {"name": payload, "version": payload}
    data["requirements"]["version"] = payload
    for number, outcome in enumerate(data["outcomes"]):
        outcome |= {"title": both, "message": both, "consequence": both, "remedy": both, "replay": payload}
        outcome |= {"id": f"{number}{payload}", "case": f"{payload}{number}", "check": f"{payload}{number % 3}"}
        outcome["requirements"] = [{"id": payload, "level": "MUST", "sentence": both, "source": payload}]
        outcome["caller"] = [{"row": payload, "effect": both, "source": payload}]
        outcome["waiver"] = {"reason": payload, "author": payload, "until": "2026-12-31"}
    for number, profile in enumerate(data["profiles"]):
        for outcome in data["outcomes"]:
            outcome["profile"] = outcome["profile"].replace(profile["id"], f"p{number}{payload}")
        profile |= {"id": f"p{number}{payload}", "title": both, "why": both}
    data["waivers"] = [
        {"requirement": payload, "case": payload, "reason": payload, "author": payload, "until": "2026-12-31"}
    ]
    return seal(data)


PAYLOADS = [
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    '"><svg onload=alert(1)>',
    "' onmouseover='alert(1)",
    "--></style><script>alert(1)</script><!--",
    "{{ 7*7 }}{% raw %}",
    "javascript:alert(1)",
    "]]><script>alert(1)</script>",
    "&lt;b&gt;",
]


@pytest.mark.parametrize("payload", PAYLOADS)
def test_nothing_a_target_says_becomes_markup(tmp_path: Path, payload: str) -> None:
    plain = page(tmp_path / "plain", report_data(30))
    shown = page(tmp_path / "poisoned", poisoned(report_data(30, sealed=False), payload))
    kinds = {tag for tag, _ in plain.tags} | {"br"}
    assert {tag for tag, _ in shown.tags} <= kinds
    assert Counter(tag for tag, _ in shown.tags)["script"] == 1
    assert not [name for _, attributes in shown.tags for name in attributes if name.startswith("on")]
    assert [link for link in shown.values("href") if not link.startswith("#")] == []
    assert payload in shown.text
    assert shown.text.count(payload) > 100
    # The same text in the other artefacts: each still parses, and holds it as text.
    badge = ElementTree.parse(tmp_path / "poisoned" / "badge.svg").getroot()
    assert {element.tag for element in badge.iter()} == {
        f"{SVG}{name}" for name in ("svg", "title", "g", "path", "text")
    }
    assert payload in "".join(badge.itertext())
    junit = ElementTree.parse(tmp_path / "poisoned" / "junit.xml").getroot()
    assert "script" not in {element.tag for element in junit.iter()}
    har = json.loads((tmp_path / "poisoned" / "evidence.har").read_text(encoding="utf-8"))
    assert har["log"]["entries"][0]["response"]["content"]["text"] == payload


def test_what_does_not_show_is_made_visible(tmp_path: Path) -> None:
    data = report_data(10, sealed=False)
    data["evidence"][0]["response"]["body"] = "\ufeff{\x00\x1b[31m\u202e}"
    shown = page(tmp_path, seal(data))
    assert "⟨U+FEFF⟩{⟨U+0000⟩⟨U+001B⟩[31m⟨U+202E⟩}" in shown.text


def test_both_languages_are_in_the_page_and_one_is_chosen(tmp_path: Path) -> None:
    for language, other in (("fr", "en"), ("en", "fr")):
        shown = page(tmp_path / language, report_data(60), language=language)
        choices = {attributes["id"]: attributes for tag, attributes in shown.tags if attributes.get("type") == "radio"}
        assert "checked" in choices[language]
        assert "checked" not in choices[other]
        assert dict(shown.tags)["html"]["lang"] == language
        for words in ("À faire d'abord", "What to do first", "La longitude vient avant", "Longitude comes before"):
            assert words in shown.text
        assert shown.values("lang").count("fr") - shown.values("lang").count("en") in (1, -1)  # <html> itself


def test_ids_are_unique_and_every_inner_link_leads_somewhere(tmp_path: Path) -> None:
    data = report_data(300)
    shown = page(tmp_path, data)
    ids = Counter(shown.values("id"))
    assert [name for name, times in ids.items() if times > 1] == []
    assert {link[1:] for link in shown.values("href") if link.startswith("#")} <= set(ids)
    assert {f"e{number}" for number in range(len(data["evidence"]))} <= set(ids)


def test_a_director_reads_the_verdicts_and_the_first_steps_before_any_detail(tmp_path: Path) -> None:
    text = page(tmp_path, sign(report_data(1000), KEY, now=NOW)).text
    assert "Rapport signé" in text
    assert "3 profils conformes sur 7." in text
    assert "4 exigences obligatoires ne sont pas tenues." in text
    for words in ("Non conforme", "Un usager lit la facture de son voisin.", "Vérifiez NameID à chaque lecture."):
        assert text.index(words) < text.index("Le détail, pour qui corrige")


def test_a_developer_reads_requirement_source_exchange_and_replay(tmp_path: Path) -> None:
    text = page(tmp_path, report_data(1000)).text
    detail = text[text.index("Le détail, pour qui corrige") :]
    for words in (
        "PUB-BILL-7",
        "Une facture d'un autre débiteur est introuvable (404).",
        "Source : ",
        "publik-contracts §2",
        "w.c.s. tient la réponse pour un succès et continue le traitement.",
        "curl -sS -u '***' 'https://metier.exemple.fr/regie/invoices/",
        '"text": "Dossier n° 88 — école Pasteur"',
        "Authorization: Basic ***",
    ):
        assert words in detail, words


def test_a_perfect_signed_report_is_a_certificate_and_an_unsigned_one_is_not(tmp_path: Path) -> None:
    perfect = report_data(70, perfect=True)
    certified = page(tmp_path / "a", sign(perfect, KEY, now=NOW)).text
    assert "Certificat de conformité" in certified
    assert "Le service tient tout ce que le contrat exige" in certified
    assert "Rien : aucune exigence vérifiée n'est en échec." in certified
    alone = page(tmp_path / "b", perfect).text
    assert "Certificat de conformité" not in alone
    assert "aucune : auto-contrôle" in alone


def test_an_expired_report_says_so_first(tmp_path: Path) -> None:
    data = sign(report_data(70, perfect=True), KEY, now=NOW)
    assert "Périmé depuis" not in page(tmp_path / "a", data).text
    text = page(tmp_path / "b", data, now=LATER).text
    first = text[: text.index("Certificat de conformité")]
    assert "Périmé depuis" in first
    assert "14 mars 2027" in first


def test_waivers_are_shown_with_reason_author_and_end_and_an_ended_one_is_marked(tmp_path: Path) -> None:
    text = page(tmp_path, report_data(1000)).text
    table = text[text.index("Dérogations") : text.index("Le détail, pour qui corrige")]
    assert "Correctif livré en version 4.3 DSI de Rouville 2026-09-30" in table
    assert "Reprise de données DSI de Rouville 2026-01-31 échue, ignorée" in table


def test_a_waived_failure_is_not_among_the_first_steps_but_an_ended_waiver_hides_nothing(tmp_path: Path) -> None:
    def steps(until: str) -> str:
        data = report_data(7, perfect=True, sealed=False)
        data["outcomes"][0] |= {"status": "fail", "waiver": {"reason": "r", "author": "a", "until": until}}
        data["profiles"][0]["counts"] |= {"pass": 0, "fail": 1}
        data["profiles"][0]["verdict"] = "partial"
        text = page(tmp_path / until, seal(data)).text
        return text[text.index("À faire d'abord") : text.index("Verdict par profil")]

    assert "adresse" not in steps("2026-12-31")
    assert "L'adresse de chaque réponse est absolue" in steps("2026-01-01")


def test_requirements_that_no_check_decides_stay_apart(tmp_path: Path) -> None:
    data = report_data(21, perfect=True, sealed=False)
    for number, outcome in enumerate(row for row in data["outcomes"] if row["profile"] == "search"):
        outcome |= {"check": "", "title": {"fr": f"Sans contrôle {number}", "en": f"No check {number}"}}
    shown = page(tmp_path, seal(data))
    assert [f"Sans contrôle {number}" in shown.text for number in range(3)] == [True] * 3


def test_a_hostile_profile_name_cannot_hide_another(tmp_path: Path) -> None:
    data = report_data(14, perfect=True, sealed=False)
    data["profiles"][0]["id"] = data["profiles"][1]["id"]
    with pytest.raises(ValidationError, match="same id"):
        report.write(seal(data), tmp_path, now=NOW)


# --- the badge


def colours(tmp_path: Path, data: dict[str, Any], now: datetime) -> tuple[set[str], str]:
    root = ElementTree.parse(written(tmp_path, data, now=now) / "badge.svg").getroot()
    return {path.get("fill", "") for path in root.iter(f"{SVG}path")}, " ".join(root.itertext())


def test_a_badge_says_profiles_verdicts_dates_key_and_version(tmp_path: Path) -> None:
    fills, words = colours(tmp_path, sign(report_data(1000), KEY, now=NOW), NOW)
    assert {"#1d6f42", "#a3261d", "#8a5a00"} <= fills
    for word in ("Liste de choix", "non conforme", "14/03/2026 → 30/09/2026", "signé", "contract-tests 0.1.0", "test"):
        assert word in words


def test_a_badge_is_grey_once_expired(tmp_path: Path) -> None:
    fills, words = colours(tmp_path, sign(report_data(100, perfect=True), KEY, now=NOW), LATER)
    assert "#1d6f42" not in fills
    assert "#6b7280" in fills
    assert "périmé depuis le 14/03/2027" in words


def test_an_unsigned_badge_says_that_it_is_a_self_check(tmp_path: Path) -> None:
    assert "auto-contrôle" in colours(tmp_path, report_data(70, perfect=True), NOW)[1]


def test_a_badge_without_any_tested_profile_is_grey(tmp_path: Path) -> None:
    data = report_data(7, perfect=True, sealed=False)
    data |= {"outcomes": [], "evidence": []}
    for profile in data["profiles"]:
        profile |= {"verdict": "not-tested", "counts": dict.fromkeys(profile["counts"], 0)}
    fills, words = colours(tmp_path, seal(data), NOW)
    assert "#1d6f42" not in fills
    assert "non testé" in words


# --- for other tools


def test_junit_counts_what_the_report_counts(tmp_path: Path) -> None:
    data = report_data(1000)
    root = ElementTree.parse(written(tmp_path, data) / "junit.xml").getroot()
    statuses = Counter(outcome["status"] for outcome in data["outcomes"])
    assert root.get("tests") == str(len(root.findall(".//testcase"))) == "1000"
    # One failure is under a live waiver: skipped, with its reason; the one whose waiver ended still fails.
    assert root.get("failures") == str(len(root.findall(".//failure"))) == str(statuses["fail"] - 1)
    assert root.get("errors") == str(len(root.findall(".//error"))) == str(statuses["error"])
    assert root.get("skipped") == str(statuses["skip"] + statuses["omit"] + 1)
    assert len(root.findall(".//system-out")) == statuses["warn"]
    waived = [node for node in root.iter("skipped") if "Correctif livré" in (node.get("message") or "")]
    assert len(waived) == 1
    failure = root.find(".//failure[@type='PUB-BILL-7']")
    assert failure is not None
    for words in ("MUST", "publik-contracts §2", "Vérifiez NameID", "curl"):
        assert words in (failure.text or "")


def test_junit_survives_control_characters(tmp_path: Path) -> None:
    data = report_data(10, sealed=False)
    data["outcomes"][0]["case"] = "\x00\x0b\x1b\ufffe"
    data["outcomes"][0] |= {"status": "fail", "id": "\x01", "message": {"fr": "\x02", "en": "\x03"}}
    data["profiles"][0]["counts"] |= {"pass": 1, "fail": 1}
    ElementTree.parse(written(tmp_path, seal(data)) / "junit.xml")


def test_the_archive_holds_every_exchange_with_its_digest(tmp_path: Path) -> None:
    data = report_data(60, sealed=False)
    binary = base64.b64encode(b"%PDF\xff").decode()
    data["evidence"][1]["response"] |= {"body": None, "body_base64": binary}
    data["evidence"][2]["request"] |= {"body": '{"a": "é"}', "url": "https://metier.exemple.fr/a?x=1&x=&é=%C3%A9#z"}
    data["evidence"][3] |= {"response": None, "error": "connexion refusée"}
    data = seal(data)
    log = json.loads((written(tmp_path, data) / "evidence.har").read_text(encoding="utf-8"))["log"]
    assert log["version"] == "1.2"
    entries = log["entries"]
    assert [entry["_digest"] for entry in entries] == [evidence["digest"] for evidence in data["evidence"]]
    assert entries[1]["response"]["content"] == {
        "size": 5,
        "mimeType": "application/json; charset=utf-8",
        "text": binary,
        "encoding": "base64",
    }
    assert entries[2]["request"]["postData"]["text"] == '{"a": "é"}'
    assert entries[2]["request"]["bodySize"] == 11
    assert [(pair["name"], pair["value"]) for pair in entries[2]["request"]["queryString"]] == [
        ("x", "1"),
        ("x", ""),
        ("é", "é"),
    ]
    assert (entries[3]["response"]["status"], entries[3]["_error"]) == (0, "connexion refusée")


# --- the terminal


def told(data: dict[str, Any], **options: Any) -> str:
    console = Console(file=io.StringIO(), width=140, force_terminal=False)
    console.print(report.summary(data, **options))
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_terminal_tells_each_verdict_then_what_to_do_first() -> None:
    text = told(report_data(1000))
    assert re.search(r"✘\s+Facturation \(régie\)\s+Non conforme\s+117", text)
    assert text.index("Non conforme") < text.index("1. La facture d'un autre reste secrète")
    assert text.index("1. La facture") < text.index("2. Le montant")
    english = told(report_data(1000), language="en", steps=2)
    assert "What to do first" in english
    assert "… and 3 more in the report" in english
    assert "À faire" not in english


def test_a_target_cannot_write_on_the_terminal() -> None:
    data = poisoned(report_data(14, sealed=False), "\x1b[2J\x9b31m[bold]\r\x07")
    data["outcomes"][0]["status"] = "fail"
    data["outcomes"][0]["waiver"] = None
    data["profiles"][0]["counts"] |= {"pass": 1, "fail": 1}
    text = told(seal(data))
    assert not set(text) & {"\x1b", "\x9b", "\r", "\x07"}
    assert "⟨U+001B⟩[2J⟨U+009B⟩31m[bold]" in text


# --- read by everybody


def _luminance(colour: str) -> float:
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    channels = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_every_colour_of_a_text_stands_out_on_every_ground_in_light_and_dark(tmp_path: Path) -> None:
    style = page(tmp_path, report_data()).raw["style"]
    themes = [dict(re.findall(r"--(\w+):(#[0-9a-f]+)", block)) for block in re.findall(r":root\{([^}]*)\}", style)]
    themes = [theme for theme in themes if "ink" in theme]
    assert len(themes) == 2
    for theme in themes:
        for text in ("ink", "soft", "gilt", "deep", "pass", "warn", "fail", "skip", "omit", "error"):
            for ground in ("paper", "card", "tint"):
                low, high = sorted((_luminance(theme[text]), _luminance(theme[ground])))
                assert (high + 0.05) / (low + 0.05) >= 4.5, (text, ground)


def test_what_holds_is_folded_and_what_does_not_is_in_sight(tmp_path: Path) -> None:
    shown = page(tmp_path, report_data(200))
    inside, folded, open_ = 0, 0, 0
    for tag, attributes in shown.tags:
        classes = attributes.get("class", "").split()
        inside = inside or int(tag == "details" and "held" in classes)
        if tag == "section":
            inside = 0
        if tag == "details" and "g" in classes:
            assert ("bad" in classes) != bool(inside)
            folded, open_ = folded + bool(inside), open_ + (not inside)
    assert folded
    assert open_


def test_a_report_that_could_not_judge_says_what_is_missing(tmp_path: Path) -> None:
    data = report_data()
    text = page(tmp_path, data).text
    unknown = [one for one in data["outcomes"] if one["status"] in ("skip", "error")]
    musts = [one for one in unknown if any(each["level"] == "MUST" for each in one["requirements"])]
    assert musts
    assert "Ce qui manque pour juger les obligations restées sans réponse" in text
    assert musts[0]["message"]["fr"] in text[: text.index("Le détail, pour qui corrige")]


def test_nothing_of_the_page_needs_a_script_to_be_read(tmp_path: Path) -> None:
    shown = page(tmp_path, report_data())
    hidden = {attributes.get("id") for _, attributes in shown.tags if "hidden" in attributes}
    assert hidden == {"print", "tools", "none"}  # what only a script can serve
