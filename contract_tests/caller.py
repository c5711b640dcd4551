"""What w.c.s. does with an answer: its decision order, row by row, each with the source it is known from.

Sources are the keys of `spec/publik-contracts.md` §0: W-wf and W-wscalls (workflow calls), W-ds (data sources), W-misc
(HTTP), W-fd (files), W-sms. Written from those facts, not from Publik's code.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from email.utils import collapse_rfc2231_value
from typing import Any, Literal
from urllib.parse import parse_qsl, urlsplit

from contract_tests.text import Text
from contract_tests.wire import Exchange, Response

__all__ = [
    "PATIENCE",
    "Reader",
    "Row",
    "kept_features",
    "kept_items",
    "lookup",
    "read_text",
    "readers",
    "told",
    "workflow_code",
]

PATIENCE = 28.0
"""Seconds w.c.s. waits (W-set)."""
Reader = Literal["workflow", "attachment", "source", "geojson", "sms", "search", "portal"]
"""What in Publik reads the answer of a profile."""

_READERS: Mapping[str, Reader] = {
    "envelope": "workflow",
    "request": "workflow",
    "choices": "source",
    "file": "attachment",
    "map": "geojson",
    "sms": "sms",
    "search": "search",
    "billing": "portal",
    "statistics": "portal",
    "cell": "portal",
}


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the decision table that applies to an answer."""

    row: str
    effect: Text
    source: str

    def plain(self) -> dict[str, Any]:
        """As the report writes it."""
        return {"row": self.row, "effect": self.effect.plain(), "source": self.source}


def readers(profile: str) -> Reader:
    """Who reads the answers of a profile."""
    return _READERS.get(profile, "workflow")


def told(
    exchange: Exchange,
    reader: Reader,
    *,
    attributes: tuple[str, str, str] = ("data", "id", "text"),
    parameter: str = "",
) -> list[Row]:
    """The rows that apply to an exchange, in w.c.s.'s order.

    `attributes` name data, id and text of a source, `parameter` the one of its lookup by identifier.
    """
    rows = list(_rows(exchange, reader, attributes))
    wanted = dict(parse_qsl(urlsplit(exchange.request.url).query)).get(parameter) if parameter else None
    if wanted is not None and exchange.response is not None and rows and rows[-1].row == "source · éléments":
        rows.append(_picked(exchange.response, attributes[0], parameter, wanted))
    return rows


def _picked(response: Response, data: str, parameter: str, wanted: str) -> Row:
    found = lookup(at(json.loads(response.body), data), parameter, wanted)
    if found is None:
        effect = Text(
            f"Aucun élément n'a « {parameter} » égal à {wanted} : le choix de l'usager est perdu.",
            f"No item has “{parameter}” equal to {wanted}: the user's choice is lost.",
        )
    else:
        effect = Text(
            f"L'élément dont « {parameter} » vaut {wanted} est retenu.",
            f"The item whose “{parameter}” is {wanted} is taken.",
        )
    return Row("source · lecture par identifiant", effect, "W-ds (publik-contracts §3.2)")


def _rows(exchange: Exchange, reader: Reader, attributes: tuple[str, str, str]) -> Iterator[Row]:
    response = exchange.response
    if response is None:
        yield _network(exchange, reader)
        return
    if exchange.elapsed > PATIENCE:
        yield Row(
            "1 · 28 s",
            Text(
                "w.c.s. a déjà abandonné : pour lui c'est une erreur réseau, le workflow s'arrête.",
                "w.c.s. has already given up: a network error for it, the workflow stops.",
            ),
            "W-set, W-wf",
        )
        return
    if response.status in (301, 302, 303, 307, 308):
        yield _redirect(exchange)
        return
    match reader:
        case "source" | "geojson":
            yield from _source(response, reader, attributes)
        case "sms":
            yield _sms(response)
        case "search" | "portal":
            yield _portal(response)
        case _:
            yield from _workflow(response, attachment=reader == "attachment")


