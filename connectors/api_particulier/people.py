"""The people of the simulator, all invented, and what each administration answers about them.

A case is a path, the exact parameters that lead to it (those of the publisher, `recipient` aside) and its data. The
names of people who start trouble are in `TROUBLE`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Data = dict[str, Any]

ADELE: Mapping[str, Any] = {
    "nomNaissance": "BRUNOIS",
    "prenoms[]": ["ADÈLE"],
    "anneeDateNaissance": "1985",
    "moisDateNaissance": "3",
    "jourDateNaissance": "14",
    "sexeEtatCivil": "F",
    "codeCogInseePaysNaissance": "99100",
    "codeCogInseeCommuneNaissance": "35238",
}
"""A mother of two, on benefits, looking for work."""
YANIS: Mapping[str, Any] = {
    "nomNaissance": "KERVELLA",
    "prenoms[]": ["YANIS"],
    "anneeDateNaissance": "2005",
    "moisDateNaissance": "7",
    "jourDateNaissance": "21",
    "sexeEtatCivil": "M",
    "codeCogInseePaysNaissance": "99100",
    "codeCogInseeCommuneNaissance": "29019",
}
"""A student with a grant, who has been a volunteer and plays handball."""
LILOU: Mapping[str, Any] = {
    "nomNaissance": "BRUNOIS",
    "prenoms[]": ["LILOU"],
    "anneeDateNaissance": "2012",
    "moisDateNaissance": "5",
    "jourDateNaissance": "2",
    "sexeEtatCivil": "F",
}
"""Adèle's daughter, a pupil."""
PEOPLE: Mapping[str, Mapping[str, Any]] = {"adele": ADELE, "yanis": YANIS, "lilou": LILOU}

INE = "0123456789A"
JOB_SEEKER = "adele.brunois35"
ATHLETE = "100200300"
PLATE = "ZZ-123-AB"
SCHOOL = "0351234X"
SCHOOL_YEAR = "2025-2026"

TROUBLE: Mapping[str, str] = {
    "TROPDAPPELS": "too-many-calls",
    "FOURNISSEURENPANNE": "provider-error",
    "ENMAINTENANCE": "maintenance",
    "HORSDELAI": "provider-timeout",
    "NONIDENTIFIABLE": "not-identifiable",
    "HOMONYMES": "several-people",
}
"""Birth name → what happens, whatever the other parameters."""


@dataclass(frozen=True)
class Case:
    """`whose` is a key of `PEOPLE`; `params` are None where only FranceConnect leads to the data."""

    path: str
    whose: str
    params: Mapping[str, Any] | None
    data: Data


def _pick(person: Mapping[str, Any], *left_out: str, **added: Any) -> dict[str, Any]:
    return {name: value for name, value in person.items() if name not in left_out} | added


_V2 = {
    "anneeDateNaissance": "anneeDateDeNaissance",
    "moisDateNaissance": "moisDateDeNaissance",
    "jourDateNaissance": "jourDateDeNaissance",
    "sexeEtatCivil": "sexe",
    "codeCogInseePaysNaissance": "codePaysLieuDeNaissance",
    "codeCogInseeCommuneNaissance": "codeInseeLieuDeNaissance",
}


def _v2(person: Mapping[str, Any]) -> dict[str, Any]:
    return {_V2.get(name, name): value for name, value in person.items()}


def _member(name: str, first: str, born: str, sex: str) -> Data:
    return {"nom_naissance": name, "nom_usage": None, "prenoms": first, "date_naissance": born, "sexe": sex}


_PARENTS = [_member("BRUNOIS", "ADÈLE JEANNE", "1985-03-14", "F")]
_CHILDREN = [
    _member("BRUNOIS", "LILOU", "2012-05-02", "F"),
    # The publisher writes 00 for a day it does not know.
    _member("BRUNOIS", "MALO", "2021-11-00", "M"),
]
_ADDRESS = {
    "destinataire": "Madame BRUNOIS ADÈLE",
    "complement_information": None,
    "complement_information_geographique": "BÂTIMENT C",
    "numero_libelle_voie": "3 RUE DES CORMORANS",
    "lieu_dit": None,
    "code_postal_ville": "35000 RENNES",
    "pays": "FRANCE",
}


def _quotient(value: int, year: int, month: int) -> Data:
    return {
        "quotient_familial": {
            "fournisseur": "CNAF",
            "valeur": value,
            "annee": year,
            "mois": month,
            "annee_calcul": year,
            "mois_calcul": month,
        },
        "allocataires": _PARENTS,
        "enfants": _CHILDREN,
        "adresse": _ADDRESS,
    }


