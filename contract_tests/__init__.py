"""The contract suite: judges a webservice by the contract Publik expects of it, by its URL alone.

    contract-tests run https://…/api/user/ --profile search --basic user      # from a terminal
    test_contract = contract_tests.pytest_plugin.suite("target.toml")         # in a pytest file, one line
    run = await contract_tests.certify(target)                                # from Python
    contract_tests.sealed(run)                                                # the sealed report, plain data

It imports nothing of the gateway, the connectors or their kit: a publisher installs it alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from contract_tests.core.execute import Run, execute
from contract_tests.core.target import BadTarget, Target, load, read
from contract_tests.core.verdict import Outcome
from contract_tests.text import Text
from contract_tests.wire import Limits, Wire

__all__ = ["BadTarget", "Limits", "Outcome", "Run", "Target", "Text", "certify", "load", "read", "sealed"]


async def certify(
    target: Target | Path | str,
    *,
    profiles: Iterable[str] = (),
    allow_writes: bool = False,
    rate: float = 1.0,
    seed: int | None = None,
    limits: Limits | None = None,
    resolve: Mapping[str, str] | None = None,
    ca: Path | None = None,
    command: str = "contract_tests.certify",
    on_outcome: Callable[[Outcome, int, int], None] | None = None,
) -> Run:
    """Runs the suite on a target (a value, or the path of a `target.toml`).

    `rate`: requests begun per second, 0 for no limit. `ca`: a PEM file of authorities trusted besides the system's.
    Raises `BadTarget`, also when writes are asked on a target that is not marked as a test environment.
    """
    from contract_tests.checks import registry

    target = target if isinstance(target, Target) else load(Path(target))
    if allow_writes and target.environment != "test":
        raise BadTarget(
            Text(
                'écrire n\'est permis que sur une cible marquée environment = "test"',
                'writing is only allowed on a target marked environment = "test"',
            )
        )
    async with Wire(rate=rate, limits=limits, resolve=resolve, ca=ca) as wire:
        return await execute(
            target,
            wire,
            registry,
            only=profiles,
            seed=seed,
            allow_writes=allow_writes,
            limits=limits,
            rate=rate,
            command=command,
            on_outcome=on_outcome,
        )


def sealed(run: Run) -> dict[str, Any]:
    """The run as its sealed report: plain data, secrets masked, ready for `contract_tests.report.write`."""
    from contract_tests.certificate import seal
    from contract_tests.core.record import record

    return seal(record(run))
