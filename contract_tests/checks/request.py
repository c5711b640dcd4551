"""PUB-CREATE and PUB-STATUS: a business request, from its creation to its final status."""

from __future__ import annotations

from typing import Any

from contract_tests.caller import at
from contract_tests.core.answer import Answer
from contract_tests.core.case import CALLER_URL, Case
from contract_tests.core.check import Omitted, Skipped, check, expect
from contract_tests.core.endpoints import Followed, Request, file_member
from contract_tests.text import Text

from .values import filled, identifier, shown

ACCENTS = "Élodie O'Connor-Nuñez & fils, 3 bis « rue » €"


def _id(endpoint: Request, case: Case, answer: Answer) -> Any:
    return at(case.data(answer), endpoint.id_attribute)


async def _created(case: Case, endpoint: Request, answer: Answer) -> str:
    """The identifier of a creation. Raises `Skipped` when there is none."""
    value = _id(endpoint, case, answer)
    if not identifier(value):
        raise Skipped(Text("pas d'identifiant : voir PUB-CREATE-1", "no identifier: see PUB-CREATE-1"), answer)
    return str(value)


@check(
    "PUB-CREATE-1",
    writes=True,
    title=Text("La création rend un identifiant", "Creation gives an identifier"),
    consequence=Text(
        "La demande ne peut pas être suivie : l'usager ne saura jamais ce qu'elle devient.",
        "The request cannot be followed: the user will never know what became of it.",
    ),
    remedy=Text('Répondre {"err": 0, "data": {"id": "…"}} à la création.', 'Answer {"err": 0, "data": {"id": "…"}}.'),
)
async def creation_gives_an_identifier(case: Case, endpoint: Request) -> None:
    answer = await case.ask(endpoint.create())
    data = case.data(answer)
    value = at(data, endpoint.id_attribute)
    expect(
        identifier(value),
        f"« data.{endpoint.id_attribute} » vaut {shown(value)}",
        f"“data.{endpoint.id_attribute}” is {shown(value)}",
        answer,
    )


@check(
    "PUB-CREATE-2",
    writes=True,
    title=Text("Le numéro affiché est un texte", "The number shown is a text"),
    consequence=Text(
        "Le numéro de la demande dans Publik est remplacé par une valeur illisible.",
        "The request's number in Publik is replaced by an unreadable value.",
    ),
    remedy=Text("Écrire « display_id » comme un texte, ou l'omettre.", "Write “display_id” as a text, or omit it."),
)
async def display_id_is_a_text(case: Case, endpoint: Request) -> None:
    answer = await case.ask(endpoint.create())
    data = case.data(answer)
    if not isinstance(data, dict) or "display_id" not in data:
        raise Omitted(Text("pas de display_id", "no display_id"), answer)
    value = data["display_id"]
    expect(filled(value), f"« display_id » vaut {shown(value)}", f"“display_id” is {shown(value)}", answer)


@check(
    "PUB-CREATE-3",
    writes=True,
    title=Text("Un champ manquant est refusé avec une raison", "A missing field is refused with a reason"),
    consequence=Text(
        "L'usager croit sa demande envoyée alors qu'elle est incomplète ; ou le workflow tombe en panne.",
        "The user believes the request was sent while it is incomplete; or the workflow breaks down.",
    ),
    remedy=Text(
        "Vérifier les champs obligatoires, et répondre err 1 avec le nom du champ dans err_desc.",
        "Verify required fields, and answer err 1 with the field's name in err_desc.",
    ),
)
async def missing_field_is_refused(case: Case, endpoint: Request) -> None:
    if not endpoint.required:
        raise Skipped(
            Text("aucun champ obligatoire déclaré (required)", "no required field declared (required)"),
        )
    case.data(await case.ask(endpoint.create()))
    for name in endpoint.required[:3]:
        answer = await case.ask(endpoint.create(without=name))
        expect(
            answer.failure and answer.status < 500,
            f"sans « {name} » : HTTP {answer.status}, err {shown((answer.envelope or {}).get('err'))}",
            f'without "{name}": HTTP {answer.status}, err {shown((answer.envelope or {}).get("err"))}',
            answer,
        )


@check(
    "PUB-CREATE-4",
    writes=True,
    feature="echo",
    title=Text("Les accents sont conservés", "Accents are kept"),
    consequence=Text(
        "Le nom de l'usager arrive abîmé dans votre logiciel.", "The user's name arrives damaged in your software."
    ),
    remedy=Text("Lire le corps en UTF-8, et le garder en Unicode.", "Read the body as UTF-8, and keep Unicode."),
)
async def accents_are_kept(case: Case, endpoint: Request) -> None:
    for name, attribute in endpoint.echo.items():
        created = await _created(case, endpoint, await case.ask(endpoint.create({name: ACCENTS})))
        answer = await case.ask(endpoint.follow(created))
        given = at(case.data(answer), attribute)
        expect(given == ACCENTS, f"« {name} » revient : {shown(given)}", f"“{name}” comes back: {shown(given)}", answer)


