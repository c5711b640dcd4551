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

from sdk.errors import Rejected, RelaisError, Text

from .callbacks import message, told
from .sealing import Seal, Unsealable
from .sent import shown
from .settings import GatewaySettings, load
from .standing import instant
from .store import REVISION, Store, followed, operator, outbox, records, revision, upgrade

__all__ = ["register", "reseal_all"]

T = TypeVar("T")
Say = Callable[[str, str], str]
Rows = Callable[[str, Sequence[str], Sequence[Sequence[str]]], None]
_HIDDEN = {"scope", "fingerprint", "subject"} | {name for kept in operator.SEALED for name in kept.fields}
"""Columns that are not shown as they are."""


def on_store(settings: GatewaySettings, work: Callable[[Any], T]) -> T:
    async def once() -> T:
        store = Store.open(settings.store_url)
        try:
            return await store.run(work)
        finally:
            await store.wipe()  # a command may have erased
            await store.close()

    return asyncio.run(once())


def _queue() -> Any:
    """The queue of jobs beside the store, on PostgreSQL: `upgrade`, `missing`, `pending`, `waiting`."""
    from .jobs import procrastinate_schema

    return procrastinate_schema


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

    total = 0
    for kept in operator.SEALED:
        after, more = "", True
        while more:
            page = partial(operator.reseal, kept=kept, after=after, newest=seal.newest, again=again)
            after, changed = await store.run(page)
            total += changed
            more = bool(after)
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
    def db_upgrade(
        config: config = default,
        finish: Annotated[
            bool,
            typer.Option(
                "--finish",
                help=say("Tous les nœuds ont cette version : terminer.", "Every node runs this version: finish."),
            ),
        ] = False,
    ) -> None:
        settings = load(config)
        settings.gateway.data.mkdir(parents=True, exist_ok=True, mode=0o700)
        before = revision(settings.store_url) or "—"
        print(f"{before} → {upgrade(settings.store_url)}")
        if not settings.store_url.startswith("sqlite"):
            for name in _queue().upgrade(settings.store_url, finish=finish):
                print(f"+ {name}")
            if left := _queue().waiting(settings.store_url):
                print(
                    say(
                        f"{len(left)} étapes attendent que tous les nœuds aient cette version :"
                        " « relais db upgrade --finish »",
                        f'{len(left)} steps wait until every node runs this version: "relais db upgrade --finish"',
                    )
                )

    @db.command("check", help=say("Vérifier version, contenu et retards.", "Check version and what is overdue."))
    def db_check(config: config = default) -> None:
        settings = load(config)
        version = revision(settings.store_url)
        old_queue = not settings.store_url.startswith("sqlite") and (
            _queue().missing(settings.store_url) or _queue().pending(settings.store_url)
        )
        if version is None or version < REVISION or old_queue:
            print(
                say(
                    f"version {version or '—'} : lancez « relais db upgrade »",
                    f"version {version or '—'}: run db upgrade",
                )
            )
            raise typer.Exit(1)
        now = time.time()
        found = on_store(settings, partial(operator.counts, now=now, lease=settings.deliveries.lease))
        rows(say("Base", "Database"), ("", ""), [("version", version), *((name, str(n)) for name, n in found.items())])
        raise typer.Exit(1 if found["overdue"] else 0)

    @journal.command("list", help=say("Les livraisons, les dernières d'abord.", "Deliveries, the latest first."))
    def deliveries_list(
        config: config = default,
        state: Annotated[str, typer.Option(help="PARKED, UNKNOWN, DONE…")] = "",
        instance: Annotated[str, typer.Option(metavar="CONNECTOR/INSTANCE")] = "",
        reference: Annotated[str, typer.Option(help=say("Référence, numéro, clé.", "Reference, number, key."))] = "",
        waiting: Annotated[
            bool, typer.Option("--waiting", help=say("Celles qui attendent une décision.", "Those to be decided."))
        ] = False,
        limit: Annotated[int, typer.Option(min=1)] = 100,
    ) -> None:
        query = partial(
            operator.found,
            state=state.upper(),
            instance=instance,
            reference=reference,
            waiting=waiting,
            most=limit,
        )
        rows(
            say("Livraisons", "Deliveries"),
            ("id", say("état", "state"), "instance", say("point d'accès", "endpoint"), say("essais", "attempts"), "n°"),
            [
                (row["id"], row["state"], row["instance"], row["endpoint"], str(row["attempt"]), row["upstream_id"])
                for row in on_store(load(config), query)
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
            return row, followed.of(connection, delivery), outbox.counts(connection, delivery)

        row, follow, messages = on_store(settings, read)
        if row is None:
            raise _none(delivery)
        said = {**_plainly(row), "followed": follow and _plainly(follow), "callbacks": messages}
        if content:
            seal = Seal(settings.keys_file)
            said |= _content(seal, row)
            if follow is not None:
                said["followed"]["progress"] = _opened(seal, follow, "progress", "delivery")
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
        settings, state = load(config), "REFUSED" if refused else "DONE"
        work = partial(
            operator.resolve,
            delivery=delivery,
            state=state,
            upstream_id=done,
            now=time.time(),
            actor=getpass.getuser(),
            why=why,
            told=partial(_decided, Seal(settings.keys_file), state, done),
        )
        if not on_store(settings, work):
            raise _none(delivery)
        print(state)

    @journal.command(
        "resend", help=say("Renvoyer : elle n'a sûrement pas été exécutée.", "Send again: it was surely not executed.")
    )
    def deliveries_resend(delivery: str, why: why_option, config: config = default) -> None:
        work = partial(operator.resend, delivery=delivery, now=time.time(), actor=getpass.getuser(), why=why)
        if not on_store(load(config), work):
            raise _none(delivery)
        print("NOT_SENT")

    @journal.command("erase", help=say("Effacer les contenus d'une référence.", "Erase the content of a reference."))
    def deliveries_erase(reference: str, why: why_option, config: config = default) -> None:
        work = partial(operator.erase, reference=reference, now=time.time(), actor=getpass.getuser(), why=why)
        print(on_store(load(config), work))

    @journal.command(
        "export",
        help=say("Tout ce qui est gardé d'une référence, en JSON.", "All that is kept of a reference, as JSON."),
    )
    def deliveries_export(reference: str, why: why_option, config: config = default) -> None:
        settings = load(config)
        work = partial(_exported, Seal(settings.keys_file), reference, time.time(), getpass.getuser(), why)
        print(json.dumps(on_store(settings, work), indent=1, ensure_ascii=False))

    @journal.command(
        "report",
        help=say(
            "Ce que rien n'explique encore ; code 1 s'il y en a.", "What nothing explains yet; exits with 1 if any."
        ),
    )
    def deliveries_report(
        config: config = default,
        hours: Annotated[
            float, typer.Option(min=0, help=say("Suivi sans fin depuis tant d'heures.", "Followed for so many hours."))
        ] = 24.0,
    ) -> None:
        found = on_store(load(config), partial(operator.report, now=time.time(), patience=hours * 3600))
        rows(
            say("À expliquer", "To be explained"),
            (say("quoi", "what"), "instance", say("livraison", "delivery"), say("détail", "detail")),
            found,
        )
        raise typer.Exit(1 if found else 0)

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
        count, broken = on_store(load(config), records.verify_audit)
        if broken is not None:
            raise RelaisError(
                Text(f"La trace est altérée à la ligne {broken}.", en=f"The trail was changed at line {broken}.")
            )
        print(say(f"{count} lignes, trace entière", f"{count} lines, whole"))


def _decided(seal: Seal, state: str, number: str, row: Any) -> Any:
    """What the caller is told of a person's decision."""
    final = state == "REFUSED" or row["follow_after"] is None
    error = Rejected(_SEEN_REFUSED) if state == "REFUSED" else None
    data = None if error else {"id": number}
    content = message(row, instant(time.time()), state=state, final=final, data=data, error=error)
    return told(seal, row["instance"], content)


_SEEN_REFUSED = Text(
    "La demande n'a pas été prise en compte, vérification faite.",
    en="The request was not taken into account, as checked.",
)


def _exported(seal: Seal, reference: str, now: float, actor: str, why: str, connection: Any) -> list[dict[str, Any]]:
    """All that is kept of the deliveries of a reference, sealed values opened."""
    found = []
    for row in operator.found(connection, reference=reference, most=10_000):
        follow = followed.of(connection, row["id"])
        messages = operator.told(connection, delivery=row["id"], most=10_000)
        found.append(
            {
                **_plainly(row),
                **_content(seal, row),
                "followed": follow and {**_plainly(follow), "progress": _opened(seal, follow, "progress", "delivery")},
                "callbacks": [{**_plainly(m), "body": _opened(seal, m, "body", "id", "callback")} for m in messages],
            }
        )
        records.write_audit(connection, now, actor, "export", row["id"], why)
    return found


def _plainly(row: Any) -> dict[str, Any]:
    """A row without what is sealed or means nothing outside."""
    said = {name: row[name] for name in row if name not in _HIDDEN}
    for name in ("created", "updated", "quarantine", "next_at", "looked"):
        if said.get(name) is not None:
            said[name] = instant(said[name])
    return said


def _opened(seal: Seal, row: Any, column: str, key: str, field: str = "") -> Any:
    if row[column] is None:
        return None
    try:
        return json.loads(seal.open(row[column], row["instance"], field or column, row[key]))
    except Unsealable as error:
        return {"unreadable": str(error)}


def _content(seal: Seal, row: Any) -> dict[str, Any]:
    said: dict[str, Any] = {}
    try:
        if row["request"] is not None:
            said["request"] = shown(seal.open(row["request"], row["instance"], "request", row["id"]))
        if row["answer"] is not None:
            kept = seal.open(row["answer"], row["instance"], "answer", row["id"])
            said["answer"] = kept[1:].decode("utf-8", "replace")
    except Unsealable as error:
        said["unreadable"] = str(error)
    return said
