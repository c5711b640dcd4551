"""PUB-FILE: a file out (w.c.s. response type “attachment”) and a file in."""

from __future__ import annotations

import re
from urllib.parse import unquote

from contract_tests.core.answer import Answer
from contract_tests.core.case import Case
from contract_tests.core.check import Omitted, Skipped, check, expect
from contract_tests.core.endpoints import FileEndpoint
from contract_tests.text import Text

_SIGNATURES = (
    (b"%PDF-", "application/pdf"),
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"PK\x03\x04", "application/zip"),
)
_ZIPPED = ("application/zip", "application/vnd.", "application/epub+zip", "application/java-archive")


async def _file(case: Case, endpoint: FileEndpoint) -> Answer:
    answer = await case.ask(case.reading())
    if not answer.complete or not answer.success:
        raise Skipped(Text("le fichier n'est pas venu : voir PUB-ENV-8", "no file came: see PUB-ENV-8"), answer)
    return answer


@check(
    "PUB-FILE-1",
    title=Text("Le fichier est le corps de la réponse", "The file is the body of the answer"),
    consequence=Text(
        "L'usager télécharge un document illisible : du JSON ou une page enregistrés comme fichier.",
        "The user downloads an unreadable document: JSON or a page stored as a file.",
    ),
    remedy=Text(
        "Répondre les octets du fichier, pas une enveloppe avec du base64.",
        "Answer the file's bytes, not an envelope with base64.",
    ),
)
async def file_is_the_body(case: Case, endpoint: FileEndpoint) -> None:
    answer = await _file(case, endpoint)
    expect(bool(answer.body), "le fichier est vide", "the file is empty", answer)
    expect(
        not (answer.envelope is not None and ("err" in answer.envelope or "data" in answer.envelope)),
        "le corps est une enveloppe JSON",
        "the body is a JSON envelope",
        answer,
    )
    start = answer.body[:200].lstrip().lower()
    page = start.startswith((b"<!doctype html", b"<html")) and not endpoint.path.endswith((".html", ".htm"))
    expect(not page, "le corps est une page HTML", "the body is an HTML page", answer)


@check(
    "PUB-FILE-2",
    title=Text("Le type du fichier est annoncé", "The file's type is announced"),
    consequence=Text("Le fichier est enregistré sans type ni extension.", "The file is stored without type."),
    remedy=Text("Envoyer Content-Type: application/pdf, par exemple.", "Send Content-Type: application/pdf, say."),
)
async def type_is_announced(case: Case, endpoint: FileEndpoint) -> None:
    answer = await _file(case, endpoint)
    kind = answer.content_type
    expect(bool(re.fullmatch(r"[\w.+-]+/[\w.+-]+", kind)), "Content-Type absent", "no Content-Type", answer)


@check(
    "PUB-FILE-3",
    title=Text("Le type annoncé est celui du contenu", "The announced type is that of the content"),
    consequence=Text("Le navigateur n'ouvre pas le document.", "The browser does not open the document."),
    remedy=Text("Annoncer le type réel.", "Announce the real type."),
)
async def type_is_that_of_the_content(case: Case, endpoint: FileEndpoint) -> None:
    answer = await _file(case, endpoint)
    real = next((kind for start, kind in _SIGNATURES if answer.body.startswith(start)), None)
    if real is None or not answer.content_type:
        raise Omitted(Text("contenu sans signature connue", "content without a known signature"), answer)
    agreed = answer.content_type == real or (real == "application/zip" and answer.content_type.startswith(_ZIPPED))
    expect(
        agreed,
        f"annoncé {answer.content_type}, le contenu est {real}",
        f"announced {answer.content_type}, the content is {real}",
        answer,
    )


