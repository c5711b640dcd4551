"""The parameters of API Particulier: one vocabulary for all versions, with the names of each version beside them.

An identity goes out in the query, as the publisher wants it; nothing may therefore write a query anywhere.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Annotated, Any, Literal

from sdk import Field, InvalidInput, Text

Pairs = list[tuple[str, str]]
FRANCE = "99100"
_MOST_NAMES = 3


@dataclass(frozen=True)
class Given:
    """A parameter of ours, and how it goes out: `wire` is its name there, or the three of a date; a default of `...`
    makes it mandatory."""

    name: str
    wire: str | tuple[str, str, str]
    kind: Any
    default: Any = None

    @property
    def hint(self) -> Any:
        """The type of the endpoint's parameter."""
        return self.kind.hint(required=self.default is ...) if isinstance(self.kind, _Text) else self.kind

    def pairs(self, value: Any) -> Pairs:
        """What is sent for `value`; nothing for an absent one."""
        if value in (None, "", []):
            value = self.default
        if value in (None, "", [], ...):
            return []
        if isinstance(self.wire, tuple):  # year, month, day: each may be unknown
            return [(wire, str(int(part))) for wire, part in zip(self.wire, _known(value).split("-"), strict=False)]
        match self.wire:
            case "prenoms[]":
                return [(self.wire, name) for name in _names(value)]
            case "prenoms":
                return [(self.wire, " ".join(_names(value)))]
            case "prenom":
                return [(self.wire, name) for name in _names(value)[:1]]
        items = value if isinstance(value, list) else [value]
        return [(self.wire, word) for item in items if (word := str(item).strip())]


def _known(born: str) -> str:
    """A birth date without the parts nobody knows, which FranceConnect writes 00."""
    return re.sub(r"(-00)+$", "", born)


def _names(value: list[str]) -> list[str]:
    """One text of several names is cut at commas, else at spaces; the publisher takes three."""
    words = value
    if len(value) == 1:
        words = value[0].split("," if "," in value[0] else None)
    return [word.strip() for word in words if word.strip()][:_MOST_NAMES]


@dataclass(frozen=True)
class _Text:
    """A text parameter. A form sends "" for a field left empty: an optional one accepts it."""

    french: str
    english: str
    example: str
    pattern: str = ""
    longest: int = 200

    def hint(self, *, required: bool) -> Any:
        """The annotated type."""
        description = Text(self.french, en=self.english)
        if required:
            pattern: str | None = f"^({self.pattern})$" if self.pattern else r"\S"
        else:
            pattern = f"^({self.pattern})?$" if self.pattern else None
        rules = Field(description=description, examples=[self.example], pattern=pattern, max_length=self.longest)
        return Annotated[str, rules] if required else Annotated[str | None, rules]


