"""Cart@ds CS (Inetum, formerly GFI): urbanism permits. Deposit them, follow them, find them, read the public board."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Annotated, TypeVar

from sdk import (
    DAY,
    HOUR,
    MEGABYTE,
    MINUTE,
    Choice,
    Connector,
    ErrorCode,
    Field,
    Hit,
    Http,
    InvalidInput,
    Misconfigured,
    NotFound,
    Receipt,
    Rejected,
    Text,
    UpstreamInvalid,
    UpstreamUnavailable,
    create,
    every,
    get,
)

from .board import Information, PublicBoard
from .deposits import (
    DEPOSIT_EXAMPLE,
    CerfaForm,
    Deposit,
    Deposited,
    DepositProgress,
    Kind,
    LaterDeposit,
    Piece,
    Step,
)
from .models import EXAMPLE, Application, ApplicationProgress, Posting
from .portal import DEPOSIT_PREFIX, LATER, PortalDoor
from .settings import Settings
from .sig import SigFiles

__all__ = ["Cartads", "Settings"]

D = TypeVar("D")

NOT_SET = ErrorCode("not-set", Misconfigured, "Cette porte de Cart@ds n'est pas réglée (`sig`, `board` ou `portal`)")
FOLLOWED_AT = (5 * MINUTE, 15 * MINUTE, HOUR, (HOUR, 2 * DAY), (DAY, 365 * DAY))
"""Ages at which a deposit is looked at: a number comes within the hour, a decision within months."""
_ANY = (NOT_SET, Misconfigured, UpstreamInvalid, UpstreamUnavailable)

Number = Annotated[
    str,
    Field(
        min_length=5,
        max_length=60,
        description="Numéro du dossier ; espaces et casse sont remis en forme",
        examples=[EXAMPLE],
    ),
]


Commune = Annotated[str, Field(min_length=1, max_length=20, description="Commune, voir `communes`", examples=["76540"])]
Type = Annotated[
    str, Field(min_length=1, max_length=20, description="Type de dossier, voir `types`", examples=["PCMI"])
]
Object = Annotated[
    str, Field(min_length=1, max_length=40, description="Objet de la demande, voir `objects`", examples=["1"])
]
FileId = Annotated[
    str,
    Field(
        pattern=r"^[A-Za-z0-9_-]{1,40}$",
        description="Identifiant interne du dossier : `file` d'un dépôt, `internal_id` d'un dossier",
        examples=["48213"],
    ),
]
_DEPOSITS = (
    ErrorCode("host-key", Misconfigured, "Le serveur de dépôt n'a pas la clé attendue"),
    ErrorCode("full", UpstreamUnavailable, "Le serveur de dépôt n'a pas pu écrire"),
    ErrorCode("no-place", Misconfigured, "Un champ rempli n'a pas de place dans la notification réglée"),
    ErrorCode("(code SOAP)", Rejected, "Refus nommé dans `portal.refusals`"),
    InvalidInput,
    *_ANY,
)


def _now() -> datetime:
    return datetime.now(UTC)


class Cartads(Connector[Settings]):
    """Les autorisations d'urbanisme dans Cart@ds CS : déposer, suivre, chercher, lire l'affichage public.

    Trois portes séparées, chacune avec son réglage : `sig` (API SIG) pour suivre et chercher les dossiers, `board` pour
    l'affichage réglementaire du guichet unique, qui est public, `portal` pour déposer un dossier.

    English:
    Urbanism permits in Cart@ds CS: deposit, follow, find, read the public board. Three separate doors, each with its
    setting: `sig` (API SIG) to follow and find files, `board` for the public board, `portal` to deposit a file.
    """

    name, title, category = "cartads", "Cart@ds CS", "Urbanisme"
    confidence = Text(
        "API SIG et affichage : appels et champs vus dans des clients en production. Supposés : la réponse pour un "
        "dossier inconnu, un compte refusé, le filtre par parcelle. Portail : l'enchaînement seul est public, aucun "
        "WSDL ne l'est. Celui de la ville se donne en réglage ; le nôtre (assumed-portail.wsdl), le jeton et l'archive "
        "sont supposés.",
        en="API SIG and board: calls and fields seen in clients in production. Assumed: the answer for an unknown "
        "file, for a refused login, the parcel filter. Portal: only the sequence is public, no WSDL is; the town's "
        "own is a setting, ours (assumed-portail.wsdl), the token and the archive are assumed.",
    )

    def __init__(
        self,
        settings: Settings,
        http: Http,
        *,
        now: Callable[[], datetime] = _now,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(settings, http)
        if settings.sig is None and settings.board is None and settings.portal is None:
            raise Misconfigured(
                Text(
                    "Régler au moins une porte : « sig », « board » ou « portal ».",
                    en='Set at least one door: "sig", "board" or "portal".',
                ),
                code="not-set",
                processed=False,
            )
        self._sig = SigFiles(settings.sig, settings.stages, http, now=now, clock=clock) if settings.sig else None
        self._board = PublicBoard(settings.board, http) if settings.board else None
        self._portal = (
            PortalDoor(settings.portal, settings.stages, http, self.folder(), now=now) if settings.portal else None
        )

    # Files (API SIG).

    @get("applications", errors=(InvalidInput, *_ANY))
    async def applications(
        self,
        commune: Annotated[str, Field(description="Code de la commune", examples=["076540"])] = "",
        type: Annotated[str, Field(description="Type de dossier", examples=["PC"])] = "",
        filed_from: Annotated[date | None, Field(description="Déposés à partir du", examples=["2025-01-01"])] = None,
        filed_to: Annotated[date | None, Field(description="Déposés jusqu'au", examples=["2025-12-31"])] = None,
        modified_since: Annotated[date | None, Field(description="Modifiés depuis le", examples=["2025-03-01"])] = None,
        parcel: Annotated[str, Field(max_length=40, description="Parcelle cadastrale", examples=["AB 0125"])] = "",
        limit: Annotated[int, Field(ge=1, le=1000, description="Nombre de dossiers")] = 100,
        offset: Annotated[int, Field(ge=0, description="Dossiers à sauter, pour la page suivante")] = 0,
    ) -> list[Application]:
        """Lister les dossiers qui satisfont tous les critères donnés.

        English:
        The files that satisfy every given filter, by the page.
        """
        return await self._files().page(
            commune=commune,
            type=type,
            filed_from=filed_from,
            filed_to=filed_to,
            modified_since=modified_since,
            parcel=parcel,
            limit=limit,
            offset=offset,
        )

    @get("applications/{number}", errors=(NotFound, *_ANY))
    async def application(self, number: Number) -> Application:
        """Lire un dossier par son numéro.

        English:
        One file, by its number.
        """
        return (await self._files().one(number))[0]

    @get("applications/{number}/progress", errors=(NotFound, *_ANY))
    async def progress(self, number: Number) -> ApplicationProgress:
        """Suivre un dossier, déposé en ligne ou sur papier.

        `status` est le stade de Cart@ds, tel quel. Sa phrase et sa fin viennent du réglage `stages` ; un stade qui n'y
        est pas est final une fois la décision notifiée.

        English:
        Follow a file, filed online or on paper. `status` is Cart@ds's own; its words and its end come from the setting
        `stages`, and a stage it does not name is final once the decision was notified.
        """
        return await self._files().progress(number)

    @get("search", errors=_ANY)
    async def search(
        self,
        q: Annotated[str, Field(min_length=2, max_length=100, description="Ce qu'on cherche", examples=["AB 125"])],
        limit: Annotated[int, Field(ge=1, le=50, description="Nombre de résultats")] = 10,
    ) -> list[Hit]:
        """Chercher un dossier, pour les agents : par numéro, par parcelle, ou par mots.

        Cart@ds ne cherche pas de mots : ils sont cherchés dans le numéro, l'adresse et le demandeur des 1000 premiers
        dossiers modifiés depuis `sig.search_days` jours.

        English:
        Find a file, for agents: by number, by parcel, or by words (number, address, applicant) among the first 1000
        files modified in the last `sig.search_days` days.
        """
        return await self._files().search(q, limit)

    # The public board.

    @get("board/communes", cache=HOUR, errors=_ANY)
    async def board_communes(self) -> list[Choice]:
        """Les communes de l'affichage réglementaire.

        Leur identifiant est celui du guichet unique : code INSEE ou numéro de commune, selon l'installation.

        English:
        The communes of the public board; their identifier is an INSEE code or a number, as the installation chose.
        """
        return await self._posted().communes()

    @get("board/{information}", cache=5 * MINUTE, stale=HOUR, errors=_ANY)
    async def board(
        self,
        information: Annotated[
            Information, Field(description="filings (avis de dépôt) ou decisions (décisions)", examples=["filings"])
        ],
        commune: Annotated[
            str, Field(min_length=1, max_length=10, description="Commune, voir `board/communes`", examples=["76540"])
        ],
        type: Annotated[
            str, Field(max_length=20, description="Type de dossier ; tous par défaut", examples=["PC"])
        ] = "",
        limit: Annotated[int, Field(ge=1, le=1000, description="Nombre de lignes")] = 100,
        offset: Annotated[int, Field(ge=0, description="Lignes à sauter, pour la page suivante")] = 0,
    ) -> list[Posting]:
        """Lire l'affichage réglementaire : avis de dépôt ou décisions d'une commune.

        Une ligne disparaît à la fin de son affichage, environ deux mois. Une commune inconnue donne une liste vide.

        English:
        The public board: filings or decisions of a commune. A row leaves it after about two months; an unknown commune
        gives an empty list.
        """
        return await self._posted().rows(information, commune, type, limit, offset)

    # The portal.

    @get("communes", cache=HOUR, stale=DAY, errors=_ANY)
    async def communes(self) -> list[Choice]:
        """Les communes où déposer.

        English:
        The communes where a file may be deposited.
        """
        return await self._door().choices("communes")

    @get("types", cache=HOUR, stale=DAY, errors=_ANY)
    async def types(self, commune: Commune) -> list[Choice]:
        """Les types de dossier d'une commune.

        English:
        The types of file of a commune.
        """
        return await self._door().choices("types", commune=commune)

    @get("objects", cache=HOUR, stale=DAY, errors=_ANY)
    async def objects(self, commune: Commune, type: Type) -> list[Choice]:
        """Les objets de demande d'un type de dossier.

        English:
        What a file of this type may ask for.
        """
        return await self._door().choices("objects", commune=commune, type=type)

    @get("forms", cache=HOUR, stale=DAY, errors=_ANY)
    async def forms(self, commune: Commune, type: Type, object: Object) -> list[CerfaForm]:
        """Les CERFA de la demande.

        Le PDF rempli est obligatoire au dépôt : les données de la demande sont dedans.

        English:
        The CERFA forms. The filled PDF is mandatory in a deposit: the data of the request are in it.
        """
        return await self._door().forms(commune=commune, type=type, object=object)

    @get("pieces", cache=HOUR, stale=DAY, errors=_ANY)
    async def pieces(self, commune: Commune, type: Type, object: Object) -> list[Piece]:
        """Les pièces à joindre à la demande.

        English:
        The pieces that go with the request.
        """
        return await self._door().pieces("pieces", commune=commune, type=type, object=object)

    @create(
        "deposits",
        delivery="reconcilable",
        find="find_deposit",
        errors=_DEPOSITS,
        max_body=100 * MEGABYTE,
        deferred=True,
        follow="deposit_progress",
        follow_at=FOLLOWED_AT,
        forget=True,
    )
    async def deposit(self, deposit: Deposit) -> Deposited:
        """Déposer un dossier : le CERFA rempli et les pièces.

        Un ticket est rendu aussitôt, et la passerelle dépose. Son `id` se suit par `deposits/{deposit}` ; le formulaire
        est prévenu du dépôt, puis du numéro et de chaque étape (réglage `callback` de son compte).

        L'archive est faite et envoyée au fil de l'eau (SFTP ou FTPS), sans copie ici, puis annoncée à Cart@ds. La
        demande est effacée du journal dès que Cart@ds l'a. Après un doute, le dépôt est cherché par le nom de son
        archive.

        English:
        Deposit a file: the filled CERFA and the pieces. A ticket is given at once and the gateway deposits; its `id` is
        followed by `deposits/{deposit}`, and the form is told of the deposit, then of the number and of each step. The
        archive is made while it is sent (SFTP or FTPS), with no copy here, then announced; the request leaves the
        journal once Cart@ds has it. After a doubt the deposit is looked for by the name of its archive.
        """
        return await self._door().deposit(deposit)

    @create(
        "files/{file}/deposits",
        delivery="reconcilable",
        find="find_deposit",
        errors=_DEPOSITS,
        max_body=100 * MEGABYTE,
        deferred=True,
        follow="deposit_progress",
        follow_at=FOLLOWED_AT,
        forget=True,
    )
    async def deposit_later(self, file: FileId, deposit: LaterDeposit) -> Deposited:
        """Déposer des pièces sur un dossier : compléments, ouverture de chantier (DOC), achèvement (DAACT).

        English:
        Deposit pieces on a file: missing pieces, opening of works (DOC), completion (DAACT).
        """
        return await self._door().later(file, deposit)

    async def find_deposit(self, reference: str) -> Receipt | None:
        """The deposit whose archive carries our reference, if Cart@ds knows it."""
        return await self._door().find(reference)

    @get("deposits/{deposit}", errors=(NotFound, *_ANY))
    async def deposit_progress(
        self,
        deposit: Annotated[
            str,
            Field(
                pattern=r"^[A-Za-z0-9_-]{1,107}$",
                description="Identifiant du ticket, ou du dépôt une fois fait",
                examples=[DEPOSIT_EXAMPLE],
            ),
        ],
    ) -> DepositProgress:
        """Suivre un dépôt, puis le dossier qu'il est devenu.

        `file` et `number` sont vides tant que Cart@ds n'a pas attribué de numéro.

        English:
        Follow a deposit, then the file it became; `file` and `number` are empty until Cart@ds gives a number.
        """
        return await self._door().progress(deposit)

    @get("files/{file}/steps", errors=_ANY)
    async def steps(self, file: FileId) -> list[Step]:
        """Les étapes d'un dossier, déposé en ligne ou sur papier.

        English:
        The steps of a file, deposited online or on paper.
        """
        return await self._door().steps(file)

    @get("files/{file}/pieces/{kind}", errors=_ANY)
    async def later_pieces(
        self,
        file: FileId,
        kind: Annotated[
            Kind,
            Field(description="completion (pièces manquantes), doc (ouverture de chantier) ou daact (achèvement)"),
        ],
    ) -> list[Piece]:
        """Les pièces attendues sur un dossier qui existe.

        English:
        The pieces an existing file expects.
        """
        return await self._door().pieces(LATER[kind], file=file)

    @every(HOUR, at_start=True)
    async def sweep(self) -> None:
        """Removes from the drop folder what a sending cut by a crash left half written."""
        if self._portal is not None:
            await self._portal.inbox.sweep(DEPOSIT_PREFIX)

    async def check(self) -> None:
        """Each door that is set answers: one file (sig), the board's communes, the portal's communes and its inbox."""
        if self._sig is not None:
            await self._sig.check()
        if self._board is not None:
            await self._board.check()
        if self._portal is not None:
            await self._portal.check()

    def _files(self) -> SigFiles:
        return _set(self._sig, "sig")

    def _posted(self) -> PublicBoard:
        return _set(self._board, "board")

    def _door(self) -> PortalDoor:
        return _set(self._portal, "portal")


def _set(door: D | None, name: str) -> D:
    if door is None:
        raise Misconfigured(
            Text(f"Cette instance n'a pas de réglage « {name} ».", en=f'This instance has no setting "{name}".'),
            code="not-set",
            processed=False,
        )
    return door
