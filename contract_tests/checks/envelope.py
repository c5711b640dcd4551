"""PUB-ENV: the envelope `{err, err_class, err_desc, data}` and how it is written."""

from __future__ import annotations

import json
from typing import Any

from contract_tests.core.answer import UNREADABLE, Answer
from contract_tests.core.case import Case
from contract_tests.core.check import Omitted, Skipped, check, expect, fail
from contract_tests.core.endpoints import Endpoint
from contract_tests.text import Text

from .http import unknown_method
from .values import filled, shown, whole_number

ABSENT = object()


async def _successes(case: Case) -> list[Answer]:
    """The answers to correct calls that came whole, with a content."""
    answers = [one for one in await case.examples() if one.complete and one.status not in (204, 205)]
    answers = [one for one in answers if not 300 <= one.status < 400]
    if not answers:
        raise Skipped(Text("aucune réponse entière à un appel correct", "no whole answer to a correct call"))
    return answers


async def _objects(case: Case) -> list[tuple[Answer, dict[str, Any]]]:
    found = [(one, one.envelope) for one in await _successes(case)]
    objects = [(one, envelope) for one, envelope in found if envelope is not None]
    if not objects:
        raise Skipped(Text("aucune réponse n'est un objet JSON : voir PUB-ENV-1", "no JSON object: see PUB-ENV-1"))
    return objects


async def _failures(case: Case) -> list[tuple[Answer, dict[str, Any]]]:
    """The failures that are JSON objects, with their envelope."""
    answers = await case.failures()
    objects = [(one, one.envelope) for one in answers if one.envelope is not None]
    if not answers:
        raise Omitted(Text("aucun appel n'a été refusé", "no call was refused"))
    if not objects:
        raise Skipped(Text("l'échec n'est pas répondu en JSON : voir PUB-ENV-11", "not JSON: see PUB-ENV-11"))
    return objects


@check(
    "PUB-ENV-1",
    forms=("envelope", "open", "json"),
    title=Text("La réponse est du JSON", "The answer is JSON"),
    consequence=Text(
        "Le formulaire ne reçoit rien : variable vide, liste vide, et le workflow continue sans le savoir.",
        "The form receives nothing: an empty variable, an empty list, and the workflow goes on unaware.",
    ),
    remedy=Text(
        "Répondre un document JSON, aussi en cas d'erreur : pas de page HTML, pas de texte avant ou après.",
        "Answer a JSON document, on errors too: no HTML page, no text before or after.",
    ),
)
async def answer_is_json(case: Case, endpoint: Endpoint) -> None:
    for answer in await _successes(case):
        start = answer.body[:60].decode("utf-8", "replace")
        expect(
            answer.document is not UNREADABLE,
            f"le corps n'est pas du JSON ; il commence par : {start}",
            f"the body is not JSON; it starts with: {start}",
            answer,
        )


@check(
    "PUB-ENV-2",
    forms=("envelope", "open", "json"),
    title=Text("Le JSON est en UTF-8", "JSON is in UTF-8"),
    consequence=Text(
        "w.c.s. ne peut pas lire la réponse : pour lui elle est invalide, et rien n'est affiché.",
        "w.c.s. cannot read the answer: it is invalid for it, and nothing is shown.",
    ),
    remedy=Text("Encoder les réponses en UTF-8 et non en Latin-1.", "Encode answers in UTF-8, not in Latin-1."),
)
async def json_is_utf8(case: Case, endpoint: Endpoint) -> None:
    for answer in await _successes(case):
        try:
            answer.body.decode("utf-8")
        except UnicodeDecodeError as error:
            raise fail(
                f"l'octet {error.start + 1} n'est pas de l'UTF-8",
                f"byte {error.start + 1} is not UTF-8",
                answer,
            ) from None


@check(
    "PUB-ENV-3",
    forms=("envelope", "open", "json"),
    title=Text("Pas de marque d'ordre des octets", "No byte-order mark"),
    consequence=Text(
        "Un workflow tient la réponse pour illisible, alors qu'une liste de choix l'accepte : panne déroutante.",
        "A workflow finds the answer unreadable while a choice list takes it: a puzzling failure.",
    ),
    remedy=Text("Écrire l'UTF-8 sans BOM (EF BB BF).", "Write UTF-8 without BOM (EF BB BF)."),
)
async def no_byte_order_mark(case: Case, endpoint: Endpoint) -> None:
    for answer in await _successes(case):
        expect(
            not answer.body.startswith(b"\xef\xbb\xbf"),
            "le corps commence par un BOM",
            "the body starts with a BOM",
            answer,
        )


