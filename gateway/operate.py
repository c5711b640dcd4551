"""The operator's commands on the store: `relais db`, `relais deliveries`, `relais keys`, `relais audit`.

They speak to the database that `relais.toml` names, whether the gateway runs or not; what they change is audited.
"""

# No postponed annotations here: typer reads them, and those of `register` name its local options.

import asyncio
import getpass
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from sqlalchemy import LargeBinary

from sdk.errors import RelaisError, Text

from .deliveries import instant
from .sealing import Seal, Unsealable
from .sent import Sent
from .settings import GatewaySettings, load
from .store import REVISION, Store, deliveries, operator, records, revision, upgrade

__all__ = ["register", "reseal_all"]

T = TypeVar("T")
Say = Callable[[str, str], str]
Rows = Callable[[str, Sequence[str], Sequence[Sequence[str]]], None]
PAGE = 200
_HIDDEN = {"scope", "fingerprint"} | {column.name for column in deliveries.c if isinstance(column.type, LargeBinary)}
"""Columns of a delivery that are not shown as they are."""


def _on_store(settings: GatewaySettings, work: Callable[[Any], T]) -> T:
    async def once() -> T:
        store = Store.open(settings.store_url)
        try:
            return await store.run(work)
        finally:
            await store.close()

    return asyncio.run(once())


def _none(delivery: str) -> RelaisError:
    return RelaisError(
        Text(
            f"La livraison {delivery} n'existe pas, ou n'attend pas de décision (états PARKED et DUPLICATED).",
            en=f"There is no delivery {delivery}, or it does not wait for a decision (states PARKED and DUPLICATED).",
        )
    )


async def reseal_all(store: Store, seal: Seal) -> int:
    """Seals everything that is kept under the newest key, page by page, beside the running gateway; how many rows."""

    def again(value: bytes, *place: str) -> bytes:
        return seal.seal(seal.open(value, *place), *place)

    total, after = 0, ""
    while True:
        page = partial(operator.reseal, after=after, most=PAGE, newest=seal.newest, again=again)
        after, changed = await store.run(page)
        total += changed
        if not after:
            return total


