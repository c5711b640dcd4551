"""The routes of API Particulier, as a table; each becomes an endpoint `<resource>/<version>/<way of asking>`."""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from sdk import DAY, HOUR, Text, get
from sdk.spec import EndpointValue

from . import models, models_life, models_v2
from .parameters import (
    ACCESS_TOKEN,
    ATHLETE,
    BORN,
    BY_INE,
    CAMPAIGN_YEAR,
    CONSCRIPT,
    ENROLLED,
    FAMILY,
    FAMILY_V2,
    GRANT_V2,
    JOB_SEEKER,
    PLATE,
    PUPIL,
    PUPIL_V2,
    QUOTIENT,
    STUDENT,
    STUDENT_V2,
    WHO,
    Given,
    Pairs,
    verify,
)
from .refusals import DECLARED

Ways = Literal["identite", "france-connect", "ine", "identifiant"]


class Answering(Protocol):
    """What a route needs of the connector."""

    async def ask(self, route: Route, given: Mapping[str, Any]) -> Any:
        """The result of the route for these values."""
        ...


@dataclass(frozen=True)
class Route(EndpointValue):
    """One route: `path` is the publisher's, `attribute` and `endpoint` are ours."""

    resource: str
    version: int
    way: Ways
    path: str
    title: Text
    result: Any
    scopes: tuple[str, ...]
    given: tuple[Given, ...]
    cache: float = 0.0
    old: bool = False

    @property
    def endpoint(self) -> str:
        """Our path: `quotient-familial/v3/identite`."""
        return f"{self.resource}/v{self.version}/{self.way}"

    @property
    def attribute(self) -> str:
        """The name of the connector's method: `quotient_familial_v3_identite`."""
        return re.sub(r"\W", "_", self.endpoint)

    @property
    def franceconnect(self) -> bool:
        """Whether the citizen's token stands for the identity, and for ours."""
        return self.way == "france-connect"

    def pairs(self, given: Mapping[str, Any]) -> Pairs:
        """The query for these values. Raises `InvalidInput` for what the publisher is known to refuse."""
        verify(given, {each.name for each in self.given})
        return [pair for each in self.given for pair in each.pairs(given.get(each.name))]

    def method(self, attribute: str) -> Callable[..., Awaitable[Any]]:
        """The endpoint's method, with the face of a written one."""
        route = self
        given = (ACCESS_TOKEN, *self.given) if self.franceconnect else self.given

        async def call(connector: Answering, /, **values: Any) -> Any:
            return await connector.ask(route, values)

        call.__name__ = call.__qualname__ = attribute
        call.__doc__ = self._documentation()
        call.__annotations__ = {each.name: each.hint for each in given} | {"return": self.result}
        keyword, empty = inspect.Parameter.KEYWORD_ONLY, inspect.Parameter.empty
        parameters = [
            inspect.Parameter(each.name, keyword, default=empty if each.default is ... else each.default)
            for each in given
        ]
        first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
        call.__signature__ = inspect.Signature([first, *parameters])  # type: ignore[attr-defined]
        # A result read with a citizen's token lives no longer than the token: it is not kept.
        return get(self.endpoint, cache=0.0 if self.franceconnect else self.cache, errors=DECLARED)(call)

    def _documentation(self) -> str:
        french, english = _BY[self.way]
        old = ("Version dépréciée par l'éditeur. ", "Deprecated by the publisher. ") if self.old else ("", "")
        scopes = ", ".join(f"`{scope}`" for scope in self.scopes)
        return (
            f"{self.title}, {french} (v{self.version}).\n\n"
            f"{old[0]}Périmètres, dont un au moins : {scopes}. Ce qu'un périmètre absent cache est absent de la "
            f"réponse. Route `{self.path}`.\n\n"
            f"English:\n{self.title.en}, {english} (v{self.version}). {old[1]}Scopes, at least one: {scopes}. "
            "What a missing scope hides is absent from the answer."
        )


