"""The token of the portal, in one place: a recollection, to be checked against the publisher's document."""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime

from sdk import Misconfigured, Secret, Text
from sdk.aes import decrypt_cbc, encrypt_cbc


def portal_token(login: str, password: str, key: bytes, iv: bytes, now: datetime) -> str:
    """`{login, password, date}` with the date as `/Date(milliseconds)/`, AES-CBC, base64 without its padding."""
    milliseconds = int(now.timestamp() * 1000)
    content = {"login": login, "password": password, "date": f"/Date({milliseconds})/"}
    encrypted = encrypt_cbc(json.dumps(content, ensure_ascii=False).encode(), key, iv)
    return base64.b64encode(encrypted).decode("ascii").rstrip("=")


def opened_token(token: str, key: bytes, iv: bytes) -> dict[str, str]:
    """What a token holds: the publisher's side, for the simulator. ValueError when it is not one."""
    encrypted = base64.b64decode(token + "=" * (-len(token) % 4), validate=True)
    found: dict[str, str] = json.loads(decrypt_cbc(encrypted, key, iv))
    return found


def secret_bytes(secret: Secret, sizes: tuple[int, ...], setting: str) -> bytes:
    """The bytes of a key given as text or as hexadecimal digits. Raises `Misconfigured` for another size."""
    text = secret.reveal()
    if len(text) in {2 * size for size in sizes} and re.fullmatch(r"[0-9A-Fa-f]+", text) and len(text) not in sizes:
        return bytes.fromhex(text)
    if len(text.encode()) in sizes:
        return text.encode()
    listed = ", ".join(map(str, sizes))
    raise Misconfigured(
        Text(
            f"Réglage « {setting} » : {listed} octets attendus, en texte ou en hexadécimal.",
            en=f'Setting "{setting}": {listed} bytes expected, as text or hexadecimal.',
        ),
        processed=False,
    )