def register(commands: typer.Typer, say: Say, rows: Rows) -> None:
    """Adds the commands; `say` chooses the language, `rows` prints a table."""
    config = Annotated[Path, typer.Option("--config", "-c", help=say("Fichier de configuration.", "Settings file."))]
    why_option = Annotated[str, typer.Option("--why", help=say("Raison, gardée dans l'audit.", "Reason, audited."))]
    default = Path("relais.toml")

    db = typer.Typer(help=say("La base de la passerelle.", "The gateway's database."), no_args_is_help=True)
    journal = typer.Typer(help=say("Le journal des livraisons.", "The delivery journal."), no_args_is_help=True)
    keys = typer.Typer(help=say("Les clés de chiffrement.", "The encryption keys."), no_args_is_help=True)
    audit = typer.Typer(help=say("La trace des actions d'exploitation.", "The audit trail."), no_args_is_help=True)
    for name, group in (("db", db), ("deliveries", journal), ("keys", keys), ("audit", audit)):
        commands.add_typer(group, name=name)

    @db.command("upgrade", help=say("Mettre la base à la version du logiciel.", "Bring the database up to date."))
    def db_upgrade(config: config = default) -> None:
        settings = load(config)
        settings.gateway.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        before = revision(settings.store_url) or "—"
        print(f"{before} → {upgrade(settings.store_url)}")

    @db.command("check", help=say("Vérifier version, contenu et retards.", "Check version and what is overdue."))
    def db_check(config: config = default) -> None:
        settings = load(config)
        version = revision(settings.store_url)
        if version is None or version < REVISION:
            print(
                say(
                    f"version {version or '—'} : lancez « relais db upgrade »",
                    f"version {version or '—'}: run db upgrade",
                )
            )
            raise typer.Exit(1)
        now = time.time()
        found = _on_store(settings, partial(operator.counts, now=now, lease=settings.deliveries.lease))
        rows(say("Base", "Database"), ("", ""), [("version", version), *((name, str(n)) for name, n in found.items())])
        raise typer.Exit(1 if found["overdue"] else 0)

    @journal.command("list", help=say("Les livraisons, les dernières d'abord.", "Deliveries, the latest first."))
    def deliveries_list(
        config: config = default,
        state: Annotated[str, typer.Option(help="PARKED, UNKNOWN, DONE…")] = "",
        instance: Annotated[str, typer.Option(metavar="CONNECTOR/INSTANCE")] = "",
        reference: Annotated[str, typer.Option(help=say("Référence, numéro, clé.", "Reference, number, key."))] = "",
        limit: Annotated[int, typer.Option(min=1)] = 100,
    ) -> None:
        query = partial(operator.found, state=state.upper(), instance=instance, reference=reference, most=limit)
        rows(
            say("Livraisons", "Deliveries"),
            ("id", say("état", "state"), "instance", say("point d'accès", "endpoint"), say("essais", "attempts"), "n°"),
            [
                (row["id"], row["state"], row["instance"], row["endpoint"], str(row["attempt"]), row["upstream_id"])
                for row in _on_store(load(config), query)
            ],
        )

    @journal.command("show", help=say("Une livraison, en JSON ; --content : tout.", "One delivery, as JSON."))
    def deliveries_show(
        delivery: str,
        config: config = default,
        content: Annotated[
            bool, typer.Option("--content", help=say("Demande et réponse, audité.", "Request and answer, audited."))
        ] = False,
    ) -> None:
        settings = load(config)
        now = time.time()

        def read(connection: Any) -> Any:
            row = records.find(connection, delivery)
            if row is not None and content:
                records.write_audit(connection, now, getpass.getuser(), "show", delivery, "")
            return row

        row = _on_store(settings, read)
        if row is None:
            raise _none(delivery)
        said = {name: row[name] for name in row if name not in _HIDDEN}
        for name in ("created", "updated", "quarantine", "next_at"):
            said[name] = said[name] and instant(said[name])
        if content:
            said |= _content(Seal(settings.keys_file), row)
        print(json.dumps(said, indent=1, ensure_ascii=False))

    @journal.command("resolve", help=say("Dire comment une livraison a fini.", "Say how a delivery ended."))
    def deliveries_resolve(
        delivery: str,
        why: why_option,
        done: Annotated[str, typer.Option(help=say("Numéro chez l'éditeur.", "The publisher's number."))] = "",
        refused: Annotated[bool, typer.Option("--refused")] = False,
        config: config = default,
    ) -> None:
        if bool(done) == refused:
            raise RelaisError(Text("Choisir --done NUMÉRO ou --refused.", en="Choose --done NUMBER or --refused."))
        state = "REFUSED" if refused else "DONE"
        work = partial(
            operator.resolve,
            delivery=delivery,
            state=state,
            upstream_id=done,
            now=time.time(),
            actor=getpass.getuser(),
            why=why,
        )
        if not _on_store(load(config), work):
            raise _none(delivery)
        print(state)

    @journal.command(
        "resend", help=say("Renvoyer : elle n'a sûrement pas été exécutée.", "Send again: it was surely not executed.")
    )
    def deliveries_resend(delivery: str, why: why_option, config: config = default) -> None:
        work = partial(operator.resend, delivery=delivery, now=time.time(), actor=getpass.getuser(), why=why)
        if not _on_store(load(config), work):
            raise _none(delivery)
        print("NOT_SENT")

    @journal.command("erase", help=say("Effacer les contenus d'une référence.", "Erase the content of a reference."))
    def deliveries_erase(reference: str, why: why_option, config: config = default) -> None:
        work = partial(operator.erase, reference=reference, now=time.time(), actor=getpass.getuser(), why=why)
        print(_on_store(load(config), work))

    @keys.command("rotate", help=say("Changer la clé et rechiffrer.", "Change the key and seal everything again."))
    def keys_rotate(
        config: config = default,
        forget: Annotated[
            bool, typer.Option("--forget", help=say("Puis oublier les anciennes clés.", "Then forget the old keys."))
        ] = False,
    ) -> None:
        settings = load(config)
        seal = Seal(settings.keys_file)
        seal.rotate()

        async def all_of_them() -> int:
            store = Store.open(settings.store_url)
            try:
                changed = await reseal_all(store, seal)
                # A process may have sealed under the old key while the file changed: the second pass finds that.
                changed += await reseal_all(store, seal)
                await store.run(
                    lambda connection: records.write_audit(
                        connection, time.time(), getpass.getuser(), "keys rotate", "keys", f"{changed} rows"
                    )
                )
                return changed
            finally:
                await store.close()

        print(asyncio.run(all_of_them()))
        if forget:
            seal.forget()

    @audit.command("verify", help=say("Prouver que la trace est entière.", "Prove that the trail is whole."))
    def audit_verify(config: config = default) -> None:
        count, broken = _on_store(load(config), records.verify_audit)
        if broken is not None:
            raise RelaisError(
                Text(f"La trace est altérée à la ligne {broken}.", en=f"The trail was changed at line {broken}.")
            )
        print(say(f"{count} lignes, trace entière", f"{count} lines, whole"))


def _content(seal: Seal, row: Any) -> dict[str, Any]:
    said: dict[str, Any] = {}
    try:
        if row["request"] is not None:
            sent = Sent.unpacked(seal.open(row["request"], row["instance"], "request", row["id"]))
            said["request"] = {"query": sent.query, "body": sent.raw.decode("utf-8", "replace")}
        if row["answer"] is not None:
            kept = seal.open(row["answer"], row["instance"], "answer", row["id"])
            said["answer"] = kept[1:].decode("utf-8", "replace")
    except Unsealable as error:
        said["unreadable"] = str(error)
    return said
