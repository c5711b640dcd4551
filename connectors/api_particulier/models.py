"""What API Particulier answers, version by version. Names and null are the publisher's own.

Every member may be missing: the publisher leaves out what the scopes of the token do not open, and so do we; null
always comes from the publisher. Words of closed lists are plain text, so that a new one does not stop a citizen.
"""

from __future__ import annotations

from typing import Annotated, Any

from sdk import Field, Model

_ABSENT: Any = object()


def _absent() -> Any:
    return _ABSENT


def _is_absent(value: Any) -> bool:
    return value is _ABSENT


def member(description: str, example: Any = ...) -> Any:
    """A member that may be missing, and then is from our answer too. `example`: a value, a part, or `[part]`."""
    if isinstance(example, list):
        example = [_shown(item) for item in example]
    examples = None if example is ... else [_shown(example)]
    return Field(default_factory=_absent, exclude_if=_is_absent, description=description, examples=examples)


def _shown(example: Any) -> Any:
    """A part is shown by the examples of its members."""
    if not isinstance(example, type) or not issubclass(example, Model):
        return example
    return {name: field.examples[0] for name, field in example.model_fields.items() if field.examples}


Day = Annotated[str, Field(json_schema_extra={"format": "date"})]
"""A date as the publisher writes it, AAAA-MM-JJ."""
Number = int | float


class Partial(Model):
    """A part of an answer; members that are not described here are left out."""

    model_config = {"extra": "ignore"}


class Coded(Partial):
    """Un code et son libellé."""

    code: str | None = member("Code", "ST")
    libelle: str | None = member("Libellé", "SCOLAIRE")


class Labelled(Partial):
    """Un code et son libellé, côté ANTS."""

    code: str | None = member("Code", "M1")
    label: str | None = member("Libellé", "Véhicule de transport de personnes")


# --- families and social benefits (CAF, MSA) --------------------------------------------------------------------------


class Person(Partial):
    """Un membre de la famille."""

    nom_naissance: str | None = member("Nom de naissance", "BRUNOIS")
    nom_usage: str | None = member("Nom d'usage", "KERVELLA")
    prenoms: str | None = member("Prénoms, séparés par des espaces", "ADÈLE JEANNE")
    date_naissance: str | None = member("AAAA-MM-JJ ; jour ou mois à 00 quand ils sont inconnus, ou vide", "1985-03-14")
    sexe: str | None = member("F ou M", "F")


class BornPerson(Person):
    """Un membre de la famille, avec sa commune de naissance."""

    code_cog_insee_commune_naissance: str | None = member("Code Insee de la commune de naissance", "35238")


class FamilyAddress(Partial):
    """L'adresse de la famille, en lignes de courrier."""

    destinataire: str | None = member("Destinataire", "Madame BRUNOIS ADÈLE")
    complement_information: str | None = member("Complément (appartement, point de remise)")
    complement_information_geographique: str | None = member("Complément géographique (bâtiment)")
    numero_libelle_voie: str | None = member("Voie", "3 RUE DES CORMORANS")
    lieu_dit: str | None = member("Lieu-dit")
    code_postal_ville: str | None = member("Code postal et ville", "35000 RENNES")
    pays: str | None = member("Pays", "FRANCE")


class FamilyQuotient(Partial):
    """Le quotient familial."""

    fournisseur: str | None = member("CNAF ou MSA", "CNAF")
    valeur: int | None = member("Valeur du quotient", 815)
    annee: int | None = member("Année du quotient", 2026)
    mois: int | None = member("Mois du quotient", 3)
    annee_calcul: int | None = member("Année du calcul", 2026)
    mois_calcul: int | None = member("Mois du calcul", 1)


class Family(Partial):
    """Quotient familial et composition de la famille."""

    quotient_familial: FamilyQuotient | None = member("Périmètre cnaf_quotient_familial", FamilyQuotient)
    allocataires: list[Person] | None = member("Périmètre cnaf_allocataires", [Person])
    enfants: list[Person] | None = member("Périmètre cnaf_enfants", [Person])
    adresse: FamilyAddress | None = member("Périmètre cnaf_adresse", FamilyAddress)


