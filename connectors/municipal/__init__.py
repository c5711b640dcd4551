"""Municipal: intervention records of a town, as the city of Rouen asked for them: create one, read its progress.

Two modes behind the same endpoints. `webservice`: the town wrote one in Publik's micro-format. `database`: it did not,
and Relais works on the town's own table.
"""

from __future__ import annotations

from typing import Annotated

from sdk import (
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
    get,
)

from .database import TableRegister
from .models import EXAMPLE, Intervention, InterventionProgress, Register, Settings
from .webservice import ServiceRegister

__all__ = ["Municipal"]

_ANY = (Misconfigured, UpstreamInvalid, UpstreamUnavailable)


class Municipal(Connector[Settings]):
    """Les fiches d'intervention d'une ville : en créer, suivre leur avancement.

    Deux modes, mêmes points d'accès. `webservice` : la ville a écrit un webservice au micro-format de Publik ; il est
    appelé, tenu à ce format, et ses refus sont transmis. `database` : Relais tient ce rôle sur la table de la ville.

    English:
    Intervention records of a town: create them, follow them. `webservice` mode calls the one the town wrote in Publik's
    micro-format; in `database` mode Relais plays that part on the town's own table.
    """

    name, title, category = "municipal", "Municipal (interventions)", "Voirie"
    confidence = Text(
        "Rien n'est public sur Municipal (Sigec) ni sur le webservice de Rouen : seuls sont connus les deux appels "
        "(créer, suivre) et le micro-format de Publik. Chemins, clés, table, colonnes et états sont des réglages.",
        en="Nothing is public about Municipal (Sigec) or Rouen's webservice: only the two calls (create, follow) and "
        "Publik's micro-format are known. Paths, keys, table, columns and states are settings.",
    )

    def __init__(self, settings: Settings, http: Http) -> None:
        super().__init__(settings, http)
        self._register: Register
        if settings.webservice is not None and settings.database is None:
            self._register = ServiceRegister(settings, settings.webservice, http)
        elif settings.database is not None and settings.webservice is None:
            self._register = TableRegister(settings, settings.database, http)
        else:
            raise Misconfigured(
                Text("Donner « webservice » ou « database », un seul.", en='Give "webservice" or "database", only one.')
            )

    @create(
        "interventions",
        delivery="reconcilable",
        find="find_by_reference",
        reference="reference",
        key=("reference",),
        errors=(
            InvalidInput,
            ErrorCode("duplicate", Rejected, "Base : un enregistrement identique existe"),
            ErrorCode("unknown-value", Rejected, "Base : une valeur (un type) est inconnue du logiciel"),
            ErrorCode("refused-value", Rejected, "Base : une règle du logiciel refuse une valeur"),
            ErrorCode("(err_class)", Rejected, "Webservice : la classe d'erreur de la ville, avec son texte"),
            *_ANY,
        ),
    )
    async def create_intervention(self, intervention: Intervention) -> Receipt:
        """Créer une fiche d'intervention et obtenir son numéro.

        Sur base, la même `reference` ne crée jamais deux fiches : la seconde demande reçoit le numéro de la première.
        Par webservice, cela dépend de la ville ; après un doute, la fiche est cherchée par sa référence si le réglage
        `webservice.find_path` le permet. Un champ que le logiciel ne garde pas, trop long ou d'un alphabet qu'il ne
        sait pas écrire est refusé avant tout envoi, par son nom.

        English:
        Create an intervention record and get its number. In database mode the same `reference` never makes two. A field
        that the software does not keep, too long, or in characters it cannot write is refused by name beforehand.
        """
        if intervention.kind and self.settings.kinds and intervention.kind not in self.settings.kinds:
            raise InvalidInput(
                Text("« kind » n'est pas un type connu.", en='"kind" is not a known kind.'),
                fields={"kind": [Text("n'est pas un code de la liste", en="is not a code of the list")]},
            )
        return await self._register.create(intervention)

    async def find_by_reference(self, reference: str) -> list[Receipt]:
        """The records that carry our reference: none, one, or too many."""
        return await self._register.find(reference)

    @get("interventions/{number}", errors=(NotFound, ErrorCode("(err_class)", Rejected, "Refus de la ville"), *_ANY))
    async def progress(
        self,
        number: Annotated[
            str, Field(min_length=1, max_length=100, description="Numéro rendu à la création", examples=[EXAMPLE])
        ],
    ) -> InterventionProgress:
        """Lire où en est une intervention.

        `status` est le code du logiciel, transmis tel quel ; `text` et `final` viennent du webservice ou du réglage
        `states`. Un code que les réglages ne nomment pas garde son code pour texte et n'est pas final.

        English:
        Where an intervention stands. `status` is the software's own code, untouched.
        """
        return await self._register.progress(number)

    @get("search", errors=_ANY)
    async def search(
        self,
        q: Annotated[str, Field(max_length=200, description="Mots cherchés", examples=["rue du lac"])],
        limit: Annotated[int, Field(ge=1, le=100, description="Nombre de résultats au plus")] = 20,
    ) -> list[Hit]:
        """Chercher des fiches, pour les agents.

        Sur base : chaque mot doit être dans un des champs du réglage `database.search`, accents et casse ignorés ;
        les numéros les plus élevés d'abord. Par webservice : sa propre recherche.

        English:
        Find records, for agents: every word must be in one of the searched fields, accents and case ignored.
        """
        return await self._register.search(q, limit) if q.strip() else []

    @get("kinds", cache=5 * MINUTE, stale=60 * MINUTE, errors=_ANY)
    async def kinds(self) -> list[Choice]:
        """Lister les types d'intervention.

        Du réglage `kinds`, sinon de la base ou du webservice ; vide quand la ville n'en a pas.

        English:
        The kinds of intervention: those of the settings, else of the database or the webservice.
        """
        if self.settings.kinds:
            return [Choice(id=code, text=text) for code, text in self.settings.kinds.items()]
        return await self._register.kinds()

    @get("states")
    async def states(self) -> list[Choice]:
        """Lister les états possibles, tels que les réglages les nomment.

        Chaque état porte `final` : vrai quand la fiche ne changera plus.

        English:
        The possible states, as the settings name them, each with `final`.
        """
        return [
            Choice.model_validate({"id": code, "text": state.text, "final": state.final})
            for code, state in self.settings.states.items()
        ]

    async def check(self) -> None:
        """The town answers, to our account, in the agreed form."""
        await self._register.check()

    async def close(self) -> None:
        """Closes the connections to the town's database."""
        await self._register.close()