def _network(exchange: Exchange, reader: Reader) -> Row:
    if reader in ("source", "geojson"):
        effect = Text(
            "La source est tenue pour en panne : la liste est vide dans le formulaire.",
            "The source counts as down: the form's list is empty.",
        )
        return Row("1 · réseau", effect, "W-ds, W-misc")
    effect = Text(
        "Erreur réseau : « action_on_network_errors », par défaut les actions du workflow s'arrêtent.",
        "Network error: “action_on_network_errors”, by default the workflow's actions stop.",
    )
    return Row("1 · réseau", effect, "W-wf")


def _redirect(exchange: Exchange) -> Row:
    if exchange.request.method == "GET":
        effect = Text(
            "La redirection est suivie ; vers un autre hôte, les identifiants et la signature ne servent plus.",
            "The redirect is followed; towards another host, credentials and signature no longer serve.",
        )
    else:
        effect = Text(
            "301, 302 et 303 sont suivis en GET : le corps est perdu, la demande n'est pas créée.",
            "301, 302 and 303 are followed as GET: the body is lost, the request is not created.",
        )
    return Row("redirection", effect, "W-misc")


# --- workflow calls ---------------------------------------------------------------------------------------------------


def read_text(body: bytes) -> tuple[Any, bool]:
    """The body as workflow calls read it: UTF-8 text, then JSON; a byte-order mark or Latin-1 makes it unreadable."""
    try:
        return json.loads(body.decode("utf-8")), True
    except (ValueError, RecursionError):
        return None, False


def workflow_code(response: Response, *, attachment: bool = False) -> tuple[int | str | None, Row]:
    """The application error code and the row that decides it; None when w.c.s. itself breaks on the value."""
    if header := response.header("X-Error-Code"):
        code = _whole(header)
        body, readable = read_text(response.body)
        err = body.get("err") if readable and isinstance(body, dict) else None
        against = (
            Text(f" Le corps dit « {err} », il n'est pas lu.", f" The body says “{err}”, it is not read.")
            if not attachment and readable and bool(err) != (code != 0)
            else Text("", "")
        )
        effect = Text(
            f"X-Error-Code vaut {code} : il l'emporte sur le corps." + against.fr,
            f"X-Error-Code is {code}: it wins over the body." + against.en,
        )
        return code, Row("2 · X-Error-Code", effect, "W-wf, W-wscalls")
    if attachment:
        effect = Text(
            "Fichier attendu : le corps n'est pas lu, un « err » qu'il contiendrait est ignoré.",
            "A file is expected: the body is not read, an “err” in it is ignored.",
        )
        return 0, Row("2 · pièce jointe", effect, "W-wf")
    body, readable = read_text(response.body)
    if readable and isinstance(body, dict) and body.get("err"):
        err = body["err"]
        if isinstance(err, (list, dict)):
            effect = Text(
                "« err » est une liste ou un objet : w.c.s. ne sait pas le convertir et échoue lui-même.",
                "“err” is a list or an object: w.c.s. cannot convert it and fails itself.",
            )
            return None, Row("3 · err", effect, "W-wscalls")
        code = _whole(err)
        if code == 0:
            effect = Text(
                f"« err » vaut {json.dumps(err)} : tronqué à 0, c'est un succès pour un workflow.",
                f"“err” is {json.dumps(err)}: cut to 0, a success for a workflow.",
            )
        else:
            effect = Text(f"« err » vaut {code} : erreur applicative.", f"“err” is {code}: application error.")
        return code, Row("3 · err", effect, "W-wscalls")
    if not readable:
        effect = Text(
            "Le corps n'est pas du JSON en UTF-8 sans BOM : pas de code d'erreur, donc succès apparent.",
            "The body is not JSON in UTF-8 without BOM: no error code, so an apparent success.",
        )
    elif not isinstance(body, dict):
        effect = Text(
            "Le corps n'est pas un objet : « err » n'est pas cherché, succès apparent.",
            "The body is not an object: “err” is not looked for, an apparent success.",
        )
    elif "err" not in body:
        effect = Text("« err » est absent : c'est un succès.", "“err” is absent: a success.")
    else:
        value = json.dumps(body["err"])
        effect = Text(f"« err » vaut {value} : c'est un succès.", f"“err” is {value}: a success.")
    return 0, Row("4 · pas d'erreur", effect, "W-wf, W-wscalls")


