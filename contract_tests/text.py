"""What people read, in both languages."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Language = Literal["fr", "en"]


@dataclass(frozen=True, slots=True)
class Text:
    """A sentence in French and in English: `Text("Délai dépassé.", "Timed out.")`."""

    fr: str
    en: str

    def to(self, language: Language) -> str:
        """The sentence in one language."""
        return self.en if language == "en" else self.fr

    def plain(self) -> dict[str, str]:
        """The pair as the report writes it: `{"fr": …, "en": …}`."""
        return {"fr": self.fr, "en": self.en}