def _member_v2(member: Data) -> Data:
    year, month, day = member["date_naissance"].split("-")
    return {
        "nomNaissance": member["nom_naissance"],
        "nomUsuel": None,
        "prenoms": member["prenoms"],
        "anneeDateDeNaissance": year,
        "moisDateDeNaissance": month,
        "jourDateDeNaissance": day,
        "sexe": member["sexe"],
    }


_QUOTIENT_V2 = {
    "regime": "CNAF",
    "quotientFamilial": 815,
    "annee": 2026,
    "mois": 3,
    "allocataires": [_member_v2(each) for each in _PARENTS],
    "enfants": [_member_v2(each) for each in _CHILDREN],
    "adresse": {
        "identite": _ADDRESS["destinataire"],
        "complementInformation": None,
        "complementInformationGeographique": "BÂTIMENT C",
        "numeroLibelleVoie": _ADDRESS["numero_libelle_voie"],
        "lieuDit": None,
        "codePostalVille": _ADDRESS["code_postal_ville"],
        "pays": "FRANCE",
    },
}
_SINCE = "2024-11-01"
_BENEFITS: Mapping[str, Data] = {
    "revenu_solidarite_active": {"est_beneficiaire": True, "avec_majoration": True, "date_debut_droit": _SINCE},
    "prime_activite": {"est_beneficiaire": False, "avec_majoration": None, "date_debut_droit": None},
    "allocation_adulte_handicape": {"est_beneficiaire": False, "date_debut_droit": None},
    "allocation_soutien_familial": {"est_beneficiaire": True, "date_debut_droit": _SINCE},
    "complementaire_sante_solidaire": {
        "est_beneficiaire": True,
        "avec_participation": False,
        "date_debut_droit": _SINCE,
    },
    "allocation_enfant_handicape": {"status": "non_beneficiaire", "date_debut_droit": None},
    "allocation_rentree_scolaire": {"status": "allocataire", "date_debut_droit": "2025-08-01"},
    "participation_familiale_eaje": {
        "allocataires": [{**_PARENTS[0], "code_cog_insee_commune_naissance": "35238"}],
        "enfants": [{**each, "code_cog_insee_commune_naissance": None} for each in _CHILDREN],
        "adresse": _ADDRESS,
        "parametres_calcul_participation_familiale": {
            "nombre_enfants_a_charge": 2,
            "nombre_enfants_beneficiaire_aeeh": 0,
            "base_ressources_annuelles": {"valeur": 18240, "annee_calcul": 2024},
        },
    },
}
_BENEFITS_V2: Mapping[str, Data] = {
    "revenu-solidarite-active": {
        "status": "beneficiaire",
        "majoration": True,
        "dateDebut": _SINCE,
        "dateFin": None,
    },
    "prime-activite": {"status": "non_beneficiaire", "majoration": None, "dateDebut": None, "dateFin": None},
    "allocation-adulte-handicape": {"status": "non_beneficiaire", "dateDebut": None},
    "allocation-soutien-familial": {"status": "beneficiaire", "dateDebut": _SINCE, "dateFin": None},
    "complementaire-sante-solidaire": {
        "status": "beneficiaire_sans_participation_financiere",
        "dateDebut": _SINCE,
        "dateFin": None,
    },
}