@check(
    "PUB-ENV-4",
    forms=("envelope", "open"),
    title=Text("La racine est un objet", "The top level is an object"),
    consequence=Text(
        "Une liste de choix reste vide ; un workflow ne cherche pas « err » et croit toujours au succès.",
        "A choice list stays empty; a workflow does not look for “err” and always believes in success.",
    ),
    remedy=Text('Envelopper le contenu : {"err": 0, "data": …}.', 'Wrap the content: {"err": 0, "data": …}.'),
)
async def top_level_is_an_object(case: Case, endpoint: Endpoint) -> None:
    for answer in await _successes(case):
        if answer.document is UNREADABLE:
            continue
        kind = type(answer.document).__name__
        expect(
            answer.envelope is not None,
            f"la racine est de type {kind}",
            f"the top level is of type {kind}",
            answer,
        )


@check(
    "PUB-ENV-5",
    forms=("envelope",),
    title=Text("« err » est présent", "“err” is present"),
    consequence=Text(
        "w.c.s. prend son absence pour un succès : un échec passerait inaperçu.",
        "w.c.s. takes its absence for a success: a failure would go unnoticed.",
    ),
    remedy=Text("Toujours écrire « err » : 0 ou un entier.", "Always write “err”: 0 or an integer."),
)
async def err_is_present(case: Case, endpoint: Endpoint) -> None:
    for answer, envelope in await _objects(case):
        expect("err" in envelope, "« err » est absent", "“err” is absent", answer)


@check(
    "PUB-ENV-6",
    forms=("envelope", "open"),
    title=Text("« err » a un type que Publik lit partout", "“err” has a type Publik reads everywhere"),
    consequence=Text(
        "Selon l'endroit de Publik, la même réponse est un succès, une erreur, ou une panne de w.c.s. lui-même.",
        "Depending on the place in Publik the same answer is a success, an error, or a breakdown of w.c.s. itself.",
    ),
    remedy=Text("Écrire « err » comme un entier : 0 ou 1.", "Write “err” as an integer: 0 or 1."),
)
async def err_has_a_usable_type(case: Case, endpoint: Endpoint) -> None:
    for answer in [*[one for one, _ in await _objects(case)], *await case.failures()]:
        err = (answer.envelope or {}).get("err", ABSENT)
        expect(
            err is ABSENT or whole_number(err) or isinstance(err, str),
            f"« err » vaut {shown(err)}",
            f"“err” is {shown(err)}",
            answer,
        )


@check(
    "PUB-ENV-7",
    forms=("envelope", "open"),
    title=Text("« err » est un entier", "“err” is an integer"),
    consequence=Text(
        'Le stockage de fichiers de Publik exige le nombre 0 : le texte "0" y est une erreur.',
        'Publik\'s file storage requires the number 0: the text "0" is an error there.',
    ),
    remedy=Text('Écrire 0 et non "0".', 'Write 0, not "0".'),
)
async def err_is_an_integer(case: Case, endpoint: Endpoint) -> None:
    for answer, envelope in await _objects(case):
        err = envelope.get("err", 0)
        expect(
            not isinstance(err, str),
            f"« err » est le texte {shown(err)}",
            f"“err” is the text {shown(err)}",
            answer,
        )


@check(
    "PUB-ENV-8",
    forms=("envelope", "open", "json", "file"),
    title=Text("L'appel d'exemple réussit", "The example call succeeds"),
    consequence=Text(
        "Le formulaire montre une erreur, ou rien, pour un appel correct.",
        "The form shows an error, or nothing, for a correct call.",
    ),
    remedy=Text(
        'Répondre 2xx et "err": 0 à cet appel, ou corriger l\'exemple et les identifiants de la cible.',
        'Answer 2xx and "err": 0 to this call, or correct the target\'s example and credentials.',
    ),
)
async def example_succeeds(case: Case, endpoint: Endpoint) -> None:
    for answer in await _successes(case):
        err = (answer.envelope or {}).get("err", 0) if endpoint.form != "json" else 0
        if not (whole_number(err) or isinstance(err, str)):
            continue  # PUB-ENV-6 tells
        said = (answer.envelope or {}).get("err_desc") or ""
        failed = bool(err) and err != "0" and endpoint.form in ("envelope", "open")
        if "err" not in (answer.envelope or {}):  # where both are present, PUB-ENV-10 tells
            failed = failed or answer.header("X-Error-Code") not in (None, "", "0")
        expect(
            answer.success and not failed,
            f"HTTP {answer.status}, err {shown(err)} {said}",
            f"HTTP {answer.status}, err {shown(err)} {said}",
            answer,
        )


