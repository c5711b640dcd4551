"""What API Particulier answers about work, service, sport and vehicles. Same rules as `models`."""

from __future__ import annotations

from decimal import Decimal

from .models import Day, Labelled, Number, Partial, member


class NationalService(Partial):
    """La situation d'un jeune de 16 à 25 ans au regard du service national."""

    statut_service_national: str | None = member("en_regle, pas_en_regle, indetermine ou non_concerne", "en_regle")
    commentaires: str | None = member("Précision de la direction du service national")


class Payment(Partial):
    """Un versement ; les montants sont des euros."""

    date_versement: Day | None = member("Date", "2026-02-02")
    montant_total: Decimal | None = member("Total", "912.40")
    montant_allocations: Decimal | None = member("Allocations", "900.00")
    montant_aides: Decimal | None = member("Aides", "12.40")
    montant_autres: Decimal | None = member("Autres", "0")


class Payments(Partial):
    """Les versements de France Travail."""

    identifiant: str | None = member("Identifiant de la personne chez France Travail", "adele.brunois35")
    paiements: list[Payment] | None = member("Versements", [Payment])


class JobSeekerIdentity(Partial):
    """La personne inscrite."""

    civilite: str | None = member("MME ou M.", "MME")
    nom_naissance: str | None = member("Nom de naissance", "BRUNOIS")
    nom_usage: str | None = member("Nom d'usage")
    prenom: str | None = member("Prénom", "ADÈLE")
    sexe: str | None = member("En toutes lettres", "Féminin")
    date_naissance: Day | None = member("Date de naissance", "1985-03-14")


class Contact(Partial):
    """Comment joindre la personne."""

    telephone: str | None = member("Téléphone", "0299000001")
    telephone2: str | None = member("Autre téléphone")
    email: str | None = member("Courriel", "adele.brunois@example.net")


class PostalAddress(Partial):
    """Une adresse de courrier."""

    code_postal: str | None = member("Code postal", "35000")
    code_cog_insee_commune: str | None = member("Code Insee de la commune", "35238")
    localite: str | None = member("Code postal et commune", "35000 Rennes")
    ligne_voie: str | None = member("Voie", "3 RUE DES CORMORANS")
    ligne_complement_destinataire: str | None = member("Complément du destinataire")
    ligne_complement_adresse: str | None = member("Complément d'adresse")
    ligne_complement_distribution: str | None = member("Complément de distribution")
    ligne_nom: str | None = member("Nom du destinataire", "BRUNOIS")


class JobCategory(Partial):
    """La catégorie d'inscription."""

    code: int | None = member("1 à 5", 1)
    libelle: str | None = member("Libellé", "PERSONNE SANS EMPLOI DISPONIBLE DUREE INDETERMINEE PLEIN TPS")


class JobRegistration(Partial):
    """L'inscription à France Travail."""

    date_debut: Day | None = member("Inscription", "2025-10-06")
    date_fin: Day | None = member("Cessation")
    categorie: JobCategory | None = member("Catégorie", JobCategory)
    code_certification_cnav: str | None = member("Certification de l'identité : VC, IC, PC, AC, DC ou RC", "VC")


class JobSeeker(Partial):
    """La situation d'un demandeur d'emploi."""

    identifiant: str | None = member("Périmètre pole_emploi_identifiant", "adele.brunois35")
    identite: JobSeekerIdentity | None = member("Périmètre pole_emploi_identite", JobSeekerIdentity)
    contact: Contact | None = member("Périmètre pole_emploi_contact", Contact)
    adresse: PostalAddress | None = member("Périmètre pole_emploi_adresse", PostalAddress)
    inscription: JobRegistration | None = member("Périmètre pole_emploi_inscription", JobRegistration)


class HostOrganisation(Partial):
    """L'organisme qui accueille le volontaire."""

    siret: str | None = member("SIRET", "21350238800019")
    raison_sociale: str | None = member("Raison sociale", "COMMUNE DE SIMULA")


class ServiceContract(Partial):
    """Un contrat de service civique, trouvé ou non."""

    contrat_trouve: bool | None = member("Un contrat existe", True)
    organisme_accueil: HostOrganisation | None = member("Périmètre …_organisme_accueil", HostOrganisation)
    date_debut_contrat: Day | None = member("Périmètre …_dates", "2025-10-01")
    date_fin_contrat: Day | None = member("Périmètre …_dates", "2026-05-31")


class CivicService(Partial):
    """Le service civique."""

    statut_actuel: ServiceContract | None = member("Périmètre …_statut_actuel", ServiceContract)
    statut_passe: ServiceContract | None = member("Périmètre …_statut_passe", ServiceContract)


class AthletePeriod(Partial):
    """Quand un statut vaut."""

    date_debut_statut: Day | None = member("Début", "2025-01-01")
    date_fin_statut: Day | None = member("Fin", "2026-12-31")


class Federation(Partial):
    """Une fédération sportive."""

    code_federation: str | None = member("Code", "29")
    nom_federation: str | None = member("Nom", "Fédération simulée de handball")
    nom_court_federation: str | None = member("Nom court", "HANDBALL")


class SportsCentre(Partial):
    """Un établissement sportif."""

    code_etablissement: str | None = member("Code", "2075")
    nom_etablissement: str | None = member("Nom", "Maison de la performance")


class SportsRegion(Partial):
    """Une région."""

    code_region: str | None = member("Code", "53")
    nom_region: str | None = member("Nom", "Bretagne")


class AthleteCategory(Partial):
    """Une catégorie."""

    code_categorie: str | None = member("Code", "2")
    nom_categorie: str | None = member("Nom", "elite")
    valeur: str | None = member("Valeur", "4")