@check(
    "PUB-CREATE-5",
    writes=True,
    title=Text("Un envoi répété ne crée qu'une demande", "A repeated submission creates one request"),
    consequence=Text(
        "Une coupure de réseau suivie d'une reprise par l'agent crée une demande en double.",
        "A network cut followed by the agent's retry creates the request twice.",
    ),
    remedy=Text(
        "Reconnaître la répétition (Idempotency-Key, Publik-Caller-URL, ou une clé métier), et rendre la même demande.",
        "Recognise the repetition (Idempotency-Key, Publik-Caller-URL, or a business key), and give the same request.",
    ),
)
async def repetition_creates_once(case: Case, endpoint: Request) -> None:
    own = (
        ("Idempotency-Key", case.nonsense("once")),
        ("Publik-Caller-URL", f"{CALLER_URL}{int(case.nonsense('once')[3:], 16)}/"),
    )
    call = endpoint.another(case.nonsense("once"))
    first = await case.ask(call, headers=own)
    created = await _created(case, endpoint, first)
    second = await case.ask(call, headers=own, fresh=True)
    if second.failure:
        return  # a clear refusal of the repetition
    again = at((second.envelope or {}).get("data"), endpoint.id_attribute)
    expect(
        str(again) == created,
        f"la répétition crée {shown(again)} après {shown(created)}",
        f"the repetition creates {shown(again)} after {shown(created)}",
        second,
    )


@check(
    "PUB-CREATE-6",
    writes=True,
    title=Text("Un champ facultatif peut être vide", "An optional field may be empty"),
    consequence=Text(
        "La demande échoue dès que l'usager laisse un champ facultatif vide.",
        "The request fails as soon as the user leaves an optional field empty.",
    ),
    remedy=Text('Accepter null et "" comme l\'absence du champ.', 'Take null and "" as the field\'s absence.'),
)
async def optional_fields_may_be_empty(case: Case, endpoint: Request) -> None:
    case.data(await case.ask(endpoint.create()))
    optional = [name for name in endpoint.body if name not in endpoint.required]
    if not optional:
        raise Omitted(Text("tous les champs sont obligatoires", "every field is required"))
    for value in (None, ""):
        changed = {name: value for name in optional if value is None or isinstance(endpoint.body[name], str)}
        if not changed:
            continue
        answer = await case.ask(endpoint.create(changed))
        names = ", ".join(changed)
        expect(
            answer.favourable,
            f"{names} = {shown(value)} : HTTP {answer.status}, err {shown((answer.envelope or {}).get('err'))}",
            f"{names} = {shown(value)}: HTTP {answer.status}, err {shown((answer.envelope or {}).get('err'))}",
            answer,
        )


@check(
    "PUB-CREATE-7",
    writes=True,
    title=Text("Un nombre peut être écrit en texte", "A number may be written as text"),
    consequence=Text(
        "Les montants sont refusés : w.c.s. envoie les décimaux comme des textes.",
        "Amounts are refused: w.c.s. sends decimals as texts.",
    ),
    remedy=Text('Accepter "12.50" comme 12.50.', 'Take "12.50" as 12.50.'),
)
async def numbers_may_be_texts(case: Case, endpoint: Request) -> None:
    case.data(await case.ask(endpoint.create()))
    numbers = {
        name: str(value)
        for name, value in endpoint.body.items()
        if isinstance(value, (int, float)) and not isinstance(value, bool)
    }
    if not numbers:
        raise Omitted(Text("aucun nombre dans l'exemple", "no number in the example"))
    answer = await case.ask(endpoint.create(numbers))
    expect(
        answer.favourable,
        f"{', '.join(numbers)} en texte : HTTP {answer.status}",
        f"{', '.join(numbers)} as text: HTTP {answer.status}",
        answer,
    )


@check(
    "PUB-CREATE-8",
    writes=True,
    feature="files",
    title=Text("Un fichier de w.c.s. est accepté", "A file of w.c.s. is accepted"),
    consequence=Text(
        "Les pièces jointes de l'usager ne parviennent pas.", "The user's attachments do not get through."
    ),
    remedy=Text(
        "Lire filename, content_type, content (base64), et accepter content_is_base64.",
        "Read filename, content_type, content (base64), and accept content_is_base64.",
    ),
)
async def files_are_accepted(case: Case, endpoint: Request) -> None:
    case.data(await case.ask(endpoint.create()))
    for name in endpoint.files:
        answer = await case.ask(endpoint.create({name: file_member()}))
        expect(answer.favourable, f"« {name} » : HTTP {answer.status}", f'"{name}": HTTP {answer.status}', answer)


