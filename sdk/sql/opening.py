"""Opening a connection to a town's database: what the address may be, who may be reached, what a refusal means.

PostgreSQL (psycopg) over TCP, and SQLite files of this machine. Nothing comes from the environment (`PGHOST`,
`.pgpass`): an instance connects where its setting says, and nowhere else.
"""

from __future__ import annotations

import sqlite3
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import aiosqlite
import psycopg
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from sdk.egress import Egress, Resolver, refused_address
from sdk.errors import Misconfigured, Text, UpstreamUnavailable
from sdk.matching import fold
from sdk.model import Secret

CONNECT_TIMEOUT = 3
_NO_PASSWORD = Secret("")
_MOST_ADDRESSES = 3
_NO_FILE = "/nonexistent/pgpass"  # left out, the driver would look for one in the home folder
_POSTGRES = ("postgresql", "postgresql+psycopg")
_SQLITE = ("sqlite", "sqlite+aiosqlite")
_TLS = ("sslmode", "sslrootcert")
_ROOTS = ("/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt", "/etc/ssl/cert.pem")
_VERIFIED = ("verify-ca", "verify-full")
_OURS = ("no password supplied", "does not support SSL", "SSL error", "certificate")
"""What our own side says where the server is there, and is not the one that the settings want."""
_WAIT = ("too many clients", "trop de clients", "starting up", "shutting down", "recovery mode", "remaining connection")
"""What a server says before any session exists, where no code tells "not now" from "not you"."""


@dataclass(frozen=True)
class Target:
    """Where a database is. `path` for SQLite, the rest for PostgreSQL; `password` is never shown."""

    kind: str
    path: str = ""
    host: str = ""
    port: int = 5432
    user: str = ""
    password: Secret = _NO_PASSWORD
    database: str = ""
    tls: tuple[tuple[str, str], ...] = ()

    @property
    def dialect(self) -> str:
        """SQLAlchemy's name of the dialect and its driver."""
        return "sqlite+aiosqlite" if self.kind == "sqlite" else "postgresql+psycopg"

    @property
    def shown(self) -> str:
        """For logs: the host, or the file's name."""
        return Path(self.path).name if self.kind == "sqlite" else f"{self.host}:{self.port}"


def read_target(url: Secret, setting: str) -> Target:
    """The address of a setting. Raises `Misconfigured`, without a character of the address."""
    try:
        parsed = make_url(url.reveal())
        port = parsed.port or 5432
    except (ArgumentError, ValueError):
        raise _wrong(
            setting,
            Text("ce n'est pas une adresse de base", en="this is not a database address"),
        ) from None
    if parsed.drivername in _SQLITE:
        path = parsed.database or ""
        if not path.startswith("/") or parsed.query or parsed.host:
            raise _wrong(
                setting,
                Text(
                    "écrire sqlite:////chemin/complet/du/fichier.db, sans option",
                    en="write sqlite:////whole/path/of/the/file.db, without options",
                ),
            )
        return Target("sqlite", path=path)
    if parsed.drivername not in _POSTGRES:
        raise _wrong(
            setting,
            Text("postgresql:// et sqlite:// sont pris en charge", en="postgresql:// and sqlite:// are supported"),
        )
    tls = {name: value for name, value in parsed.query.items() if isinstance(value, str)}
    if not parsed.host or not parsed.database or set(parsed.query) - set(_TLS) or len(tls) != len(parsed.query):
        raise _wrong(
            setting,
            Text(
                "écrire postgresql://utilisateur:mot-de-passe@serveur:5432/base, sans autre option que "
                f"{' et '.join(_TLS)}",
                en=f"write postgresql://user:password@server:5432/database, with no option but {' and '.join(_TLS)}",
            ),
        )
    return Target(
        "postgresql",
        host=parsed.host,
        port=port,
        user=parsed.username or "",
        password=Secret(str(parsed.password or "")),
        database=parsed.database,
        tls=tuple(sorted(tls.items())),
    )


def _wrong(setting: str, why: Text) -> Misconfigured:
    return Misconfigured(Text(f"Réglage « {setting} » : {why}.", en=f'Setting "{setting}": {why.en}.'), processed=False)


# --- SQLite -----------------------------------------------------------------------------------------------------------


async def open_sqlite(target: Target, wait: float) -> aiosqlite.Connection:
    """A connection to an existing file; `wait` seconds for another writer. Never creates the file."""
    _require_file(target.path)
    connecting = aiosqlite.connect(
        f"file:{quote(target.path)}?mode=rw", uri=True, timeout=wait, isolation_level=None, cached_statements=64
    )
    connecting._thread.daemon = True  # a lost connection must not keep the process from ending
    try:
        connection = await connecting
    except sqlite3.Error as error:
        raise _unusable(error) from None
    try:
        await connection.create_function("relais_fold", 1, _folded, deterministic=True)
        await connection.execute("pragma foreign_keys = on")
        await connection.execute("select count(*) from sqlite_schema")  # reads the file: is it a database?
    except BaseException as error:
        await connection.close()
        if isinstance(error, sqlite3.Error):
            raise _unusable(error) from None
        raise
    return connection