class Resources(Partial):
    """Ressources retenues."""

    valeur: int | None = member("Euros par an", 40923)
    annee_calcul: int | None = member("Année des ressources", 2024)


class ChildcareTerms(Partial):
    """Ce qui sert à calculer le tarif horaire de la crèche."""

    nombre_enfants_a_charge: int | None = member("Enfants à charge", 2)
    nombre_enfants_beneficiaire_aeeh: int | None = member("Enfants qui ouvrent droit à l'AEEH", 0)
    base_ressources_annuelles: Resources | None = member("Ressources annuelles", Resources)


class Childcare(Partial):
    """De quoi calculer la participation de la famille à l'accueil du jeune enfant."""

    allocataires: list[BornPerson] | None = member("Périmètre …_eaje_allocataires", [BornPerson])
    enfants: list[BornPerson] | None = member("Périmètre …_eaje_enfants", [BornPerson])
    adresse: FamilyAddress | None = member("Périmètre …_eaje_adresse", FamilyAddress)
    parametres_calcul_participation_familiale: ChildcareTerms | None = member(
        "Périmètre …_eaje_parametres_calcul", ChildcareTerms
    )


class Benefit(Partial):
    """Un droit ouvert, ou non."""

    est_beneficiaire: bool | None = member("Bénéficiaire", True)
    date_debut_droit: Day | None = member("Ouverture du droit", "2024-11-01")


class IncreasedBenefit(Benefit):
    """Un droit, et sa majoration éventuelle."""

    avec_majoration: bool | None = member("Avec majoration ; périmètre …_majoration", False)


class HealthCover(Benefit):
    """La complémentaire santé solidaire."""

    avec_participation: bool | None = member("Avec participation financière", False)


class ChildBenefit(Partial):
    """Une allocation pour un enfant : qui y ouvre droit, ou la reçoit."""

    status: str | None = member("allocataire, ouvrant_droit ou non_beneficiaire", "allocataire")
    date_debut_droit: Day | None = member("Ouverture du droit", "2024-11-01")


# --- studies ----------------------------------------------------------------------------------------------------------


class Period(Partial):
    """Le versement de la bourse."""

    date_rentree: Day | None = member("Rentrée", "2025-09-01")
    duree: Number | None = member("Durée en mois", 10)


class PlaceOfStudy(Partial):
    """L'établissement d'études."""

    nom_commune: str | None = member("Commune", "Brest")
    nom_etablissement: str | None = member("Établissement", "Université de Bretagne Simulée")


class GrantLevel(Partial):
    """L'échelon de la bourse."""

    echelon: str | None = member("0bis, ou 1 à 7", "6")
    echelon_bourse_regionale_provisoire: bool | None = member("Provisoire (bourses régionales)", False)


class GrantHolder(Partial):
    """L'étudiant boursier."""

    nom: str | None = member("Nom de naissance", "KERVELLA")
    prenoms: list[str] | None = member("Prénoms", ["YANIS"])
    date_naissance: Day | None = member("Date de naissance", "2005-07-21")
    nom_commune_naissance: str | None = member("Commune de naissance", "Brest")
    sexe: str | None = member("F ou M", "M")


class Grant(Partial):
    """Une bourse de l'enseignement supérieur."""

    identite: GrantHolder | None = member("Périmètre cnous_identite ; jamais avec FranceConnect", GrantHolder)
    email: str | None = member("Périmètre cnous_email", "yanis.kervella@example.net")
    echelon_bourse: GrantLevel | None = member("Périmètre cnous_echelon_bourse", GrantLevel)
    periode_versement_bourse: Period | None = member("Périmètre cnous_periode_versement", Period)
    etablissement_etudes: PlaceOfStudy | None = member("Périmètre cnous_ville_etudes", PlaceOfStudy)


