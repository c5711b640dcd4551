"""API Particulier (DINUM): what administrations already know of a person, asked with her identity or FranceConnect.

The token's scopes are read once in a while (`introspect`); a call that none of them opens is not made. All calls of the
instance share one pace (`pace`), and equal calls under way share one request, since the publisher refuses the second.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Annotated, Any

from sdk import (
    MINUTE,
    Choice,
    Connector,
    ErrorCode,
    Field,
    Http,
    HttpUrl,
    Misconfigured,
    NotFound,
    Request,
    Response,
    Secret,
    Text,
    UpstreamInvalid,
    UpstreamUnavailable,
    current_call,
    get,
)
from sdk.messages import invalid_answer, with_params
from sdk.model import Model

from .models import Partial
from .pace import Pace
from .refusals import is_shared, of_a_provider, refusal
from .routes import ROUTES, Route

SCOPES_KNOWN = 600.0
SCOPES_DOUBTED = 30.0
"""Seconds the scopes are trusted, and seconds before a missing one is asked for again: it may have been granted."""
SHARED_PAUSE = 2.0
"""Seconds before asking again what the publisher is already answering for another machine."""
_LA_POSTE = "356000000"


class Settings(Model):
    """Une instance est un jeton, pour une collectivité."""

    url: HttpUrl = Field(
        default="https://particulier.api.gouv.fr",
        description="Production, ou https://staging.particulier.api.gouv.fr (bac à sable)",
    )
    token: Secret = Field(description="Jeton (JWT) de l'habilitation ; il sert à toutes les versions")
    recipient: str = Field(
        pattern=r"^\d{14}$",
        description="SIRET de la collectivité qui reçoit les données (jamais celui de l'éditeur)",
        examples=["21350238800019"],
    )
    calls_per_second: int = Field(default=20, ge=1, le=1000, description="Limite du jeton, tous appelants confondus")
    calls_per_minute: int = Field(
        default=1000, ge=1, le=1000, description="Limite de l'adresse IP, toutes instances confondues"
    )
    timeout: float = Field(
        default=13.0,
        gt=0,
        le=25,
        description="Silence accepté, en secondes : l'éditeur attend lui-même un fournisseur 10 s, puis le dit",
    )
    headers: dict[str, str] = Field(default={}, description="En-têtes ajoutés à chaque appel")
    parameters: dict[str, str] = Field(default={}, description="Paramètres ajoutés à chaque appel (`delegation_id`)")


class Service(Partial):
    """L'état d'un fournisseur, vu par API Particulier."""

    id: str = Field(description="Identifiant du service", examples=["cnaf_msa_quotient_familial"])
    status: str = Field(description="ok, maintenance, unknown ou bad_gateway", examples=["ok"])
    available: bool = Field(description="Rien n'annonce une panne", examples=[True])
    last_update: str = Field(default="", description="Dernière vérification", examples=["2026-03-14T09:30:00Z"])
    last_ok_status: str = Field(default="", description="Dernière réponse correcte")
    until: str = Field(default="", description="Fin de la maintenance")


class Scope(Choice):
    """Un périmètre du jeton."""

    endpoints: list[str] = Field(description="Ce qu'il ouvre ici", examples=[["quotient-familial/v3/identite"]])


class ApiParticulier(Connector[Settings]):
    """Demander aux administrations ce qu'elles savent déjà d'une personne : quotient familial, bourses, scolarité…

    Chaque donnée est à une adresse `<donnée>/<version>/<façon de demander>` : par l'identité, par un identifiant, ou
    avec le jeton FranceConnect de la personne. Ce que les périmètres du jeton n'ouvrent pas est absent des réponses.

    English:
    What administrations already know of a person, asked by identity, by identifier or with the FranceConnect token.
    """

    name, title, category = "api-particulier", "API Particulier", "État"

    # The table is the class body: as many lines as routes would say the same.
    vars().update({route.attribute: route for route in ROUTES})

    def __init__(
        self,
        settings: Settings,
        http: Http,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        pace = Pace(http, per_second=settings.calls_per_second, per_minute=settings.calls_per_minute, sleep=sleep)
        super().__init__(settings, http.beneath(of_a_provider, pace))
        if not _is_siret(settings.recipient):
            raise Misconfigured(
                Text("« recipient » n'est pas un SIRET : vérifier ses chiffres.", en='"recipient" is not a SIRET.')
            )
        if not re.fullmatch(r"[!-~]+", settings.token.reveal()):
            raise Misconfigured(
                Text("« token » est vide ou contient un caractère interdit.", en='"token" is empty or unusable.')
            )
        self._clock = clock
        self._sleep = sleep
        self._scopes: frozenset[str] = frozenset()
        self._scopes_at = -float("inf")
        self._flights: dict[bytes, asyncio.Task[Response]] = {}
        self._salt = secrets.token_bytes(16)

    async def check(self) -> None:
        """Lit les périmètres du jeton : prouve l'adresse, le jeton, et qu'il ouvre quelque chose."""
        if not await self._introspected():
            raise Misconfigured(
                Text("Le jeton n'ouvre aucun périmètre.", en="The token opens no scope."), code="scope-missing"
            )

    # --- what is answered without a person ----------------------------------------------------------------------------

    @get("scopes")
    async def scopes(self) -> list[Scope]:
        """Les périmètres du jeton, et les points d'accès qu'ils ouvrent.

        English:
        The scopes of the token, and the endpoints they open.
        """
        return [
            Scope(id=scope, text=scope, endpoints=[route.endpoint for route in ROUTES if scope in route.scopes])
            for scope in sorted(await self._introspected())
        ]

    @get("availability", cache=MINUTE, errors=(UpstreamUnavailable,))
    async def availability(self) -> list[Service]:
        """L'état de tous les fournisseurs.

        Sans rapport avec un jeton. `availability/{service}` en lit un seul, avant de proposer une démarche par exemple.

        English:
        The state of every provider; `availability/{service}` reads one of them.
        """
        response = await self.http.get(f"{self.settings.url.rstrip('/')}/api/pings", timeout=self.settings.timeout)
        if not response.ok:
            raise refusal(response)
        listed = response.json()
        if not isinstance(listed, list):
            raise invalid_answer(response, "a list of services was expected")
        urls = [str(each.get("url", "")) for each in listed if isinstance(each, dict)]
        names = [parts[-2] for url in urls if (parts := url.rstrip("/").split("/"))[-1] == "ping" and len(parts) > 1]
        found = []
        for name in names:
            with suppress(NotFound):
                found.append(await self.service(name))
        return found

    @get(
        "availability/{service}",
        cache=MINUTE,
        errors=(NotFound, ErrorCode("unknown-service", NotFound, "Ce service n'existe pas"), UpstreamUnavailable),
    )
    async def service(
        self,
        service: Annotated[
            str,
            Field(
                pattern=r"^[a-z0-9_]{2,80}$",
                description=Text("Identifiant du service", en="Name of the service"),
                examples=["cnaf_msa_quotient_familial"],
            ),
        ],
    ) -> Service:
        """L'état d'un fournisseur.

        English:
        The state of one provider.
        """
        url = f"{self.settings.url.rstrip('/')}/api/{service}/ping"
        response = await self.http.get(url, timeout=self.settings.timeout)
        if response.status == 404:
            raise NotFound(Text("Service inconnu.", en="Unknown service."), code="unknown-service")
        if response.status not in (200, 502) or not response.content_type.endswith("json"):
            raise refusal(response)
        found = response.json()
        if not isinstance(found, dict):
            raise invalid_answer(response, "the state of a service was expected")
        status = str(found.get("status") or ("ok" if response.ok else "bad_gateway"))
        told = {name: found[name] for name in ("last_update", "last_ok_status", "until") if found.get(name)}
        return Service(id=service, status=status, available=status in ("ok", "unknown"), **told)

    # --- what is answered about a person ------------------------------------------------------------------------------

    async def ask(self, route: Route, given: Mapping[str, Any]) -> Any:
        """The result of `route`, scopes verified first, text of the publisher in the refusals."""
        pairs = route.pairs(given)
        if not route.franceconnect:
            await self._require(route)
        token = given["access_token"] if route.franceconnect else self.settings.token.reveal()
        by_key = route.version == 2 and not route.franceconnect
        sent = [("recipient", self.settings.recipient), *pairs, *self.settings.parameters.items()]
        request = Request(
            "GET",
            with_params(self.settings.url.rstrip("/") + route.path, sent),
            {
                "Accept": "application/json, application/vnd.api+json",
                **({"X-Api-Key": token} if by_key else {"Authorization": f"Bearer {token}"}),
                **self.settings.headers,
            },
            repeatable=True,
            timeout=self.settings.timeout,
        )
        response = await self._shared(request, token)
        if not response.ok:
            raise refusal(response, franceconnect=route.franceconnect)
        answer = response.json() if response.content_type.endswith("json") else None
        data = answer.get("data") if isinstance(answer, dict) and route.version > 2 else answer
        if not isinstance(answer, dict) or not isinstance(data, dict):
            raise invalid_answer(response, "an object was expected")
        meta = answer.get("meta")
        return route.result.model_validate({**meta, **data} if isinstance(meta, dict) else data)

    async def _shared(self, request: Request, token: str) -> Response:
        """The answer to `request`, one request for all equal calls under way. The keys are digests with a salt."""
        key = hashlib.blake2b(f"{token}\n{request.url}".encode(), key=self._salt, digest_size=16).digest()
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = asyncio.create_task(self._sent(request))
            flight.add_done_callback(lambda done: self._landed(key, done))
        return await asyncio.shield(flight)

    def _landed(self, key: bytes, flight: asyncio.Task[Response]) -> None:
        self._flights.pop(key, None)
        if not flight.cancelled():
            flight.exception()  # a failure nobody waits for any more is not worth a warning

    async def _sent(self, request: Request) -> Response:
        """The answer, once the publisher is not answering the same call for another process any more."""
        while True:
            response = await self.http.send(request)
            if not is_shared(response) or current_call().remaining() < SHARED_PAUSE + 1.0:
                return response
            await self._sleep(SHARED_PAUSE)

    # --- scopes -------------------------------------------------------------------------------------------------------

    async def _require(self, route: Route) -> None:
        """Raises `Misconfigured` when no scope of the token opens `route`."""
        try:
            for trusted in (SCOPES_KNOWN, SCOPES_DOUBTED):
                if self._clock() - self._scopes_at >= trusted:
                    await self._introspected()
                if not self._scopes.isdisjoint(route.scopes):
                    return
        except (UpstreamUnavailable, UpstreamInvalid):
            return  # the call itself will tell whether it is allowed
        scopes = ", ".join(route.scopes)
        raise Misconfigured(
            Text(
                f"Le jeton n'ouvre pas cette donnée : demander dans l'habilitation l'un des périmètres {scopes}.",
                en=f"The token does not open this: ask for one of the scopes {scopes}.",
            ),
            detail="no scope of the route, nothing was sent",
            code="scope-missing",
            processed=False,
        )

    async def _introspected(self) -> frozenset[str]:
        headers = {"X-Api-Key": self.settings.token.reveal(), **self.settings.headers}
        url = f"{self.settings.url.rstrip('/')}/api/introspect"
        response = await self._shared(
            Request("GET", url, headers, repeatable=True, timeout=self.settings.timeout), self.settings.token.reveal()
        )
        if not response.ok:
            raise refusal(response)
        found = response.json() if response.content_type.endswith("json") else None
        scopes = found.get("scopes") if isinstance(found, dict) else None
        if not isinstance(scopes, list):
            raise invalid_answer(response, "a list of scopes was expected")
        self._scopes = frozenset(str(scope) for scope in scopes)
        self._scopes_at = self._clock()
        return self._scopes


def _is_siret(digits: str) -> bool:
    """The Luhn check; the establishments of La Poste have their own rule."""
    if digits.startswith(_LA_POSTE) and sum(map(int, digits)) % 5 == 0:
        return True
    doubled = [int(digit) * (2 if place % 2 == 0 else 1) for place, digit in enumerate(digits)]
    return sum(value - 9 if value > 9 else value for value in doubled) % 10 == 0
