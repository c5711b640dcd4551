"""Checks: decorated functions that decide requirements. A wrong declaration is refused when it is registered.

    @check(
        "PUB-SEARCH-3",
        title=Text("…", "…"), consequence=Text("…", "…"), remedy=Text("…", "…"),
    )
    async def hit_url_is_absolute(case: Case, endpoint: Search) -> None:
        for hit in await hits(case):
            expect(absolute(hit["url"]), Text("…", "…"))

The function returns when the requirement holds, and raises `Failed`, `Skipped` (could not be known) or `Omitted` (need
not be). Its profile is that of its requirements.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypeVar, get_args

from contract_tests.text import Text

from .requirement import Catalogue, Requirement, catalogue

if TYPE_CHECKING:
    from .answer import Answer

__all__ = [
    "FEATURES",
    "Check",
    "Failed",
    "Form",
    "Misdeclared",
    "Omitted",
    "Registry",
    "Skipped",
    "check",
    "expect",
    "fail",
    "registry",
]

Form = Literal["envelope", "open", "json", "file"]
"""What an endpoint answers: the whole envelope; an envelope whose `err` may be missing; any JSON; a file."""

FEATURES: Mapping[str, Text] = MappingProxyType(
    {
        "failure": Text("un exemple d'appel qui doit échouer", "an example call that must fail"),
        "credentials": Text("des identifiants", "credentials"),
        "basic": Text("des identifiants HTTP Basic", "HTTP Basic credentials"),
        "no-credentials": Text("rien : elle concerne les services ouverts", "nothing: it concerns open services"),
        "description": Text("l'adresse d'une description OpenAPI", "the address of an OpenAPI document"),
        "upstream": Text(
            "un logiciel métier que l'on fait faillir à volonté : nos propres essais seulement",
            "a business software made to fail on demand: our own tests only",
        ),
        "q": Text("un paramètre de recherche", "a search parameter"),
        "id": Text("un paramètre de lecture par identifiant", "a lookup parameter"),
        "files": Text("des champs de fichier", "file fields"),
        "echo": Text("un champ que l'état restitue", "a field the status gives back"),
        "final": Text("une demande dans un état final (`final_id`)", "a request in a final status (`final_id`)"),
        "statuses": Text("la liste des états", "the list of statuses"),
        "upload": Text("une adresse de dépôt de fichier", "an upload address"),
        "bbox": Text("une emprise géographique", "a geographical extent"),
        "variables": Text("des variables de cellule", "cell variables"),
        "notice": Text("l'avis de paiement (`notice`)", "the payment notice (`notice`)"),
        "other": Text("un second débiteur (`other_name_id`)", "a second debtor (`other_name_id`)"),
    }
)
"""What a target may offer beyond the core of a profile; the text completes “the target does not declare …”."""


class _Ended(Exception):
    def __init__(self, message: Text, answer: Answer | None = None) -> None:
        super().__init__(message.en)
        self.message = message
        self.answer = answer


class Failed(_Ended):
    """The requirement does not hold; `answer` is the exchange that proves it."""


class Skipped(_Ended):
    """It could not be known; a skipped MUST makes the profile partial."""


class Omitted(_Ended):
    """It need not be known: it does not apply to this target."""


class Misdeclared(TypeError):
    """A check whose declaration is wrong; the sentence says what to write."""


def fail(fr: str, en: str, answer: Answer | None = None) -> Failed:
    """`raise fail("…", "…", answer)`."""
    return Failed(Text(fr, en), answer)


def expect(holds: bool, fr: str, en: str, answer: Answer | None = None) -> None:
    """Raises `Failed` unless it holds."""
    if not holds:
        raise Failed(Text(fr, en), answer)


Body = Callable[[Any, Any], Awaitable[None]]
B = TypeVar("B", bound=Body)


@dataclass(frozen=True, slots=True)
class Check:
    """A decorated function and what it declared. `id` is `<module>.<function-with-dashes>`."""

    id: str
    requirements: tuple[Requirement, ...]
    title: Text
    consequence: Text
    remedy: Text
    features: tuple[str, ...]
    forms: frozenset[Form]
    writes: bool
    once: bool
    body: Body

    @property
    def level(self) -> str:
        """The level of all its requirements: they have the same."""
        return self.requirements[0].level

    @property
    def profile(self) -> str:
        """The profile of all its requirements."""
        return self.requirements[0].profile


class Registry:
    """The checks, in the order they were registered."""

    def __init__(self, known: Catalogue) -> None:
        self._catalogue = known
        self._checks: dict[str, Check] = {}

    def __getitem__(self, identifier: str) -> Check:
        return self._checks[identifier]

    def all(self) -> tuple[Check, ...]:
        """Every registered check."""
        return tuple(self._checks.values())

    def arrange(self, modules: Iterable[str]) -> None:
        """Orders the checks by the module they are in."""
        place = {name: number for number, name in enumerate(modules)}
        self._checks = dict(sorted(self._checks.items(), key=lambda item: place[item[0].partition(".")[0]]))

    def check(
        self,
        *identifiers: str,
        title: Text,
        consequence: Text,
        remedy: Text,
        feature: str | tuple[str, ...] = (),
        forms: tuple[Form, ...] = get_args(Form),
        writes: bool = False,
        once: bool = False,
    ) -> Callable[[B], B]:
        """Registers a function. `writes`: it changes something on the target; `once`: once per profile, not per
        endpoint. Raises `Misdeclared`.
        """
        features = (feature,) if isinstance(feature, str) else feature

        def register(body: B) -> B:
            name = f"{body.__module__.rpartition('.')[2]}.{body.__name__.replace('_', '-')}"
            self._verify(name, identifiers, features, body)
            found = tuple(self._catalogue[identifier] for identifier in identifiers)
            if len({(one.level, one.profile) for one in found}) > 1:
                raise Misdeclared(f"{name}: its requirements must have one level and one profile; split the check")
            for text in (title, consequence, remedy):
                if not (isinstance(text, Text) and text.fr.strip() and text.en.strip()):
                    raise Misdeclared(f"{name}: title, consequence and remedy are a Text in both languages")
            self._checks[name] = Check(
                name, found, title, consequence, remedy, features, frozenset(forms), writes, once, body
            )
            return body

        return register

    def _verify(self, name: str, identifiers: tuple[str, ...], features: tuple[str, ...], body: Body) -> None:
        if not identifiers:
            raise Misdeclared(f'{name}: name the requirements it decides: @check("PUB-…")')
        if unknown := [one for one in identifiers if one not in self._catalogue.requirements]:
            raise Misdeclared(f"{name}: unknown requirements {unknown}; they are declared in requirements.toml")
        if untestable := [one for one in identifiers if self._catalogue[one].reason]:
            raise Misdeclared(f"{name}: {untestable} carry a reason for not being testable; remove one or the other")
        if unknown := [one for one in features if one not in FEATURES]:
            raise Misdeclared(f"{name}: unknown features {unknown}; they are declared in FEATURES")
        if name in self._checks:
            raise Misdeclared(f"{name}: already registered; give the function another name")
        if not inspect.iscoroutinefunction(body) or len(inspect.signature(body).parameters) != 2:
            raise Misdeclared(f"{name}: write async def {body.__name__}(case, endpoint)")


registry = Registry(catalogue())
"""The suite's own checks, complete once `contract_tests.checks` is imported."""
check = registry.check
