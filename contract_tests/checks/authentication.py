"""PUB-AUTH: who may call."""

from __future__ import annotations

from dataclasses import replace
from urllib.parse import urlsplit

from contract_tests.core.answer import Answer
from contract_tests.core.case import Case
from contract_tests.core.check import Omitted, Skipped, check, expect
from contract_tests.core.credentials import Basic
from contract_tests.core.endpoints import Endpoint
from contract_tests.text import Text


async def refused(case: Case) -> Answer:
    """The answer to the ordinary call with a wrong secret: asked once per profile, lest an account be locked."""
    assert case.target.credentials is not None
    return await case.ask(case.plain(), proof=case.target.credentials.wrong(case.nonsense("secret")))


def _refusal(answer: Answer) -> bool:
    return answer.status in (401, 403)


@check(
    "PUB-AUTH-1",
    feature="credentials",
    title=Text("Sans identifiants, l'appel est refusé", "Without credentials the call is refused"),
    consequence=Text(
        "N'importe qui sur Internet lit ou dépose des demandes.", "Anyone on the Internet reads or files requests."
    ),
    remedy=Text("Répondre 401 aux appels sans identifiants.", "Answer 401 to calls without credentials."),
)
async def no_credentials_no_answer(case: Case, endpoint: Endpoint) -> None:
    answer = await case.ask(case.plain(), proof=None)
    _judged(answer)


@check(
    "PUB-AUTH-2",
    feature="credentials",
    once=True,
    title=Text("Un mauvais secret est refusé", "A wrong secret is refused"),
    consequence=Text(
        "Le mot de passe ne protège rien ; ou une faute de réglage dans Publik passe pour un succès.",
        "The password protects nothing; or a wrong setting in Publik passes for a success.",
    ),
    remedy=Text(
        "Répondre 401, pas 200, à un mauvais mot de passe ou une mauvaise clé.",
        "Answer 401, not 200, to a wrong password or key.",
    ),
)
async def wrong_secret_is_refused(case: Case, endpoint: Endpoint) -> None:
    _judged(await refused(case))


def _judged(answer: Answer) -> None:
    if not answer.complete:
        raise Skipped(Text("aucune réponse entière", "no whole answer"), answer)
    refused_too = answer.status == 429  # too many attempts: nothing is given either
    expect(_refusal(answer) or refused_too, f"HTTP {answer.status}", f"HTTP {answer.status}", answer)


@check(
    "PUB-AUTH-3",
    feature="credentials",
    once=True,
    title=Text("Un refus ne livre rien", "A refusal gives nothing away"),
    consequence=Text(
        "Le contenu est lisible sans identifiants, dans le corps du refus.",
        "The content can be read without credentials, in the body of the refusal.",
    ),
    remedy=Text("Ne pas exécuter l'appel avant d'avoir vérifié qui appelle.", "Verify who calls before executing."),
)
async def refusal_holds_no_data(case: Case, endpoint: Endpoint) -> None:
    for answer in (await case.ask(case.plain(), proof=None), await refused(case)):
        if not _refusal(answer):
            continue
        data = (answer.envelope or {}).get("data")
        is_file = endpoint.form == "file" and answer.body.startswith(b"%PDF")
        expect(
            not data and not is_file,
            "le refus contient des données",
            "the refusal holds data",
            answer,
        )


@check(
    "PUB-AUTH-4",
    feature="basic",
    once=True,
    title=Text("Le refus Basic est un vrai 401", "The Basic refusal is a real 401"),
    consequence=Text(
        "Les outils et les navigateurs ne savent pas qu'un mot de passe est attendu.",
        "Tools and browsers do not know that a password is expected.",
    ),
    remedy=Text(
        'Répondre 401 avec WWW-Authenticate: Basic realm="…".', 'Answer 401 with WWW-Authenticate: Basic realm="…".'
    ),
)
async def basic_refusal_is_a_401(case: Case, endpoint: Endpoint) -> None:
    for answer in (await case.ask(case.plain(), proof=None), await refused(case)):
        if not _refusal(answer):
            continue
        challenges = (
            " ".join(value for name, value in answer.exchange.response.headers if name.lower() == "www-authenticate")
            if answer.exchange.response
            else ""
        )
        expect(
            answer.status == 401 and "basic" in challenges.lower(),
            f"HTTP {answer.status}, WWW-Authenticate: {challenges or 'absent'}",
            f"HTTP {answer.status}, WWW-Authenticate: {challenges or 'absent'}",
            answer,
        )


@check(
    "PUB-AUTH-5",
    feature="basic",
    once=True,
    title=Text("Un compte inconnu ne se devine pas", "An unknown account cannot be guessed"),
    consequence=Text(
        "On peut apprendre quels comptes existent, puis attaquer leurs mots de passe.",
        "One can learn which accounts exist, then attack their passwords.",
    ),
    remedy=Text("Répondre la même chose dans les deux cas.", "Answer the same in both cases."),
)
async def accounts_cannot_be_guessed(case: Case, endpoint: Endpoint) -> None:
    credentials = case.target.credentials
    assert isinstance(credentials, Basic)
    known = await refused(case)
    stranger = replace(credentials, user=case.nonsense("user"), password="wrong-" + case.nonsense("secret"))
    unknown = await case.ask(case.plain(), proof=stranger)
    if not (_refusal(known) and _refusal(unknown)):
        raise Skipped(Text("les deux appels ne sont pas refusés", "the two calls are not both refused"), unknown)
    said = [(one.envelope or {}).get("err_desc") for one in (known, unknown)]
    expect(
        known.status == unknown.status and said[0] == said[1],
        f"mauvais mot de passe : HTTP {known.status}, compte inconnu : HTTP {unknown.status}, ou phrases différentes",
        f"wrong password: HTTP {known.status}, unknown account: HTTP {unknown.status}, or different sentences",
        unknown,
    )


@check(
    "PUB-AUTH-6",
    feature="no-credentials",
    title=Text("Ce qui concerne une personne est protégé", "What concerns a person is protected"),
    consequence=Text(
        "Des données personnelles sont à la portée de tous.", "Personal data are within everybody's reach."
    ),
    remedy=Text(
        "Demander un compte HTTP Basic, et le déclarer dans la cible.",
        "Ask for an HTTP Basic account, and declare it in the target.",
    ),
)
async def personal_endpoints_are_protected(case: Case, endpoint: Endpoint) -> None:
    if not endpoint.personal:
        raise Omitted(Text("rien de personnel ici", "nothing personal here"))
    expect(False, "la cible ne demande pas d'identifiants", "the target asks for no credentials")


@check(
    "PUB-AUTH-7",
    feature="credentials",
    once=True,
    title=Text("Les identifiants circulent en HTTPS", "Credentials travel over HTTPS"),
    consequence=Text(
        "Mot de passe et données sont lisibles sur le réseau.", "Password and data can be read on the network."
    ),
    remedy=Text("Servir en HTTPS, et donner l'adresse https://.", "Serve over HTTPS, and give the https:// address."),
)
async def credentials_travel_over_https(case: Case, endpoint: Endpoint) -> None:
    parts = urlsplit(case.target.url(endpoint.path))
    host = parts.hostname or ""
    if host in ("localhost", "::1") or host.startswith("127."):
        raise Omitted(Text("la cible est sur cette machine", "the target is on this machine"))
    expect(parts.scheme == "https", f"adresse en {parts.scheme}://", f"address in {parts.scheme}://")
