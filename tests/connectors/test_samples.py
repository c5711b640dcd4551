"""Every recorded case of every connector is still what happens, and every endpoint has one."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.api_particulier import ApiParticulier
from connectors.atal import Atal
from connectors.cartads import Cartads
from connectors.municipal import Municipal
from connectors.payfip import PayFiP
from connectors.tabular import Tabular
from sdk import Connector
from sdk.samples import Sample, samples

CONNECTORS: tuple[type[Connector[Any]], ...] = (ApiParticulier, Atal, Cartads, Municipal, PayFiP, Tabular)
CASES = [(connector, sample) for connector in CONNECTORS for sample in samples(connector)]


@pytest.mark.parametrize(("connector", "sample"), CASES, ids=[f"{c.name}/{s.name}" for c, s in CASES])
async def test_a_sample_is_still_what_happens(connector: type[Connector[Any]], sample: Sample) -> None:
    await sample.replay(connector)


@pytest.mark.parametrize("connector", CONNECTORS, ids=lambda c: c.name)
def test_every_endpoint_has_a_sample(connector: type[Connector[Any]]) -> None:
    shown = {sample.endpoint for sample in samples(connector)}
    assert {endpoint.attribute for endpoint in connector.endpoints} <= shown
