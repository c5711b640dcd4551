"""ATAL (Berger-Levrault): requests to a town's technical services, rooms and material, over both its generations."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from sdk import (
    DAY,
    HOUR,
    MEGABYTE,
    Choice,
    Connector,
    ErrorCode,
    Field,
    File,
    Hit,
    Http,
    InvalidInput,
    Misconfigured,
    NotFound,
    Receipt,
    Rejected,
    Text,
    create,
    get,
    update,
)

from .generation import Generation, not_offered
from .loans import Kind, Loans
from .models import (
    EXAMPLE,
    Attached,
    Attachment,
    Busy,
    Comment,
    Decision,
    Loanable,
    LoanProgress,
    MaterialLoan,
    RequestProgress,
    RoomLoan,
    WorkRequest,
)
from .settings import Settings
from .soap import OverSoap
from .v6 import V6

__all__ = ["Atal", "Settings"]

NOT_OFFERED = ErrorCode("not-offered", Misconfigured, "Cet ATAL, tel qu'il est réglé, ne sait pas le faire")
BUSY = ErrorCode("busy", Rejected, "Ce n'est pas libre sur toute la période")
NO_PLACE = ErrorCode("no-place", Misconfigured, "Un champ rempli n'a pas de place dans l'appel réglé")

RequestId = Annotated[
    str, Field(min_length=1, max_length=64, description="Identifiant donné à la création", examples=[EXAMPLE])
]
Parent = Annotated[str, Field(description="Ne garder que ce qui dépend de cet identifiant", examples=["1744"])]
Start = Annotated[datetime, Field(description="Début de la période, heure locale", examples=["2025-04-02T14:00"])]
End = Annotated[datetime, Field(description="Fin de la période, heure locale", examples=["2025-04-02T18:00"])]
LoanKind = Annotated[Kind, Field(description="rooms (salle) ou material (matériel)", examples=["rooms"])]
LoanId = Annotated[
    str, Field(pattern=r"^[0-9]{1,18}$", description="Identifiant donné à la création", examples=["2573"])
]


class Atal(Connector[Settings]):
    """Demandes de travaux aux services techniques, salles et matériel à emprunter, dans ATAL.

    Les mêmes points d'accès pour les deux générations du logiciel, l'ancien webservice SOAP et l'API v6 : une ville
    qui change de version change le paramétrage, pas ses formulaires. Salles et matériel demandent la v6.

    English:
    Requests to the technical services, rooms and material to borrow, in ATAL. The same endpoints over both generations
    of the software (the older SOAP service, the v6 API): a town that upgrades changes its settings, not its forms.
    """

    name, title, category = "atal", "ATAL", "Services techniques"
    confidence = Text(
        "soap : aucun WSDL n'est public ; celui de la ville se donne en paramètre, le nôtre (assumed-*.wsdl) est "
        "supposé, comme les listes, commentaires, pièces et recherche. v6 : appels connus par des intégrateurs ; "
        "membres d'identifiant, d'état et de réponse, commentaires, recherche et stock supposés, donc réglables.",
        en="soap: no WSDL is public; the town's own is a setting, ours (assumed-*.wsdl) is assumed, as are lists, "
        "comments, attachments and search. v6: calls known from integrators; members for identifier, state and answer, "
        "comments, search and stock assumed, hence settable.",
    )

    def __init__(self, settings: Settings, http: Http) -> None:
        super().__init__(settings, http)
        self.atal: Generation
        self._loans: Loans | None = None
        if settings.generation == "v6":
            v6 = V6(settings, http)
            self.atal, self._loans = v6, Loans(v6)
        else:
            self.atal = OverSoap(settings, http, self.folder())

    # Listes.

    @get("types", cache=HOUR, stale=DAY, errors=(NOT_OFFERED,))
    async def types(self) -> list[Choice]:
        """Les types de demande.

        L'éditeur ne publie pas cette liste en v6 : l'écrire dans `lists.types.values`, ou dire où elle est.

        English:
        Types of request. The publisher does not publish this list in v6: write it in `lists.types`.
        """
        return await self.atal.choices("types")

    @get("thematics", cache=HOUR, stale=DAY, errors=(NOT_OFFERED,))
    async def thematics(self, parent: Parent = "") -> list[Choice]:
        """Les thématiques (natures), toutes ou celles d'une autre.

        English:
        Thematics, all of them or those below one.
        """
        return await self.atal.choices("thematics", parent)

    @get("equipment", cache=HOUR, stale=DAY, errors=(NOT_OFFERED,))
    async def equipment(self, parent: Parent = "") -> list[Choice]:
        """Les équipements (le patrimoine) qu'une demande peut concerner.

        English:
        The buildings and equipment a request may be about.
        """
        return await self.atal.choices("equipment", parent)

    @get("services", cache=HOUR, stale=DAY, errors=(NOT_OFFERED,))
    async def services(self) -> list[Choice]:
        """Les services demandeurs.

        English:
        The departments that may ask.
        """
        return await self.atal.choices("services")

    @get("third-parties", cache=HOUR, stale=DAY, errors=(NOT_OFFERED,))
    async def third_parties(self) -> list[Choice]:
        """Les tiers : demandeurs et emprunteurs.

        English:
        Third parties: those who ask and those who borrow.
        """
        return await self.atal.choices("third_parties")

    # Demandes de travaux.

    @create("requests", delivery="at-most-once", errors=(NO_PLACE, Rejected))
    async def create_request(self, request: WorkRequest) -> Receipt:
        """Créer une demande de travaux.

        L'identifiant rendu sert au suivi, aux commentaires et aux pièces. ATAL ne reconnaît pas une demande envoyée
        deux fois : après un doute, un agent regarde.

        English:
        Create a work request. ATAL does not recognise a request sent twice: after a doubt, an agent must look.
        """
        if (request.longitude is None) != (request.latitude is None):
            name = "longitude" if request.longitude is None else "latitude"
            said = Text("va avec l'autre coordonnée", en="goes with the other coordinate")
            raise InvalidInput(Text(f"« {name} » {said}.", en=f'"{name}" {said.en}.'), fields={name: [said]})
        return await self.atal.create(request)

    @get("requests/{request}", errors=(NotFound,))
    async def request(self, request: RequestId) -> RequestProgress:
        """Suivre une demande de travaux.

        L'état est celui d'ATAL, tel quel. Sa phrase et sa fin viennent du paramétrage (`states`) : un état qui n'y est
        pas est transmis sans être final.

        English:
        Follow a work request. The state is ATAL's own; its words and its end come from the settings (`states`), and a
        state they do not name is passed on as it is, not final.
        """
        return await self.atal.follow(request)

    @create("requests/{request}/comments", delivery="at-most-once", errors=(NotFound, NOT_OFFERED))
    async def comment_request(self, request: RequestId, comment: Comment) -> None:
        """Ajouter un commentaire à une demande.

        English:
        Add a comment to a request.
        """
        await self.atal.comment(request, comment)

    @create(
        "requests/{request}/attachments",
        delivery="at-least-once",
        errors=(NotFound, NOT_OFFERED),
        max_body=20 * MEGABYTE,
    )
    async def attach(self, request: RequestId, attachment: Attachment) -> Attached:
        """Joindre un fichier à une demande.

        Un appel par fichier. Recommencer après une erreur est sans danger : au pire la pièce est jointe deux fois.

        English:
        Attach a file to a request, one call per file. Trying again is harmless: at worst it is attached twice.
        """
        return await self.atal.attach(request, attachment.file)

    @get("attachments/{attachment}", errors=(NotFound, NOT_OFFERED))
    async def attachment(
        self,
        attachment: Annotated[
            str, Field(min_length=1, max_length=64, description="Identifiant du fichier", examples=["18249"])
        ],
    ) -> File:
        """Télécharger un fichier d'ATAL (v6).

        ATAL en annonce souvent mal le type : celui rendu est reconnu au contenu.

        English:
        Download a file (v6). ATAL often announces a wrong type: the one given is read from the content.
        """
        return await self.atal.download(attachment)

    @get("search")
    async def search(
        self,
        q: Annotated[str, Field(min_length=2, max_length=100, description="Mots cherchés", examples=["nid de poule"])],
        limit: Annotated[int, Field(ge=1, le=50, description="Nombre de résultats")] = 10,
    ) -> list[Hit]:
        """Chercher une demande, pour les agents.

        En v6, dans l'objet et la description ; en soap, par l'opération réglée, ou à défaut par le numéro exact.

        English:
        Find a request, for agents: in its object and description (v6), by the operation set or the exact number (soap).
        """
        return await self.atal.search(q, limit)

    # Salles et matériel.

    @get("rooms", cache=HOUR, stale=DAY, errors=(NOT_OFFERED,))
    async def rooms(self, parent: Parent = "") -> list[Choice]:
        """Les salles à emprunter.

        English:
        Rooms to borrow.
        """
        return await self.atal.choices("rooms", parent)

    @get("material", cache=HOUR, stale=DAY, errors=(NOT_OFFERED,))
    async def material(self) -> list[Choice]:
        """Le matériel à emprunter.

        English:
        Material to borrow.
        """
        return await self.atal.choices("material")

    @get("free-rooms", errors=(NOT_OFFERED,))
    async def free_rooms(self, start: Start, end: End, parent: Parent = "") -> list[Loanable]:
        """Les salles et leur disponibilité entre deux moments.

        Une salle prise est grisée (`disabled`), de même que celles dont elle fait partie et que ses parties.

        English:
        Rooms, and whether they are free between two moments. A room lent takes those it is part of, and its parts.
        """
        return await self.loans().free_rooms(start, end, parent)

    @get("free-material", errors=(NOT_OFFERED,))
    async def free_material(
        self,
        start: Start,
        end: End,
        quantity: Annotated[int, Field(ge=1, description="Quantité voulue", examples=[10])] = 1,
    ) -> list[Loanable]:
        """Le matériel et sa disponibilité entre deux moments.

        Ce qui n'est pas libre en quantité suffisante sur toute la période est grisé (`disabled`).

        English:
        Material, and how much is free between two moments; what is not in sufficient quantity is disabled.
        """
        return await self.loans().free_material(start, end, quantity)

    @get("rooms/{room}/busy", errors=(NOT_OFFERED,))
    async def busy(
        self,
        room: Annotated[str, Field(min_length=1, max_length=64, description="Salle, voir `rooms`", examples=["52"])],
        start: Start,
        end: End,
    ) -> list[Busy]:
        """Quand une salle est prise, entre deux moments.

        English:
        When a room is taken, between two moments.
        """
        return await self.loans().busy(room, start, end)

    @create("loans/rooms", delivery="at-most-once", errors=(BUSY, NOT_OFFERED))
    async def lend_room(self, loan: RoomLoan) -> Receipt:
        """Demander à emprunter une salle ; l'emprunt est en attente.

        English:
        Ask to borrow a room; the loan is pending.
        """
        return await self.loans().lend_room(loan)

    @create("loans/material", delivery="at-most-once", errors=(BUSY, NOT_OFFERED))
    async def lend_material(self, loan: MaterialLoan) -> Receipt:
        """Demander à emprunter du matériel ; l'emprunt est en attente.

        English:
        Ask to borrow material; the loan is pending.
        """
        return await self.loans().lend_material(loan)

    @get("loans/{kind}/{loan}", errors=(NotFound, NOT_OFFERED))
    async def loan(self, kind: LoanKind, loan: LoanId) -> LoanProgress:
        """Suivre un emprunt.

        English:
        Follow a loan.
        """
        return await self.loans().loan(kind, loan)

    @update(
        "loans/{kind}/{loan}/state",
        method="POST",
        delivery="idempotent",
        unique_forms=False,  # accepted, cancelled, accepted again: the third is not the first
        errors=(NotFound, NOT_OFFERED),
    )
    async def decide_loan(self, kind: LoanKind, loan: LoanId, decision: Decision) -> LoanProgress:
        """Accepter, refuser ou annuler un emprunt.

        L'état est relu dans ATAL après le changement.

        English:
        Accept, refuse or cancel a loan; its state is read again afterwards.
        """
        return await self.loans().decide(kind, loan, decision.state)

    async def check(self) -> None:
        """Address and credentials: testConnection (soap), or the test call and one thematic (v6)."""
        await self.atal.check()

    def loans(self) -> Loans:
        """The loans of this ATAL; `Misconfigured` where it is the older generation."""
        if self._loans is None:
            raise not_offered(
                "ne prête ni salle ni matériel (la v6 le fait)",
                "lends neither room nor material (v6 does)",
                "generation",
            )
        return self._loans
