"""What an error of a database means, in the six errors: by SQLSTATE (PostgreSQL) or by SQLite's own names.

A statement's text or values never reach a message: a driver's error repeats both.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.exc import DBAPIError

from sdk.errors import (
    InvalidInput,
    Misconfigured,
    Rejected,
    RelaisError,
    Text,
    UpstreamInvalid,
    UpstreamUnavailable,
    one_line,
)

_RULES: dict[str, tuple[str, Text]] = {
    "unique": (
        "duplicate",
        Text("Le logiciel a déjà un enregistrement identique.", en="The software already has such a record."),
    ),
    "foreign": (
        "unknown-value",
        Text("Une valeur est inconnue du logiciel.", en="A value is unknown to the software."),
    ),
    "null": (
        "missing-value",
        Text("Une valeur exigée par le logiciel manque.", en="A value that the software requires is missing."),
    ),
    "check": (
        "refused-value",
        Text("Une règle du logiciel refuse une valeur.", en="A rule of the software refuses a value."),
    ),
}
_STATES = {"23505": "unique", "23503": "foreign", "23001": "foreign", "23502": "null", "23514": "check"}
_SQLITE_STATES = {
    "SQLITE_CONSTRAINT_UNIQUE": "unique",
    "SQLITE_CONSTRAINT_PRIMARYKEY": "unique",
    "SQLITE_CONSTRAINT_ROWID": "unique",
    "SQLITE_CONSTRAINT_FOREIGNKEY": "foreign",
    "SQLITE_CONSTRAINT_NOTNULL": "null",
}
_RAISED = ("P0001", "45", "SQLITE_CONSTRAINT_TRIGGER")
"""A rule that the town wrote itself (a trigger): its sentence is for whoever fills the form."""
_DENIED = ("42501", "25006", "28", "3D", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_AUTH", "SQLITE_NOTADB")
_CHANGED = ("42", "3F", "SQLITE_SCHEMA", "SQLITE_ERROR")
_LATE = ("57014", "SQLITE_INTERRUPT")
_BUSY = ("40", "53", "55P03", "57P", "SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_CANTOPEN")


def explained(error: DBAPIError, *, committing: bool) -> RelaisError:
    """The error for a statement, or for the commit, that failed.

    Before the commit nothing was executed for good: the database undoes an unfinished transaction. During it, an
    answer is certain (nothing was kept) and silence is not: `processed=None`.
    """
    state = _state(error.orig)
    if not state or state.startswith("08") or (error.connection_invalidated and not state.startswith("57P")):
        return UpstreamUnavailable(
            Text("La connexion à la base de données a été perdue.", en="The connection to the database was lost."),
            detail=f"connection lost, {'commit in doubt' if committing else 'before the commit'}",
            processed=None if committing else False,
        )
    if committing and state.startswith(("57P", "40003")):  # the server was stopping, or says it does not know
        return UpstreamUnavailable(
            Text("La base de données s'est arrêtée en chemin.", en="The database stopped on the way."),
            detail=f"{state}, commit in doubt",
        )
    detail = f"{state} {_place(error.orig)}".strip()
    if state.startswith(_RAISED):
        return Rejected(
            _raised(error.orig) or _RULES["check"][1],
            detail=detail,
            code=state if len(state) == 5 else "refused-value",
        )
    if state.startswith(("23", "SQLITE_CONSTRAINT")):
        code, sentence = _RULES[_STATES.get(state) or _SQLITE_STATES.get(state) or "check"]
        return Rejected(sentence, detail=detail, code=code)
    if state.startswith(("22", "SQLITE_MISMATCH", "SQLITE_TOOBIG", "SQLITE_RANGE")):
        return InvalidInput(
            Text(
                "Une valeur n'entre pas dans la base du logiciel.",
                en="A value does not fit into the software's database.",
            ),
            detail=detail,
        )
    if state.startswith(_DENIED):
        return Misconfigured(
            Text(
                "La base de données refuse cette opération à notre compte.",
                en="The database refuses this operation to our account.",
            ),
            detail=detail,
            processed=False,
        )
    if state.startswith(_CHANGED):
        return Misconfigured(
            Text(
                "La table du logiciel ne correspond plus au paramétrage.",
                en="The software's table no longer matches the settings.",
            ),
            detail=detail,
            processed=False,
        )
    if state.startswith(_LATE):
        return late(processed=False, detail=detail)
    if state.startswith(_BUSY):
        return UpstreamUnavailable(
            Text("La base de données est occupée.", en="The database is busy."),
            detail=detail,
            retry_after=5.0,
            processed=False,
        )
    return UpstreamInvalid(
        Text("La base de données a refusé l'opération.", en="The database refused the operation."),
        detail=detail,
        processed=False,
    )


def changed(error: RelaisError) -> bool:
    """Whether what was read of the catalogue must be read again."""
    return isinstance(error, Misconfigured) and error.detail.startswith(_CHANGED)


def late(*, processed: bool | None, detail: str = "") -> UpstreamUnavailable:
    """The error for a database that takes too long."""
    return UpstreamUnavailable(
        Text("La base de données n'a pas répondu à temps.", en="The database did not answer in time."),
        detail=detail,
        processed=processed,
        timeout=True,
    )


def _state(orig: Any) -> str:
    return str(getattr(orig, "sqlstate", None) or getattr(orig, "sqlite_errorname", None) or "")


def _place(orig: Any) -> str:
    """The constraint or the column the server names: never a value."""
    diagnosis = getattr(orig, "diag", None)
    named = (getattr(diagnosis, each, None) for each in ("constraint_name", "table_name", "column_name"))
    return " ".join(str(each) for each in named if each)[:100]


def _raised(orig: Any) -> str:
    diagnosis = getattr(orig, "diag", None)
    said = getattr(diagnosis, "message_primary", None) if diagnosis is not None else str(orig)
    return one_line(said, 300)
