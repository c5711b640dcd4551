"""The gateway's own errors, beside those of `sdk.errors`.

    UnsupportedType    415  caller    a body that is neither JSON nor a form
    Unauthenticated    401  caller    no credential, or a wrong one
    Forbidden          403  caller    no right, or no such endpoint: the same answer for both
    UnknownEndpoint    404  caller    nothing here, told to a caller that has the right to ask
    MethodNotAllowed   405  caller    `headers` carries Allow
    TooSlow            408  caller    the body did not arrive in time
    TooLarge           413  caller
    TooManyAttempts    429  caller    too many wrong credentials from one address
    InProgress         409  gateway   the same delivery is under way
    KeyMismatch        422  caller    the same key with another body
    KeyRequired        400  caller    an effect that must not happen twice, and nothing that names the request
    BadKey             400  caller    an Idempotency-Key that is empty, too long or not plain text
    OutcomeUnknown     200  network   sent, and no clear answer since: not to be sent again blindly
    NeedsOperator      200  gateway   nothing can tell whether it was executed: a person looks
    Pending            200  gateway   accepted, and carried out as soon as the publisher can be reached
    Internal           500  gateway   a fault of ours; its trace is only in the log
    BadSettings        500  gateway   relais.toml: raised at start

Each has a public sentence, used when none is given; `detail` is for the log only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from sdk.errors import RelaisError, Text, english

__all__ = [
    "BadKey",
    "BadSettings",
    "Forbidden",
    "InProgress",
    "Internal",
    "KeyMismatch",
    "KeyRequired",
    "MethodNotAllowed",
    "NeedsOperator",
    "OutcomeUnknown",
    "Pending",
    "TooLarge",
    "TooManyAttempts",
    "TooSlow",
    "Unauthenticated",
    "UnknownEndpoint",
    "UnsupportedType",
]


class _Own(RelaisError):
    sentence: ClassVar[Text]
    untouched: ClassVar[bool | None] = False  # False: nothing was sent to the publisher

    def __init__(
        self,
        message: str | None = None,
        *,
        detail: str = "",
        code: str | None = None,
        retry_after: float | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(
            self.sentence if message is None else message,
            detail=detail,
            code=code,
            retry_after=retry_after,
            processed=self.untouched,
            headers=headers,
        )


class UnsupportedType(_Own):
    """The body's media type, charset or encoding is not one the gateway reads."""

    status = 415
    origin = "caller"
    sentence = Text(
        "Le corps de la requête doit être du JSON en UTF-8 (Content-Type: application/json).",
        en="The request body must be JSON in UTF-8 (Content-Type: application/json).",
    )


class Unauthenticated(_Own):
    """No valid credential. One public sentence whatever the reason; the reason is in `detail`, for the log."""

    status = 401
    origin = "caller"
    sentence = Text(
        "Identification absente ou refusée : vérifiez l'identifiant, la clé ou la signature de l'appel.",
        en="Missing or refused credentials: check the user name, key or signature of the call.",
    )

    def __init__(self, *, detail: str = "") -> None:
        super().__init__(detail=detail, headers={"WWW-Authenticate": 'Basic realm="Relais", charset="UTF-8"'})


class Forbidden(_Own):
    """The caller has no right to what it asks for, which may not even exist."""

    status = 403
    origin = "caller"
    sentence = Text(
        "Ce point d'accès n'existe pas ou n'est pas ouvert à ce compte : vérifiez l'adresse, "
        "ou demandez le droit à l'exploitant de la passerelle.",
        en="This endpoint does not exist or is not open to this account: check the address, "
        "or ask the gateway's operator for the right.",
    )


class UnknownEndpoint(_Own):
    """Nothing is served at this address."""

    status = 404
    origin = "caller"
    sentence = Text(
        "Il n'y a rien à cette adresse : attendu /connecteur/instance/point-d-acces.",
        en="Nothing is served here: expected /connector/instance/endpoint.",
    )


class MethodNotAllowed(_Own):
    """The endpoint exists, but not with this method."""

    status = 405
    origin = "caller"
    sentence = Text("Méthode non prévue ici.", en="Method not available here.")

    def __init__(self, message: str | None = None, *, detail: str = "", headers: Mapping[str, str]) -> None:
        allowed = headers.get("Allow", "")
        if message is None and allowed:
            message = Text(
                f"Méthode non prévue ici ; sont possibles : {allowed}.",
                en=f"Method not available here; possible: {allowed}.",
            )
        super().__init__(message, detail=detail, headers=headers)


class TooSlow(_Own):
    """The body did not arrive in time."""

    status = 408
    origin = "caller"
    sentence = Text("Le corps de la requête n'est pas arrivé à temps.", en="The request body did not arrive in time.")


