"""How the simulator says no, in the shape of each version."""

from __future__ import annotations

from typing import Any

from sdk.simulator import SimResponse

_PROVIDERS = {
    "dss": ("37", "CNAV"),
    "cnous": ("26", "CNOUS"),
    "mesri": ("25", "MESRI"),
    "men": ("30", "MEN"),
    "dsnj": ("39", "DSNJ"),
    "gip_mds": ("31", "GIP-MDS"),
    "france_travail": ("24", "France Travail"),
    "sdh": ("41", "SDH"),
    "ants": ("42", "ANTS"),
}


class Refusal(Exception):
    """An answer that is not 200: entries of (code, text, parameter)."""

    def __init__(self, status: int, *faults: tuple[str, str, str], v2: str = "", **meta: Any) -> None:
        super().__init__(status)
        self.status = status
        self.faults = faults
        self.v2 = v2
        self.meta = meta


def conflict() -> Refusal:
    """The same call of the same token is under way."""
    return Refusal(409, ("00015", "Le même appel est déjà en cours (simulateur).", ""))


def happening(kind: str) -> Refusal:
    """What becomes of a call when `kind` happens: a value of `people.TROUBLE`, or a fault of the simulator."""
    match kind:
        case "too-many-calls":
            text = "Trop d'appels (simulateur)."
            return Refusal(429, ("00429", text, ""), headers={"Retry-After": "2"})
        case "provider-error":
            text = "Le fournisseur a répondu autre chose (simulateur)."
            return Refusal(502, ("999", text, ""), v2="provider_unknown_error")
        case "maintenance":
            text = "Le fournisseur est en maintenance (simulateur)."
            return Refusal(503, ("020", text, ""), v2="data_provider_error", retry_in=300)
        case "provider-timeout":
            return Refusal(504, ("002", "Le fournisseur n'a pas répondu (simulateur).", ""), v2="timeout_error")
        case "not-identifiable":
            text = "Identité insuffisante pour trouver quelqu'un (simulateur)."
            return Refusal(422, ("00355", text, ""), v2="not_found")
        case _:
            text = "Plusieurs personnes répondent à ces critères (simulateur)."
            return Refusal(409, ("015", text, ""), v2="error")


def refused(refusal: Refusal, v2: bool, resource: str) -> SimResponse:
    """The answer in the shape of its version; codes of three digits get the provider's two in front."""
    digits, provider = _PROVIDERS.get(resource.partition("/")[0], ("37", "CNAV"))
    meta = dict(refusal.meta)
    headers = meta.pop("headers", {})
    status = refusal.status
    if v2 and (refusal.v2 or status == 429 or status == 409):
        text = " ".join(text for _, text, _ in refusal.faults)
        if not refusal.v2:
            answer = SimResponse.json({"errors": [text]}, status)
            return SimResponse(answer.body, status, answer.content_type, headers)
        status = {422: 400, 502: 503}.get(status, status)
        return refused_v2(status, refusal.v2, text)
    errors = [
        {
            "code": digits + code if len(code) == 3 else code,
            "title": "Refus",
            "detail": text,
            "source": {"parameter": parameter} if parameter else None,
            "meta": {**meta, **({"provider": provider} if len(code) == 3 else {})},
        }
        for code, text, parameter in refusal.faults
    ]
    answer = SimResponse.json({"errors": errors}, status)
    return SimResponse(answer.body, status, "application/vnd.api+json; charset=utf-8", headers)


def refused_v2(status: int, error: str, text: str) -> SimResponse:
    """A refusal of version 2."""
    return SimResponse.json({"error": error, "reason": text, "message": text}, status)
