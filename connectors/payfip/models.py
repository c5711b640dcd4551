"""What PayFiP's endpoints take and give. Amounts are euros, exact decimals; instants are Europe/Paris."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Literal

from sdk import Field, HttpUrl, Model, Progress, Receipt, Row

from .billing import REFERENCE, Debts

EXAMPLE = "5b0f6e40-00a8-11f0-9c1d-0213ad91a103"
IDOP = r"^[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$"
ADDRESS = r"^(https?://[^\s/?#]\S*)?$"


class Settings(Model):
    """Une instance est une régie dans un mode."""

    url: HttpUrl = Field(
        default="https://www.payfip.gouv.fr/tpa/services/securite",
        description="Adresse du webservice, sans ?wsdl",
    )
    page_url: HttpUrl = Field(
        default="https://www.payfip.gouv.fr/tpa/paiementws.web",
        description="Adresse de la page de paiement",
    )
    client_number: str = Field(pattern=r"^[0-9]{6}$", description="Numéro de client (numcli) donné par la DGFiP")
    mode: Literal["T", "X", "W"] = Field(description="Environnement (saisie) : T test, X activation, W production")
    notification_url: str = Field(
        default="",
        max_length=249,
        pattern=ADDRESS,
        description="Où PayFiP annonce la fin d'un paiement : …/payfip/<instance>/notification. "
        "Son domaine doit être déclaré à la DGFiP",
    )
    return_url: str = Field(
        default="", max_length=249, pattern=ADDRESS, description="Où l'usager revient après la page de paiement"
    )
    second_attempt: float | None = Field(
        default=None,
        ge=20,
        description="Minutes après lesquelles une dette dont le paiement reste sans résultat peut être payée de "
        "nouveau ; jamais sans ce réglage. Des intégrateurs attendent 120 minutes, au risque d'un double paiement",
    )
    debts: Debts | None = Field(
        default=None, description="Les dettes de la régie, pour les montrer comme factures dans le portail"
    )


class PaymentRequest(Model):
    """Une dette à payer. Les adresses laissées vides sont celles du paramétrage."""

    amount: Decimal = Field(
        ge=1, le=100_000, decimal_places=2, description="Montant en euros, de 1 à 100000", examples=["42.50"]
    )
    email: str = Field(
        min_length=6,
        max_length=80,
        pattern=r"^[^@\s]+@[^@\s]+\.[^@\s.]+$",
        description="Adresse de courriel de l'usager, qui reçoit le justificatif",
        examples=["jeanne.martin@example.net"],
    )
    reference: str = Field(
        pattern=REFERENCE,
        description="Référence de la dette : 6 à 30 lettres sans accent ou chiffres",
        examples=["FACT2025000117"],
    )
    subject: str = Field(
        default="",
        description="Objet montré à l'usager ; accents et ponctuation sont retirés, 100 caractères sont gardés",
        examples=["Restauration scolaire mars"],
    )
    year: int | None = Field(
        default=None, ge=2000, le=2099, description="Exercice budgétaire ; l'année en cours par défaut"
    )
    notification_url: str = Field(
        default="", max_length=249, pattern=ADDRESS, description="À la place de celle du paramétrage"
    )
    return_url: str = Field(
        default="", max_length=249, pattern=ADDRESS, description="À la place de celle du paramétrage"
    )


class Payment(Receipt):
    """Un paiement à faire : envoyer l'usager sur `url`, une fois, avant `open_before`."""

    id: str = Field(description="Identifiant du paiement (idOp)", examples=[EXAMPLE])
    url: HttpUrl = Field(
        description="Page de paiement : une seule ouverture possible",
        examples=[f"https://www.payfip.gouv.fr/tpa/paiementws.web?idop={EXAMPLE}"],
    )
    open_before: datetime = Field(
        description="Au-delà, la page refuse de s'ouvrir", examples=["2025-03-14T09:46:00+01:00"]
    )


class PaymentProgress(Progress):
    """Où en est un paiement ; ce que PayFiP ne dit pas encore est vide ou nul."""

    id: str = Field(description="Identifiant du paiement (idOp)", examples=[EXAMPLE])
    status: Literal["pending", "paid", "refused", "abandoned", "expired"] = Field(
        description="pending (en attente), paid (payé), refused (refusé), abandoned (abandonné), expired (expiré)",
        examples=["paid"],
    )
    text: str = Field(description="L'état en toutes lettres", examples=["Payé par carte bancaire"])
    final: bool = Field(description="L'état ne changera plus", examples=[True])
    result: Literal["P", "V", "R", "Z", "A", ""] = Field(
        default="", description="Code de PayFiP (resultrans)", examples=["P"]
    )
    means: Literal["card", "direct-debit", ""] = Field(
        default="", description="card (carte) ou direct-debit (prélèvement)", examples=["card"]
    )
    amount: Decimal | None = Field(default=None, description="Montant en euros", examples=["42.50"])
    reference: str = Field(default="", description="Référence de la dette", examples=["FACT2025000117"])
    subject: str = Field(default="", description="Objet", examples=["Restauration scolaire mars"])
    authorisation: str = Field(default="", description="Numéro d'autorisation (numauto)", examples=["A55A55"])
    test: bool = Field(description="Vrai hors production : en mode T, aucun argent n'a circulé", examples=[True])


class PaymentNotice(Row):
    """Ce que Publik dit du paiement d'une facture ; ce qu'il dit de plus est ignoré."""

    transaction_id: str = Field(
        min_length=1, max_length=200, description="Le paiement, pour Publik : un idOp chez PayFiP", examples=[EXAMPLE]
    )
    bank_transaction_id: str = Field(default="", description="Le paiement, pour le prestataire")
    amount: Decimal | None = Field(
        default=None, ge=0, description="Montant payé, en euros ; tout ce qui est dû sans lui", examples=["42.50"]
    )


class Client(Model):
    """La régie, telle que la DGFiP la connaît."""

    number: str = Field(description="Numéro de client", examples=["012345"])
    name: str = Field(description="Premier libellé", examples=["REGIE DE RECETTES"])
    labels: list[str] = Field(
        description="Les libellés non vides, dans l'ordre", examples=[["REGIE DE RECETTES", "RESTAURATION SCOLAIRE"]]
    )


class Notification(Row):
    """Ce que PayFiP envoie à la fin d'un paiement, sans signature ni résultat."""

    idop: str = Field(pattern=IDOP, examples=[EXAMPLE])
