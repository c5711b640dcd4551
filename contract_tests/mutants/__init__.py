"""Mutants: the reference service with one fault each, and the requirements that fault breaks, no more and no less.

A suite that a faulty service passes proves nothing: every requirement that can be tested has a mutant here which must
fail for that reason and only that reason (`tests/contract_tests/test_mutants.py`, `contract-tests mutants`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

from contract_tests.core.execute import Run, execute
from contract_tests.core.target import Target
from contract_tests.reference import Asked, Kind, Reference, Reply
from contract_tests.wire import Limits

__all__ = ["Mutant", "all_mutants", "documents", "mutant", "replies", "run_mutant", "target_mutant"]


@dataclass(frozen=True)
class Mutant:
    """A faulty service: its name, what is wrong with it, the requirements it must fail, and how to make one."""

    name: str
    fault: str
    fails: frozenset[str]
    build: Callable[[], Reference]
    declare: Callable[[Target], Target] = lambda target: target


_MUTANTS: dict[str, Mutant] = {}
S = TypeVar("S", bound=type[Reference])


def _add(one: Mutant) -> None:
    if one.name in _MUTANTS:
        raise ValueError(f"two mutants are called {one.name}")
    _MUTANTS[one.name] = one


@cache
def all_mutants() -> tuple[Mutant, ...]:
    """Every mutant."""
    from . import everywhere, lists, protection, requests, signed

    _ = everywhere, lists, protection, requests, signed
    return tuple(_MUTANTS.values())


def mutant(name: str, *fails: str) -> Callable[[S], S]:
    """Registers a subclass of the reference; its docstring says what is wrong."""

    def register(service: S) -> S:
        _add(Mutant(name, (service.__doc__ or "").strip(), frozenset(fails), service))
        return service

    return register


Spoil = Callable[[Asked, Reply], Reply]
Edit = Callable[[Any], Any]


def replies(
    name: str, *fails: str, at: str = "", kinds: Iterable[Kind] = ("success",), bare: bool = False
) -> Callable[[Spoil], Spoil]:
    """Registers a function that changes replies: those of the given kinds, under the path `at`.

    `bare`: only those to calls without parameters.
    """

    def register(spoil: Spoil) -> Spoil:
        wanted = frozenset(kinds)

        class Spoiled(Reference):
            def finish(self, asked: Asked, reply: Reply) -> Reply:
                here = asked.path.startswith(at) and asked.path != "/openapi.json" and not (bare and asked.query)
                return spoil(asked, reply) if here and reply.kind in wanted else reply

        _add(Mutant(name, (spoil.__doc__ or "").strip(), frozenset(fails), Spoiled))
        return spoil

    return register


def documents(
    name: str,
    *fails: str,
    fault: str,
    edit: Edit,
    at: str = "",
    kinds: Iterable[Kind] = ("success",),
    bare: bool = False,
) -> None:
    """Registers an edit of the JSON of replies: `edit` changes it in place, or returns another."""

    def spoil(asked: Asked, reply: Reply) -> Reply:
        value = reply.json
        changed = edit(value)
        return reply.with_json(value if changed is None else changed)

    spoil.__doc__ = fault
    replies(name, *fails, at=at, kinds=kinds, bare=bare)(spoil)


def target_mutant(
    name: str, *fails: str, fault: str, declare: Callable[[Target], Target], build: Callable[[], Reference] = Reference
) -> None:
    """Registers a fault of what the publisher declares."""
    _add(Mutant(name, fault, frozenset(fails), build, declare))


async def run_mutant(one: Mutant) -> Run:
    """The whole suite on a mutant, in this process, writes allowed; what is large is less so, to go fast."""
    from contract_tests.checks import registry

    service = one.build()
    target = one.declare(service.target())
    limits = Limits(long_text=60_000, large_file=200_000)
    return await execute(target, service.send, registry, seed=1, allow_writes=True, limits=limits)