def _workflow(response: Response, *, attachment: bool) -> Iterator[Row]:
    code, row = workflow_code(response, attachment=attachment)
    yield row
    if code is None:
        return
    status = response.status
    if status in (204, 205):
        effect = Text("Rien n'est enregistré, sans erreur.", "Nothing is stored, without error.")
        yield Row("5 · 204/205", effect, "W-wf")
    elif 200 <= status < 300 and code == 0:
        yield _stored(response, attachment=attachment)
    if code != 0:
        effect = Text(
            "Erreur applicative : « action_on_app_error », par défaut le workflow CONTINUE.",
            "Application error: “action_on_app_error”, by default the workflow GOES ON.",
        )
        yield Row("7 · erreur applicative", effect, "W-wf")
    if 400 <= status < 600:
        kind = "4xx" if status < 500 else "5xx"
        effect = Text(
            f"HTTP {status} : « action_on_{kind} », par défaut les actions du workflow s'arrêtent.",
            f"HTTP {status}: “action_on_{kind}”, by default the workflow's actions stop.",
        )
        yield Row(f"8 · {kind}", effect, "W-wf")
    if (code != 0 or status >= 400) and not attachment and read_text(response.body)[1]:
        effect = Text(
            "Dans un modèle, {{ webservice… }} rend ce corps quel que soit l'échec, qui n'est pas signalé.",
            "In a template, {{ webservice… }} gives this body whatever the failure, which is not told.",
        )
        yield Row("appel nommé", effect, "W-wscalls, W-t-ws")
    if not 200 <= status < 300 and not 400 <= status < 600:
        effect = Text(
            f"HTTP {status} : aucune action d'erreur, rien n'est enregistré comme réponse.",
            f"HTTP {status}: no error action, nothing is stored as the response.",
        )
        yield Row("9 · autre statut", effect, "W-wf")


def _stored(response: Response, *, attachment: bool) -> Row:
    if attachment:
        name = filename(response) or "<identifiant>.<ext>"
        kind = (response.header("Content-Type") or "application/octet-stream").partition(";")[0].strip()
        effect = Text(
            f"Le corps est enregistré comme fichier « {name} » de type {kind}, quoi qu'il contienne.",
            f"The body is stored as file “{name}” of type {kind}, whatever it holds.",
        )
        return Row("6 · pièce jointe", effect, "W-wf")
    _, readable = read_text(response.body)
    if readable:
        effect = Text(
            "La réponse est enregistrée dans <variable>_response.", "The answer is stored in <variable>_response."
        )
        return Row("6 · succès", effect, "W-wf")
    effect = Text(
        "JSON attendu et illisible : par défaut le workflow CONTINUE sans réponse ; « action_on_bad_data » ne joue que "
        "si l'action a un identifiant.",
        "JSON expected and unreadable: by default the workflow GOES ON without a response; “action_on_bad_data” only "
        "acts when the action has an identifier.",
    )
    return Row("6 · données illisibles", effect, "W-wf")


def filename(response: Response) -> str:
    """The name w.c.s. reads in `Content-Disposition`, slugified; empty without one (W-wf)."""
    held = Message()
    held["Content-Disposition"] = response.header("Content-Disposition") or ""
    found = held.get_param("filename", header="Content-Disposition")
    name = "" if found is None else collapse_rfc2231_value(found)
    return re.sub(r"[^\w.]+", "-", name).strip("-").lower()


# --- data sources -----------------------------------------------------------------------------------------------------