def _require_file(path: str) -> None:
    if not Path(path).is_file():
        raise _unusable(None)


def _unusable(error: sqlite3.Error | None) -> Misconfigured | UpstreamUnavailable:
    why = getattr(error, "sqlite_errorname", "") if error else "no such file"
    if why.startswith(("SQLITE_BUSY", "SQLITE_LOCKED")):
        return UpstreamUnavailable(
            Text("La base de données est occupée.", en="The database is busy."),
            detail=f"sqlite: {why}",
            processed=False,
        )
    return Misconfigured(
        Text("Le fichier de la base ne s'ouvre pas.", en="The database file cannot be opened."),
        detail=f"sqlite: {why}",
        processed=False,
    )


def _folded(value: object) -> str | None:
    return None if value is None else fold(str(value))


# --- PostgreSQL -------------------------------------------------------------------------------------------------------


async def open_postgres(target: Target, egress: Egress | None, application: str) -> psycopg.AsyncConnection[object]:
    """A connection to an address that the gateway may reach; the name is resolved here and judged address by address.

    `Misconfigured` (address, credentials, TLS) or `UpstreamUnavailable`: nothing was executed either way.
    """
    addresses, public = await _addresses(target, egress)
    options: Mapping[str, str | int | None] = {
        "host": ",".join([target.host] * len(addresses)),
        "hostaddr": ",".join(addresses),
        "port": target.port,
        "user": target.user,
        "password": target.password.reveal(),
        "dbname": target.database,
        **_tls(target, public),
        "passfile": _NO_FILE,
        "options": "",
        "sslcert": "",
        "sslkey": "",
        "gssencmode": "disable",
        "client_encoding": "UTF8",
        "application_name": f"relais {application}"[:63],
        "connect_timeout": CONNECT_TIMEOUT,
        "prepare_threshold": None,  # a pooler in front of the server may not keep prepared statements
        "keepalives_idle": 30,
        "tcp_user_timeout": 10_000,
    }
    try:
        return await psycopg.AsyncConnection.connect(**options)  # type: ignore[arg-type]
    except psycopg.Error as error:
        failure = _refusal(error, target)
    raise failure  # outside the handler: the driver's error holds the password


async def _addresses(target: Target, egress: Egress | None) -> tuple[list[str], bool]:
    """The addresses of the host that may be reached, and whether one of them is outside the opened networks."""
    if egress is None:
        raise refused_address("no way out")
    try:
        found = await Resolver().resolve(target.host, target.port)
    except OSError:
        raise UpstreamUnavailable(
            Text("Le serveur de base de données est introuvable.", en="The database server cannot be found."),
            detail=f"name not resolved: {target.host}",
            processed=False,
        ) from None
    refusals = {str(each["host"]): egress.refusal(str(each["host"]), target.port) for each in found}
    allowed = [address for address, why in refusals.items() if why is None][:_MOST_ADDRESSES]
    if not allowed:
        raise refused_address(f"{target.host}:{target.port} is {next(iter(refusals.values()), 'unknown')}")
    without_private = Egress(hosts=egress.hosts)
    return allowed, any(without_private.refusal(address, target.port) is None for address in allowed)


def _tls(target: Target, public: bool) -> dict[str, str]:
    """On a public network the server's certificate is always verified; on the town's own one the setting decides."""
    chosen = dict(target.tls)
    if public and chosen.setdefault("sslmode", "verify-full") not in _VERIFIED:
        raise Misconfigured(
            Text(
                "Hors des réseaux privés, la base doit être vérifiée : sslmode=verify-full.",
                en="Outside private networks the database must be verified: sslmode=verify-full.",
            ),
            processed=False,
        )
    if chosen.get("sslmode") in _VERIFIED:
        chosen.setdefault("sslrootcert", _roots())
    return chosen


def _roots() -> str:
    """The authorities of this machine: the driver brings its own TLS library, which does not know where they are."""
    named = (ssl.get_default_verify_paths().cafile, *_ROOTS)
    return next((path for path in named if path and Path(path).is_file()), "system")


def _refusal(error: psycopg.Error, target: Target) -> Misconfigured | UpstreamUnavailable:
    said = " ".join(str(error).split())
    password = target.password.reveal()
    if password:
        said = said.replace(password, "***")
    detail = said.rpartition("failed: ")[2][:200]
    answered = "FATAL" in said and not any(word in said for word in _WAIT)
    if answered or any(word in said for word in _OURS):
        return Misconfigured(
            Text(
                "La base de données refuse notre connexion : identifiants, nom de base ou TLS à vérifier.",
                en="The database refuses our connection: check credentials, database name or TLS.",
            ),
            detail=detail,
            processed=False,
        )
    return UpstreamUnavailable(
        Text("La base de données est injoignable pour le moment.", en="The database cannot be reached for now."),
        detail=detail,
        processed=False,
    )