_BY: Mapping[Ways, tuple[str, str]] = {
    "identite": ("par l'identité", "by identity"),
    "france-connect": ("avec FranceConnect", "with FranceConnect"),
    "ine": ("par l'INE", "by student number"),
    "identifiant": ("par l'identifiant", "by identifier"),
}


# --- the table --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Resource:
    """One resource of one version, with its ways of asking."""

    name: str
    version: int
    path: str
    title: Text
    result: Any
    scopes: str
    ways: Mapping[Ways, tuple[Given, ...]]
    cache: float = 0.0
    old: bool = False

    def routes(self) -> Iterator[Route]:
        for way, given in self.ways.items():
            # v2 has one path for all ways of asking.
            path = self.path if self.version == 2 else f"{self.path}/{way.replace('-', '_')}"
            yield Route(
                self.name,
                self.version,
                way,
                path,
                self.title,
                self.result,
                tuple(self.scopes.split()),
                given,
                self.cache,
                self.old,
            )


def _benefit(name: str, v2: str, title: Text, result: Any, result_v2: Any, scopes: str) -> Iterator[_Resource]:
    """A benefit of the CAF and the MSA, in v3 and v2 where it exists there."""
    path = f"/v3/dss/{name.replace('-', '_')}"
    yield _Resource(name, 3, path, title, result, scopes, {"identite": FAMILY, "france-connect": ()}, HOUR)
    if v2:
        ways: Mapping[Ways, tuple[Given, ...]] = {"identite": FAMILY_V2, "france-connect": ()}
        yield _Resource(name, 2, f"/api/v2/{v2}", title, result_v2, scopes, ways, HOUR, old=True)


_FAMILY_TITLE = Text("Quotient familial CAF et MSA", en="Family quotient (CAF and MSA)")
_FAMILY_SCOPES = "cnaf_quotient_familial cnaf_allocataires cnaf_enfants cnaf_adresse"
_CHILDCARE = "cnav_participation_familiale_eaje_"
_CHILDCARE_SCOPES = " ".join(
    f"{_CHILDCARE}{part}" for part in ("allocataires", "enfants", "adresse", "parametres_calcul")
)
_GRANT_TITLE = Text("Étudiant boursier", en="Student grant")
_GRANT_SCOPES = (
    "cnous_statut_boursier cnous_echelon_bourse cnous_email cnous_periode_versement cnous_statut_bourse "
    "cnous_ville_etudes cnous_identite"
)
_PUPIL_TITLE = Text("Élève scolarisé et boursier", en="School pupil")
_PUPIL_SCOPES = (
    "men_statut_identite men_statut_scolarite men_statut_etablissement men_statut_module_elementaire_formation "
    "men_statut_boursier men_echelon_bourse men_regime_pensionnat"
)
_STUDENT_TITLE = Text("Statut étudiant", en="Student status")
_STUDENT_SCOPES = (
    "mesri_identite mesri_admissions mesri_admission_inscrit mesri_admission_regime_formation "
    "mesri_admission_commune_etudes mesri_admission_etablissement_etudes"
)
_STUDENT_SCOPES_V2 = (
    "mesri_identifiant mesri_identite mesri_inscription_etudiant mesri_inscription_autre mesri_admission "
    "mesri_etablissements"
)
_JOB_TITLE = Text("Demandeur d'emploi", en="Job seeker")
_PAYMENTS_TITLE = Text("Paiements de France Travail", en="Payments of France Travail")
_SERVICE = "gip_mds_service_civique_"
_SPORT = "sdh_statut_sportif_"
_CAR = "ants_extrait_immatriculation_vehicule_"

