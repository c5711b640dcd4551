"""PUB-ROB: whatever is sent, never a 5xx."""

from __future__ import annotations

import json
from typing import Any

from contract_tests.core.answer import Answer
from contract_tests.core.case import Case
from contract_tests.core.check import Omitted, Skipped, check, expect
from contract_tests.core.endpoints import Call, Endpoint
from contract_tests.text import Text

CRASH = Text(
    "Une saisie inhabituelle fait tomber le service, et le workflow s'arrête en erreur 5xx.",
    "An unusual input brings the service down, and the workflow stops on a 5xx error.",
)
STRANGE = (
    ("%00 et \x01", "\x00\x01\u202e"),
    ("SQL", "' OR 1=1 --"),
    ("modèle", "{{ 7*7 }}${7*7}<%= 7*7 %>"),
    ("chemin", "../../../../etc/passwd"),
    ("4 000 caractères", "a" * 4000),
)


async def _with_body(case: Case, body: bytes) -> Answer:
    call = case.endpoint.takes()
    assert call is not None
    usual = await case.ask(call)
    if not usual.favourable:
        raise Skipped(Text("l'appel ordinaire ne réussit pas", "the ordinary call does not succeed"), usual)
    return await case.ask(Call(call.method, call.path, call.params, body, writes=True))


def _stands(answer: Answer, what: str) -> None:
    said = answer.status or answer.exchange.trouble
    expect(answer.complete and answer.status < 500, f"{what} : HTTP {said}", f"{what}: HTTP {said}", answer)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()


@check(
    "PUB-ROB-1",
    writes=True,
    title=Text("Un corps mal formé est refusé", "A malformed body is refused"),
    consequence=CRASH,
    remedy=Text("Répondre 400 avec l'enveloppe.", "Answer 400 with the envelope."),
)
async def malformed_body_is_refused(case: Case, endpoint: Endpoint) -> None:
    for body in (b'{"a": ', b"\xff\xfe\x00", b"a=1&b=2"):
        answer = await _with_body(case, body)
        said = f"HTTP {answer.status or answer.exchange.trouble}"
        refused = 400 <= answer.status < 500 or (answer.failure and answer.status < 500)
        expect(refused, said, said, answer)


@check(
    "PUB-ROB-2",
    writes=True,
    title=Text("Un corps d'un autre type ne casse rien", "A body of another type breaks nothing"),
    consequence=CRASH,
    remedy=Text("Vérifier que le corps est un objet.", "Verify that the body is an object."),
)
async def other_types_break_nothing(case: Case, endpoint: Endpoint) -> None:
    values: tuple[Any, ...] = ([], "texte", 12, None)
    for value in values:
        _stands(await _with_body(case, _json(value)), _json(value).decode())


@check(
    "PUB-ROB-3",
    writes=True,
    title=Text("Un champ inconnu ne casse rien", "An unknown field breaks nothing"),
    consequence=CRASH,
    remedy=Text("Ignorer le champ, ou le refuser par 400.", "Ignore the field, or refuse it with 400."),
)
async def unknown_field_breaks_nothing(case: Case, endpoint: Endpoint) -> None:
    name = case.nonsense("field")
    _stands(await _with_body(case, _json({**endpoint.body_example(), name: "1"})), name)


@check(
    "PUB-ROB-4",
    writes=True,
    title=Text("Un champ d'un mauvais type ne casse rien", "A field of the wrong type breaks nothing"),
    consequence=CRASH,
    remedy=Text("Vérifier le type de chaque champ.", "Verify the type of every field."),
)
async def wrong_types_break_nothing(case: Case, endpoint: Endpoint) -> None:
    values: tuple[Any, ...] = ({"a": [1]}, [[]], True)
    for name in list(endpoint.body_example())[:4]:
        for value in values:
            body = _json({**endpoint.body_example(), name: value})
            _stands(await _with_body(case, body), f"{name} = {json.dumps(value)}")


@check(
    "PUB-ROB-5",
    writes=True,
    title=Text("Un champ très long ne casse rien", "A very long field breaks nothing"),
    consequence=CRASH,
    remedy=Text("Limiter les longueurs, et refuser par 400 ou 413.", "Limit lengths, refuse with 400 or 413."),
)
async def long_field_breaks_nothing(case: Case, endpoint: Endpoint) -> None:
    name = next((key for key, value in endpoint.body_example().items() if isinstance(value, str)), None)
    if name is None:
        raise Omitted(Text("aucun champ de texte", "no text field"))
    body = _json({**endpoint.body_example(), name: "a" * case.limits.long_text})
    _stands(await _with_body(case, body), f"{name} (1 Mo)")


@check(
    "PUB-ROB-6",
    writes=True,
    title=Text("Un JSON très imbriqué ne casse rien", "Deeply nested JSON breaks nothing"),
    consequence=CRASH,
    remedy=Text("Limiter la profondeur du JSON lu.", "Limit the depth of the JSON read."),
)
async def deep_json_breaks_nothing(case: Case, endpoint: Endpoint) -> None:
    _stands(await _with_body(case, b'{"a":' * 1000 + b"1" + b"}" * 1000), "1000 × {")


@check(
    "PUB-ROB-7",
    title=Text("Un paramètre étrange ne casse rien", "A strange parameter breaks nothing"),
    consequence=CRASH,
    remedy=Text(
        "Traiter les paramètres comme du texte quelconque, et refuser par 400.",
        "Treat parameters as any text, and refuse with 400.",
    ),
)
async def strange_parameters_break_nothing(case: Case, endpoint: Endpoint) -> None:
    call = case.reading()
    usual = await case.ask(call)
    if not usual.complete or usual.status >= 500:
        raise Skipped(Text("l'appel ordinaire ne réussit pas", "the ordinary call does not succeed"), usual)
    name = call.params[-1][0] if call.params else "q"
    for what, value in STRANGE:
        _stands(await case.ask(call.adding((name, value))), f"{name} ({what})")
    _stands(await case.ask(call.adding((name, "a"), (name, "b"))), f"{name} × 2")


@check(
    "PUB-ROB-8",
    title=Text("La même lecture donne la même réponse", "The same reading gives the same answer"),
    consequence=Text(
        "L'usager voit un contenu différent à chaque page, sans raison.",
        "The user sees different content on every page, without reason.",
    ),
    remedy=Text(
        "Chercher deux serveurs mal synchronisés, ou un cache partiel.",
        "Look for two servers out of step, or a partial cache.",
    ),
)
async def same_reading_same_answer(case: Case, endpoint: Endpoint) -> None:
    call = case.reading()
    first = await case.ask(call, fresh=True)
    if not first.favourable:
        raise Skipped(Text("l'appel ordinaire ne réussit pas", "the ordinary call does not succeed"), first)
    for _ in range(2):
        again = await case.ask(call, fresh=True)
        expect(
            again.status == first.status and again.favourable and _shape(again) == _shape(first),
            f"HTTP {first.status} puis {again.status or again.exchange.trouble}, ou un autre contenu",
            f"HTTP {first.status} then {again.status or again.exchange.trouble}, or other content",
            again,
        )


def _shape(answer: Answer) -> Any:
    """What must not change: the members, and how many rows; their values and order have checks of their own."""
    value = answer.envelope
    if value is None:
        return None
    return {name: len(held) if isinstance(held, list) else type(held).__name__ for name, held in value.items()}