class GrantV3(Grant):
    """Une bourse de l'enseignement supérieur (v3)."""

    est_boursier: bool | None = member("Périmètre cnous_statut_boursier", True)


class GrantStatus(Partial):
    """Boursier, et toujours inscrit."""

    est_boursier: bool | None = member("Boursier", True)
    est_radie: bool | None = member("Radié", False)
    date_radiation: Day | None = member("Date de la radiation")


class GrantV4(Grant):
    """Une bourse de l'enseignement supérieur (v4)."""

    statut_boursier: GrantStatus | None = member("Périmètre cnous_statut_boursier", GrantStatus)


class School(Partial):
    """Un établissement d'enseignement supérieur."""

    uai: str | None = member("Code UAI", "0290119X")
    nom: str | None = member("Nom", "UNIVERSITÉ DE BRETAGNE SIMULÉE")


class Enrolment(Partial):
    """Une admission, ou une inscription."""

    date_debut: Day | None = member("Début", "2025-09-01")
    date_fin: Day | None = member("Fin", "2026-08-31")
    est_inscrit: bool | None = member("Inscrit, et non seulement admis ; périmètre mesri_admission_inscrit", True)
    regime_formation: Coded | None = member("RF1 à RF7 ; périmètre mesri_admission_regime_formation", Coded)
    code_cog_insee_commune: str | None = member("Périmètre mesri_admission_commune_etudes", "29019")
    etablissement_etudes: School | None = member("Périmètre mesri_admission_etablissement_etudes", School)


class StudentIdentity(Partial):
    """L'étudiant."""

    nom_naissance: str | None = member("Nom de naissance", "KERVELLA")
    prenom: str | None = member("Prénom", "YANIS")
    date_naissance: Day | None = member("Date de naissance", "2005-07-21")


class Student(Partial):
    """Le statut d'étudiant."""

    identite: StudentIdentity | None = member("Périmètre mesri_identite ; jamais avec FranceConnect", StudentIdentity)
    admissions: list[Enrolment] | None = member("Périmètre mesri_admissions", [Enrolment])


class PupilIdentity(Partial):
    """L'élève."""

    nom: str | None = member("Nom", "BRUNOIS")
    prenom: str | None = member("Prénom", "LILOU")
    sexe: str | None = member("F ou M", "F")
    date_naissance: Day | None = member("Date de naissance", "2012-05-02")


class PupilCourse(Partial):
    """Le module élémentaire de formation."""

    code_mef_stat: str | None = member("Code", "10010012110")
    libelle: str | None = member("Libellé", "6EME")


class PupilSchool(Partial):
    """L'établissement de l'élève."""

    code_uai: str | None = member("Code UAI", "0351234X")
    nom: str | None = member("Nom", "COLLÈGE DES CORMORANS")
    code_ministere_tutelle: str | None = member("Code du ministère de tutelle", "06")


class Pupil(Partial):
    """La scolarité d'un élève."""

    identite: PupilIdentity | None = member("Périmètre men_statut_identite", PupilIdentity)
    annee_scolaire: str | None = member("Périmètre men_statut_scolarite", "2025-2026")
    est_scolarise: bool | None = member("Périmètre men_statut_scolarite", True)
    statut_eleve: Coded | None = member("Périmètre men_statut_scolarite", Coded)
    module_elementaire_formation: PupilCourse | None = member(
        "Périmètre men_statut_module_elementaire_formation", PupilCourse
    )
    etablissement: PupilSchool | None = member("Périmètre men_statut_etablissement", PupilSchool)
    est_boursier: bool | None = member("Périmètre men_statut_boursier (collège et lycée)", True)
    echelon_bourse: int | None = member("1 à 6, nul sans bourse ; périmètre men_echelon_bourse", 3)


class PupilV5(Pupil):
    """La scolarité d'un élève, avec son régime."""

    regime_pensionnat: Coded | None = member(
        "Externe, demi-pensionnaire, interne… ; périmètre men_regime_pensionnat", Coded
    )
