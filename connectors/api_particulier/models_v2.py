"""What version 2 of API Particulier answers: bare objects, mostly camelCase. Same rules as `models`."""

from __future__ import annotations

from decimal import Decimal

from .models import Coded, Day, Number, Partial, PupilIdentity, member

__all__ = [
    "BenefitV2",
    "FamilyV2",
    "GrantV2",
    "IncreasedBenefitV2",
    "JobSeekerV2",
    "PaymentsV2",
    "PupilV2",
    "StudentV2",
]


class BenefitV2(Partial):
    """Un droit ouvert, ou non (v2)."""

    status: str | None = member("beneficiaire…, non_beneficiaire…", "beneficiaire")
    dateDebut: Day | None = member("Ouverture du droit", "2024-11-01")
    dateFin: Day | None = member("Fermeture du droit")


class IncreasedBenefitV2(BenefitV2):
    """Un droit, et sa majoration éventuelle (v2)."""

    majoration: bool | None = member("Avec majoration ; périmètre …_majoration", False)


class PersonV2(Partial):
    """Un membre de la famille (v2)."""

    nomNaissance: str | None = member("Nom de naissance", "BRUNOIS")
    nomUsuel: str | None = member("Nom d'usage")
    nomUsage: str | None = member("Nom d'usage, dans certaines réponses")
    prenoms: str | None = member("Prénoms, séparés par des espaces", "ADÈLE JEANNE")
    anneeDateDeNaissance: str | None = member("Année ; vide ou nul quand elle est inconnue", "1985")
    moisDateDeNaissance: str | None = member("Mois ; 00 quand il est inconnu", "03")
    jourDateDeNaissance: str | None = member("Jour ; 00 quand il est inconnu", "14")
    sexe: str | None = member("F ou M", "F")


class FamilyAddressV2(Partial):
    """L'adresse de la famille (v2)."""

    identite: str | None = member("Destinataire", "Madame BRUNOIS ADÈLE")
    complementInformation: str | None = member("Complément")
    complementInformationGeographique: str | None = member("Complément géographique")
    numeroLibelleVoie: str | None = member("Voie", "3 RUE DES CORMORANS")
    lieuDit: str | None = member("Lieu-dit")
    codePostalVille: str | None = member("Code postal et ville", "35000 RENNES")
    pays: str | None = member("Pays", "FRANCE")


class FamilyV2(Partial):
    """Quotient familial et composition de la famille (v2)."""

    regime: str | None = member("CNAF ou MSA", "CNAF")
    quotientFamilial: int | None = member("Quotient familial ; périmètre cnaf_quotient_familial", 815)
    annee: int | None = member("Année du quotient", 2026)
    mois: int | None = member("Mois du quotient", 3)
    allocataires: list[PersonV2] | None = member("Périmètre cnaf_allocataires", [PersonV2])
    enfants: list[PersonV2] | None = member("Périmètre cnaf_enfants", [PersonV2])
    adresse: FamilyAddressV2 | None = member("Périmètre cnaf_adresse", FamilyAddressV2)


class PupilV2(Partial):
    """La scolarité d'un élève (v2)."""

    eleve: PupilIdentity | None = member("L'élève", PupilIdentity)
    code_etablissement: str | None = member("Code UAI", "0351234X")
    annee_scolaire: str | None = member("Année scolaire", "2025-2026")
    est_scolarise: bool | None = member("Scolarisé dans cet établissement", True)
    est_boursier: bool | None = member("Boursier ; périmètre men_statut_boursier", True)
    niveau_bourse: int | None = member("1 à 6, nul sans bourse ; périmètre men_echelon_bourse", 3)
    status_eleve: Coded | None = member("Statut", Coded)


class PaymentV2(Partial):
    """Un versement, en euros (v2)."""

    date: Day | None = member("Date", "2026-02-02")
    montant: Decimal | None = member("Total", "912.40")
    allocations: Decimal | None = member("Allocations", "900.00")
    aides: Decimal | None = member("Aides", "12.40")
    autres: Decimal | None = member("Autres", "0")


class PaymentsV2(Partial):
    """Les versements de France Travail (v2)."""

    identifiant: str | None = member("Identifiant chez France Travail", "adele.brunois35")
    paiements: list[PaymentV2] | None = member("Versements", [PaymentV2])


