"""API Particulier in miniature: invented people, and the rules of the publisher's own sandbox.

A token's scopes choose what is shown, parameters must be exactly those of a case, limits are counted per token and per
address, and the same call twice at once is refused. What the publisher's sandbox does not do (hiding what a scope does
not open, limits, bans) follows what is known of the production.
"""

from __future__ import annotations

import copy
import hashlib
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import urlencode

from sdk import Text
from sdk.simulator import SimRequest, SimResponse, Simulator, on

from .opened import EVERY_SCOPE, OPENS, PUBLIK_FAMILLE, V2_FRANCECONNECT
from .people import CASES, INE, JOB_SEEKER, TROUBLE, Case, Data
from .simulator_refusals import Refusal, conflict, happening, refused, refused_v2

RECIPIENT = "21350238800019"
PER_SECOND = 20
PER_MINUTE = 1000
BAN = timedelta(hours=12)
HEEDLESS = 100
"""Calls refused in one minute after which an address is banned; the real figure is not published."""
SILENCE = 120.0

_GONE = ("avis-imposition", "composition-familiale")
SERVICES = (
    *("ants", "dsnj_service_national", "pole_emploi_status", "pole_emploi_indemnites", "men_scolarite"),
    *("cnous_etudiant_boursier_ine", "cnous_etudiant_boursier_identite", "cnous_etudiant_boursier_france_connect"),
    *("mesri_statut_etudiant_ine", "mesri_statut_etudiant_identite", "cnaf_msa_quotient_familial"),
    *("securite_sociale_complementaire_sante_solidaire", "cnaf_msa_revenu_solidarite_active"),
    *("cnaf_msa_allocation_soutien_familial", "cnaf_msa_allocation_adulte_handicape", "cnaf_msa_prime_activite"),
    *("cnaf_msa_participation_familiale_eaje", "cnav_allocation_enfant_handicape", "sdh_statut_sportif"),
    *("franceconnect", "insee_metadonnees"),
)


@dataclass(frozen=True)
class Token:
    """A token the simulator knows. `person` is set for those of FranceConnect."""

    scopes: frozenset[str]
    state: str = "active"
    person: str = ""


TOKENS: Mapping[str, Token] = {
    "jeton-de-demonstration": Token(EVERY_SCOPE),
    "jeton-publik-famille": Token(PUBLIK_FAMILLE),
    "jeton-sans-perimetre": Token(frozenset()),
    "jeton-expire": Token(EVERY_SCOPE, "expired"),
    "jeton-divulgue": Token(EVERY_SCOPE, "blacklisted"),
    "jeton-autre-adresse": Token(EVERY_SCOPE, "address"),
    "fc-adele": Token(EVERY_SCOPE, person="adele"),
    "fc-yanis": Token(EVERY_SCOPE, person="yanis"),
    "fc-adele-quotient": Token(frozenset({"cnaf_quotient_familial"}), person="adele"),
    "fc-expire": Token(EVERY_SCOPE, "expired", person="adele"),
    "fc-sans-pivot": Token(EVERY_SCOPE, "no-pivot", person="adele"),
}


@dataclass
class _Count:
    """Calls of a window; `start` is its number."""

    start: int = -1
    calls: int = 0

    def add(self, start: int) -> int:
        if start != self.start:
            self.start, self.calls = start, 0
        self.calls += 1
        return self.calls


@dataclass
class _Asked:
    """One call about a person, understood."""

    v2: bool
    path: str
    resource: str
    token: Token
    franceconnect: bool
    params: dict[str, Any] = field(default_factory=dict)


