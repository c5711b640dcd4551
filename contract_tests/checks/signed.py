"""PUB-SIGN: calls proved by Publik's URL signature."""

from __future__ import annotations

from dataclasses import replace

from contract_tests.core.answer import Answer
from contract_tests.core.case import Case
from contract_tests.core.check import Skipped, check, expect
from contract_tests.core.credentials import Signature
from contract_tests.core.endpoints import Call, Endpoint
from contract_tests.text import Text
from contract_tests.wire import encoded_pairs

IMPOSTOR = Text(
    "Quelqu'un qui connaît une adresse signée, ou qui en invente une, agit au nom de Publik.",
    "Someone who knows a signed address, or makes one up, acts in Publik's name.",
)
VERIFY = Text(
    "Vérifier la signature comme le décrit publik-contracts §5.1.",
    "Verify the signature as publik-contracts §5.1 describes.",
)


def _signature(case: Case) -> Signature:
    assert case.target.signature is not None
    return case.target.signature


def _url(case: Case) -> str:
    call = case.reading()
    url = case.target.url(call.path)
    return url + (("&" if "?" in url else "?") + encoded_pairs(call.params) if call.params else "")


async def _sent(case: Case, url: str) -> Answer:
    """A call whose address is already complete; always sent, since a nonce serves once."""
    answer = await case.ask(Call("GET", url), proof=None, fresh=True)
    if not answer.complete:
        raise Skipped(Text("aucune réponse entière", "no whole answer"), answer)
    return answer


async def _accepted(case: Case) -> str:
    """A signed address that was accepted. Raises `Skipped` when none is."""
    url = _signature(case).signed(_url(case))
    answer = await _sent(case, url)
    if not answer.favourable:
        raise Skipped(Text("un appel bien signé est refusé : voir PUB-SIGN-1", "see PUB-SIGN-1"), answer)
    return url


async def _refused(case: Case, url: str) -> None:
    answer = await _sent(case, url)
    said = f"HTTP {answer.status}"
    expect(answer.status in (401, 403), said, said, answer)


@check(
    "PUB-SIGN-1",
    title=Text("Un appel signé est accepté", "A signed call is accepted"),
    consequence=Text("Tous les appels de Publik sont refusés.", "Every call of Publik is refused."),
    remedy=VERIFY,
)
async def signed_call_is_accepted(case: Case, endpoint: Endpoint) -> None:
    answer = await _sent(case, _signature(case).signed(_url(case)))
    said = f"HTTP {answer.status} {(answer.envelope or {}).get('err_desc') or ''}"
    expect(answer.status not in (401, 403), said, said, answer)
    case.document(answer)


@check(
    "PUB-SIGN-2",
    title=Text("Sans signature, l'appel est refusé", "Without signature the call is refused"),
    consequence=IMPOSTOR,
    remedy=Text("Exiger la signature, ou d'autres identifiants.", "Require the signature, or other credentials."),
)
async def unsigned_call_is_refused(case: Case, endpoint: Endpoint) -> None:
    await _refused(case, _url(case))


@check(
    "PUB-SIGN-3",
    title=Text("Une fausse signature est refusée", "A false signature is refused"),
    consequence=IMPOSTOR,
    remedy=Text("Recalculer la signature et la comparer.", "Compute the signature again and compare."),
)
async def false_signature_is_refused(case: Case, endpoint: Endpoint) -> None:
    await _accepted(case)
    await _refused(case, _signature(case).wrong(case.nonsense("key")).signed(_url(case)))


@check(
    "PUB-SIGN-4",
    title=Text("Un paramètre modifié est découvert", "A changed parameter is discovered"),
    consequence=Text(
        "Une adresse signée pour une personne sert à lire les données d'une autre.",
        "An address signed for one person serves to read another's data.",
    ),
    remedy=Text(
        "Signer tout ce qui précède « &signature= », tel que reçu.",
        "Sign all that precedes “&signature=”, as received.",
    ),
)
async def changed_parameter_is_discovered(case: Case, endpoint: Endpoint) -> None:
    await _accepted(case)
    url = _url(case)
    signed = _signature(case).signed(url + ("&" if "?" in url else "?") + "NameID=a")
    await _refused(case, signed.replace("NameID=a", "NameID=b"))