_GRANT: Data = {
    "identite": {
        "nom": "KERVELLA",
        "prenoms": ["YANIS"],
        "date_naissance": "2005-07-21",
        "nom_commune_naissance": "Brest",
        "sexe": "M",
    },
    "email": "yanis.kervella@example.net",
    "echelon_bourse": {"echelon": "6", "echelon_bourse_regionale_provisoire": False},
    "periode_versement_bourse": {"date_rentree": "2025-09-01", "duree": 10},
    "etablissement_etudes": {"nom_commune": "Brest", "nom_etablissement": "Université de Bretagne Simulée"},
}
_GRANT_V3 = {**_GRANT, "est_boursier": True}
_GRANT_V4 = {**_GRANT, "statut_boursier": {"est_boursier": True, "est_radie": False, "date_radiation": None}}
_GRANT_V2: Data = {
    "nom": "KERVELLA",
    "prenom": "YANIS",
    "prenom2": None,
    "dateNaissance": "2005-07-21",
    "lieuNaissance": "Brest",
    "sexe": "M",
    "boursier": True,
    "echelonBourse": "6",
    "email": "yanis.kervella@example.net",
    "dateDeRentree": "2025-09-01",
    "dureeVersement": 10,
    "statut": 0,
    "statutLibelle": "définitif",
    "villeEtudes": "Brest",
    "etablissement": "Université de Bretagne Simulée",
}
_STUDENT: Data = {
    "identite": {"nom_naissance": "KERVELLA", "prenom": "YANIS", "date_naissance": "2005-07-21"},
    "admissions": [
        {
            "date_debut": "2025-09-01",
            "date_fin": "2026-08-31",
            "est_inscrit": True,
            "regime_formation": {"code": "RF1", "libelle": "formation initiale"},
            "code_cog_insee_commune": "29019",
            "etablissement_etudes": {"uai": "0290119X", "nom": "UNIVERSITÉ DE BRETAGNE SIMULÉE"},
        }
    ],
}
_STUDENT_V2: Data = {
    "ine": INE,
    "nom": "KERVELLA",
    "prenom": "YANIS",
    "dateNaissance": "2005-07-21",
    "inscriptions": [
        {
            "dateDebutInscription": "2025-09-01",
            "dateFinInscription": "2026-08-31",
            "statut": "inscrit",
            "regime": "formation initiale",
            "codeCommune": "29019",
            "etablissement": {"uai": "0290119X", "nom": "UNIVERSITÉ DE BRETAGNE SIMULÉE"},
        }
    ],
}
_PUPIL: Data = {
    "identite": {"nom": "BRUNOIS", "prenom": "LILOU", "sexe": "F", "date_naissance": "2012-05-02"},
    "annee_scolaire": SCHOOL_YEAR,
    "est_scolarise": True,
    "statut_eleve": {"code": "ST", "libelle": "SCOLAIRE"},
    "module_elementaire_formation": {"code_mef_stat": "11210013110", "libelle": "5EME"},
    "etablissement": {"code_uai": SCHOOL, "nom": "COLLÈGE DES CORMORANS", "code_ministere_tutelle": "06"},
    "est_boursier": True,
    "echelon_bourse": 3,
}
_PUPIL_V5 = {**_PUPIL, "regime_pensionnat": {"code": "2", "libelle": "Demi-pensionnaire dans l'établissement"}}
_PUPIL_V2: Data = {
    "eleve": _PUPIL["identite"],
    "code_etablissement": SCHOOL,
    "annee_scolaire": SCHOOL_YEAR,
    "est_scolarise": True,
    "est_boursier": True,
    "niveau_bourse": 3,
    "status_eleve": _PUPIL["statut_eleve"],
}
_JOB: Data = {
    "identifiant": JOB_SEEKER,
    "identite": {
        "civilite": "MME",
        "nom_naissance": "BRUNOIS",
        "nom_usage": None,
        "prenom": "ADÈLE",
        "sexe": "Féminin",
        "date_naissance": "1985-03-14",
    },
    "contact": {"telephone": "0299000001", "telephone2": None, "email": "adele.brunois@example.net"},
    "adresse": {
        "code_postal": "35000",
        "code_cog_insee_commune": "35238",
        "localite": "35000 Rennes",
        "ligne_voie": "3 RUE DES CORMORANS",
        "ligne_complement_destinataire": None,
        "ligne_complement_adresse": None,
        "ligne_complement_distribution": None,
        "ligne_nom": "BRUNOIS",
    },
    "inscription": {
        "date_debut": "2025-10-06",
        "date_fin": None,
        "categorie": {"code": 1, "libelle": "PERSONNE SANS EMPLOI DISPONIBLE DUREE INDETERMINEE PLEIN TPS"},
        "code_certification_cnav": "VC",
    },
}
_JOB_V2: Data = {
    "identifiant": JOB_SEEKER,
    "civilite": "MME",
    "nom": "BRUNOIS",
    "nomUsage": None,
    "prenom": "ADÈLE",
    "sexe": "Féminin",
    "dateNaissance": "1985-03-14",
    "codeCertificationCNAV": "VC",
    "telephone": "0299000001",
    "telephone2": None,
    "email": "adele.brunois@example.net",
    "adresse": {
        "codePostal": "35000",
        "INSEECommune": "35238",
        "localite": "35000 Rennes",
        "ligneVoie": "3 RUE DES CORMORANS",
        "ligneComplementDestinataire": None,
        "ligneComplementAdresse": None,
        "ligneComplementDistribution": None,
        "ligneNom": "BRUNOIS",
    },
    "dateInscription": "2025-10-06",
    "dateCessationInscription": None,
    "codeCategorieInscription": 1,
    "libelleCategorieInscription": "PERSONNE SANS EMPLOI DISPONIBLE DUREE INDETERMINEE PLEIN TPS",
}
_MONTHS = (("2026-02-02", 912.4, 900.0), ("2026-01-05", 930.15, 900.0))
_PAYMENTS: Data = {
    "identifiant": JOB_SEEKER,
    "paiements": [
        {
            "date_versement": day,
            "montant_total": total,
            "montant_allocations": benefit,
            "montant_aides": round(total - benefit, 2),
            "montant_autres": 0,
        }
        for day, total, benefit in _MONTHS
    ],
}
_PAYMENTS_V2: Data = {
    "identifiant": JOB_SEEKER,
    "paiements": [
        {"date": day, "montant": total, "allocations": benefit, "aides": round(total - benefit, 2), "autres": 0}
        for day, total, benefit in _MONTHS
    ],
}
_HOST = {"siret": "21350238800019", "raison_sociale": "COMMUNE DE SIMULA"}
_SERVICE: Data = {
    "statut_actuel": {
        "contrat_trouve": False,
        "organisme_accueil": {"siret": None, "raison_sociale": None},
        "date_debut_contrat": None,
        "date_fin_contrat": None,
    },
    "statut_passe": {
        "contrat_trouve": True,
        "organisme_accueil": _HOST,
        "date_debut_contrat": "2024-10-01",
        "date_fin_contrat": "2025-05-31",
    },
}