_RESOURCES: tuple[_Resource, ...] = (
    _Resource(
        "quotient-familial",
        3,
        "/v3/dss/quotient_familial",
        _FAMILY_TITLE,
        models.Family,
        _FAMILY_SCOPES,
        {"identite": (*FAMILY, *QUOTIENT), "france-connect": QUOTIENT},
        DAY,
    ),
    _Resource(
        "quotient-familial",
        2,
        "/api/v2/composition-familiale-v2",
        _FAMILY_TITLE,
        models_v2.FamilyV2,
        _FAMILY_SCOPES,
        {"identite": (*FAMILY_V2, *QUOTIENT), "france-connect": QUOTIENT},
        DAY,
        old=True,
    ),
    *_benefit(
        "revenu-solidarite-active",
        "revenu-solidarite-active",
        Text("Revenu de solidarité active", en="Minimum income (RSA)"),
        models.IncreasedBenefit,
        models_v2.IncreasedBenefitV2,
        "revenu_solidarite_active revenu_solidarite_active_majoration",
    ),
    *_benefit(
        "prime-activite",
        "prime-activite",
        Text("Prime d'activité", en="In-work benefit"),
        models.IncreasedBenefit,
        models_v2.IncreasedBenefitV2,
        "prime_activite prime_activite_majoration",
    ),
    *_benefit(
        "allocation-adulte-handicape",
        "allocation-adulte-handicape",
        Text("Allocation aux adultes handicapés", en="Disabled adult benefit"),
        models.Benefit,
        models_v2.BenefitV2,
        "allocation_adulte_handicape",
    ),
    *_benefit(
        "allocation-soutien-familial",
        "allocation-soutien-familial",
        Text("Allocation de soutien familial", en="Family support benefit"),
        models.Benefit,
        models_v2.BenefitV2,
        "allocation_soutien_familial",
    ),
    *_benefit(
        "complementaire-sante-solidaire",
        "complementaire-sante-solidaire",
        Text("Complémentaire santé solidaire", en="Supplementary health cover"),
        models.HealthCover,
        models_v2.BenefitV2,
        "complementaire_sante_solidaire",
    ),
    *_benefit(
        "allocation-enfant-handicape",
        "",
        Text("Allocation d'éducation de l'enfant handicapé", en="Disabled child benefit"),
        models.ChildBenefit,
        None,
        "cnav_allocation_enfant_handicape",
    ),
    *_benefit(
        "allocation-rentree-scolaire",
        "",
        Text("Allocation de rentrée scolaire", en="Back-to-school benefit"),
        models.ChildBenefit,
        None,
        "cnav_allocation_rentree_scolaire",
    ),
    *_benefit(
        "participation-familiale-eaje",
        "",
        Text("Participation familiale en crèche", en="Family share of childcare"),
        models.Childcare,
        None,
        _CHILDCARE_SCOPES,
    ),
    _Resource(
        "etudiant-boursier",
        4,
        "/v4/cnous/etudiant_boursier",
        _GRANT_TITLE,
        models.GrantV4,
        _GRANT_SCOPES,
        {
            "identite": (*STUDENT, *CAMPAIGN_YEAR),
            "france-connect": CAMPAIGN_YEAR,
            "ine": (*BY_INE, *CAMPAIGN_YEAR),
        },
    ),
    _Resource(
        "etudiant-boursier",
        3,
        "/v3/cnous/etudiant_boursier",
        _GRANT_TITLE,
        models.GrantV3,
        _GRANT_SCOPES,
        {"identite": STUDENT, "france-connect": (), "ine": BY_INE},
        old=True,
    ),
    _Resource(
        "etudiant-boursier",
        2,
        "/api/v2/etudiants-boursiers",
        _GRANT_TITLE,
        models_v2.GrantV2,
        _GRANT_SCOPES,
        {"identite": GRANT_V2, "france-connect": (), "ine": BY_INE},
        old=True,
    ),
    _Resource(
        "statut-etudiant",
        3,
        "/v3/mesri/statut_etudiant",
        _STUDENT_TITLE,
        models.Student,
        _STUDENT_SCOPES,
        {"identite": ENROLLED, "france-connect": (), "ine": BY_INE},
    ),
    _Resource(
        "statut-etudiant",
        2,
        "/api/v2/etudiants",
        _STUDENT_TITLE,
        models_v2.StudentV2,
        _STUDENT_SCOPES_V2,
        {"identite": STUDENT_V2, "france-connect": (), "ine": BY_INE},
        old=True,
    ),
    *(
        _Resource(
            "scolarites",
            version,
            f"/v{version}/men/scolarites",
            _PUPIL_TITLE,
            models.PupilV5 if version == 5 else models.Pupil,
            _PUPIL_SCOPES,
            {"identite": PUPIL},
            old=version < 5,
        )
        for version in (5, 4, 3)
    ),
    _Resource(
        "scolarites",
        2,
        "/api/v2/scolarites",
        _PUPIL_TITLE,
        models_v2.PupilV2,
        "men_statut_scolarite men_statut_boursier men_echelon_bourse",
        {"identite": PUPIL_V2},
        old=True,
    ),
    _Resource(
        "service-national",
        3,
        "/v3/dsnj/service_national",
        Text("Service national", en="National service"),
        models_life.NationalService,
        "dsnj_statut_service_national",
        {"identite": CONSCRIPT, "france-connect": ()},
    ),
    _Resource(
        "service-civique",
        3,
        "/v3/gip_mds/service_civique",
        Text("Service civique", en="Civic service"),
        models_life.CivicService,
        f"{_SERVICE}statut_actuel {_SERVICE}statut_passe {_SERVICE}organisme_accueil {_SERVICE}dates",
        {"identite": (*WHO, BORN), "france-connect": ()},
    ),
    _Resource(
        "demandeur-emploi",
        3,
        "/v3/france_travail/statut",
        _JOB_TITLE,
        models_life.JobSeeker,
        "pole_emploi_identifiant pole_emploi_identite pole_emploi_adresse pole_emploi_contact pole_emploi_inscription",
        {"identifiant": JOB_SEEKER},
    ),
    _Resource(
        "demandeur-emploi",
        2,
        "/api/v2/situations-pole-emploi",
        _JOB_TITLE,
        models_v2.JobSeekerV2,
        "pole_emploi_identite pole_emploi_adresse pole_emploi_contact pole_emploi_inscription",
        {"identifiant": JOB_SEEKER},
        old=True,
    ),
    _Resource(
        "paiements-france-travail",
        3,
        "/v3/france_travail/indemnites",
        _PAYMENTS_TITLE,
        models_life.Payments,
        "pole_emploi_paiements",
        {"identifiant": JOB_SEEKER},
    ),
    _Resource(
        "paiements-france-travail",
        2,
        "/api/v2/paiements-pole-emploi",
        _PAYMENTS_TITLE,
        models_v2.PaymentsV2,
        "pole_emploi_paiements",
        {"identifiant": JOB_SEEKER},
        old=True,
    ),
    _Resource(
        "statut-sportif",
        3,
        "/v3/sdh/statut_sportif",
        Text("Sportif de haut niveau", en="High-level athlete"),
        models_life.Athlete,
        f"{_SPORT}identite {_SPORT}est_sportif_de_haut_niveau {_SPORT}a_ete_sportif_de_haut_niveau "
        f"{_SPORT}informations_statut {_SPORT}informations_statuts_precedents",
        {"identifiant": ATHLETE},
    ),
    _Resource(
        "immatriculation-vehicule",
        3,
        "/v3/ants/extrait_immatriculation_vehicule",
        Text("Immatriculation d'un véhicule", en="Vehicle registration"),
        models_life.Vehicle,
        f"{_CAR}identite_particulier {_CAR}adresse_particulier {_CAR}statut_rattachement "
        f"{_CAR}donnees_immatriculation_vehicule {_CAR}caracteristiques_techniques_vehicule",
        {"france-connect": PLATE},
    ),
)

ROUTES: tuple[Route, ...] = tuple(route for resource in _RESOURCES for route in resource.routes())

LATER = frozenset(
    {"/v3/dss/allocation_rentree_scolaire/identite", "/v3/dss/allocation_rentree_scolaire/france_connect"}
)
"""Paths that the publisher's code has and its document of April 2026 had not yet."""
LEFT_OUT: Mapping[str, str] = {
    "/api/v2/composition-familiale": "410 depuis le 31 octobre 2025 : quotient-familial",
    "/api/impots/ping": "la DGFiP n'est plus fournisseur",
    "/api/caf/ping": "remplacé par cnaf_msa_quotient_familial : availability",
}
"""Paths of the publisher's documents that have no endpoint, and why."""
