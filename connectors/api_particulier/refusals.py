"""What API Particulier says when it does not answer: its codes and texts as the six errors, for v2 and later versions.

The texts are the publisher's own, in French. `SHARED` is the one refusal that is not one: the same call is under way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit

from sdk import (
    ErrorCode,
    InvalidInput,
    Misconfigured,
    NotFound,
    Rejected,
    RelaisError,
    Request,
    Response,
    Send,
    Text,
    UpstreamInvalid,
    UpstreamUnavailable,
)
from sdk.errors import one_line
from sdk.http import retry_after
from sdk.messages import invalid_answer

SHARED = "00015"
"""The publisher is already answering the same call of the same token."""

_FIELDS: Mapping[str, str] = {
    "00306": "commune_naissance",
    "00353": "annee",
    "00354": "mois",
    "00356": "annee",
    "00360": "ine",
    "00361": "nom_naissance",
    "00362": "prenoms",
    "00363": "date_naissance",
    "00364": "sexe",
    "00365": "commune_naissance",
    "00366": "nom_naissance",
    "00367": "prenoms",
    "00368": "annee_campagne",
    "00380": "identifiant",
    "00400": "pays_naissance",
    "00410": "etablissement",
    "00411": "annee_scolaire",
    "00412": "degre",
    "00413": "departements",
    "00414": "departements",
    "00416": "departements",
    "00417": "regions",
    "00419": "etablissement",
    "00420": "nom_naissance",
    "00421": "prenoms",
    "00422": "date_naissance",
    "00423": "date_naissance",
    "00424": "date_naissance",
    "00425": "date_naissance",
    "00426": "commune_naissance",
    "00427": "sexe",
    "00428": "departement_naissance",
    "00430": "immatriculation",
    "50001": "access_token",
}
"""Code of a parameter refused → our parameter."""

_KNOWN: tuple[ErrorCode, ...] = (
    ErrorCode("00100", Misconfigured, "Aucun périmètre de cette route dans le jeton"),
    ErrorCode("00101", Misconfigured, "Jeton absent ou inconnu"),
    ErrorCode("00103", Misconfigured, "Jeton expiré : en demander un autre"),
    ErrorCode("00105", Misconfigured, "Jeton sur liste noire : en demander un autre"),
    ErrorCode("00107", Misconfigured, "Adresse IP non autorisée pour ce jeton"),
    ErrorCode("00203", Misconfigured, "Réglage `recipient` absent"),
    ErrorCode("00210", Misconfigured, "Réglage `recipient` : ce n'est pas un SIRET"),
    ErrorCode("00402", Misconfigured, "Version de route non prise en charge"),
    ErrorCode("00355", Rejected, "Identité insuffisante pour trouver un allocataire"),
    ErrorCode("00391", Rejected, "Plusieurs personnes répondent à cette identité"),
    ErrorCode("39400", Rejected, "Service national : 16 à 25 ans seulement"),
    ErrorCode("50002", Rejected, "Jeton FranceConnect inconnu ou expiré : se reconnecter"),
    ErrorCode("50003", Misconfigured, "Jeton FranceConnect sans les données pivot"),
    ErrorCode("00429", UpstreamUnavailable, "Trop d'appels"),
    ErrorCode(SHARED, UpstreamUnavailable, "Le même appel est déjà en cours"),
)
_CLASSES: Mapping[str, type[RelaisError]] = {known.code: known.error for known in _KNOWN}

DECLARED: tuple[ErrorCode | type[RelaisError], ...] = (*_KNOWN, InvalidInput, NotFound, Rejected, UpstreamUnavailable)
"""For the documentation of every endpoint: the codes above; NotFound also carries `…003` of each provider."""

_UNAVAILABLE = frozenset({408, 425, 429, 502, 503, 504})
_GENERIC = Text("API Particulier a refusé la demande.", en="API Particulier refused the request.")


@dataclass(frozen=True, slots=True)
class Fault:
    """One error of an answer. `code` is "" when there is none (v2); `wait` is in seconds.

    `about`: the publisher's parameter; for v2, "recipient", "not_found", or "platform" for what no provider said.
    """

    code: str
    text: str
    about: str = ""
    wait: float | None = None


def refusal(response: Response, *, franceconnect: bool = False) -> RelaisError:
    """The error for an answer that is not 2xx. `franceconnect`: the token sent was the citizen's, not ours."""
    faults = list(_faults(response))
    status = response.status
    if not faults:
        return _unexplained(response)
    first = faults[0]
    text, code = first.text or _GENERIC, first.code or None
    detail = f"status {status}" + (f", {', '.join(fault.code for fault in faults)}" if code else "")
    if status in _UNAVAILABLE or is_shared(response, faults):
        return UpstreamUnavailable(
            text,
            detail=detail,
            code=code,
            retry_after=retry_after(response) or next((fault.wait for fault in faults if fault.wait), None),
            processed=False if status in (409, 429) else None,
            timeout=status == 504,
        )
    if franceconnect and status == 401 and first.code in ("", "00101", "50001"):
        return InvalidInput(text, fields={"access_token": [text]}, detail=detail, code=code)
    if franceconnect and first.code == "00103":
        return Rejected(text, detail=detail, code=code)
    known = _CLASSES.get(first.code)
    if known is not None:
        return known(text, detail=detail, code=code)
    if status in (401, 403) or any(fault.about == "recipient" for fault in faults):
        return Misconfigured(text, detail=detail, code=code, processed=False)
    if status == 404:
        return NotFound(text, detail=detail, code=code)
    if status == 409 or first.about == "not_found":
        return Rejected(text, detail=detail, code=code)
    if status in (400, 422):
        fields: dict[str, list[str]] = {}
        for fault in faults:
            if name := _FIELDS.get(fault.code):
                fields.setdefault(name, []).append(fault.text)
        return InvalidInput(" ".join(dict.fromkeys(f.text for f in faults)), fields=fields, detail=detail, code=code)
    return invalid_answer(response, "a status that its contract does not allow")