_NAME = _Text("Nom de naissance", "Birth name", "BRUNOIS")
_USED_NAME = _Text("Nom d'usage", "Used name", "KERVELLA")
_FIRST_NAMES = Annotated[
    list[str],
    Field(
        description=Text(
            "Prénoms : répété, ou en un texte séparé par des virgules, sinon des espaces ; les trois premiers servent",
            en="First names: repeated, or one text cut at commas, else at spaces; the first three are used",
        ),
        examples=[["ADÈLE"]],
        max_length=20,
    ),
]
_BIRTH = _Text(
    "Date de naissance AAAA-MM-JJ, ou ce qui en est connu : AAAA-MM, AAAA",
    "Birth date, or YYYY-MM, or YYYY",
    "1985-03-14",
    r"\d{4}(-\d{2}(-\d{2})?)?",
)
_WHOLE_BIRTH = _Text("Date de naissance AAAA-MM-JJ", "Birth date YYYY-MM-DD", "2005-07-21", r"\d{4}-\d{2}-\d{2}")
_SEX_FIELD = Field(description=Text("Sexe à l'état civil", en="Sex, as registered"), examples=["F"])
_SEX = Annotated[Literal["M", "F"], _SEX_FIELD]
_SEX_IF_KNOWN = Annotated[Literal["M", "F"] | None, _SEX_FIELD]
_COUNTRY = _Text(
    "Pays de naissance, code Insee (99100 : France)",
    "Birth country, INSEE code (99100: France)",
    FRANCE,
    r"99\d{3}|92352",
)
_TOWN = _Text(
    "Commune de naissance, code Insee",
    "Birth town, INSEE code",
    "35238",
    r"(0[1-9]|[1-8]\d|9[0-578]|2[ABab])\d{3}",
)
_TOWN_NAME = _Text(
    "Commune de naissance, en toutes lettres : avec le département et l'année, à la place du code",
    "Birth town by name: with department and year, in place of the code",
    "Rennes",
)
_DEPARTMENT = _Text("Département de naissance, code Insee", "Birth department, INSEE code", "35", r"\d[\dABab]\d?")
_INE = _Text("Identifiant national étudiant, 11 caractères", "Student number", "0123456789A", r"[0-9A-Za-z]{11}")
_TOKEN = _Text(
    "Jeton d'accès FranceConnect de la personne",
    "The person's FranceConnect access token",
    "jeton-franceconnect",
    r"[!-~]+",
    4096,
)
_YEAR = Annotated[
    int | None,
    Field(description=Text("Année du quotient ; celle en cours sinon", en="Year; the current one if absent")),
]
_MONTH = Annotated[
    int | None,
    Field(
        ge=1, le=12, description=Text("Mois du quotient ; celui en cours sinon", en="Month; the current one if absent")
    ),
]
_CAMPAIGN = Annotated[
    int | None,
    Field(ge=2021, description=Text("Première année de la campagne de bourse", en="First year of the grant campaign")),
]
_SCHOOL = _Text(
    "Code UAI de l'établissement ; sinon un périmètre", "School (UAI); else an area", "0351234X", r"\d{7}[0-9A-Za-z]"
)
_SCHOOL_YEAR = _Text(
    "Année scolaire, AAAA ou AAAA-AAAA", "School year, YYYY or YYYY-YYYY", "2025-2026", r"\d{4}(-\d{4})?"
)
_LEVEL = Annotated[
    Literal["1D", "2D"] | None,
    Field(description=Text("Degré, avec un périmètre : 1D ou 2D", en="Level, with an area: 1D or 2D")),
]
_AREAS = Annotated[
    list[str], Field(description=Text("Départements (codes BCN) où chercher", en="Departments (BCN codes) to search"))
]
_REGIONS = Annotated[
    list[str],
    Field(description=Text("Régions académiques (codes BCN) où chercher", en="Regions (BCN codes) to search")),
]

_DATE = ("anneeDateNaissance", "moisDateNaissance", "jourDateNaissance")
_DATE_V2 = ("anneeDateDeNaissance", "moisDateDeNaissance", "jourDateDeNaissance")
WHO = (Given("nom_naissance", "nomNaissance", _NAME, ...), Given("prenoms", "prenoms[]", _FIRST_NAMES, []))
BORN = Given("date_naissance", _DATE, _WHOLE_BIRTH, ...)
_SEXED = Given("sexe", "sexeEtatCivil", _SEX_IF_KNOWN)
_BY_NAME = (
    Given("commune_naissance", "codeCogInseeCommuneNaissance", _TOWN),
    Given("nom_commune_naissance", "nomCommuneNaissance", _TOWN_NAME),
    Given("departement_naissance", "codeCogInseeDepartementNaissance", _DEPARTMENT),
)
# First names and sex: mandatory in the publisher's document, not in its code; sent when they are known.
FAMILY = (
    *WHO,
    Given("nom_usage", "nomUsage", _USED_NAME),
    Given("date_naissance", _DATE, _BIRTH),
    _SEXED,
    Given("pays_naissance", "codeCogInseePaysNaissance", _COUNTRY, FRANCE),
    *_BY_NAME,
)
_V2_NAMES: Mapping[Any, Any] = {
    _DATE: _DATE_V2,
    "sexeEtatCivil": "sexe",
    "codeCogInseePaysNaissance": "codePaysLieuDeNaissance",
    "codeCogInseeCommuneNaissance": "codeInseeLieuDeNaissance",
    "codeCogInseeDepartementNaissance": "codeInseeDepartementNaissance",
}
FAMILY_V2 = tuple(replace(given, wire=_V2_NAMES.get(given.wire, given.wire)) for given in FAMILY)
QUOTIENT = (Given("annee", "annee", _YEAR), Given("mois", "mois", _MONTH))
STUDENT = (*WHO, BORN, _SEXED, *_BY_NAME)
ENROLLED = (*WHO, BORN, replace(_SEXED, kind=_SEX, default=...), *_BY_NAME)
CONSCRIPT = (
    *WHO,
    BORN,
    replace(_SEXED, kind=_SEX, default=...),
    Given("pays_naissance", "codeCogInseePaysNaissance", _COUNTRY, FRANCE),
    _BY_NAME[0],
)
PUPIL = (
    *WHO,
    BORN,
    replace(_SEXED, kind=_SEX, default=...),
    Given("annee_scolaire", "anneeScolaire", _SCHOOL_YEAR, ...),
    Given("etablissement", "codeEtablissement", _SCHOOL),
    Given("degre", "degreEtablissement", _LEVEL),
    Given("departements", "codesBcnDepartements[]", _AREAS, []),
    Given("regions", "codesBcnRegions[]", _REGIONS, []),
)
PUPIL_V2 = (
    Given("nom_naissance", "nom", _NAME, ...),
    Given("prenoms", "prenom", _FIRST_NAMES, ...),
    Given("sexe", "sexe", _SEX, ...),
    Given("date_naissance", "dateNaissance", _WHOLE_BIRTH, ...),
    Given("etablissement", "codeEtablissement", _SCHOOL, ...),
    Given("annee_scolaire", "anneeScolaire", _SCHOOL_YEAR, ...),
)
STUDENT_V2 = (
    Given("nom_naissance", "nom", _NAME, ...),
    Given("prenoms", "prenom", _FIRST_NAMES, ...),
    Given("date_naissance", "dateDeNaissance", _WHOLE_BIRTH, ...),
    Given("commune_naissance", "lieuDeNaissance", _TOWN),
    Given("sexe", "sexe", _SEX_IF_KNOWN),
)
GRANT_V2 = (
    STUDENT_V2[0],
    Given("prenoms", "prenoms", _FIRST_NAMES, ...),
    STUDENT_V2[2],
    Given("nom_commune_naissance", "lieuDeNaissance", _TOWN_NAME),
    STUDENT_V2[4],
)
CAMPAIGN_YEAR = (Given("annee_campagne", "campaignYear", _CAMPAIGN),)
BY_INE = (Given("ine", "ine", _INE, ...),)


