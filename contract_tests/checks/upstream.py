"""PUB-UP: when the software behind the service misbehaves. Only who can make it misbehave runs these."""

from __future__ import annotations

from contract_tests.core.case import Case
from contract_tests.core.check import Omitted, Skipped, check, expect
from contract_tests.core.endpoints import Endpoint
from contract_tests.text import Text

SILENCE = Text(
    "L'usager voit une liste vide, ou croit sa demande faite, alors que rien n'a fonctionné.",
    "The user sees an empty list, or believes the request done, while nothing worked.",
)


async def _while(case: Case, fault: str) -> None:
    assert case.target.upstream is not None
    call = case.plain()
    usual = await case.ask(call)
    if not usual.favourable:
        raise Skipped(Text("l'appel ordinaire ne réussit pas", "the ordinary call does not succeed"), usual)
    async with case.target.upstream(fault):
        answer = await case.ask(call, fresh=True)
    if answer.favourable and answer.body == usual.body:
        raise Omitted(Text("la réponse ne dépend pas du logiciel métier", "the answer does not depend on it"), answer)
    expect(
        answer.failure and answer.elapsed < case.limits.answer,
        f"HTTP {answer.status or answer.exchange.trouble} en {answer.elapsed:.1f} s",
        f"HTTP {answer.status or answer.exchange.trouble} in {answer.elapsed:.1f} s",
        answer,
    )


@check(
    "PUB-UP-1",
    feature="upstream",
    title=Text("Un logiciel arrêté est un échec clair", "A software that is down is a clear failure"),
    consequence=SILENCE,
    remedy=Text("Répondre 502 ou 503 avec err 1.", "Answer 502 or 503 with err 1."),
)
async def down_is_a_failure(case: Case, endpoint: Endpoint) -> None:
    await _while(case, "down")


@check(
    "PUB-UP-2",
    feature="upstream",
    title=Text("Un logiciel muet est un échec rapide", "A silent software is a swift failure"),
    consequence=SILENCE,
    remedy=Text(
        "Limiter l'attente, et répondre 504 avant 28 secondes.", "Limit waiting, and answer 504 before 28 seconds."
    ),
)
async def silence_is_a_failure(case: Case, endpoint: Endpoint) -> None:
    await _while(case, "hang")


@check(
    "PUB-UP-3",
    feature="upstream",
    title=Text("Une réponse insensée est un échec clair", "A senseless answer is a clear failure"),
    consequence=SILENCE,
    remedy=Text("Vérifier ce que répond le logiciel métier.", "Verify what the business software answers."),
)
async def garbage_is_a_failure(case: Case, endpoint: Endpoint) -> None:
    await _while(case, "garbage")
