"""What each scope opens in the answers, for the simulator: production leaves out the rest."""

from __future__ import annotations

from collections.abc import Mapping

_FAMILY = {
    "cnaf_quotient_familial": ("quotient_familial", "quotientFamilial", "annee", "mois", "regime"),
    "cnaf_allocataires": ("allocataires",),
    "cnaf_enfants": ("enfants",),
    "cnaf_adresse": ("adresse",),
}
_SINCE = ("est_beneficiaire", "date_debut_droit", "status", "dateDebut", "dateFin")
_GRANT = {
    "cnous_identite": ("identite", "nom", "prenom", "prenom2", "dateNaissance", "lieuNaissance", "sexe"),
    "cnous_email": ("email",),
    "cnous_statut_boursier": ("est_boursier", "statut_boursier", "boursier"),
    "cnous_statut_bourse": ("statut", "statutLibelle"),
    "cnous_echelon_bourse": ("echelon_bourse", "echelonBourse"),
    "cnous_periode_versement": ("periode_versement_bourse", "dateDeRentree", "dureeVersement"),
    "cnous_ville_etudes": ("etablissement_etudes", "villeEtudes", "etablissement"),
}
_ADMISSION = "mesri_admission_"
_STUDENT = {
    "mesri_identite": ("identite",),
    "mesri_admissions": ("admissions/date_debut", "admissions/date_fin"),
    f"{_ADMISSION}inscrit": ("admissions/est_inscrit",),
    f"{_ADMISSION}regime_formation": ("admissions/regime_formation",),
    f"{_ADMISSION}commune_etudes": ("admissions/code_cog_insee_commune",),
    f"{_ADMISSION}etablissement_etudes": ("admissions/etablissement_etudes",),
}
_STUDENT_V2 = {
    "mesri_identifiant": ("ine",),
    "mesri_identite": ("nom", "prenom", "dateNaissance"),
    "mesri_inscription_etudiant": (
        *(f"inscriptions/{name}" for name in ("dateDebutInscription", "dateFinInscription", "statut", "regime")),
        "inscriptions/codeCommune",
    ),
    "mesri_inscription_autre": (),
    "mesri_admission": (),
    "mesri_etablissements": ("inscriptions/etablissement",),
}
_PUPIL = {
    "men_statut_identite": ("identite",),
    "men_statut_scolarite": (
        *("annee_scolaire", "est_scolarise", "statut_eleve", "eleve", "code_etablissement", "status_eleve"),
    ),
    "men_statut_etablissement": ("etablissement",),
    "men_statut_module_elementaire_formation": ("module_elementaire_formation",),
    "men_statut_boursier": ("est_boursier",),
    "men_echelon_bourse": ("echelon_bourse", "niveau_bourse"),
    "men_regime_pensionnat": ("regime_pensionnat",),
}
_JOB = {f"pole_emploi_{name}": (name,) for name in ("identifiant", "identite", "contact", "adresse", "inscription")}
_JOB_V2 = {
    "pole_emploi_identite": (
        *("identifiant", "civilite", "nom", "nomUsage", "prenom", "sexe", "dateNaissance", "codeCertificationCNAV"),
    ),
    "pole_emploi_adresse": ("adresse",),
    "pole_emploi_contact": ("telephone", "telephone2", "email"),
    "pole_emploi_inscription": (
        *("dateInscription", "dateCessationInscription", "codeCategorieInscription", "libelleCategorieInscription"),
    ),
}
_CONTRACT = "gip_mds_service_civique_"
_SPORT = "sdh_statut_sportif_"
_CAR = "ants_extrait_immatriculation_vehicule_"
_ALL = ("*",)

