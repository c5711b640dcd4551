"""AES in CBC mode, for tokens of publishers that ask for it. It hides, and proves nothing: not for anything of ours."""

from __future__ import annotations

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

__all__ = ["decrypt_cbc", "encrypt_cbc"]


def encrypt_cbc(content: bytes, key: bytes, iv: bytes) -> bytes:
    """`content`, padded (PKCS 7) and encrypted; `key` is 16, 24 or 32 bytes, `iv` 16."""
    padder = padding.PKCS7(128).padder()
    padded = padder.update(content) + padder.finalize()
    encryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).encryptor()
    return encryptor.update(padded) + encryptor.finalize()


def decrypt_cbc(encrypted: bytes, key: bytes, iv: bytes) -> bytes:
    """The other way. ValueError when it is not the same key, or not whole."""
    decryptor = Cipher(algorithms.AES(key), modes.CBC(iv)).decryptor()
    unpadder = padding.PKCS7(128).unpadder()
    return unpadder.update(decryptor.update(encrypted) + decryptor.finalize()) + unpadder.finalize()
