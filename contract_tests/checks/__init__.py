"""Every check of the suite, one module per family of requirements, in the order they run.

The families all profiles rest on come first; security comes last, since it also looks at what the others provoked.
"""

from __future__ import annotations

from contract_tests.core.check import registry

from . import (
    authentication,
    billing,
    cell,
    choices,
    documentation,
    envelope,
    file,
    geojson,
    http,
    request,
    robustness,
    search,
    security,
    signed,
    sms,
    statistics,
    upstream,
)

__all__ = ["registry"]

_ORDER = (
    http,
    envelope,
    authentication,
    search,
    choices,
    request,
    file,
    billing,
    geojson,
    sms,
    statistics,
    cell,
    signed,
    robustness,
    upstream,
    documentation,
    security,
)

registry.arrange(module.__name__.rpartition(".")[2] for module in _ORDER)
