"""PUB-SEC: what no answer may show. It runs last, and looks at what strange calls provoked."""

from __future__ import annotations

import contextlib
import re

from contract_tests.core.answer import Answer
from contract_tests.core.case import Case
from contract_tests.core.check import Skipped, check, expect
from contract_tests.core.endpoints import Call, Endpoint
from contract_tests.text import Text

from .authentication import refused
from .http import unknown_method

_TRACE = re.compile(
    rb"Traceback \(most recent call last\)"
    rb"|\bat [\w$.<>]+\([\w$]+\.(?:java|kt|scala):\d+\)"
    rb"|\bat [\w.<>`]+ in .{1,200}\.cs:line \d+"
    rb"|System\.\w+Exception:|Stack trace:\s*#0|#\d+ .{1,200}\.php\(\d+\)"
    rb"|File \\?\".{1,200}\.py\\?\", line \d+"
    rb"|SQLSTATE\[|ORA-\d{5}:|org\.hibernate\.|java\.lang\.\w+Exception"
)
MARK = "<script>essai</script>"


async def _provoked(case: Case) -> list[Answer]:
    """Answers to correct, wrong, refused and strange calls."""
    answers: list[Answer] = []
    with contextlib.suppress(Skipped):
        answers += await case.examples()
    answers += [await case.ask(call) for call in case.endpoint.wrongs(writes=case.allow_writes)]
    answers.append(await case.ask(unknown_method(case)))
    call = case.endpoint.reads()
    if call is not None:
        answers.append(await case.ask(_strange(call)))
    taken = case.endpoint.takes()
    if taken is not None and case.allow_writes:
        answers.append(await case.ask(Call(taken.method, taken.path, taken.params, b'{"a": ', writes=True)))
    return [one for one in answers if one.exchange.response is not None]


def _strange(call: Call) -> Call:
    name = call.params[-1][0] if call.params else "q"
    return call.adding((name, MARK))


@check(
    "PUB-SEC-1",
    title=Text("Aucune trace d'exécution n'est montrée", "No stack trace is shown"),
    consequence=Text(
        "L'agent lit du code, et un attaquant apprend comment le service est fait.",
        "The agent reads code, and an attacker learns how the service is made.",
    ),
    remedy=Text(
        "Couper le mode de mise au point ; écrire la trace dans le journal, pas dans la réponse.",
        "Turn debugging off; write the trace in the log, not in the answer.",
    ),
)
async def no_trace_is_shown(case: Case, endpoint: Endpoint) -> None:
    for answer in await _provoked(case):
        found = _TRACE.search(answer.body)
        said = found[0].decode("utf-8", "replace")[:80] if found else ""
        expect(found is None, f"la réponse contient : {said}", f"the answer holds: {said}", answer)


@check(
    "PUB-SEC-2",
    feature="credentials",
    title=Text("Aucun secret n'est répété", "No secret is repeated"),
    consequence=Text(
        "Le mot de passe se retrouve dans les journaux de Publik.", "The password ends up in Publik's logs."
    ),
    remedy=Text(
        "Ne jamais mettre dans une réponse ce qui a servi à s'identifier.",
        "Never put in an answer what served to identify.",
    ),
)
async def no_secret_is_repeated(case: Case, endpoint: Endpoint) -> None:
    for answer in await _provoked(case):
        _silent(case, answer)


@check(
    "PUB-SEC-2",
    feature="credentials",
    once=True,
    title=Text("Un refus ne répète pas le mot de passe", "A refusal does not repeat the password"),
    consequence=Text(
        "Une faute de frappe dans Publik écrit le mot de passe dans ses journaux.",
        "A typing mistake in Publik writes the password in its logs.",
    ),
    remedy=Text("Refuser sans citer ce qui a été reçu.", "Refuse without quoting what was received."),
)
async def refusal_repeats_no_secret(case: Case, endpoint: Endpoint) -> None:
    _silent(case, await refused(case))


def _silent(case: Case, answer: Answer) -> None:
    response = answer.exchange.response
    if response is not None:
        shown = response.body + " ".join(value for _, value in response.headers).encode()
        told = any(secret.encode() in shown for secret in case.secrets())
        expect(not told, "la réponse répète un secret reçu", "the answer repeats a secret it received", answer)


@check(
    "PUB-SEC-3",
    title=Text("Rien de reçu ne revient en HTML actif", "Nothing received comes back as active HTML"),
    consequence=Text(
        "Un lien piégé exécute du code dans le navigateur de l'agent.",
        "A trapped link runs code in the agent's browser.",
    ),
    remedy=Text(
        "Échapper ce qui est recopié, et annoncer application/json.",
        "Escape what is copied; announce JSON.",
    ),
)
async def nothing_comes_back_active(case: Case, endpoint: Endpoint) -> None:
    call = case.reading()
    path = call.path.partition("?")[0]
    missing = Call("GET", f"{path.rstrip('/')}/%3Cscript%3Eessai%3C%2Fscript%3E", call.params)
    for answer in (await case.ask(_strange(call)), await case.ask(missing)):
        page = answer.content_type in ("text/html", "application/xhtml+xml", "")
        expect(
            not (page and MARK.encode() in answer.body),
            "le terme cherché revient tel quel dans une page HTML",
            "the searched term comes back as it is in an HTML page",
            answer,
        )
