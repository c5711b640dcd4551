"""What a fault or a status means, in the six errors: who must act, and a sentence safe to show."""

from __future__ import annotations

import re
from collections.abc import Callable

from sdk.errors import (
    InvalidInput,
    Misconfigured,
    NotFound,
    RelaisError,
    Text,
    UpstreamInvalid,
    UpstreamUnavailable,
)
from sdk.messages import Response, retry_after

from .decoder import SoapFault
from .values import invalid

__all__ = [
    "REFUSED_SECURITY",
    "UNAVAILABLE",
    "FaultReader",
    "by_status",
    "credentials",
    "declared",
    "plain_code",
    "shown",
]

FaultReader = Callable[[SoapFault], "RelaisError | None"]

REFUSED_SECURITY = frozenset(
    {"FailedAuthentication", "InvalidSecurity", "InvalidSecurityToken", "SecurityTokenUnavailable"}
    | {"UnsupportedSecurityToken", "FailedCheck"}
)
UNAVAILABLE = frozenset({408, 425, 429, 502, 503, 504})
_CODE = re.compile(r"[\w.:-]{1,60}")

_SENTENCES: tuple[tuple[type[RelaisError], Text], ...] = (
    (NotFound, Text("Introuvable dans le logiciel de l'éditeur.", en="Not found in the publisher's software.")),
    (
        InvalidInput,
        Text(
            "Le logiciel de l'éditeur n'accepte pas les valeurs envoyées.",
            en="The publisher's software does not accept the values sent.",
        ),
    ),
    (
        Misconfigured,
        Text(
            "Le logiciel de l'éditeur refuse l'accès ou la configuration de ce connecteur : vérifiez-la.",
            en="The publisher's software refuses this connector's access or settings: check them.",
        ),
    ),
    (
        UpstreamUnavailable,
        Text(
            "Le webservice de l'éditeur est momentanément indisponible.",
            en="The publisher's webservice is unavailable for the moment.",
        ),
    ),
    (
        UpstreamInvalid,
        Text("Le logiciel de l'éditeur a répondu par une erreur.", en="The publisher's software answered an error."),
    ),
    (RelaisError, Text("Le logiciel de l'éditeur a refusé.", en="The publisher's software refused.")),
)


def declared(found: FaultReader | type[RelaisError], fault: SoapFault) -> RelaisError | None:
    if isinstance(found, type):
        error: RelaisError = found(
            next(said for kind, said in _SENTENCES if issubclass(found, kind)),
            detail=f"fault {shown(fault)}",
            code=plain_code(fault),
        )
        return error
    return found(fault)


def plain_code(fault: SoapFault) -> str | None:
    """The fault's code when it is one, not a text."""
    return fault.code if _CODE.fullmatch(fault.code) else None


def shown(fault: SoapFault) -> str:
    return (
        "/".join(name for name in dict.fromkeys((fault.faultcode, fault.type, fault.code)) if _CODE.fullmatch(name))
        or "?"
    )


def credentials(detail: str) -> Misconfigured:
    return Misconfigured(
        Text(
            "Le webservice de l'éditeur refuse les identifiants : vérifiez-les dans la configuration.",
            en="The publisher's webservice refuses the credentials: check them in the settings.",
        ),
        detail=detail,
        code="credentials",
    )


def by_status(response: Response) -> RelaisError:
    status = response.status
    if status in (401, 403, 407):
        return credentials(f"status {status}")
    if status in (404, 405, 410):
        return Misconfigured(
            Text(
                "Il n'y a pas de webservice à cette adresse : vérifiez-la dans la configuration.",
                en="There is no webservice at this address: check it in the settings.",
            ),
            detail=f"status {status}",
            code="address",
        )
    if status in UNAVAILABLE:
        return UpstreamUnavailable(
            Text(
                "Le webservice de l'éditeur est momentanément indisponible.",
                en="The publisher's webservice is unavailable for the moment.",
            ),
            detail=f"status {status}",
            retry_after=retry_after(response),
            timeout=status == 504,
        )
    return invalid(f"status {status}, {response.content_type[:60] or 'no type'}, not a SOAP answer")
