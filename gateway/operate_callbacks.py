"""The operator's commands on what callers are told: `relais callbacks`."""

# No postponed annotations here: typer reads them.

import getpass
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from sdk.errors import RelaisError, Text

from .operate import on_store
from .settings import load
from .standing import instant
from .store import operator

__all__ = ["register"]

Say = Callable[[str, str], str]
Rows = Callable[[str, Sequence[str], Sequence[Sequence[str]]], None]


def register(commands: typer.Typer, say: Say, rows: Rows) -> None:
    """Adds the commands; `say` chooses the language, `rows` prints a table."""
    config = Annotated[Path, typer.Option("--config", "-c", help=say("Fichier de configuration.", "Settings file."))]
    default = Path("relais.toml")
    callbacks = typer.Typer(help=say("Ce qui est dit aux appelants.", "What callers are told."), no_args_is_help=True)
    commands.add_typer(callbacks, name="callbacks")

    @callbacks.command("list", help=say("Les rappels, les derniers d'abord.", "Callbacks, the latest first."))
    def callbacks_list(
        config: config = default,
        state: Annotated[str, typer.Option(help="PENDING, ACCEPTED, DEAD")] = "",
        delivery: Annotated[str, typer.Option(help=say("D'une livraison.", "Of one delivery."))] = "",
        limit: Annotated[int, typer.Option(min=1)] = 100,
    ) -> None:
        found = on_store(load(config), partial(operator.told, state=state.upper(), delivery=delivery, most=limit))
        rows(
            say("Rappels", "Callbacks"),
            (
                "id",
                say("état", "state"),
                say("compte", "client"),
                say("livraison", "delivery"),
                say("essais", "tries"),
                say("créé", "created"),
                say("raison", "reason"),
            ),
            [
                (
                    row["id"],
                    row["state"],
                    row["client"],
                    row["delivery"],
                    str(row["tries"]),
                    instant(row["created"]),
                    row["reason"],
                )
                for row in found
            ],
        )

    @callbacks.command("resend", help=say("Renvoyer un rappel abandonné.", "Send a callback that was given up again."))
    def callbacks_resend(
        callback: str,
        why: Annotated[str, typer.Option("--why", help=say("Raison, gardée dans l'audit.", "Reason, audited."))],
        config: config = default,
    ) -> None:
        work = partial(operator.tell_again, callback=callback, now=time.time(), actor=getpass.getuser(), why=why)
        if not on_store(load(config), work):
            raise RelaisError(
                Text(
                    f"Le rappel {callback} n'existe pas, n'est pas abandonné (état DEAD), ou son contenu est effacé.",
                    en=f"There is no callback {callback}, or it was not given up (DEAD), or its content is erased.",
                )
            )
        print("PENDING")
