"""Coordinates as French software keeps them; the values are those of PROJ (EPSG:4326 to EPSG:2154)."""

from __future__ import annotations

import pytest

from sdk import InvalidInput
from sdk.geography import lambert93


@pytest.mark.parametrize(
    ("place", "longitude", "latitude", "x", "y"),
    [
        ("the origin of the projection", 3.0, 46.5, 700000.0, 6600000.0),
        ("Rouen", 1.0993, 49.4431, 562122.093, 6928734.087),
        ("Paris", 2.2945, 48.8584, 648237.302, 6862271.682),
        ("Brest", -4.486, 48.39, 146636.140, 6836217.365),
        ("Ajaccio", 8.74, 41.92, 1176777.178, 6108370.552),
        ("Strasbourg", 7.75, 48.58, 1050163.944, 6841622.715),
    ],
)
def test_degrees_become_metres_east_and_north(
    place: str, longitude: float, latitude: float, x: float, y: float
) -> None:
    assert lambert93(longitude, latitude) == pytest.approx((x, y), abs=0.01)


@pytest.mark.parametrize(("longitude", "latitude"), [(55.45, -20.88), (-61.0, 14.6), (49.4431, 1.0993)])
def test_a_place_the_projection_does_not_cover_is_refused_by_naming_the_fields(
    longitude: float, latitude: float
) -> None:
    with pytest.raises(InvalidInput) as caught:
        lambert93(longitude, latitude)
    assert set(caught.value.fields) == {"longitude", "latitude"}
