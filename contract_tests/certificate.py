"""A report that proves what it says: a digest chain over evidence and outcomes, an Ed25519 signature over the whole.

    seal    evidence 0 → evidence 1 → … → outcome 0 → outcome 1 → … → profiles and waivers  =  head
    sign    Ed25519 over the canonical JSON of the whole document, the signature block included except its `value`
    verify  offline, from the file alone (and the certifier's public key): findings, none an error when it holds

The first link is the identity of the run (suite, requirement set, target, run): no exchange moves to another report.
A key pair belongs to a person or an office, not to the suite: whoever verifies decides which public key to trust.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from pydantic import ValidationError

from contract_tests.report import save
from contract_tests.shape import Report, canonical, document, moment, read, stamp
from contract_tests.text import Text

DAYS = 365
# A clock a few minutes ahead is not a forgery.
SKEW = timedelta(minutes=5)
_IDENTITY = ("schema", "suite", "requirements", "target", "run")
_VERDICTS = ("profiles", "waivers")


class Refused(ValueError):
    """Signing or reading a key was refused; `text` says why to a person."""

    def __init__(self, fr: str, en: str) -> None:
        super().__init__(en)
        self.text = Text(fr, en)


@dataclass(frozen=True)
class Finding:
    """One thing `verify` found.

    *error*: the report proves nothing. *warning*: it proves less than it could. *note*: for information.
    `code` is stable; `where` is the place in the document ("evidence 12"), empty when it is the whole.
    """

    level: Literal["error", "warning", "note"]
    code: str
    text: Text
    where: str = ""


def holds(findings: Iterable[Finding]) -> bool:
    """Whether the report may be relied on."""
    return not any(finding.level == "error" for finding in findings)


# --- the chain


def seal(data: Mapping[str, Any]) -> dict[str, Any]:
    """An unsigned copy with the chain and its `head` computed; ValueError for what JSON cannot say."""
    sealed = deepcopy(dict(data))
    previous = _digest({name: sealed[name] for name in _IDENTITY})
    for entry in sealed["evidence"]:
        entry["previous"] = previous
        previous = entry["digest"] = _digest({name: value for name, value in entry.items() if name != "digest"})
    sealed["head"] = _head(sealed, previous)
    sealed["signature"] = None
    return sealed


def _digest(value: object) -> str:
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()


def _head(data: Mapping[str, Any], previous: str) -> str:
    for outcome in data["outcomes"]:
        previous = _digest({"outcome": outcome, "previous": previous})
    return _digest({**{name: data[name] for name in _VERDICTS}, "previous": previous})


# --- keys


def keygen(path: Path) -> str:
    """Writes a new private key (PEM, owner-readable only) and beside it `<path>.pub` (PEM); returns the key's id.

    Refuses to replace an existing key.
    """
    public_path = path.with_name(path.name + ".pub")
    for taken in (path, public_path):
        if taken.exists():
            raise Refused(
                f"{taken} existe déjà : une clé ne s'écrase pas", f"{taken} exists: a key is never overwritten"
            )
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    private = Ed25519PrivateKey.generate()
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    save(path, pem)
    public = private.public_key()
    save(
        public_path,
        public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo),
    )
    return key_id(public)


def key_id(public: Ed25519PublicKey) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of the raw key, in fours: what a person compares by eye."""
    digits = hashlib.sha256(public.public_bytes_raw()).hexdigest()[:16]
    return "-".join(digits[start : start + 4] for start in range(0, 16, 4))


def private_key(path: Path) -> Ed25519PrivateKey:
    """Reads a private key; refused when others may read the file."""
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise Refused(
            f"{path} est lisible par d'autres que son propriétaire : chmod 600 {path}",
            f"{path} can be read by others than its owner: chmod 600 {path}",
        )
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise Refused(f"{path} n'est pas une clé privée Ed25519", f"{path} is not an Ed25519 private key")
    return key


def public_key(key: str | bytes | Path | Ed25519PublicKey) -> Ed25519PublicKey:
    """A public key from a file, from PEM text, or from the 32 raw bytes in base64."""
    if isinstance(key, Ed25519PublicKey):
        return key
    if isinstance(key, Path):
        key = key.read_bytes()
    content = (key.encode() if isinstance(key, str) else key).strip()
    try:
        if content.startswith(b"-----"):
            loaded = serialization.load_pem_public_key(content)
        else:
            loaded = Ed25519PublicKey.from_public_bytes(_from_base64(content.decode("ascii")))
    except (ValueError, UnsupportedAlgorithm):
        loaded = None
    if not isinstance(loaded, Ed25519PublicKey):
        raise Refused("ce n'est pas une clé publique Ed25519", "this is not an Ed25519 public key")
    return loaded


