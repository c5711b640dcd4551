"""The API SIG: one login for everybody, files one by one or by the page.

The publisher leaves unset members out. A token lives an hour; it is renewed after 59 minutes, and once more when a read
is answered 401.
"""

from __future__ import annotations

import hashlib
import re
import time
from collections.abc import Callable, Mapping
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sdk import (
    MINUTE,
    Hit,
    Http,
    Misconfigured,
    NotFound,
    Policy,
    Rest,
    Send,
    Text,
    UpstreamInvalid,
    fold,
)
from sdk.auth import Token, shared_token

from .models import Application, ApplicationProgress
from .settings import Sig, Stage

PARIS = ZoneInfo("Europe/Paris")
LIFETIME = 59 * MINUTE
PAGE = 1000

_NUMBER = re.compile(r"([A-Z]{2})(\d{2}[\dAB])(\d{3})(\d{2})([A-Z0-9]{5})([A-Z]{1,3}\d{2})?")
_PARCEL = re.compile(r"(?:(\d{3}) ?)?([A-Z]{1,2}) ?(\d{1,4})")


def spelt(number: str) -> str:
    """A file's number as Cart@ds writes it: `pc0765402500042` is `PC 076 540 25 00042`; anything else as it came."""
    found = _NUMBER.fullmatch(re.sub(r"[\s.-]", "", number).upper())
    return " ".join(filter(None, found.groups())) if found else " ".join(number.split())


# --- the token --------------------------------------------------------------------------------------------------------


def _login(rest: Rest, payload: Mapping[str, str], clock: Callable[[], float]) -> Policy:
    async def fetch(_: Send) -> Token:
        return await _ask(rest, payload, clock)

    return shared_token(fetch, clock=clock)


async def _ask(rest: Rest, payload: Mapping[str, str], clock: Callable[[], float]) -> Token:
    asked = clock()
    try:
        answer = await rest.post(json=payload, repeatable=True)
    except NotFound as error:
        raise Misconfigured(_WRONG_ADDRESS, detail="login: status 404", processed=False) from error
    if not isinstance(answer, Mapping):
        raise UpstreamInvalid(_STRANGE, detail="login: no object", processed=False)
    value = answer.get("Token")
    if value is None:
        raise Misconfigured(_REFUSED, detail="login: no Token", code="credentials", processed=False)
    if not isinstance(value, str) or not value or not value.isascii() or not value.isprintable():
        raise UpstreamInvalid(_STRANGE, detail="login: no usable Token", processed=False)
    return Token(value, asked + LIFETIME)


# --- the files --------------------------------------------------------------------------------------------------------


