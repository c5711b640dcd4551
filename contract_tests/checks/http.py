"""PUB-HTTP: how answers travel."""

from __future__ import annotations

from contract_tests.core.answer import UNREADABLE, Answer
from contract_tests.core.case import Case
from contract_tests.core.check import Omitted, Skipped, check, expect, fail
from contract_tests.core.endpoints import Call, Endpoint
from contract_tests.text import Text

ADDED = (
    ("orig", "essai.example.org"),
    ("algo", "sha256"),
    ("timestamp", "2024-01-02T03:04:05Z"),
    ("nonce", "0123456789abcdef"),
    ("NameID", ""),
    ("email", ""),
)
_REDIRECTS = (301, 302, 303, 307, 308)


def unknown_method(case: Case) -> Call:
    """The endpoint's address with a method of WebDAV that never changes anything (RFC 4918 §9.1)."""
    call = case.endpoint.reads() or (case.endpoint.examples(writes=True) or [Call("GET", case.endpoint.path)])[0]
    return Call("PROPFIND", call.path, call.params)


@check(
    "PUB-HTTP-13",
    once=True,
    title=Text("Le certificat est valable", "The certificate is valid"),
    consequence=Text(
        "Publik refuse la connexion : chaque appel est une erreur réseau.",
        "Publik refuses the connection: every call is a network error.",
    ),
    remedy=Text(
        "Installer un certificat d'une autorité reconnue, au nom de l'hôte, avec sa chaîne entière, et le renouveler ; "
        "pour une autorité privée que la collectivité a installée : --ca.",
        "Install a certificate of a known authority, in the host's name, with its whole chain, and renew it; for a "
        "private authority that the town has installed: --ca.",
    ),
)
async def certificate_is_valid(case: Case, endpoint: Endpoint) -> None:
    if not case.target.url(endpoint.path).startswith("https://"):
        raise Omitted(Text("l'adresse n'est pas en HTTPS", "the address is not HTTPS"))
    try:
        await case.ask(case.plain())
    except Skipped as ended:
        if ended.answer is None or ended.answer.exchange.trouble != "tls":
            raise
        error = ended.answer.exchange.error
        raise fail(f"connexion refusée : {error}", f"connection refused: {error}", ended.answer) from None


@check(
    "PUB-HTTP-10",
    title=Text("Chaque appel reçoit une réponse complète", "Every call gets a complete answer"),
    consequence=Text(
        "Erreur réseau : le workflow s'arrête, sans que l'on sache si l'action a eu lieu.",
        "Network error: the workflow stops, and nobody knows whether the action took place.",
    ),
    remedy=Text(
        "Chercher dans les journaux du serveur ce qui coupe la connexion (processus tué, mandataire, taille annoncée).",
        "Look in the server's logs for what cuts the connection (killed process, proxy, announced size).",
    ),
)
async def answers_are_complete(case: Case, endpoint: Endpoint) -> None:
    for answer in await case.examples():
        expect(
            answer.exchange.trouble != "broken",
            f"la réponse n'est pas arrivée : {answer.exchange.error}",
            f"no answer came: {answer.exchange.error}",
            answer,
        )


@check(
    "PUB-HTTP-11",
    title=Text("La réponse a une fin", "The answer ends"),
    consequence=Text(
        "w.c.s. charge la réponse en mémoire : le portail ralentit pour tous, puis abandonne.",
        "w.c.s. loads the answer in memory: the portal slows down for everybody, then gives up.",
    ),
    remedy=Text("Limiter le nombre d'éléments rendus.", "Limit the number of items given."),
)
async def answers_end(case: Case, endpoint: Endpoint) -> None:
    for answer in await case.examples():
        size = case.limits.max_body // (1024 * 1024)
        expect(
            answer.exchange.response is None or not answer.exchange.response.truncated,
            f"plus de {size} Mo reçus, lecture arrêtée",
            f"more than {size} MB received, reading stopped",
            answer,
        )


