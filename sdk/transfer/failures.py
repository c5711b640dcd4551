"""What may go wrong with a drop server, in words of ours. What a server says may hold names: it is never passed on."""

from __future__ import annotations

from sdk.errors import Misconfigured, Text, UpstreamInvalid, UpstreamUnavailable


def wrong_setting(setting: str, french: str, english: str) -> Misconfigured:
    """A setting that cannot be used."""
    return Misconfigured(
        Text(f"Réglage « {setting} » : {french}.", en=f'Setting "{setting}": {english}.'), processed=False
    )


def wrong_credentials(detail: str) -> Misconfigured:
    """The account is refused."""
    return Misconfigured(
        Text("Le serveur de dépôt refuse nos identifiants.", en="The drop server refuses our credentials."),
        detail=detail,
        code="credentials",
        processed=False,
    )


def no_folder(detail: str, code: str = "folder") -> Misconfigured:
    """The folder is absent or closed."""
    return Misconfigured(
        Text(
            "Le dossier de dépôt n'existe pas ou nous est fermé.",
            en="The drop folder does not exist or is closed to us.",
        ),
        detail=detail,
        code=code,
        processed=False,
    )


def full(detail: str) -> UpstreamUnavailable:
    """Nothing more can be written."""
    return UpstreamUnavailable(
        Text(
            "Le serveur de dépôt n'a pas pu écrire : il est peut-être plein.",
            en="The drop server could not write: it may be full.",
        ),
        detail=detail,
        code="full",
        processed=False,
    )


def late(detail: str, processed: bool | None) -> UpstreamUnavailable:
    """No answer in time."""
    return UpstreamUnavailable(
        Text("Le serveur de dépôt n'a pas répondu à temps.", en="The drop server did not answer in time."),
        detail=detail,
        processed=processed,
        timeout=True,
    )


def unavailable(detail: str, processed: bool | None) -> UpstreamUnavailable:
    """Nobody there, or the connection was cut."""
    return UpstreamUnavailable(
        Text("Le serveur de dépôt est indisponible pour le moment.", en="The drop server is unavailable for now."),
        detail=detail,
        processed=processed,
    )


def broken(detail: str, processed: bool | None) -> UpstreamInvalid:
    """Not the protocol that was expected."""
    return UpstreamInvalid(
        Text("Le serveur de dépôt a répondu hors de son protocole.", en="The drop server broke its protocol."),
        detail=detail,
        processed=processed,
    )