@check(
    "PUB-CREATE-9",
    writes=True,
    feature="files",
    title=Text("Un grand fichier ne casse rien", "A large file breaks nothing"),
    consequence=Text(
        "Une photo de téléphone fait échouer la demande sans explication.",
        "A phone's photo makes the request fail without explanation.",
    ),
    remedy=Text(
        "Accepter 5 Mo, ou refuser par 413 avec l'enveloppe.", "Take 5 MB, or refuse with 413 and the envelope."
    ),
)
async def large_files_are_answered(case: Case, endpoint: Request) -> None:
    large = file_member(b"%PDF-1.4\n" + b"0" * case.limits.large_file)
    answer = await case.ask(endpoint.create({endpoint.files[0]: large}))
    expect(
        answer.complete and answer.status < 500,
        f"HTTP {answer.status or answer.exchange.trouble}",
        f"HTTP {answer.status or answer.exchange.trouble}",
        answer,
    )


# --- status -----------------------------------------------------------------------------------------------------------


async def _example(case: Case, endpoint: Followed) -> str:
    """The example's identifier, or that of a request just created."""
    if endpoint.example_id or not isinstance(endpoint, Request):
        return endpoint.example_id
    return await _created(case, endpoint, await case.ask(endpoint.create()))


async def _status(case: Case, endpoint: Followed) -> tuple[Answer, dict[str, Any]]:
    """The status of the example."""
    answer = await case.ask(endpoint.follow(await _example(case, endpoint)))
    data = case.data(answer)
    if not isinstance(data, dict):
        raise Skipped(Text("« data » n'est pas un objet", "“data” is not an object"), answer)
    return answer, data


def _final(endpoint: Followed, data: dict[str, Any]) -> bool | None:
    """Whether a status is final; None when nothing says so."""
    flag = at(data, endpoint.final_attribute)
    if isinstance(flag, bool):
        return flag
    if endpoint.final_statuses:
        return at(data, endpoint.status_attribute) in endpoint.final_statuses
    return None


@check(
    "PUB-STATUS-1",
    title=Text("L'état est un texte", "The status is a text"),
    consequence=Text(
        "Le workflow ne peut pas comparer l'état, et la demande reste bloquée.",
        "The workflow cannot compare the status, and the request stays stuck.",
    ),
    remedy=Text("Rendre dans « status » un mot stable.", "Give a stable word in “status”."),
)
async def status_is_a_text(case: Case, endpoint: Followed) -> None:
    answer, data = await _status(case, endpoint)
    value = at(data, endpoint.status_attribute)
    name = endpoint.status_attribute
    expect(filled(value), f"« {name} » vaut {shown(value)}", f"“{name}” is {shown(value)}", answer)


@check(
    "PUB-STATUS-2",
    title=Text("Une demande inconnue n'est pas « en cours »", "An unknown request is not “in progress”"),
    consequence=Text(
        "Publik interroge sans fin une demande qui n'existe pas, et l'usager attend.",
        "Publik asks forever about a request that does not exist, and the user waits.",
    ),
    remedy=Text(
        "Répondre err 1 (200 ou 404) à un identifiant inconnu.", "Answer err 1 (200 or 404) to an unknown identifier."
    ),
)
async def unknown_request_is_not_in_progress(case: Case, endpoint: Followed) -> None:
    answer = await case.ask(endpoint.follow(endpoint.nobody()))
    if not answer.complete:
        raise Skipped(Text("aucune réponse entière", "no whole answer"), answer)
    data = (answer.envelope or {}).get("data")
    final = answer.favourable and isinstance(data, dict) and _final(endpoint, data) is True
    expect(
        final or (answer.failure and answer.status < 500),
        f"HTTP {answer.status}, data {shown(data)}",
        f"HTTP {answer.status}, data {shown(data)}",
        answer,
    )


@check(
    "PUB-STATUS-3",
    title=Text("L'état dit s'il est final", "The status says whether it is final"),
    consequence=Text(
        "Publik ne sait pas quand cesser d'interroger, ni quand prévenir l'usager.",
        "Publik does not know when to stop asking, nor when to tell the user.",
    ),
    remedy=Text(
        'Ajouter "final": true ou false, ou déclarer final_statuses.', 'Add "final": true or false, or declare them.'
    ),
)
async def status_says_whether_it_is_final(case: Case, endpoint: Followed) -> None:
    answer, data = await _status(case, endpoint)
    flag = at(data, endpoint.final_attribute)
    name = endpoint.final_attribute
    expect(
        isinstance(flag, bool) or (flag is None and bool(endpoint.final_statuses)),
        f"« {name} » vaut {shown(flag)}",
        f"“{name}” is {shown(flag)}",
        answer,
    )