class AthleteStatus(Partial):
    """Un statut de sportif."""

    periode: AthletePeriod | None = member("Période", AthletePeriod)
    federation: Federation | None = member("Fédération", Federation)
    etablissement: SportsCentre | None = member("Établissement", SportsCentre)
    region: SportsRegion | None = member("Région", SportsRegion)
    categorie: AthleteCategory | None = member("Catégorie", AthleteCategory)
    sportif_de_haut_niveau: bool | None = member("De haut niveau", True)


class PastAthleteStatus(AthleteStatus):
    """Un statut passé."""

    fiche: int | None = member("Numéro de fiche", 789456)


class AthleteIdentity(Partial):
    """Le sportif."""

    nom_naissance: str | None = member("Nom de naissance", "KERVELLA")
    nom_usage: str | None = member("Nom d'usage")
    prenoms: str | None = member("Prénoms", "YANIS")
    date_naissance: Day | None = member("Date de naissance", "2005-07-21")
    sexe: str | None = member("F ou M", "M")


class Athlete(Partial):
    """Le statut de sportif de haut niveau."""

    identite: AthleteIdentity | None = member("Périmètre sdh_statut_sportif_identite", AthleteIdentity)
    est_sportif_de_haut_niveau: bool | None = member("Périmètre sdh_statut_sportif_est_sportif_de_haut_niveau", True)
    a_ete_sportif_de_haut_niveau: bool | None = member(
        "Périmètre sdh_statut_sportif_a_ete_sportif_de_haut_niveau", True
    )
    informations_statut: AthleteStatus | None = member(
        "Périmètre sdh_statut_sportif_informations_statut", AthleteStatus
    )
    informations_statuts_precedents: list[PastAthleteStatus] | None = member(
        "Périmètre sdh_statut_sportif_informations_statuts_precedents", [PastAthleteStatus]
    )


class OwnerIdentity(Partial):
    """La personne liée au véhicule."""

    nom: str | None = member("Nom", "BRUNOIS")
    prenom: str | None = member("Prénom", "ADÈLE")
    sexe_etat_civil: str | None = member("F ou M", "F")
    annee_date_naissance: int | None = member("Année de naissance", 1985)
    mois_date_naissance: int | None = member("Mois", 3)
    jour_date_naissance: int | None = member("Jour", 14)
    code_departement_naissance: str | None = member("Département de naissance", "35")


class OwnerAddress(Partial):
    """L'adresse portée sur le certificat."""

    complement_information: str | None = member("Complément")
    num_voie: str | None = member("Numéro", "3")
    extension: str | None = member("Extension du numéro")
    type_voie: str | None = member("Type de voie", "RUE")
    libelle_voie: str | None = member("Voie", "DES CORMORANS")
    lieu_dit: str | None = member("Lieu-dit")
    etage_escalier_appartement: str | None = member("Étage, escalier, appartement")
    code_postal_ville: str | None = member("Code postal", "35000")
    libelle_commune: str | None = member("Commune", "RENNES")
    pays: str | None = member("Pays", "FRANCE")


class RegistrationCertificate(Partial):
    """Le certificat d'immatriculation."""

    numero_immatriculation: str | None = member("Numéro", "ZZ-123-AB")
    date_premiere_immatriculation: Day | None = member("Première immatriculation", "2021-06-15")
    statut_location: Labelled | None = member("Location", Labelled)


class VehicleFeatures(Partial):
    """Les caractéristiques du véhicule."""

    marque: str | None = member("Marque", "SIMULA")
    type_variante_version: str | None = member("Type, variante, version", "ABCDEF-G1H234")
    denomination_commerciale: str | None = member("Nom commercial", "GOÉLAND")
    masse_charge_maximale: Number | None = member("Masse en charge maximale, kg", 1850)
    categorie_vehicule: Labelled | None = member("M1, N1, L3e…", Labelled)
    genre_national: Labelled | None = member("VP, CTTE, MTL…", Labelled)
    cylindree: Number | None = member("Cylindrée, cm³", 1200)
    type_carburant: Labelled | None = member("ES, GO, EL…", Labelled)
    taux_co2: Number | None = member("CO2, g/km", 110)
    classe_environnementale: Labelled | None = member("Euro 5, Euro 6…", Labelled)


class IdentityMatching(Partial):
    """À quel point l'identité FranceConnect est celle du certificat, de 0 à 1."""

    family_name: Number | None = member("Nom", 1.0)
    given_name: Number | None = member("Prénom", 1.0)
    birth_date: Number | None = member("Date de naissance", 1.0)
    overall_match: bool | None = member("Dans l'ensemble", True)


class Vehicle(Partial):
    """L'immatriculation d'un véhicule, pour la personne connectée."""

    identity_matching: IdentityMatching | None = member("Rapprochement des identités", IdentityMatching)

    identite_particulier: OwnerIdentity | None = member("Périmètre …_identite_particulier", OwnerIdentity)
    adresse_particulier: OwnerAddress | None = member("Périmètre …_adresse_particulier", OwnerAddress)
    statut_rattachement: str | None = member("titulaire, cotitulaire ou locataire ; périmètre …_statut_rattachement")
    donnees_immatriculation_vehicule: RegistrationCertificate | None = member(
        "Périmètre …_donnees_immatriculation_vehicule", RegistrationCertificate
    )
    caracteristiques_techniques_vehicule: VehicleFeatures | None = member(
        "Périmètre …_caracteristiques_techniques_vehicule", VehicleFeatures
    )