@check(
    "PUB-ENV-9",
    forms=("envelope",),
    title=Text("Le contenu est dans « data »", "The content is in “data”"),
    consequence=Text("Le formulaire ne trouve pas le contenu.", "The form does not find the content."),
    remedy=Text("Mettre le contenu dans « data ».", "Put the content in “data”."),
)
async def content_is_in_data(case: Case, endpoint: Endpoint) -> None:
    member = getattr(endpoint, "data_attribute", "data").partition(".")[0]
    for answer, envelope in await _objects(case):
        if not answer.favourable:
            continue
        expect(member in envelope, f"« {member} » est absent", f"“{member}” is absent", answer)


@check(
    "PUB-ENV-10",
    forms=("envelope", "open"),
    title=Text("X-Error-Code et « err » s'accordent", "X-Error-Code and “err” agree"),
    consequence=Text(
        "w.c.s. ne lit que l'en-tête : une erreur du corps disparaît, ou un succès devient une erreur.",
        "w.c.s. only reads the header: an error in the body vanishes, or a success becomes an error.",
    ),
    remedy=Text("Ne pas envoyer X-Error-Code, ou y répéter « err ».", "Send no X-Error-Code, or repeat “err” in it."),
)
async def header_and_body_agree(case: Case, endpoint: Endpoint) -> None:
    for answer in [*await _successes(case), *await case.failures()]:
        header = answer.header("X-Error-Code")
        if not header or answer.envelope is None or "err" not in answer.envelope:
            continue
        err = answer.envelope["err"]
        expect(
            str(err) == header.strip() or (not err and header.strip() == "0"),
            f"X-Error-Code: {header}, alors que « err » vaut {shown(err)}",
            f"X-Error-Code: {header}, while “err” is {shown(err)}",
            answer,
        )


@check(
    "PUB-ENV-11",
    feature="failure",
    forms=("envelope", "open"),
    title=Text("Un échec métier est répondu en JSON", "A business failure is answered in JSON"),
    consequence=Text(
        "L'agent lit « erreur » sans raison ; aucun message de votre logiciel ne lui parvient.",
        "The agent reads “error” without a reason; no message of your software reaches them.",
    ),
    remedy=Text(
        'Répondre {"err": 1, "err_class": …, "err_desc": …, "data": null}.',
        'Answer {"err": 1, "err_class": …, "err_desc": …, "data": null}.',
    ),
)
async def business_failure_is_json(case: Case, endpoint: Endpoint) -> None:
    failures = await case.failures()
    if not failures:
        raise Omitted(Text("aucun appel n'a été refusé", "no call was refused"))
    for answer in failures:
        expect(
            answer.envelope is not None,
            f"HTTP {answer.status}, {answer.content_type or 'sans Content-Type'} : pas d'objet JSON",
            f"HTTP {answer.status}, {answer.content_type or 'no Content-Type'}: no JSON object",
            answer,
        )


@check(
    "PUB-ENV-12",
    feature="failure",
    forms=("envelope", "open", "file"),
    title=Text("Un échec a « err » différent de 0", "A failure has “err” other than 0"),
    consequence=Text(
        "Un modèle qui appelle le webservice ne voit que le corps : il affiche l'échec comme un succès.",
        "A template that calls the webservice sees only the body: it shows the failure as a success.",
    ),
    remedy=Text('Écrire "err": 1 dans le corps de tout échec.', 'Write "err": 1 in the body of every failure.'),
)
async def failure_has_err(case: Case, endpoint: Endpoint) -> None:
    for answer, envelope in await _failures(case):
        err = envelope.get("err", 0)
        expect(
            bool(err) and err != "0",
            f"HTTP {answer.status} mais « err » vaut {shown(err)}",
            f"HTTP {answer.status} but “err” is {shown(err)}",
            answer,
        )