class ApiParticulierSimulator(Simulator):
    """API Particulier, v2 to v5, with the rules of its sandbox and the limits of its production."""

    name, title = "api-particulier", "API Particulier"
    known = (
        Text(
            "Chemins, paramètres, périmètres, champs, codes d'erreur, en-têtes de limite, services : le code et les "
            "documents publiés par la DINUM.",
            en="Paths, parameters, scopes, members, error codes, limit headers, services: the DINUM's published code.",
        ),
        Text(
            "Une réponse n'existe que pour exactement les paramètres d'un cas, comme au bac à sable.",
            en="An answer exists only for exactly the parameters of a case, as in the publisher's sandbox.",
        ),
    )
    assumed = (
        Text("Les personnes, inventées.", en="The people, invented."),
        Text(
            "Le nombre de refus ignorés qui vaut un bannissement, et les noms qui déclenchent une panne.",
            en="How many ignored refusals make a ban, and the names that start trouble.",
        ),
        Text("Les phrases des erreurs : les nôtres, sur les codes de l'éditeur.", en="Wording of errors: ours."),
    )
    own_faults: ClassVar[tuple[str, ...]] = ("too-many-calls", "provider-error", "maintenance", "conflict", "retired")

    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"": {"per_second": 1000}}
    """Judged faster than production allows."""

    def __init__(self, *, per_second: int = PER_SECOND, **options: Any) -> None:
        super().__init__(**options)
        self.services = dict.fromkeys(SERVICES, "ok")
        self.provider_seconds = 0.0
        """How long the administrations take; equal calls meanwhile are refused."""
        self.per_second, self.per_minute = per_second, PER_MINUTE
        self.banned_until: datetime | None = None
        self._seconds: dict[str, _Count] = {}
        self._minute, self._refused = _Count(), _Count()
        self._under_way: set[str] = set()
        self._cached: dict[str, datetime] = {}

    def demo_settings(self) -> dict[str, Any]:
        """A token that opens everything."""
        settings = {"url": self.url, "token": "jeton-de-demonstration", "recipient": RECIPIENT}
        return settings if self.per_second == PER_SECOND else {**settings, "calls_per_second": self.per_second}

    def demo_lines(self, base_url: str) -> list[tuple[str, str]]:
        """A quotient by identity and by FranceConnect, a pupil, a grant, a refusal, availability."""
        birth = {"date_naissance": "1985-03-14", "sexe": "F", "commune_naissance": "35238"}
        adele = urlencode({"nom_naissance": "BRUNOIS", "prenoms": "ADÈLE", **birth})
        lilou = urlencode(
            {
                "nom_naissance": "BRUNOIS",
                "prenoms": "LILOU",
                "date_naissance": "2012-05-02",
                "sexe": "F",
                "annee_scolaire": "2025-2026",
                "etablissement": "0351234X",
            }
        )
        return [
            (
                Text("Le quotient familial, par l'identité", en="The family quotient, by identity"),
                f"curl -s '{base_url}/quotient-familial/v3/identite?{adele}'",
            ),
            (
                Text("Le même, avec FranceConnect", en="The same, with FranceConnect"),
                f"curl -s '{base_url}/quotient-familial/v3/france-connect?access_token=fc-adele'",
            ),
            (Text("Une élève", en="A pupil"), f"curl -s '{base_url}/scolarites/v5/identite?{lilou}'"),
            (Text("Une bourse, par l'INE", en="A grant"), f"curl -s '{base_url}/etudiant-boursier/v4/ine?ine={INE}'"),
            (
                Text("Une inscription à France Travail", en="A job seeker"),
                f"curl -s '{base_url}/demandeur-emploi/v3/identifiant?identifiant={JOB_SEEKER}'",
            ),
            (
                Text("Quelqu'un d'inconnu", en="Somebody unknown"),
                f"curl -s '{base_url}/demandeur-emploi/v3/identifiant?identifiant=personne'",
            ),
            (Text("Les périmètres du jeton", en="The scopes of the token"), f"curl -s {base_url}/scopes"),
            (
                Text("L'état d'un fournisseur", en="The state of a provider"),
                f"curl -s {base_url}/availability/cnaf_msa_quotient_familial",
            ),
        ]

    # --- without a person ---------------------------------------------------------------------------------------------

    @on("GET", "/api/introspect")
    async def introspect(self, request: SimRequest) -> SimResponse:
        """The scopes of a token."""
        value = request.headers.get("X-Api-Key") or _bearer(request) or request.query.get("token", "")
        token = TOKENS.get(value)
        if token is None or token.person or token.state != "active":
            return refused_v2(401, "access_denied", "Ce jeton n'est pas reconnu (simulateur)")
        self.record("introspect", scopes=len(token.scopes))
        identifier = hashlib.sha256(value.encode()).hexdigest()[:32]
        return SimResponse.json({"_id": identifier, "name": "", "scopes": sorted(token.scopes)})

    @on("GET", "/api/ping")
    async def ping(self, request: SimRequest) -> SimResponse:
        """The platform answers."""
        return SimResponse('"pong"', 200, "application/json")

    @on("GET", "/api/pings")
    async def pings(self, request: SimRequest) -> SimResponse:
        """Every service and where its state is."""
        return SimResponse.json([{"name": name, "url": f"{self.url}/api/{name}/ping"} for name in self.services])

    @on("GET", "/api/{service}/ping")
    async def service(self, request: SimRequest) -> SimResponse:
        """The state of one service."""
        status = self.services.get(request.params["service"])
        if status is None:
            return SimResponse.json({}, 404)
        now = self.clock.now().isoformat()
        told: Data = {"status": status, "last_update": now, "last_ok_status": now if status == "ok" else None}
        if status == "maintenance":
            told["until"] = (self.clock.now() + timedelta(hours=1)).isoformat()
        return SimResponse.json(told, 502 if status == "bad_gateway" else 200)

    @on("POST", "/_simulator/services")
    async def switch_service(self, request: SimRequest) -> SimResponse:
        """`service` becomes `status`: ok, unknown, maintenance or bad_gateway."""
        form = request.form()
        name, status = form.get("service", ""), form.get("status", "")
        if name not in self.services or status not in ("ok", "unknown", "maintenance", "bad_gateway"):
            return SimResponse("Send service=… and status=ok, unknown, maintenance or bad_gateway.\n", 400)
        self.services[name] = status
        return SimResponse(f"{name}: {status}\n")

    # --- about a person -----------------------------------------------------------------------------------------------

    @on("GET", "/api/v2/{resource}")
    async def v2(self, request: SimRequest) -> SimResponse:
        """Version 2."""
        resource = request.params["resource"]
        if resource in _GONE:
            return SimResponse("Gone (simulator)\n", 410)
        if resource not in OPENS:
            return SimResponse("Not found (simulator)\n", 404)
        bearer = _bearer(request)
        franceconnect = bool(bearer) and resource in V2_FRANCECONNECT
        value = bearer if franceconnect else request.headers.get("X-Api-Key") or bearer
        return await self._answer(request, True, resource, value, franceconnect)

    @on("GET", "/v{version}/{provider}/{name}/{way}")
    async def later(self, request: SimRequest) -> SimResponse:
        """Versions 3 to 5."""
        resource = f"{request.params['provider']}/{request.params['name']}"
        if not any(case.path.rpartition("/")[0] == request.path.rpartition("/")[0] for case in CASES):
            if resource in OPENS:
                return refused(Refusal(404, ("00402", "Cette version n'existe pas (simulateur).", "")), False, "")
            return SimResponse("Not found (simulator)\n", 404)
        return await self._answer(request, False, resource, _bearer(request), request.params["way"] == "france_connect")

    async def _answer(
        self, request: SimRequest, v2: bool, resource: str, value: str, franceconnect: bool
    ) -> SimResponse:
        if self.banned_until is not None and self.clock.now() < self.banned_until:
            await self._wait(SILENCE)
        headers: dict[str, str] = {}
        try:
            token = self._token(value, franceconnect)
            headers = self._counted(value)
            asked = _Asked(v2, request.path, resource, token, franceconnect)
            _allow(asked)
            _read(asked, request.pairs)
            data = await self._found(asked, value)
            headers |= self._cache_headers(request, asked)
        except Refusal as refusal:
            response = refused(refusal, v2, resource)
            return SimResponse(response.body, response.status, response.content_type, {**headers, **response.headers})
        self.record("call", path=request.path, franceconnect=franceconnect)
        if v2:
            answer = SimResponse.json(data)
            return SimResponse(answer.body, 200, answer.content_type, headers)
        match = {"family_name": 1.0, "given_name": 1.0, "birth_date": 1.0, "overall_match": True}
        meta = {"identity_matching": match} if resource.startswith("ants/") else {}
        answer = SimResponse.json({"data": data, "links": {}, "meta": meta})
        return SimResponse(answer.body, 200, "application/vnd.api+json; charset=utf-8", headers)

    def _token(self, value: str, franceconnect: bool) -> Token:
        token = TOKENS.get(value)
        if franceconnect:
            if token is None or not token.person:
                raise Refusal(401, ("50002", "Jeton FranceConnect inconnu (simulateur).", ""))
            if token.state == "expired":
                raise Refusal(401, ("50002", "Jeton FranceConnect expiré (simulateur).", ""))
            if token.state == "no-pivot":
                raise Refusal(401, ("50003", "Jeton FranceConnect sans identité pivot (simulateur).", ""))
            return token
        if token is None or token.person:
            raise Refusal(401, ("00101", "Jeton absent ou inconnu (simulateur).", "token"), v2="access_denied")
        if token.state == "expired":
            raise Refusal(401, ("00103", "Jeton expiré (simulateur).", "token"), v2="access_denied")
        if token.state == "blacklisted":
            raise Refusal(401, ("00105", "Jeton sur liste noire (simulateur).", "token"))
        if token.state == "address":
            raise Refusal(403, ("00107", "Adresse non autorisée pour ce jeton (simulateur).", ""))
        return token

    def _counted(self, value: str) -> dict[str, str]:
        """The limit headers of this call. Raises when a limit is passed."""
        now = self.clock.now().timestamp()
        calls = self._seconds.setdefault(value, _Count()).add(int(now))
        total = self._minute.add(int(now // 60))
        headers = {
            "RateLimit-Limit": str(self.per_second),
            "RateLimit-Remaining": str(max(0, self.per_second - calls)),
            "RateLimit-Reset": str(int(now) + 1),
        }
        if total > self.per_minute:
            self._ban()
        if calls > self.per_second:
            if self._refused.add(int(now // 60)) > HEEDLESS:
                self._ban()
            wait = str(max(1, math.ceil(int(now) + 1 - now)))
            raise Refusal(429, ("00429", "Trop d'appels (simulateur).", ""), headers={**headers, "Retry-After": wait})
        return headers

    def _ban(self) -> None:
        self.banned_until = self.clock.now() + BAN
        self.record("ban")

    async def _found(self, asked: _Asked, value: str) -> Data:
        trouble = TROUBLE.get(str(asked.params.get("nomNaissance") or asked.params.get("nom") or "").upper())
        if trouble:
            raise happening(trouble)
        call = repr((value, asked.path, sorted(asked.params.items())))
        if call in self._under_way:
            raise conflict()
        self._under_way.add(call)
        try:
            if self.provider_seconds:
                await self._wait(self.provider_seconds)
        finally:
            self._under_way.discard(call)
        case = next((case for case in CASES if _answers(case, asked)), None)
        if case is None:
            raise Refusal(404, ("003", "Personne ne répond à ces critères (simulateur).", ""), v2="not_found")
        return _shown(case.data, asked)

    def _cache_headers(self, request: SimRequest, asked: _Asked) -> dict[str, str]:
        """Social benefits are kept by the publisher: a day for the quotient, an hour for the others."""
        quotient = asked.resource in ("dss/quotient_familial", "composition-familiale-v2")
        if not quotient and not asked.resource.startswith("dss/"):
            return {}
        key = repr((asked.path, asked.token.person, sorted(asked.params.items())))
        now = self.clock.now()
        until = self._cached.get(key)
        kept = until is not None and now < until and request.headers.get("Cache-Control") != "no-cache"
        if not kept:
            until = self._cached[key] = now + timedelta(hours=24 if quotient else 1)
        left = int((until - now).total_seconds()) if kept and until is not None else ""
        return {"X-Response-Cached": str(kept).lower(), "X-Cache-Expires-in": str(left)}

    def refusal(self, request: SimRequest) -> SimResponse | None:
        """Nobody can be told apart with such an identity; the token and the services are never refused so."""
        if not re.match(r"/(v\d+|api/v2)/", request.path):
            return None
        resource = "/".join(request.path.split("/")[2:-1])
        return refused(happening("not-identifiable"), request.path.startswith("/api/"), resource)

    def spoil(self, fault: str, request: SimRequest) -> SimResponse:
        """What the publisher says when it is busy, broken, or has moved on."""
        resource = "/".join(request.path.split("/")[2:-1])
        if fault == "retired":
            return SimResponse("Gone (simulator)\n", 410)
        refusal = conflict() if fault == "conflict" else happening(fault)
        return refused(refusal, request.path.startswith("/api/"), resource)


# --- what is refused --------------------------------------------------------------------------------------------------


def _allow(asked: _Asked) -> None:
    if asked.token.scopes.isdisjoint(OPENS[asked.resource]):
        status = 401 if asked.v2 and not asked.franceconnect else 403
        raise Refusal(status, ("00100", "Aucun périmètre de cette route (simulateur).", "token"), v2="access_denied")


def _read(asked: _Asked, pairs: tuple[tuple[str, str], ...]) -> None:
    """The parameters of the call; all that is wrong is told together."""
    recipient = ""
    for name, value in pairs:
        if name == "recipient":
            recipient = value
        elif name.endswith("[]"):
            asked.params.setdefault(name, []).append(value)
        elif value:
            asked.params[name] = value
    faults = list(_wrong(asked))
    if not _is_siret(recipient) and (recipient or not asked.v2 or asked.franceconnect):
        faults.append(("00210", "Le recipient n'est pas un SIRET (simulateur).", "recipient"))
    if faults:
        raise Refusal(400 if asked.v2 else 422, *faults, v2="bad_request")


_Check = Callable[[str], object]
_RULES: Mapping[str, tuple[str, _Check]] = {
    "nomNaissance": ("00420", re.compile(r"[^\W\d_][^\d_]*").fullmatch),
    "anneeDateNaissance": ("00422", re.compile(r"(19|20)\d\d").fullmatch),
    "moisDateNaissance": ("00423", re.compile(r"[1-9]|1[0-2]").fullmatch),
    "jourDateNaissance": ("00424", re.compile(r"[1-9]|[12]\d|3[01]").fullmatch),
    "sexeEtatCivil": ("00427", re.compile(r"[MF]").fullmatch),
    "codeCogInseePaysNaissance": ("00400", re.compile(r"99\d{3}|92352").fullmatch),
    "codeCogInseeCommuneNaissance": ("00426", re.compile(r"(\d\d|2[AB])\d{3}").fullmatch),
    "anneeScolaire": ("00411", re.compile(r"\d{4}(-\d{4})?").fullmatch),
    "ine": ("00360", re.compile(r"[0-9a-zA-Z]{11}").fullmatch),
    "identifiant": ("00380", bool),
    "immatriculation": ("00430", bool),
    "campaignYear": ("00368", re.compile(r"20[2-9]\d").fullmatch),
    "annee": ("00353", re.compile(r"20\d\d").fullmatch),
    "mois": ("00354", re.compile(r"[1-9]|1[0-2]").fullmatch),
}
_DATE = ("anneeDateNaissance", "moisDateNaissance", "jourDateNaissance")
_MANDATORY: Mapping[str, tuple[str, ...]] = {
    "dss": ("nomNaissance", "codeCogInseePaysNaissance"),
    "cnous": ("nomNaissance", *_DATE),
    "mesri": ("nomNaissance", *_DATE, "sexeEtatCivil"),
    "dsnj": ("nomNaissance", *_DATE, "sexeEtatCivil", "codeCogInseePaysNaissance"),
    "gip_mds": ("nomNaissance", *_DATE),
    "men": ("nomNaissance", *_DATE, "sexeEtatCivil", "anneeScolaire"),
}


def _wrong(asked: _Asked) -> Iterator[tuple[str, str, str]]:
    mandatory: tuple[str, ...] = ()
    if not asked.v2:
        way = asked.path.rpartition("/")[2]
        provider = asked.resource.partition("/")[0]
        mandatory = _MANDATORY[provider] if way == "identite" else (way,) if way in ("ine", "identifiant") else ()
        if provider == "ants":
            mandatory = ("immatriculation",)
        if provider == "men" and ("codeEtablissement" in asked.params) == ("degreEtablissement" in asked.params):
            yield "00413", "Un établissement, ou un périmètre (simulateur).", ""
    for name, (code, check) in _RULES.items():
        value = asked.params.get(name, "")
        if (value or name in mandatory) and not check(value):
            yield code, f"Le paramètre {name} manque ou n'a pas la bonne forme (simulateur).", ""


def _is_siret(digits: str) -> bool:
    if not re.fullmatch(r"\d{14}", digits):
        return False
    return sum(sum(divmod(int(digit) * (2 - place % 2), 10)) for place, digit in enumerate(digits)) % 10 == 0


# --- what is shown ----------------------------------------------------------------------------------------------------


def _bearer(request: SimRequest) -> str:
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    return value.strip() if scheme.lower() == "bearer" else ""


def _answers(case: Case, asked: _Asked) -> bool:
    if asked.franceconnect:
        family = case.path == asked.path if asked.v2 else case.path.rpartition("/")[0] == asked.path.rpartition("/")[0]
        if not family or case.whose != asked.token.person:
            return False
        wanted = {"immatriculation": "zz-123-ab"} if case.params is None else _comparable(case.params)
        return _comparable(asked.params) == {
            name: value
            for name, value in wanted.items()
            if name in ("annee", "mois", "campaignYear", "immatriculation")
        }
    return case.path == asked.path and case.params is not None and _comparable(case.params) == _comparable(asked.params)


def _comparable(params: Mapping[str, Any]) -> dict[str, Any]:
    return {
        name: [item.lower() for item in value] if isinstance(value, list) else str(value).lower()
        for name, value in params.items()
    }


def _shown(data: Data, asked: _Asked) -> Data:
    """The data that the scopes open; with FranceConnect, without the identity, which the caller already has."""
    opened: set[str] = set()
    for scope, members in OPENS[asked.resource].items():
        if scope in asked.token.scopes and not (asked.franceconnect and re.search(r"(cnous|mesri)_identite$", scope)):
            opened.update(members)
    if "*" in opened:
        return copy.deepcopy(data)
    shown: Data = {}
    for name, value in data.items():
        inside = {member.partition("/")[2] for member in opened if member.startswith(f"{name}/")}
        if name in opened or (name == "identifiant" and asked.resource.endswith("indemnites")):
            shown[name] = copy.deepcopy(value)
        elif inside and isinstance(value, list):
            shown[name] = [{key: part for key, part in each.items() if key in inside} for each in value]
        elif inside:
            shown[name] = {key: part for key, part in value.items() if key in inside}
    return shown


SIMULATOR = ApiParticulierSimulator