class SigFiles:
    """The files of one Cart@ds. Everything is a read. `clock` is monotonic seconds, `now` an aware moment."""

    def __init__(
        self,
        sig: Sig,
        stages: Mapping[str, Stage],
        http: Http,
        *,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sig = sig
        self._stages = stages
        self._now = now
        payload = {
            "clientId": sig.client_id,
            "login": sig.login,
            "password": hashlib.sha256(sig.password.reveal().encode()).hexdigest(),
        }
        login = _login(Rest(http, sig.auth_url), payload, clock)
        self._rest = Rest(http.using(login), sig.url)

    async def page(
        self,
        *,
        commune: str = "",
        type: str = "",
        filed_from: date | None = None,
        filed_to: date | None = None,
        modified_since: date | None = None,
        parcel: str = "",
        limit: int = PAGE,
        offset: int = 0,
    ) -> list[Application]:
        """A page of the files that satisfy every filter given."""
        params = {
            "Communes": commune or None,
            "typesDossier": type or None,
            "dateDepotDebut": filed_from,
            "dateDepotFin": filed_to,
            "dateModification": modified_since,
            "parcelle": parcel or None,
            "limit": limit,
            "offset": offset or None,
        }
        try:
            found = await self._rest.get("Dossiers", params=params)
        except NotFound:
            raise Misconfigured(_WRONG_ADDRESS, detail="status 404 on the list", processed=False) from None
        if not isinstance(found, list):
            raise UpstreamInvalid(_STRANGE, detail="a list was expected")
        return [read_application(each) for each in found]

    async def one(self, number: str) -> tuple[Application, datetime | None]:
        """A file by its number, and when it was last modified. Raises `NotFound`."""
        asked = spelt(number)
        found = await self._rest.get("Dossier", params={"nomDossier": asked})
        if found is None or found == {}:
            raise NotFound(_UNKNOWN)
        application = read_application(found)
        if "".join(application.number.split()).upper() != "".join(asked.split()).upper():
            raise UpstreamInvalid(_STRANGE, detail="another file than the one asked for")
        return application, _moment(found.get("DateModificationDossier"))

    async def progress(self, number: str) -> ApplicationProgress:
        application, modified = await self.one(number)
        if not application.stage:
            raise UpstreamInvalid(_STRANGE, detail="a file without Stade")
        stage = self._stages.get(application.stage)
        return ApplicationProgress(
            id=application.number,
            status=application.stage,
            text=(stage.text if stage else "") or application.stage,
            final=stage.final if stage else application.notified is not None,
            updated=modified,
            filed=application.filed,
            deadline=application.deadline,
            decision=application.decision,
            decision_date=application.decision_date,
            notified=application.notified,
        )

    async def search(self, q: str, limit: int) -> list[Hit]:
        """By number, by parcel, else by words among the files modified lately."""
        compact = re.sub(r"[\s.-]", "", q).upper()
        parcel = _PARCEL.fullmatch(" ".join(q.upper().split()))
        if _NUMBER.fullmatch(compact):
            try:
                found = [(await self.one(q))[0]]
            except NotFound:
                found = []
        elif parcel:
            found = await self.page(parcel=" ".join(filter(None, parcel.groups())), limit=limit)
        else:
            since = self._now().astimezone(PARIS).date() - timedelta(days=self._sig.search_days)
            words = fold(q).split()
            found = [
                each
                for each in await self.page(modified_since=since)
                if all(word in fold(f"{each.number} {each.address} {each.applicant}") for word in words)
            ]
        return [self._hit(each) for each in found[:limit]]

    async def check(self) -> None:
        await self.page(limit=1)

    def _hit(self, found: Application) -> Hit:
        return Hit(
            url=found.url if found.url.startswith(("https://", "http://")) else self._sig.url,
            text=" — ".join(filter(None, (found.number, found.address))),
            description=" · ".join(filter(None, (found.applicant, found.stage))),
        )


def read_application(found: Any) -> Application:
    """A file as the API gives it."""
    if not isinstance(found, Mapping) or found.get("NomDossier") is None or found.get("IdDossier") is None:
        raise UpstreamInvalid(_STRANGE, detail="a file without NomDossier or IdDossier")
    return Application(
        number=_text(found, "NomDossier"),
        internal_id=_text(found, "IdDossier"),
        commune=_text(found, "CoCommune"),
        commune_number=_text(found, "NCommune"),
        address=_text(found, "NVoirieTerrain", "AdresseTerrain"),
        parcels=_parcels(found.get("Parcelles")),
        type=_text(found, "CoTypeDossier"),
        year=_year(found.get("Annee")),
        filed=_day(found, "DateDepot"),
        deadline=_day(found, "DateLimiteInstruction"),
        stage=_text(found, "Stade"),
        authority=_text(found, "AutoriteCompetente"),
        instructor=_text(found, "Instructeur"),
        opinion=_text(found, "AvisInstructeur"),
        opinion_date=_day(found, "DateAvisInstructeur"),
        signatory=_text(found, "Signataire"),
        decision=_text(found, "DecisionSignataire"),
        decision_date=_day(found, "DateDecisionSignataire"),
        notified=_day(found, "DateNotificationDecisionSignataire"),
        applicant=_text(found, "PrenomDemandeur", "NomDemandeur"),
        url=_text(found, "UrlDossier"),
    )


def _text(found: Mapping[str, Any], *names: str) -> str:
    values = (found.get(name) for name in names)
    return " ".join(" ".join(str(value) for value in values if value is not None).split())


def _parcels(value: Any) -> list[str]:
    listed = value if isinstance(value, list) else re.split(r"[,;]", value) if isinstance(value, str) else []
    return [" ".join(str(each).split()) for each in listed if str(each).strip()]


def _year(value: Any) -> int | None:
    return int(value) if str(value or "").isdigit() else None


def _moment(value: Any) -> datetime | None:
    if not value:
        return None
    try:
        moment = datetime.fromisoformat(str(value))
    except ValueError:
        raise UpstreamInvalid(_STRANGE, detail="a date that is not ISO 8601") from None
    return moment if moment.tzinfo else moment.replace(tzinfo=PARIS)


def _day(found: Mapping[str, Any], name: str) -> date | None:
    moment = _moment(found.get(name))
    return moment.astimezone(PARIS).date() if moment else None


_UNKNOWN = Text("Cart@ds ne connaît pas ce dossier.", en="Cart@ds does not know this file.")
_STRANGE = Text("Cart@ds a répondu hors de ce qui est convenu.", en="Cart@ds did not answer what was agreed.")
_REFUSED = Text(
    "Cart@ds refuse la connexion : clientId, compte ou mot de passe à vérifier.",
    en="Cart@ds refuses the login: check client_id, login and password.",
)
_WRONG_ADDRESS = Text(
    "Il n'y a pas d'API SIG à cette adresse : la vérifier dans la configuration.",
    en="There is no API SIG at this address: check it in the settings.",
)
