"""Coordinates as French software keeps them.

x, y = lambert93(1.0993, 49.4431)      # 562122.09, 6928734.09
"""

from __future__ import annotations

from math import atanh, cos, exp, radians, sin

from .errors import InvalidInput, Text

__all__ = ["lambert93"]

# RGF93 / Lambert-93 (EPSG:2154), constants of the IGN for the ellipsoid GRS 80.
_ECCENTRICITY = 0.0818191910428158
_EXPONENT = 0.7256077650532670
_CONSTANT = 11754255.426096
_ORIGIN = (700000.0, 12655612.049876)
_MERIDIAN = 3.0
_WEST, _EAST, _SOUTH, _NORTH = -9.86, 10.38, 41.15, 51.56  # where it is defined: mainland France and Corsica


def lambert93(longitude: float, latitude: float) -> tuple[float, float]:
    """East and north in metres, of degrees of WGS 84 (RGF93 differs by less than a metre).

    Raises `InvalidInput` outside mainland France and Corsica, which have other projections.
    """
    if not (_WEST <= longitude <= _EAST and _SOUTH <= latitude <= _NORTH):
        said = Text("hors de la France métropolitaine (Lambert 93)", en="outside mainland France (Lambert 93)")
        raise InvalidInput(
            Text(f"« longitude », « latitude » : {said}.", en=f'"longitude", "latitude": {said.en}.'),
            fields={"longitude": [said], "latitude": [said]},
        )
    sine = sin(radians(latitude))
    isometric = atanh(sine) - _ECCENTRICITY * atanh(_ECCENTRICITY * sine)
    radius = _CONSTANT * exp(-_EXPONENT * isometric)
    angle = _EXPONENT * radians(longitude - _MERIDIAN)
    return round(_ORIGIN[0] + radius * sin(angle), 2), round(_ORIGIN[1] - radius * cos(angle), 2)