@check(
    "PUB-HTTP-1",
    writes=True,
    title=Text("Un appel qui écrit n'est pas redirigé", "A call that writes is not redirected"),
    consequence=Text(
        "w.c.s. suit la redirection en GET, sans le corps : la demande n'est pas créée, et personne ne le voit.",
        "w.c.s. follows the redirect as GET, without the body: the request is not created, and nobody sees it.",
    ),
    remedy=Text(
        "Donner à Publik l'adresse définitive, barre finale et https compris.",
        "Give Publik the final address, trailing slash and https included.",
    ),
)
async def writing_is_not_redirected(case: Case, endpoint: Endpoint) -> None:
    call = endpoint.takes()
    assert call is not None
    _not_redirected(await case.ask(call))


@check(
    "PUB-HTTP-2",
    title=Text("Une lecture n'est pas redirigée", "A reading is not redirected"),
    consequence=Text(
        "Chaque appel en fait deux ; vers un autre hôte, les identifiants sont perdus.",
        "Every call becomes two; towards another host, credentials are lost.",
    ),
    remedy=Text("Donner à Publik l'adresse définitive.", "Give Publik the final address."),
)
async def reading_is_not_redirected(case: Case, endpoint: Endpoint) -> None:
    _not_redirected(await case.ask(case.reading()))


def _not_redirected(answer: Answer) -> None:
    place = answer.header("Location") or "?"
    expect(
        answer.status not in _REDIRECTS,
        f"HTTP {answer.status} vers {place}",
        f"HTTP {answer.status} towards {place}",
        answer,
    )


@check(
    "PUB-HTTP-9",
    forms=("envelope", "open", "json"),
    title=Text("Une réponse qui a un contenu n'est pas 204", "An answer that has content is not 204"),
    consequence=Text(
        "w.c.s. n'enregistre rien d'une réponse 204 ou 205.", "w.c.s. stores nothing of a 204 or 205 answer."
    ),
    remedy=Text("Répondre 200 avec l'enveloppe.", "Answer 200 with the envelope."),
)
async def content_is_not_204(case: Case, endpoint: Endpoint) -> None:
    for answer in await case.examples():
        expect(answer.status not in (204, 205), f"HTTP {answer.status}", f"HTTP {answer.status}", answer)


@check(
    "PUB-HTTP-3",
    forms=("envelope", "open", "json"),
    title=Text("Le type annoncé est application/json", "The announced type is application/json"),
    consequence=Text(
        "Publik lit quand même la réponse, mais un mandataire ou un navigateur peut la traiter comme une page.",
        "Publik reads the answer anyway, but a proxy or a browser may treat it as a page.",
    ),
    remedy=Text("Envoyer Content-Type: application/json.", "Send Content-Type: application/json."),
)
async def json_is_announced(case: Case, endpoint: Endpoint) -> None:
    for answer in await case.examples():
        if answer.document is UNREADABLE:
            continue
        kind = answer.content_type
        announced = kind == "application/json" or (kind.startswith("application/") and kind.endswith("+json"))
        expect(announced, f"Content-Type: {kind or 'absent'}", f"Content-Type: {kind or 'absent'}", answer)


@check(
    "PUB-HTTP-4",
    title=Text("La réponse arrive avant que w.c.s. n'abandonne", "The answer comes before w.c.s. gives up"),
    consequence=Text(
        "Erreur réseau : l'usager attend 28 secondes, puis le workflow s'arrête.",
        "Network error: the user waits 28 seconds, then the workflow stops.",
    ),
    remedy=Text(
        "Répondre tout de suite, et finir le travail long ensuite ; ou limiter le nombre de résultats.",
        "Answer at once and finish long work afterwards; or limit the number of results.",
    ),
)
async def answers_in_time(case: Case, endpoint: Endpoint) -> None:
    for answer in await case.examples():
        expect(
            answer.exchange.trouble != "timeout" and answer.elapsed < case.limits.answer,
            f"{answer.elapsed:.1f} s (limite : {case.limits.answer:g} s)",
            f"{answer.elapsed:.1f} s (limit: {case.limits.answer:g} s)",
            answer,
        )


