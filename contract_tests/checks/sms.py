"""PUB-SMS: an SMS gateway. Every check sends messages: `to` of the target really receives them."""

from __future__ import annotations

from contract_tests.core.answer import Answer
from contract_tests.core.case import Case
from contract_tests.core.check import Skipped, check, expect
from contract_tests.core.endpoints import Sms
from contract_tests.text import Text


def _sent(answer: Answer) -> bool:
    return answer.status == 200 and answer.favourable


def _judge(answer: Answer) -> None:
    said = f"HTTP {answer.status}, err {(answer.envelope or {}).get('err')}"
    expect(_sent(answer), said, said, answer)


async def _usual(case: Case, endpoint: Sms) -> None:
    answer = await case.ask(endpoint.message())
    if not _sent(answer):
        raise Skipped(Text("le message simple est refusé", "the plain message is refused"), answer)


@check(
    "PUB-SMS-1",
    writes=True,
    title=Text("Le message est accepté par un 200", "The message is accepted by a 200"),
    consequence=Text(
        "w.c.s. journalise un échec alors que le message est parti : il sera envoyé deux fois.",
        "w.c.s. records a failure though the message left: it will be sent twice.",
    ),
    remedy=Text("Répondre 200, et non 201 ou 202.", "Answer 200, not 201 or 202."),
)
async def message_is_accepted(case: Case, endpoint: Sms) -> None:
    answer = await case.ask(endpoint.message())
    if answer.favourable:
        said = f"HTTP {answer.status}"
        expect(answer.status == 200, said, said, answer)
    else:
        raise Skipped(Text("voir PUB-ENV-8", "see PUB-ENV-8"), answer)


@check(
    "PUB-SMS-2",
    writes=True,
    title=Text("Les ajouts de w.c.s. sont acceptés", "What w.c.s. adds is accepted"),
    consequence=Text("Tous les SMS de Publik sont refusés.", "Every SMS of Publik is refused."),
    remedy=Text("Ignorer « counter » et « nostop ».", "Ignore “counter” and “nostop”."),
)
async def additions_are_accepted(case: Case, endpoint: Sms) -> None:
    await _usual(case, endpoint)
    _judge(await case.ask(endpoint.message((("nostop", "1"),), counter="etat-civil")))


@check(
    "PUB-SMS-3",
    writes=True,
    title=Text("Accents et symboles sont acceptés", "Accents and symbols are accepted"),
    consequence=Text("Un message en français n'est pas envoyé.", "A message in French is not sent."),
    remedy=Text("Passer en UCS-2 au besoin.", "Switch to UCS-2 when needed."),
)
async def accents_are_accepted(case: Case, endpoint: Sms) -> None:
    await _usual(case, endpoint)
    _judge(await case.ask(endpoint.message(message="Votre carte est prête : 12 € à régler, œuvre n° 3 ☎")))


@check(
    "PUB-SMS-4",
    writes=True,
    title=Text("Sans destinataire, le message est refusé", "Without recipient the message is refused"),
    consequence=Text("Publik croit le message envoyé.", "Publik believes the message was sent."),
    remedy=Text("Répondre err 1, ou 400.", "Answer err 1, or 400."),
)
async def no_recipient_is_refused(case: Case, endpoint: Sms) -> None:
    await _usual(case, endpoint)
    answer = await case.ask(endpoint.message(to=[]))
    said = f"HTTP {answer.status}"
    expect(answer.failure and answer.status < 500, said, said, answer)