@check(
    "PUB-ENV-13",
    feature="failure",
    forms=("envelope", "open", "file"),
    title=Text("Un échec s'explique dans « err_desc »", "A failure explains itself in “err_desc”"),
    consequence=Text(
        "L'agent voit une erreur sans phrase, et ne sait pas quoi corriger.",
        "The agent sees an error without a sentence, and does not know what to correct.",
    ),
    remedy=Text("Écrire dans « err_desc » une phrase pour l'agent.", "Write in “err_desc” a sentence for the agent."),
)
async def failure_has_a_sentence(case: Case, endpoint: Endpoint) -> None:
    for answer, envelope in await _failures(case):
        said = envelope.get("err_desc")
        expect(filled(said), f"« err_desc » vaut {shown(said)}", f"“err_desc” is {shown(said)}", answer)


@check(
    "PUB-ENV-14",
    feature="failure",
    forms=("envelope", "open", "file"),
    title=Text("Un échec a une classe technique", "A failure has a technical class"),
    consequence=Text(
        "Le workflow ne peut pas distinguer les échecs entre eux.", "The workflow cannot tell failures apart."
    ),
    remedy=Text("Écrire dans « err_class » un nom stable.", "Write a stable name in “err_class”."),
)
async def failure_has_a_class(case: Case, endpoint: Endpoint) -> None:
    for answer, envelope in await _failures(case):
        said = envelope.get("err_class")
        expect(filled(said), f"« err_class » vaut {shown(said)}", f"“err_class” is {shown(said)}", answer)


@check(
    "PUB-ENV-15",
    feature="failure",
    forms=("envelope", "open", "file"),
    title=Text("Un échec n'a pas de contenu", "A failure has no content"),
    consequence=Text(
        "Un formulaire qui ne lit que « data » montre le contenu d'un échec.",
        "A form that only reads “data” shows the content of a failure.",
    ),
    remedy=Text('Écrire "data": null dans un échec.', 'Write "data": null in a failure.'),
)
async def failure_has_no_data(case: Case, endpoint: Endpoint) -> None:
    for answer, envelope in await _failures(case):
        data = envelope.get("data")
        expect(data is None, f"« data » vaut {shown(data)}", f"“data” is {shown(data)}", answer)


@check(
    "PUB-ENV-16",
    title=Text("Les refus du serveur sont dans l'enveloppe", "The server's refusals are in the envelope"),
    consequence=Text(
        "Le journal de Publik montre une page HTML au lieu d'une phrase.",
        "Publik's journal shows an HTML page instead of a sentence.",
    ),
    remedy=Text(
        "Régler les pages d'erreur 401 et 405 du serveur pour qu'elles soient en JSON.",
        "Set the server's 401 and 405 error pages to be in JSON.",
    ),
)
async def server_refusals_are_envelopes(case: Case, endpoint: Endpoint) -> None:
    answers = [await case.ask(unknown_method(case))]
    if case.target.credentials is not None:
        answers.append(await case.ask(case.plain(), proof=None))
    answers = [one for one in answers if 400 <= one.status < 500]
    if not answers:
        raise Omitted(Text("le serveur n'a rien refusé", "the server refused nothing"))
    for answer in answers:
        expect(
            answer.envelope is not None and bool(answer.envelope.get("err")),
            f"HTTP {answer.status} sans enveloppe ({answer.content_type or 'sans type'})",
            f"HTTP {answer.status} without an envelope ({answer.content_type or 'no type'})",
            answer,
        )


@check(
    "PUB-ENV-17",
    forms=("envelope", "open", "json"),
    title=Text("Le JSON est strict", "JSON is strict"),
    consequence=Text(
        "Le serveur Publik lit la réponse mais le navigateur de l'usager la refuse, ou lit une autre valeur.",
        "Publik's server reads the answer but the user's browser refuses it, or reads another value.",
    ),
    remedy=Text(
        "Remplacer NaN et Infinity par null ; n'écrire chaque membre qu'une fois.",
        "Replace NaN and Infinity by null; write each member once.",
    ),
)
async def json_is_strict(case: Case, endpoint: Endpoint) -> None:
    for answer in await _successes(case):
        if answer.document is UNREADABLE:
            continue
        fault = _looseness(answer.body)
        expect(not fault, f"le JSON contient {fault}", f"the JSON holds {fault}", answer)


def _looseness(body: bytes) -> str:
    found: list[str] = []

    def members(pairs: list[tuple[str, Any]]) -> None:
        names = [name for name, _ in pairs]
        found.extend(f"« {name} » × 2" for name in names if names.count(name) > 1)

    text = body.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "replace")
    json.loads(text, parse_constant=found.append, object_pairs_hook=members)
    return found[0] if found else ""