@check(
    "PUB-SIGN-5",
    title=Text("Rien n'est accepté après la signature", "Nothing is accepted after the signature"),
    consequence=Text(
        "On ajoute à une adresse signée un paramètre que Publik n'a pas signé.",
        "One adds to a signed address a parameter Publik did not sign.",
    ),
    remedy=Text("Exiger que « signature » soit le dernier paramètre.", "Require “signature” to be the last parameter."),
)
async def nothing_after_the_signature(case: Case, endpoint: Endpoint) -> None:
    await _accepted(case)
    await _refused(case, _signature(case).signed(_url(case)) + "&NameID=b")


@check(
    "PUB-SIGN-6",
    title=Text("Un vieil appel est refusé", "An old call is refused"),
    consequence=IMPOSTOR,
    remedy=Text("Refuser un horodatage de plus de 30 secondes.", "Refuse a timestamp older than 30 seconds."),
)
async def old_call_is_refused(case: Case, endpoint: Endpoint) -> None:
    await _accepted(case)
    await _refused(case, _signature(case).signed(_url(case), late=300))


@check(
    "PUB-SIGN-7",
    title=Text("Un appel du futur est refusé", "A call from the future is refused"),
    consequence=IMPOSTOR,
    remedy=Text("Refuser un horodatage en avance de 30 secondes.", "Refuse a timestamp 30 seconds ahead."),
)
async def future_call_is_refused(case: Case, endpoint: Endpoint) -> None:
    await _accepted(case)
    await _refused(case, _signature(case).signed(_url(case), late=-300))


@check(
    "PUB-SIGN-8",
    title=Text("Un petit décalage d'horloge est toléré", "A small clock difference is tolerated"),
    consequence=Text("Des appels sont refusés au hasard.", "Calls are refused at random."),
    remedy=Text("Tolérer 30 secondes dans les deux sens.", "Tolerate 30 seconds either way."),
)
async def small_difference_is_tolerated(case: Case, endpoint: Endpoint) -> None:
    await _accepted(case)
    for late in (20.0, -20.0):
        answer = await _sent(case, _signature(case).signed(_url(case), late=late))
        said = f"{-late:+.0f} s : HTTP {answer.status}"
        expect(answer.favourable, said, said, answer)


@check(
    "PUB-SIGN-9",
    title=Text("Un appel rejoué est refusé", "A replayed call is refused"),
    consequence=IMPOSTOR,
    remedy=Text("Retenir les nonces pendant 30 secondes au moins.", "Remember nonces for 30 seconds at least."),
)
async def replayed_call_is_refused(case: Case, endpoint: Endpoint) -> None:
    await _refused(case, await _accepted(case))


@check(
    "PUB-SIGN-10",
    title=Text("Un appelant inconnu est refusé", "An unknown caller is refused"),
    consequence=IMPOSTOR,
    remedy=Text("Chercher la clé de « orig », et refuser sans elle.", "Look up the key of “orig”, refuse without."),
)
async def unknown_caller_is_refused(case: Case, endpoint: Endpoint) -> None:
    await _accepted(case)
    stranger = replace(_signature(case), orig=f"{case.nonsense('orig')}.example.org")
    await _refused(case, stranger.signed(_url(case)))


@check(
    "PUB-SIGN-11",
    title=Text("Un algorithme inconnu est refusé", "An unknown algorithm is refused"),
    consequence=IMPOSTOR,
    remedy=Text("N'accepter qu'une liste d'algorithmes.", "Accept a list of algorithms only."),
)
async def unknown_algorithm_is_refused(case: Case, endpoint: Endpoint) -> None:
    await _accepted(case)
    await _refused(case, _signature(case).signed(_url(case), algo="none"))