def _source(response: Response, reader: Reader, attributes: tuple[str, str, str]) -> Iterator[Row]:
    empty = Text(" La liste est vide dans le formulaire.", " The form's list is empty.")
    if not 200 <= response.status < 300:
        yield Row(
            "source · statut",
            Text(f"HTTP {response.status} : la source est en panne." + empty.fr, "The source is down." + empty.en),
            "W-misc",
        )
        return
    try:
        body = json.loads(response.body)
    except (ValueError, RecursionError):
        effect = Text("Le corps n'est pas du JSON." + empty.fr, "The body is not JSON." + empty.en)
        yield Row("source · JSON", effect, "W-ds")
        return
    data, identifier, text = attributes if reader == "source" else ("features", "id", "text")
    if not isinstance(body, dict):
        effect = Text("Le JSON n'est pas un objet." + empty.fr, "The JSON is not an object." + empty.en)
        yield Row("source · objet", effect, "W-ds")
        return
    if (err := body.get("err")) not in (0, "0", None, False):
        effect = Text(
            f"« err » vaut {json.dumps(err)} : la source est en erreur." + empty.fr,
            f"“err” is {json.dumps(err)}: the source is in error." + empty.en,
        )
        yield Row("source · err", effect, "W-ds")
        return
    rows = at(body, data)
    if not isinstance(rows, list):
        effect = Text(f"« {data} » n'est pas une liste." + empty.fr, f"“{data}” is not a list." + empty.en)
        yield Row("source · liste", effect, "W-ds")
        return
    kept = kept_items(rows, identifier, text) if reader == "source" else kept_features(rows)
    lost = len(rows) - len(kept)
    note = Text(f" ; {lost} sont ignorés en silence", f"; {lost} are silently left out") if lost else Text("", "")
    effect = Text(f"{len(kept)} éléments sont proposés{note.fr}.", f"{len(kept)} items are offered{note.en}.")
    yield Row("source · éléments", effect, "W-ds")
    if reader == "geojson" and (placed := sum(one["on map"] for one in kept)) < len(rows):
        effect = Text(
            f"Sur une carte, {placed} sur {len(rows)} : seul l'« id » de « properties » y compte.",
            f"On a map, {placed} out of {len(rows)}: only the “id” in “properties” counts there.",
        )
        yield Row("source · carte", effect, "W-ds (publik-contracts §7.2, §12.8)")


def at(value: Any, path: str) -> Any:
    """A member by dotted path; None when absent."""
    for step in path.split("."):
        value = value.get(step) if isinstance(value, dict) else None
    return value


def kept_items(rows: list[Any], identifier: str = "id", text: str = "text") -> list[dict[str, Any]]:
    """The items w.c.s. offers: objects with an id, whose text is a string or absent (W-ds)."""
    kept = []
    for row in rows:
        if not isinstance(row, dict):
            continue
        key, label = at(row, identifier), at(row, text)
        if key is None or key == "" or not (label is None or isinstance(label, str)):
            continue
        kept.append({**row, "id": str(key), "text": label if label is not None else str(key)})
    return kept


def kept_features(features: list[Any]) -> list[dict[str, Any]]:
    """The features a list offers: by their `id`, else by that of `properties`; the label falls back to it (W-ds)."""
    kept = []
    for one in features:
        properties = one.get("properties") if isinstance(one, dict) else None
        if not isinstance(properties, dict):
            continue
        own, inner = one.get("id"), properties.get("id")
        key = own if own not in (None, "") else inner
        if key not in (None, ""):
            label = properties.get("text")
            text = label if isinstance(label, str) and label else str(key)
            kept.append({"id": str(key), "text": text, "on map": inner not in (None, "")})
    return kept


def lookup(rows: list[Any], parameter: str, value: str) -> dict[str, Any] | None:
    """The item w.c.s. picks after a lookup: its attribute named like the parameter equals the value, as text (W-ds)."""
    for row in rows:
        if isinstance(row, dict) and str(row.get(parameter)) == str(value):
            return row
    return None


# --- others -----------------------------------------------------------------------------------------------------------


def _sms(response: Response) -> Row:
    code, _ = workflow_code(response)
    if response.status == 200 and code == 0:
        effect = Text("Le message est tenu pour envoyé.", "The message counts as sent.")
    else:
        effect = Text(
            "w.c.s. journalise un échec d'envoi : il n'accepte que 200 sans erreur.",
            "w.c.s. records that sending failed: it only takes 200 without error.",
        )
    return Row("sms", effect, "W-sms")


def _portal(response: Response) -> Row:
    body, readable = read_text(response.body)
    failed = not 200 <= response.status < 300 or not readable or (isinstance(body, dict) and bool(body.get("err")))
    if failed:
        effect = Text("Le portail n'affiche rien de cette réponse.", "The portal shows nothing of this answer.")
    else:
        effect = Text("Le portail affiche le contenu de « data ».", "The portal shows what “data” holds.")
    return Row("portail", effect, "K-search, K-fact, D-cell (I)")


def _whole(value: Any) -> int | str:
    try:
        return int(value)
    except (TypeError, ValueError, OverflowError):
        return str(value)