@check(
    "PUB-STATUS-4",
    feature="statuses",
    title=Text("L'état est l'un de ceux annoncés", "The status is one of those announced"),
    consequence=Text(
        "Le workflow n'a pas prévu cet état : la demande n'avance plus.",
        "The workflow does not expect this status: the request moves no further.",
    ),
    remedy=Text("Documenter l'état, ou rendre un état documenté.", "Document the status, or give a documented one."),
)
async def status_is_announced(case: Case, endpoint: Followed) -> None:
    answer, data = await _status(case, endpoint)
    value = at(data, endpoint.status_attribute)
    if not filled(value):
        raise Skipped(Text("pas d'état : voir PUB-STATUS-1", "no status: see PUB-STATUS-1"), answer)
    known = [*endpoint.statuses, *endpoint.final_statuses]
    expect(value in known, f"état {shown(value)} non annoncé", f"status {shown(value)} not announced", answer)


@check(
    "PUB-STATUS-5",
    feature="final",
    title=Text("Un état final ne change plus", "A final status never changes"),
    consequence=Text(
        "L'usager a été prévenu d'une décision qui a changé ensuite, et personne ne le lui dira.",
        "The user was told a decision that changed afterwards, and nobody will tell them.",
    ),
    remedy=Text(
        "N'annoncer final que ce qui l'est ; créer une nouvelle demande pour une reprise.",
        "Announce as final only what is; create a new request for a revision.",
    ),
)
async def final_status_never_changes(case: Case, endpoint: Followed) -> None:
    call = endpoint.follow(endpoint.final_id)
    first = await case.ask(call)
    data = case.data(first)
    if not isinstance(data, dict) or _final(endpoint, data) is not True:
        raise Skipped(Text("l'état de final_id n'est pas final", "the status of final_id is not final"), first)
    for _ in range(2):
        again = await case.ask(call, fresh=True)
        now = case.data(again)
        same = at(now, endpoint.status_attribute) == at(data, endpoint.status_attribute)
        expect(
            isinstance(now, dict) and _final(endpoint, now) is True and same,
            f"l'état final est devenu {shown(now)}",
            f"the final status became {shown(now)}",
            again,
        )


@check(
    "PUB-STATUS-6",
    title=Text("Lire l'état ne le change pas", "Reading the status does not change it"),
    consequence=Text(
        "Chaque interrogation de Publik fait avancer le dossier.", "Every question of Publik moves the case forward."
    ),
    remedy=Text("Rendre la lecture sans effet.", "Make reading free of effects."),
)
async def reading_changes_nothing(case: Case, endpoint: Followed) -> None:
    _, data = await _status(case, endpoint)
    call = endpoint.follow(await _example(case, endpoint))
    for _ in range(2):
        again = case.data(await case.ask(call, fresh=True))
        before, after = (at(one, endpoint.status_attribute) for one in (data, again))
        expect(
            before == after,
            f"{shown(before)} est devenu {shown(after)} à la lecture",
            f"{shown(before)} became {shown(after)} by reading",
        )


@check(
    "PUB-STATUS-7",
    writes=True,
    title=Text("Une demande créée peut être suivie", "A created request can be followed"),
    consequence=Text(
        "La première interrogation échoue, et le workflow prend la demande pour perdue.",
        "The first question fails, and the workflow takes the request for lost.",
    ),
    remedy=Text(
        "Rendre à la création l'identifiant que l'état attend.", "Give at creation the identifier the status expects."
    ),
)
async def created_request_can_be_followed(case: Case, endpoint: Request) -> None:
    created = await _created(case, endpoint, await case.ask(endpoint.create()))
    answer = await case.ask(endpoint.follow(created))
    expect(
        answer.favourable,
        f"HTTP {answer.status} pour {shown(created)}",
        f"HTTP {answer.status} for {shown(created)}",
        answer,
    )


@check(
    "PUB-STATUS-8",
    title=Text("L'état est celui de la bonne demande", "The status is that of the right request"),
    consequence=Text(
        "L'usager lit l'état de la demande d'un autre.", "The user reads the status of someone else's request."
    ),
    remedy=Text("Rendre l'identifiant demandé, à l'identique.", "Give the identifier asked for, unchanged."),
)
async def status_is_of_the_right_request(case: Case, endpoint: Followed) -> None:
    created = await _example(case, endpoint)
    answer = await case.ask(endpoint.follow(created))
    data = case.data(answer)
    value = at(data, endpoint.id_attribute)
    if value is None:
        raise Omitted(Text("l'état ne rend pas d'identifiant", "the status gives no identifier"), answer)
    expect(
        str(value) == created,
        f"identifiant {shown(value)} au lieu de {shown(created)}",
        f"identifier {shown(value)} instead of {shown(created)}",
        answer,
    )
