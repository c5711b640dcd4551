"""What a fault of PayFiP means: one of the six errors, and who must act."""

from __future__ import annotations

import re

from sdk import (
    ErrorCode,
    InvalidInput,
    Misconfigured,
    NotFound,
    Rejected,
    RelaisError,
    SoapFault,
    Text,
    UpstreamUnavailable,
)

AFTER_TECHNICAL_ERROR = 1800.0
"""Seconds the DGFiP asks to wait after a technical error."""

ALREADY_PAID = Text("Cette dette est déjà payée.", en="This debt is already paid.")
UNDER_WAY = Text(
    "Un paiement de cette dette est en cours ; son résultat n'est pas encore connu.",
    en="A payment of this debt is under way; its result is not known yet.",
)
PAID_ELSEWHERE = Text("Payé, d'après Publik", en="Paid, as Publik says")
NOT_PAID = Text("PayFiP ne connaît pas ce paiement comme payé.", en="PayFiP does not know this payment as paid.")
EXPIRED = Text("Paiement expiré ou inconnu", en="Expired or unknown")

_FIELDS: dict[str, tuple[str, Text]] = {
    "A1": ("email", Text("est obligatoire", en="is required")),
    "A2": ("email", Text("n'est pas une adresse acceptée par PayFiP", en="is not an address PayFiP accepts")),
    "M1": ("amount", Text("n'a pas un format accepté par PayFiP", en="does not have a form PayFiP accepts")),
    "M3": ("amount", Text("est inférieur au minimum de PayFiP", en="is below PayFiP's minimum")),
    "M5": ("amount", Text("est supérieur au maximum de PayFiP", en="is above PayFiP's maximum")),
    "R3": ("reference", Text("n'a pas une forme acceptée par PayFiP", en="does not have a form PayFiP accepts")),
}
_SETTINGS: dict[str, tuple[str, str]] = {
    "D1": ("l'adresse de retour (return_url)", "the return address (return_url)"),
    "N1": ("l'adresse de notification (notification_url)", "the notification address (notification_url)"),
    "S1": ("le mode (mode)", "the mode (mode)"),
}
_REFUSALS: dict[str, Text] = {
    "P3": Text(
        "Ce paiement a déjà été ouvert : il en faut un nouveau.", en="This payment was already opened: make a new one."
    ),
    "P4": Text("Ce paiement a expiré : il en faut un nouveau.", en="This payment has expired: make a new one."),
    "P5": Text("Le résultat de ce paiement n'est pas encore connu.", en="The result of this payment is not known yet."),
}
MISMATCH = Text(
    "Ce paiement n'est pas celui attendu (régie, mode, montant ou référence).",
    en="This payment is not the expected one (régie, mode, amount or reference).",
)
NOT_KNOWN_YET, UNKNOWN = "P5", "P1"

CLIENT_ERRORS: tuple[ErrorCode | type[RelaisError], ...] = (
    ErrorCode("T1", Misconfigured, "Numéro de client incorrect (T1 à T10 : client ou configuration chez la DGFiP)"),
    ErrorCode("T2", Misconfigured, "Le client n'existe pas chez la DGFiP"),
    ErrorCode("T4", Misconfigured, "Le client n'est pas ouvert au mode sécurisé"),
    UpstreamUnavailable,
)
CREATION_ERRORS: tuple[ErrorCode | type[RelaisError], ...] = (
    *(ErrorCode(code, InvalidInput, f"{name} {said}") for code, (name, said) in _FIELDS.items()),
    *(ErrorCode(code, Misconfigured, f"PayFiP refuse {french}") for code, (french, _) in _SETTINGS.items()),
    *CLIENT_ERRORS,
)


def refusal(fault: SoapFault) -> RelaisError | None:
    """A fault of PayFiP as one of the six errors: a declared refusal, so nothing was created."""
    code = fault.code
    if fault.type.startswith("Tech"):
        return UpstreamUnavailable(
            Text("PayFiP est momentanément indisponible.", en="PayFiP is temporarily unavailable."),
            detail=f"{fault.type} {code}",
            code=code,
            retry_after=AFTER_TECHNICAL_ERROR,
            processed=True,
        )
    if fault.type != "FonctionnelleErreur":
        return None
    if code in _FIELDS:
        name, said = _FIELDS[code]
        message = Text(f"« {name} » {said}.", en=f'"{name}" {said.en}.')
        return InvalidInput(message, fields={name: [said]}, code=code)
    if code in _SETTINGS:
        french, english = _SETTINGS[code]
        return Misconfigured(
            Text(f"PayFiP refuse {french}.", en=f"PayFiP refuses {english}."), code=code, processed=True
        )
    if re.fullmatch(r"T[0-9]{1,2}", code):
        return Misconfigured(
            Text(
                "PayFiP refuse ce client : numéro ou ouverture du service à vérifier auprès de la DGFiP.",
                en="PayFiP refuses this client: check its number and its opening with the DGFiP.",
            ),
            code=code,
            processed=True,
        )
    if code == UNKNOWN:
        return NotFound(EXPIRED, code=code)
    if code in _REFUSALS:
        return Rejected(_REFUSALS[code], code=code)
    return None
