"""How a typed word meets a label: the one normal form of every search in Relais."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from .model import Choice


@lru_cache(maxsize=65_536)
def fold(text: str) -> str:
    """Text without accents or case, so that "ecole" finds "École"; œ and æ are read as oe and ae."""
    if text.isascii():
        return text.casefold()
    plain = _USUAL_MARKS.sub(
        "", unicodedata.normalize("NFKD", text.replace("œ", "oe").replace("Œ", "OE").replace("æ", "ae"))
    )
    if not plain.isascii():
        plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    return plain.casefold()


_USUAL_MARKS = re.compile("[\u0300-\u034e\u0350-\u036f]+")  # those of Latin letters: all there is in most texts


def narrow(choices: Iterable[Choice], *, q: str | None = None, only: str | None = None) -> list[Choice]:
    """The choices whose text holds every word of `q`, or the one whose id is `only`; ids compare as text."""
    if only is not None:
        return [choice for choice in choices if choice.id == only][:1]
    words = fold(q or "").split()
    if not words:
        return list(choices)
    return [choice for choice in choices if all(word in fold(choice.text) for word in words)]


def unique(choices: Iterable[Choice]) -> tuple[list[Choice], int]:
    """The first choice of each id, and how many were left out: w.c.s. cannot tell two equal ids apart."""
    kept: dict[str, Choice] = {}
    left_out = 0
    for choice in choices:
        if choice.id in kept:
            left_out += 1
        else:
            kept[choice.id] = choice
    return list(kept.values()), left_out