class PostalAddressV2(Partial):
    """Une adresse de courrier (v2)."""

    codePostal: str | None = member("Code postal", "35000")
    INSEECommune: str | None = member("Code Insee de la commune", "35238")
    localite: str | None = member("Code postal et commune", "35000 Rennes")
    ligneVoie: str | None = member("Voie", "3 RUE DES CORMORANS")
    ligneComplementDestinataire: str | None = member("Complément du destinataire")
    ligneComplementAdresse: str | None = member("Complément d'adresse")
    ligneComplementDistribution: str | None = member("Complément de distribution")
    ligneNom: str | None = member("Nom du destinataire", "BRUNOIS")


class JobSeekerV2(Partial):
    """La situation d'un demandeur d'emploi (v2)."""

    identifiant: str | None = member("Identifiant chez France Travail", "adele.brunois35")
    civilite: str | None = member("MME ou M.", "MME")
    nom: str | None = member("Nom de naissance", "BRUNOIS")
    nomUsage: str | None = member("Nom d'usage")
    prenom: str | None = member("Prénom", "ADÈLE")
    sexe: str | None = member("En toutes lettres", "Féminin")
    dateNaissance: str | None = member("Date de naissance", "1985-03-14")
    codeCertificationCNAV: str | None = member("Certification de l'identité", "VC")
    telephone: str | None = member("Téléphone", "0299000001")
    telephone2: str | None = member("Autre téléphone")
    email: str | None = member("Courriel", "adele.brunois@example.net")
    adresse: PostalAddressV2 | None = member("Périmètre pole_emploi_adresse", PostalAddressV2)
    dateInscription: str | None = member("Inscription", "2025-10-06")
    dateCessationInscription: str | None = member("Cessation")
    codeCategorieInscription: int | None = member("1 à 5", 1)
    libelleCategorieInscription: str | None = member("Catégorie", "PERSONNE SANS EMPLOI")


class SchoolV2(Partial):
    """Un établissement (v2)."""

    uai: str | None = member("Code UAI", "0290119X")
    nom: str | None = member("Nom", "UNIVERSITÉ DE BRETAGNE SIMULÉE")
    nomEtablissement: str | None = member("Nom, dans certaines réponses")


class EnrolmentV2(Partial):
    """Une inscription (v2)."""

    dateDebutInscription: Day | None = member("Début", "2025-09-01")
    dateFinInscription: Day | None = member("Fin", "2026-08-31")
    statut: str | None = member("admis ou inscrit", "inscrit")
    regime: str | None = member("formation initiale ou formation continue", "formation initiale")
    codeCommune: str | None = member("Commune d'études", "29019")
    etablissement: SchoolV2 | None = member("Périmètre mesri_etablissements", SchoolV2)


class StudentV2(Partial):
    """Le statut d'étudiant (v2)."""

    ine: str | None = member("Périmètre mesri_identifiant", "0123456789A")
    nom: str | None = member("Nom de naissance", "KERVELLA")
    nomFamille: str | None = member("Nom de naissance, dans certaines réponses")
    prenom: str | None = member("Prénom", "YANIS")
    dateNaissance: Day | None = member("Date de naissance", "2005-07-21")
    inscriptions: list[EnrolmentV2] | None = member("Admissions et inscriptions de l'année", [EnrolmentV2])


class GrantV2(Partial):
    """Une bourse de l'enseignement supérieur (v2)."""

    nom: str | None = member("Nom de naissance", "KERVELLA")
    prenom: str | None = member("Premier prénom", "YANIS")
    prenom2: str | None = member("Deuxième prénom")
    dateNaissance: Day | None = member("Date de naissance", "2005-07-21")
    lieuNaissance: str | None = member("Commune de naissance", "Brest")
    sexe: str | None = member("F ou M", "M")
    boursier: bool | None = member("Boursier", True)
    echelonBourse: str | None = member("0bis, ou 1 à 7", "6")
    email: str | None = member("Courriel", "yanis.kervella@example.net")
    dateDeRentree: Day | None = member("Rentrée", "2025-09-01")
    dureeVersement: Number | None = member("Durée en mois", 10)
    statut: Number | None = member("Code du statut", 0)
    statutLibelle: str | None = member("Statut", "définitif")
    villeEtudes: str | None = member("Ville d'études", "Brest")
    etablissement: str | None = member("Établissement", "Université de Bretagne Simulée")