def of_a_provider(inner: Send) -> Send:
    """A policy for every attempt: the failure of one administration is an answer of the API, which must go on being
    asked about the others; its own (`00…`, or an answer that is not its own) is not."""

    async def send(request: Request) -> Response:
        response = await inner(request)
        if response.status in (502, 503, 504):
            state_of_a_service = urlsplit(request.url).path.endswith("/ping") and response.content_type.endswith("json")
            faults = list(_faults(response))
            if state_of_a_service or (faults and not any(fault.code.startswith("00") for fault in faults)):
                return replace(response, settled=True)
        return response

    return send


def is_shared(response: Response, faults: list[Fault] | None = None) -> bool:
    """Whether the publisher refuses because it is already answering the same call: nothing was executed."""
    if response.status != 409:
        return False
    faults = list(_faults(response)) if faults is None else faults
    # v2 has no code: the answer of the platform itself is a list of sentences, a provider's is an object.
    return any(fault.code == SHARED or fault.about == "platform" for fault in faults)


def _unexplained(response: Response) -> RelaisError:
    """An answer that is not the API's own: a retired or unknown address, a proxy's page, an overload."""
    status = response.status
    if status in _UNAVAILABLE:
        return UpstreamUnavailable(
            Text("API Particulier est indisponible pour le moment.", en="API Particulier is unavailable for now."),
            detail=f"status {status}",
            retry_after=retry_after(response),
            processed=False if status == 429 else None,
            timeout=status in (408, 504),
        )
    if 300 <= status < 400 or status in (401, 403, 404, 410):
        return Misconfigured(
            Text(
                "API Particulier ne connaît pas cette adresse ou cet accès : vérifier `url` et `token`.",
                en="API Particulier does not know this address or this access: check `url` and `token`.",
            ),
            detail=f"status {status}, without an error of the API",
        )
    return invalid_answer(response, "a status that its contract does not allow")


def _faults(response: Response) -> Iterator[Fault]:
    if not response.content_type.endswith("json"):
        return
    try:
        answer = response.json()
    except UpstreamInvalid:
        return
    if not isinstance(answer, dict):
        return
    if isinstance(answer.get("error"), str):  # v2
        yield _of_v2(answer)
    errors = answer.get("errors")
    for error in errors if isinstance(errors, list) else ():
        if isinstance(error, str):  # v2: what the platform itself refuses
            yield Fault("00429" if response.status == 429 else "", _sentence(error), "platform")
        elif isinstance(error, dict):
            source, meta = _object(error.get("source")), _object(error.get("meta"))
            wait = meta.get("retry_in")
            yield Fault(
                _word(error.get("code")),
                _sentence(error.get("detail")) or _sentence(error.get("title")),
                _word(source.get("parameter")),
                float(wait) if isinstance(wait, (int, float)) and 0 < wait < 86400 else None,
            )


def _of_v2(answer: Mapping[str, Any]) -> Fault:
    text = _sentence(answer.get("message")) or _sentence(answer.get("reason"))
    about_us = answer["error"] == "bad_request" and "recipient" in text.lower()
    return Fault("", text, "recipient" if about_us else "not_found" if answer["error"] == "not_found" else "")


def _object(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _word(value: Any) -> str:
    text = str(value) if isinstance(value, (str, int)) and not isinstance(value, bool) else ""
    return text if text.isascii() and text.isprintable() and len(text) <= 60 else ""


def _sentence(value: Any) -> str:
    return one_line(value) if isinstance(value, str) else ""
