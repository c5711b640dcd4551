"""What other tools read: JUnit XML for a continuous integration, an HTTP Archive for a browser's network panel."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any
from urllib.parse import parse_qsl
from xml.etree import ElementTree

from contract_tests.shape import Evidence, Outcome, Report, visible
from contract_tests.text import Language


def junit(report: Report, language: Language = "fr") -> bytes:
    """JUnit XML, one suite per profile. *warn* passes, with its text; a waived failure is *skipped* with its reason."""
    root = ElementTree.Element("testsuites", name=f"{report.suite.name} {report.suite.version}")
    for profile in report.profiles:
        cases = [outcome for outcome in report.outcomes if outcome.profile == profile.id]
        suite = ElementTree.SubElement(root, "testsuite", name=profile.id, timestamp=report.run.started.rstrip("Z"))
        totals = Counter[str](tests=len(cases))
        for outcome in cases:
            elapsed = sum(report.evidence[index].elapsed_ms for index in outcome.evidence) / 1000
            case = ElementTree.SubElement(
                suite,
                "testcase",
                classname=f"{profile.id}.{outcome.check or 'untested'}",
                name=visible(outcome.id),
                time=f"{elapsed:.3f}",
            )
            ids = " ".join(requirement.id for requirement in outcome.requirements)
            message = visible(outcome.message.to(language))
            tag = {"omit": "skipped", "skip": "skipped", "fail": "failure", "error": "error"}.get(outcome.status)
            if outcome.status == "fail" and outcome.waiver is not None and report.waived(outcome):
                tag = "skipped"
                message = f"{outcome.waiver.reason} ({outcome.waiver.author}, → {outcome.waiver.until}) — {message}"
            if tag:
                totals[tag] += 1
                verdict = ElementTree.SubElement(case, tag, message=visible(message))
                if tag != "skipped":
                    verdict.set("type", ids)
                    verdict.text = visible("\n".join(_lines(outcome, language)))
            elif outcome.status == "warn":
                ElementTree.SubElement(case, "system-out").text = visible(
                    "\n".join((f"WARN {ids}", *_lines(outcome, language)))
                )
        for attribute, tag in (
            ("tests", "tests"),
            ("failures", "failure"),
            ("errors", "error"),
            ("skipped", "skipped"),
        ):
            suite.set(attribute, str(totals[tag]))
            root.set(attribute, str(int(root.get(attribute, "0")) + totals[tag]))
    return bytes(ElementTree.tostring(root, encoding="utf-8", xml_declaration=True))


def _lines(outcome: Outcome, language: Language) -> list[str]:
    sentences = [f"{r.id} {r.level}: {r.sentence.to(language)} [{r.source}]" for r in outcome.requirements]
    texts = [outcome.message.to(language), outcome.consequence.to(language), *sentences, outcome.remedy.to(language)]
    return [line for line in (*texts, outcome.replay) if line]


def har(report: Report) -> dict[str, Any]:
    """The evidence as an HTTP Archive 1.2, for a browser's network panel; `_digest` ties an entry to the report."""
    return {
        "log": {
            "version": "1.2",
            "creator": {"name": report.suite.name, "version": report.suite.version},
            "comment": f"run {report.run.id}, {report.head}",
            "entries": [_entry(evidence) for evidence in report.evidence],
        }
    }


def _entry(evidence: Evidence) -> dict[str, Any]:
    request, answer = evidence.request, evidence.response
    sent: dict[str, Any] = {
        "method": request.method,
        "url": request.url,
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": _pairs(request.headers),
        "queryString": _pairs(parse_qsl(request.url.partition("#")[0].partition("?")[2], keep_blank_values=True)),
        "headersSize": -1,
        "bodySize": _size(request.body, request.body_base64),
    }
    if request.body is not None or request.body_base64 is not None:
        sent["postData"] = {"mimeType": _media_type(request.headers), "text": request.body or ""}
        if request.body_base64 is not None:
            sent["postData"] |= {"text": request.body_base64, "comment": "base64"}
    body = answer.body if answer else None
    binary = answer.body_base64 if answer else None
    headers = answer.headers if answer else []
    content: dict[str, Any] = {
        "size": max(_size(body, binary), 0),
        "mimeType": _media_type(headers),
        "text": body or "",
    }
    if binary is not None:
        content |= {"text": binary, "encoding": "base64"}
    if answer and answer.truncated:
        content["comment"] = "truncated"
    received = {
        "status": answer.status if answer else 0,
        "statusText": answer.reason if answer else "",
        "httpVersion": "HTTP/1.1",
        "cookies": [],
        "headers": _pairs(headers),
        "content": content,
        "redirectURL": next((value for name, value in headers if name.lower() == "location"), ""),
        "headersSize": -1,
        "bodySize": _size(body, binary),
    }
    entry = {
        "startedDateTime": evidence.started,
        "time": evidence.elapsed_ms,
        "request": sent,
        "response": received,
        "cache": {},
        "timings": {"send": 0, "wait": evidence.elapsed_ms, "receive": 0},
        "_digest": evidence.digest,
    }
    return entry | ({"_error": evidence.error} if evidence.error else {})


def _pairs(pairs: Iterable[Iterable[str]]) -> list[dict[str, str]]:
    return [{"name": name, "value": value} for name, value in pairs]


def _media_type(headers: list[list[str]]) -> str:
    return next((value for name, value in headers if name.lower() == "content-type"), "")


def _size(body: str | None, binary: str | None) -> int:
    if binary is not None:
        return len(binary.rstrip("=")) * 3 // 4
    return -1 if body is None else len(body.encode(errors="replace"))