OPENS: Mapping[str, Mapping[str, tuple[str, ...]]] = {
    "dss/quotient_familial": _FAMILY,
    "composition-familiale-v2": _FAMILY,
    "dss/revenu_solidarite_active": {
        "revenu_solidarite_active": _SINCE,
        "revenu_solidarite_active_majoration": ("avec_majoration", "majoration"),
    },
    "dss/prime_activite": {"prime_activite": _SINCE, "prime_activite_majoration": ("avec_majoration", "majoration")},
    "dss/allocation_adulte_handicape": {"allocation_adulte_handicape": _ALL},
    "dss/allocation_soutien_familial": {"allocation_soutien_familial": _ALL},
    "dss/complementaire_sante_solidaire": {"complementaire_sante_solidaire": _ALL},
    "dss/allocation_enfant_handicape": {"cnav_allocation_enfant_handicape": _ALL},
    "dss/allocation_rentree_scolaire": {"cnav_allocation_rentree_scolaire": _ALL},
    "dss/participation_familiale_eaje": {
        "cnav_participation_familiale_eaje_allocataires": ("allocataires",),
        "cnav_participation_familiale_eaje_enfants": ("enfants",),
        "cnav_participation_familiale_eaje_adresse": ("adresse",),
        "cnav_participation_familiale_eaje_parametres_calcul": ("parametres_calcul_participation_familiale",),
    },
    "cnous/etudiant_boursier": _GRANT,
    "etudiants-boursiers": _GRANT,
    "mesri/statut_etudiant": _STUDENT,
    "etudiants": _STUDENT_V2,
    "men/scolarites": _PUPIL,
    "scolarites": {
        name: _PUPIL[name] for name in ("men_statut_scolarite", "men_statut_boursier", "men_echelon_bourse")
    },
    "dsnj/service_national": {"dsnj_statut_service_national": _ALL},
    "gip_mds/service_civique": {
        f"{_CONTRACT}statut_actuel": ("statut_actuel/contrat_trouve",),
        f"{_CONTRACT}statut_passe": ("statut_passe/contrat_trouve",),
        f"{_CONTRACT}organisme_accueil": ("statut_actuel/organisme_accueil", "statut_passe/organisme_accueil"),
        f"{_CONTRACT}dates": tuple(
            f"{block}/{name}"
            for block in ("statut_actuel", "statut_passe")
            for name in ("date_debut_contrat", "date_fin_contrat")
        ),
    },
    "france_travail/statut": _JOB,
    "situations-pole-emploi": _JOB_V2,
    "france_travail/indemnites": {"pole_emploi_paiements": _ALL},
    "paiements-pole-emploi": {"pole_emploi_paiements": _ALL},
    "sdh/statut_sportif": {
        f"{_SPORT}{name}": (name,)
        for name in (
            *("identite", "est_sportif_de_haut_niveau", "a_ete_sportif_de_haut_niveau"),
            *("informations_statut", "informations_statuts_precedents"),
        )
    },
    "ants/extrait_immatriculation_vehicule": {
        f"{_CAR}{name}": (name,)
        for name in (
            *("identite_particulier", "adresse_particulier", "statut_rattachement"),
            *("donnees_immatriculation_vehicule", "caracteristiques_techniques_vehicule"),
        )
    },
    "revenu-solidarite-active": {
        "revenu_solidarite_active": _SINCE,
        "revenu_solidarite_active_majoration": ("majoration",),
    },
    "prime-activite": {"prime_activite": _SINCE, "prime_activite_majoration": ("majoration",)},
    "allocation-adulte-handicape": {"allocation_adulte_handicape": _ALL},
    "allocation-soutien-familial": {"allocation_soutien_familial": _ALL},
    "complementaire-sante-solidaire": {"complementaire_sante_solidaire": _ALL},
}
"""Resource → scope → what it opens in the data (`block/member` inside blocks and lists)."""

V2_FRANCECONNECT = frozenset(
    resource for resource in OPENS if "/" not in resource and not resource.endswith("pole-emploi")
) - {"scolarites"}
EVERY_SCOPE = frozenset(scope for opens in OPENS.values() for scope in opens)
PUBLIK_FAMILLE = frozenset({"cnaf_quotient_familial", "cnaf_allocataires", "cnaf_enfants"})