def _identifier(french: str, english: str, example: str) -> tuple[Given, ...]:
    return (Given("identifiant", "identifiant", _Text(french, english, example), ...),)


JOB_SEEKER = _identifier("Identifiant de l'espace personnel France Travail", "France Travail login", "adele.brunois35")
ATHLETE = _identifier("Identifiant au ministère des sports, chiffres", "Number at the ministry", "100200300")
PLATE = (Given("immatriculation", "immatriculation", _Text("Immatriculation", "Licence plate", "ZZ-123-AB"), ...),)

ACCESS_TOKEN = Given("access_token", "", _TOKEN, ...)


def verify(given: Mapping[str, Any], known: set[str]) -> None:
    """What the publisher refuses for sure, said before calling."""
    born = _known(given.get("date_naissance") or "")
    if len(born) == 10:
        try:
            found = date.fromisoformat(born)
        except ValueError:
            found = None
        if found is None or not date(1900, 1, 1) <= found < date.today():
            raise _refused("date_naissance", "n'est pas une date de naissance possible", "is not a possible birth date")
    if {"pays_naissance", "nom_usage"} <= known and (given.get("pays_naissance") or FRANCE) == FRANCE:
        by_name = given.get("nom_commune_naissance") and given.get("departement_naissance") and born
        if not given.get("commune_naissance") and not by_name:
            raise _refused(
                "commune_naissance",
                "est obligatoire pour une naissance en France (ou le nom de la commune, le département et l'année)",
                "is required for a birth in France (or the town's name, the department and the year)",
            )
    if "regions" in known:
        areas = bool(given.get("departements")) + bool(given.get("regions"))
        whole_area = areas == 1 and given.get("degre")
        if given.get("etablissement") and (areas or given.get("degre")):
            raise _refused("etablissement", "ne va pas avec un périmètre", "does not go with an area")
        if not given.get("etablissement") and not whole_area:
            raise _refused(
                "etablissement",
                "est obligatoire, ou bien un degré avec des départements ou des régions",
                "is required, or else a level with departments or regions",
            )


def _refused(name: str, french: str, english: str) -> InvalidInput:
    return InvalidInput(
        Text(f"« {name} » {french}.", en=f'"{name}" {english}.'), fields={name: [Text(french, en=english)]}
    )