@check(
    "PUB-FILE-4",
    title=Text("Le nom du fichier est donné", "The file's name is given"),
    consequence=Text(
        "Le document porte le nom de la variable du workflow.", "The document has the name of the workflow's variable."
    ),
    remedy=Text(
        'Envoyer Content-Disposition: attachment; filename="….pdf".',
        'Send Content-Disposition: attachment; filename="….pdf".',
    ),
)
async def name_is_given(case: Case, endpoint: FileEndpoint) -> None:
    answer = await _file(case, endpoint)
    header = answer.header("Content-Disposition")
    expect(bool(_names(header)), f"Content-Disposition: {header or 'absent'}", f"{header or 'absent'}", answer)


@check(
    "PUB-FILE-5",
    title=Text("Le nom du fichier est sans chemin", "The file's name holds no path"),
    consequence=Text(
        "Un nom comme ../../fiche.pdf peut écrire ailleurs que prévu.",
        "A name like ../../sheet.pdf may write elsewhere than meant.",
    ),
    remedy=Text("Ne donner que le nom, sans dossier.", "Give the name only, without folder."),
)
async def name_holds_no_path(case: Case, endpoint: FileEndpoint) -> None:
    answer = await _file(case, endpoint)
    for name in _names(answer.header("Content-Disposition")):
        expect(not re.search(r"[/\\\x00-\x1f]|^\.\.", name), f"nom : {name}", f"name: {name}", answer)


def _names(header: str | None) -> list[str]:
    found = re.findall(r"filename\*?\s*=\s*(?:\"((?:[^\"\\]|\\.)*)\"|([^;\s]+))", header or "", re.IGNORECASE)
    names = [unquote(quoted or plain).rpartition("''")[2] for quoted, plain in found]
    return [name for name in names if name]


@check(
    "PUB-FILE-6",
    feature="failure",
    title=Text("Un échec n'est jamais pris pour un fichier", "A failure is never taken for a file"),
    consequence=Text(
        "Le message d'erreur est enregistré comme pièce de la demande, sans que personne le voie.",
        "The error message is stored as a document of the request, and nobody sees it.",
    ),
    remedy=Text(
        "Répondre 404 (ou 4xx, 5xx) à un fichier absent : w.c.s. ne lit pas « err » quand il attend un fichier.",
        "Answer 404 (or 4xx, 5xx) for a missing file: w.c.s. does not read “err” when it expects a file.",
    ),
)
async def failure_is_not_a_file(case: Case, endpoint: FileEndpoint) -> None:
    for call in endpoint.wrongs(writes=case.allow_writes):
        answer = await case.ask(call)
        if not answer.complete:
            raise Skipped(Text("aucune réponse entière", "no whole answer"), answer)
        told = answer.header("X-Error-Code") not in (None, "", "0")
        expect(
            answer.status >= 400 or told,
            f"HTTP {answer.status} pour un fichier qui n'existe pas",
            f"HTTP {answer.status} for a file that does not exist",
            answer,
        )


@check(
    "PUB-FILE-7",
    feature="upload",
    writes=True,
    title=Text("Un fichier de w.c.s. est reçu", "A file of w.c.s. is received"),
    consequence=Text(
        "Les pièces jointes de l'usager ne parviennent pas.", "The user's attachments do not get through."
    ),
    remedy=Text(
        "Lire filename, content_type, content (base64), et accepter content_is_base64.",
        "Read filename, content_type, content (base64), and accept content_is_base64.",
    ),
)
async def file_is_received(case: Case, endpoint: FileEndpoint) -> None:
    call = endpoint.takes()
    assert call is not None
    answer = await case.ask(call)
    if isinstance((answer.envelope or {}).get("err"), (list, dict)) or 300 <= answer.status < 400:
        raise Skipped(Text("voir PUB-ENV-6 et PUB-HTTP-1", "see PUB-ENV-6 and PUB-HTTP-1"), answer)
    said = (answer.envelope or {}).get("err_desc") or ""
    expect(answer.favourable, f"HTTP {answer.status} {said}", f"HTTP {answer.status} {said}", answer)