def _sport(since: str, until: str, category: str) -> Data:
    return {
        "periode": {"date_debut_statut": since, "date_fin_statut": until},
        "federation": {
            "code_federation": "29",
            "nom_federation": "Fédération simulée de handball",
            "nom_court_federation": "HANDBALL",
        },
        "etablissement": {"code_etablissement": "2075", "nom_etablissement": "Maison de la performance"},
        "region": {"code_region": "53", "nom_region": "Bretagne"},
        "categorie": {"code_categorie": "2", "nom_categorie": category, "valeur": "4"},
        "sportif_de_haut_niveau": True,
    }


_ATHLETE: Data = {
    "identite": {
        "nom_naissance": "KERVELLA",
        "nom_usage": "",
        "prenoms": "YANIS",
        "date_naissance": "2005-07-21",
        "sexe": "M",
    },
    "est_sportif_de_haut_niveau": True,
    "a_ete_sportif_de_haut_niveau": True,
    "informations_statut": _sport("2025-01-01", "2026-12-31", "elite"),
    "informations_statuts_precedents": [{"fiche": 789456, **_sport("2023-01-01", "2024-12-31", "relève")}],
}
_VEHICLE: Data = {
    "identite_particulier": {
        "nom": "BRUNOIS",
        "prenom": "ADÈLE",
        "sexe_etat_civil": "F",
        "annee_date_naissance": 1985,
        "mois_date_naissance": 3,
        "jour_date_naissance": 14,
        "code_departement_naissance": "35",
    },
    "adresse_particulier": {
        "complement_information": None,
        "num_voie": "3",
        "extension": None,
        "type_voie": "RUE",
        "libelle_voie": "DES CORMORANS",
        "lieu_dit": None,
        "etage_escalier_appartement": None,
        "code_postal_ville": "35000",
        "libelle_commune": "RENNES",
        "pays": "FRANCE",
    },
    "statut_rattachement": "titulaire",
    "donnees_immatriculation_vehicule": {
        "numero_immatriculation": PLATE,
        "date_premiere_immatriculation": "2021-06-15",
        "statut_location": {"code": None, "label": None},
    },
    "caracteristiques_techniques_vehicule": {
        "marque": "SIMULA",
        "type_variante_version": "ABCDEF-G1H234",
        "denomination_commerciale": "GOÉLAND",
        "masse_charge_maximale": 1850,
        "categorie_vehicule": {"code": "M1", "label": "Transport de personnes"},
        "genre_national": {"code": "VP", "label": "Véhicule particulier"},
        "cylindree": 1200,
        "type_carburant": {"code": "ES", "label": "Essence"},
        "taux_co2": 110.5,
        "classe_environnementale": {"code": "Euro 6", "label": "Norme Euro 6"},
    },
}