@check(
    "PUB-HTTP-5",
    title=Text("La réponse est rapide", "The answer is swift"),
    consequence=Text(
        "L'usager attend devant le formulaire, et les autres démarches ralentissent.",
        "The user waits in front of the form, and other services slow down.",
    ),
    remedy=Text(
        "Mettre en cache ce qui change peu, indexer ce qui est cherché.",
        "Cache what changes little, index what is searched.",
    ),
)
async def answers_swiftly(case: Case, endpoint: Endpoint) -> None:
    for answer in await case.examples():
        expect(
            answer.elapsed < case.limits.swift,
            f"{answer.elapsed:.1f} s (recommandé : {case.limits.swift:g} s)",
            f"{answer.elapsed:.1f} s (recommended: {case.limits.swift:g} s)",
            answer,
        )


@check(
    "PUB-HTTP-6",
    title=Text("Une méthode inconnue est refusée", "An unknown method is refused"),
    consequence=Text(
        "Une erreur de réglage dans un workflow passe pour un succès.",
        "A wrong setting in a workflow passes for a success.",
    ),
    remedy=Text("Répondre 405 aux méthodes non prévues.", "Answer 405 to methods that are not expected."),
)
async def unknown_method_is_refused(case: Case, endpoint: Endpoint) -> None:
    answer = await case.ask(unknown_method(case))
    if not answer.complete:
        raise Skipped(Text("aucune réponse à une méthode inconnue", "no answer to an unknown method"), answer)
    expect(
        answer.status in (400, 401, 403, 404, 405, 501),
        f"HTTP {answer.status} à la méthode PROPFIND",
        f"HTTP {answer.status} to the method PROPFIND",
        answer,
    )


@check(
    "PUB-HTTP-7",
    title=Text("L'en-tête Accept n'est pas nécessaire", "The Accept header is not needed"),
    consequence=Text(
        "Les listes de choix n'envoient pas Accept : elles restent vides.",
        "Choice lists send no Accept: they stay empty.",
    ),
    remedy=Text("Répondre du JSON quel que soit Accept.", "Answer JSON whatever Accept says."),
)
async def accept_is_not_needed(case: Case, endpoint: Endpoint) -> None:
    call = case.plain()
    await _same(case, call, await case.ask(call, accept=None))


@check(
    "PUB-HTTP-8",
    title=Text("Les paramètres de Publik sont acceptés", "Publik's parameters are accepted"),
    consequence=Text(
        "Publik ajoute de lui-même des paramètres (signature, usager) : tous ses appels seraient refusés.",
        "Publik adds parameters by itself (signature, user): all its calls would be refused.",
    ),
    remedy=Text(
        "Ignorer orig, algo, timestamp, nonce, signature, NameID et email quand ils ne servent pas.",
        "Ignore orig, algo, timestamp, nonce, signature, NameID and email when they are of no use.",
    ),
)
async def parameters_of_publik_are_accepted(case: Case, endpoint: Endpoint) -> None:
    call = case.plain()
    given = {name for name, _ in call.params}
    more = [pair for pair in ADDED if pair[0] not in given]
    if case.target.signature is None:  # a service that verifies signatures must refuse a false one
        more.append(("signature", "ZXNzYWk="))
    else:
        more = [pair for pair in more if pair[0] not in ("orig", "algo", "timestamp", "nonce")]
    await _same(case, call, await case.ask(call.adding(*more)))


@check(
    "PUB-HTTP-12",
    title=Text("Un paramètre inconnu est ignoré", "An unknown parameter is ignored"),
    consequence=Text(
        "Une nouvelle version de Publik, ou un formulaire qui envoie plus, ne peut plus appeler.",
        "A new version of Publik, or a form that sends more, can no longer call.",
    ),
    remedy=Text("Ignorer les paramètres non prévus.", "Ignore parameters that are not expected."),
)
async def unknown_parameter_is_ignored(case: Case, endpoint: Endpoint) -> None:
    call = case.plain()
    await _same(case, call, await case.ask(call.adding(("contract_tests", "1"))))


async def _same(case: Case, call: Call, other: Answer) -> None:
    usual = await case.ask(call)
    if not usual.favourable:
        raise Skipped(Text("l'appel ordinaire ne réussit pas", "the ordinary call does not succeed"), usual)
    expect(
        other.favourable,
        f"HTTP {other.status} au lieu de {usual.status}",
        f"HTTP {other.status} instead of {usual.status}",
        other,
    )