class TooLarge(_Own):
    """The body exceeds what the endpoint takes."""

    status = 413
    origin = "caller"
    sentence = Text(
        "La requête dépasse la taille que ce point d'accès accepte.",
        en="The request exceeds the size this endpoint takes.",
    )

    def __init__(self, limit: int, *, detail: str = "") -> None:
        """`limit` in bytes."""
        size = f"{limit / 1_000_000:.3g} M" if limit >= 1_000_000 else f"{limit / 1000:.3g} k"
        super().__init__(
            Text(
                f"La requête est trop volumineuse : au plus {size.replace('.', ',')}o ici.",
                en=f"The request is too large: at most {size}B here.",
            ),
            detail=detail,
        )


class TooManyAttempts(_Own):
    """Too many refused credentials from one address; try again in `retry_after` seconds."""

    status = 429
    origin = "caller"
    sentence = Text(
        "Trop d'identifications refusées depuis cette adresse.", en="Too many refused credentials from this address."
    )

    def __init__(self, retry_after: float, *, detail: str = "") -> None:
        seconds = max(1, math.ceil(retry_after))
        super().__init__(
            Text(f"{self.sentence[:-1]} : réessayez dans {seconds} s.", en=f"{self.sentence.en} Retry in {seconds} s."),
            detail=detail,
            retry_after=float(seconds),
            headers={"Retry-After": str(seconds)},
        )


class InProgress(_Own):
    """The same delivery is being carried out right now."""

    status = 409
    origin = "gateway"
    untouched = None
    sentence = Text(
        "Cette demande est déjà en cours de traitement : attendez sa réponse avant de la refaire.",
        en="This request is already being processed: wait for its answer before repeating it.",
    )


class KeyMismatch(_Own):
    """A delivery key already used with another content."""

    status = 422
    origin = "caller"
    sentence = Text(
        "Cette clé (Idempotency-Key) a déjà servi pour un autre contenu : prenez-en une nouvelle.",
        en="This key (Idempotency-Key) was already used with another content: take a new one.",
    )


class KeyRequired(_Own):
    """The request must bear something that tells it apart, since a second sending could create a second time."""

    status = 400
    origin = "caller"
    sentence = Text(
        "Cette demande ne doit pas être faite deux fois : envoyez l'en-tête Idempotency-Key, une valeur par demande.",
        en="This request must not be made twice: send the header Idempotency-Key, one value per request.",
    )


class BadKey(_Own):
    """An `Idempotency-Key` that cannot be used."""

    status = 400
    origin = "caller"
    sentence = Text(
        "Idempotency-Key doit avoir de 1 à 255 caractères imprimables.",
        en="Idempotency-Key must be 1 to 255 printable characters.",
    )


class NeedsOperator(_Own):
    """Nothing can tell whether the effect happened: it is never sent again without a person's decision."""

    status = 200
    origin = "gateway"
    untouched = None
    sentence = Text(
        "Impossible de savoir si la demande a été prise en compte : l'exploitant de la passerelle doit vérifier.",
        en="Whether the request was taken into account cannot be known: the gateway's operator must check.",
    )


class Pending(_Own):
    """Accepted and kept: the gateway carries it out by itself; the same key gives the final answer later."""

    status = 200
    origin = "gateway"
    untouched = None
    sentence = Text(
        "La demande est enregistrée ; elle sera transmise dès que possible.",
        en="The request is recorded; it will be passed on as soon as possible.",
    )


class OutcomeUnknown(_Own):
    """The effect may have happened: the request went out, or may have, and no clear answer came back."""

    status = 200
    origin = "network"
    untouched = None
    sentence = Text(
        "La demande est partie mais le logiciel métier n'a pas confirmé : ne la refaites pas, "
        "vérifiez d'abord si elle a été prise en compte.",
        en="The request was sent but the business software did not confirm: do not repeat it, "
        "check first whether it was taken into account.",
    )


class Internal(_Own):
    """A fault of the gateway itself."""

    status = 500
    origin = "gateway"
    untouched = None
    sentence = Text(
        "Erreur interne de la passerelle : transmettez le numéro de requête à son exploitant.",
        en="Internal error of the gateway: give the request number to its operator.",
    )


class BadSettings(RelaisError):
    """The configuration cannot be used as it is. `faults` holds every fault, one sentence each, in the file's order."""

    status = 500
    origin = "gateway"

    def __init__(self, *faults: str) -> None:
        super().__init__(Text("\n".join(faults), en="\n".join(english(fault) for fault in faults)), processed=False)
        self.faults = faults