def _cases() -> Iterator[Case]:
    quotient = "/v3/dss/quotient_familial/identite"
    yield Case(quotient, "adele", ADELE, _quotient(815, 2026, 3))
    yield Case(quotient, "adele", _pick(ADELE, annee="2025", mois="12"), _quotient(790, 2025, 12))
    by_name = {"nomCommuneNaissance": "RENNES", "codeCogInseeDepartementNaissance": "35"}
    yield Case(quotient, "adele", _pick(ADELE, "codeCogInseeCommuneNaissance", **by_name), _quotient(815, 2026, 3))
    yield Case("/api/v2/composition-familiale-v2", "adele", _v2(ADELE), _QUOTIENT_V2)
    for name, data in _BENEFITS.items():
        yield Case(f"/v3/dss/{name}/identite", "adele", ADELE, data)
    for name, data in _BENEFITS_V2.items():
        yield Case(f"/api/v2/{name}", "adele", _v2(ADELE), data)
    student = _pick(YANIS, "codeCogInseePaysNaissance")
    for version, data in ((3, _GRANT_V3), (4, _GRANT_V4)):
        yield Case(f"/v{version}/cnous/etudiant_boursier/identite", "yanis", student, data)
        yield Case(f"/v{version}/cnous/etudiant_boursier/ine", "yanis", {"ine": INE}, data)
    yield Case("/v4/cnous/etudiant_boursier/ine", "yanis", {"ine": INE, "campaignYear": "2025"}, _GRANT_V4)
    v2 = {"nom": "KERVELLA", "dateDeNaissance": "2005-07-21", "sexe": "M"}
    yield Case(
        "/api/v2/etudiants-boursiers", "yanis", {**v2, "prenoms": "YANIS", "lieuDeNaissance": "BREST"}, _GRANT_V2
    )
    yield Case("/api/v2/etudiants-boursiers", "yanis", {"ine": INE}, _GRANT_V2)
    yield Case("/v3/mesri/statut_etudiant/identite", "yanis", student, _STUDENT)
    yield Case("/v3/mesri/statut_etudiant/ine", "yanis", {"ine": INE}, _STUDENT)
    yield Case("/api/v2/etudiants", "yanis", {**v2, "prenom": "YANIS", "lieuDeNaissance": "29019"}, _STUDENT_V2)
    yield Case("/api/v2/etudiants", "yanis", {"ine": INE}, _STUDENT_V2)
    pupil = {**LILOU, "anneeScolaire": SCHOOL_YEAR}
    area = {"degreEtablissement": "2D", "codesBcnDepartements[]": ["035"]}
    for version, data in ((3, _PUPIL), (4, _PUPIL), (5, _PUPIL_V5)):
        path = f"/v{version}/men/scolarites/identite"
        yield Case(path, "lilou", {**pupil, "codeEtablissement": SCHOOL}, data)
        yield Case(path, "lilou", {**pupil, **area}, data)
    yield Case(
        "/api/v2/scolarites",
        "lilou",
        {
            "nom": "BRUNOIS",
            "prenom": "LILOU",
            "sexe": "F",
            "dateNaissance": "2012-05-02",
            "codeEtablissement": SCHOOL,
            "anneeScolaire": SCHOOL_YEAR,
        },
        _PUPIL_V2,
    )
    yield Case(
        "/v3/dsnj/service_national/identite",
        "yanis",
        YANIS,
        {"statut_service_national": "en_regle", "commentaires": None},
    )
    service = _pick(YANIS, "sexeEtatCivil", "codeCogInseePaysNaissance", "codeCogInseeCommuneNaissance")
    yield Case("/v3/gip_mds/service_civique/identite", "yanis", service, _SERVICE)
    yield Case("/v3/france_travail/statut/identifiant", "adele", {"identifiant": JOB_SEEKER}, _JOB)
    yield Case("/api/v2/situations-pole-emploi", "adele", {"identifiant": JOB_SEEKER}, _JOB_V2)
    yield Case("/v3/france_travail/indemnites/identifiant", "adele", {"identifiant": JOB_SEEKER}, _PAYMENTS)
    yield Case("/api/v2/paiements-pole-emploi", "adele", {"identifiant": JOB_SEEKER}, _PAYMENTS_V2)
    yield Case("/v3/sdh/statut_sportif/identifiant", "yanis", {"identifiant": ATHLETE}, _ATHLETE)
    yield Case("/v3/ants/extrait_immatriculation_vehicule/france_connect", "adele", None, _VEHICLE)


CASES: tuple[Case, ...] = tuple(_cases())