def _from_base64(text: str) -> bytes:
    """Strict: the last character carries unused bits, so several texts mean the same bytes; one only is accepted."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
    if base64.b64encode(raw).decode() != text:
        raise ValueError("this base64 text is not the shortest one")
    return raw


# --- sign


def sign(
    data: Mapping[str, Any],
    key: Path | Ed25519PrivateKey,
    *,
    days: int = DAYS,
    now: datetime | None = None,
) -> dict[str, Any]:
    """A signed copy of a sealed report, valid `days` days (at most 365) from the *end of the run*.

    Signing later does not make a run younger, and a certificate never outlives a waiver it leans on.

    Refused: a report whose chain, counts or verdicts do not hold, or that would be born expired.
    """
    at = now or datetime.now(UTC)
    private = private_key(key) if isinstance(key, Path) else key
    unsigned = {**deepcopy(dict(data)), "signature": None}
    broken = [finding for finding in verify(unsigned, now=at) if finding.level == "error" and finding.code != "expired"]
    if broken:
        text = broken[0].text
        raise Refused(f"ce rapport ne peut pas être signé : {text.fr}", f"this report cannot be signed: {text.en}")
    if not 1 <= days <= DAYS:
        raise Refused(f"un certificat vaut de 1 à {DAYS} jours", f"a certificate lasts 1 to {DAYS} days")
    report = read(unsigned)
    expires = report.ended + timedelta(days=days)
    expires = min(expires, report.waivers_end or expires)
    if expires <= at:
        raise Refused(
            "cette exécution est trop ancienne : relancez la suite", "this run is too old: run the suite again"
        )
    public = private.public_key()
    signature = {
        "algorithm": "ed25519",
        "key_id": key_id(public),
        "public_key": base64.b64encode(public.public_bytes_raw()).decode(),
        "signed_at": stamp(at),
        "expires": stamp(expires),
    }
    value = private.sign(_signed_bytes({**unsigned, "signature": signature}))
    return {**unsigned, "signature": {**signature, "value": base64.b64encode(value).decode()}}


def _signed_bytes(data: Mapping[str, Any]) -> bytes:
    block = {name: value for name, value in data["signature"].items() if name != "value"}
    return canonical({**data, "signature": block})


# --- verify


def verify(
    data: Mapping[str, Any] | bytes,
    key: str | bytes | Path | Ed25519PublicKey | None = None,
    *,
    now: datetime | None = None,
    requirements: Mapping[str, str] | None = None,
) -> list[Finding]:
    """What is wrong with a report, errors first; `holds` tells whether it may be relied on. Needs no network.

    Given the bytes of report.json, one changed byte anywhere is an error, white space included. `key` is the
    certifier's public key; without it the signature is checked with the key that the report carries: that proves
    integrity, not identity. `requirements`: digests of the requirement sets the reader knows, by version.
    """
    at = now or datetime.now(UTC)
    found: list[Finding] = []
    if isinstance(data, bytes):
        try:
            content = _parse(data)
        except (ValueError, RecursionError):
            return [_error("not-json", "ce fichier n'est pas un rapport lisible", "this file is not a readable report")]
        if document(content) != data:
            found.append(
                _error(
                    "file-changed",
                    "le fichier n'est pas, octet pour octet, celui que la suite a écrit : demandez l'original",
                    "the file is not, byte for byte, the one the suite wrote: ask for the original",
                )
            )
        data = content
    try:
        report = read(data)
        canonical(data)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"])
        return [
            *found,
            _error("shape", f"document mal formé : {first['msg']}", f"malformed document: {first['msg']}", where),
        ]
    except (ValueError, RecursionError):
        return [*found, _error("shape", "document mal formé", "malformed document")]
    found += _chain(data)
    found += _verdicts(report)
    found += _signature(data, report, key, at)
    if at > report.expires:
        day = stamp(report.expires)[:10]
        found.append(_error("expired", f"périmé depuis le {day}", f"expired since {day}"))
    known = (requirements or {}).get(report.requirements.version)
    if known is not None and known != report.requirements.digest:
        found.append(
            _error(
                "other-requirements",
                f"le jeu d'exigences {report.requirements.version} de ce rapport n'est pas celui publié sous ce numéro",
                f"this report's requirement set {report.requirements.version} is not the one of that number",
            )
        )
    order = {"error": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda finding: order[finding.level])


def _error(code: str, fr: str, en: str, where: str = "") -> Finding:
    return Finding("error", code, Text(fr, en), where)


def _parse(content: bytes) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        members = dict(pairs)
        if len(members) != len(pairs):
            raise ValueError("a member appears twice")
        return members

    def never(constant: str) -> float:
        raise ValueError(f"{constant} is not JSON")

    parsed = json.loads(content.decode("utf-8"), object_pairs_hook=once, parse_constant=never)
    if not isinstance(parsed, dict):
        raise ValueError("a report is an object")
    document(parsed)  # refuses what cannot be written back: lone surrogates, infinities
    return parsed


def _chain(data: Mapping[str, Any]) -> list[Finding]:
    previous = _digest({name: data[name] for name in _IDENTITY})
    for position, entry in enumerate(data["evidence"]):
        where = f"evidence {position}"
        if entry["previous"] != previous:
            return [
                _error(
                    "chain-broken",
                    f"l'échange {position} ne suit pas le précédent : un échange a été retiré, ajouté ou déplacé, "
                    "ou l'identité de l'exécution a été modifiée",
                    f"exchange {position} does not follow the one before: one was removed, added or moved, "
                    "or the run's identity was changed",
                    where,
                )
            ]
        previous = _digest({name: value for name, value in entry.items() if name != "digest"})
        if entry["digest"] != previous:
            return [
                _error(
                    "evidence-changed", f"l'échange {position} a été modifié", f"exchange {position} was changed", where
                )
            ]
    if _head(data, previous) != data["head"]:
        return [
            _error(
                "head-changed",
                "un résultat, un verdict, une dérogation ou la fin de la chaîne a été modifié, retiré ou déplacé",
                "an outcome, a verdict, a waiver or the end of the chain was changed, removed or moved",
                "head",
            )
        ]
    return []


def _verdicts(report: Report) -> list[Finding]:
    """A verdict better than its outcomes allow, whoever signed it; and the waivers, so that they are seen.

    Conformant: an obligation passed, and none failed (a waived failure makes it partial), was skipped or hit an error.
    """
    found = []
    for profile in report.profiles:
        own = [outcome for outcome in report.outcomes if outcome.profile == profile.id]
        failed = [outcome.id for outcome in own if outcome.status == "fail"]
        unknown = [o.id for o in own if o.status == "error" or (o.status == "skip" and o.must)]
        proved = any(outcome.status == "pass" and outcome.must for outcome in own)
        because: list[str] = []
        if profile.verdict == "conformant":
            because = failed + unknown or ([] if proved else ["∅"])
        elif profile.verdict == "partial":
            because = [outcome.id for outcome in own if outcome.status == "fail" and not report.waived(outcome)]
        if because:
            fr = f"le verdict du profil {profile.id} est meilleur que ses résultats ne le permettent ({because[0]})"
            en = f"the verdict of profile {profile.id} is better than its outcomes allow ({because[0]})"
            found.append(_error("verdict-contradicted", fr, en, f"profile {profile.id}"))
    for outcome in report.outcomes:
        waiver = outcome.waiver
        if waiver is None:
            continue
        if report.waived(outcome):
            fr = f"dérogation jusqu'au {waiver.until}, par {waiver.author} : {waiver.reason}"
            en = f"waived until {waiver.until}, by {waiver.author}: {waiver.reason}"
            found.append(Finding("note", "waived", Text(fr, en), outcome.id))
        else:
            fr, en = f"dérogation échue le {waiver.until}, ignorée", f"waiver ended {waiver.until}, ignored"
            found.append(Finding("warning", "waiver-ended", Text(fr, en), outcome.id))
    return found


def _signature(
    data: Mapping[str, Any], report: Report, key: str | bytes | Path | Ed25519PublicKey | None, at: datetime
) -> list[Finding]:
    signature = report.signature
    if signature is None:
        fr, en = (
            "ce rapport n'est pas signé : il n'engage que qui vous l'a remis",
            "this report is not signed: it is only its bearer's word",
        )
        return [Finding("error" if key is not None else "warning", "unsigned", Text(fr, en))]
    found = []
    try:
        carried = Ed25519PublicKey.from_public_bytes(_from_base64(signature.public_key))
        if signature.key_id != key_id(carried):
            raise ValueError("the id is not that of the key")
        carried.verify(_from_base64(signature.value), _signed_bytes(data))
    except (ValueError, InvalidSignature):
        return [
            _error(
                "signature-invalid",
                "la signature ne correspond pas au document : il a été modifié après signature",
                "the signature does not match the document: it was changed after it was signed",
                "signature",
            )
        ]
    if key is None:
        fr = f"signature intacte, mais rien ne dit à qui est la clé {signature.key_id} : donnez celle attendue (--key)"
        en = (
            f"the signature is intact, but nothing tells whose key {signature.key_id} is: give the expected one (--key)"
        )
        found.append(Finding("warning", "key-not-checked", Text(fr, en), "signature"))
    elif public_key(key).public_bytes_raw() != carried.public_bytes_raw():
        found.append(
            _error(
                "other-key",
                f"signé par une autre clé ({signature.key_id}) que celle donnée ({key_id(public_key(key))})",
                f"signed by another key ({signature.key_id}) than the one given ({key_id(public_key(key))})",
                "signature",
            )
        )
    signed_at, expires = moment(signature.signed_at), moment(signature.expires)
    if signed_at > at + SKEW or report.ended > signed_at + SKEW:
        found.append(
            _error(
                "signed-too-soon",
                "la date de signature est impossible",
                "the date of signature is impossible",
                "signature",
            )
        )
    if expires > report.ended + timedelta(days=DAYS, minutes=1):
        found.append(
            _error(
                "too-long",
                f"validité de plus de {DAYS} jours après l'exécution",
                f"lasts more than {DAYS} days after the run",
                "signature",
            )
        )
    return found
