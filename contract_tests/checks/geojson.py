"""PUB-MAP: a GeoJSON layer, for maps and for lists of places."""

from __future__ import annotations

from collections import Counter
from typing import Any

from contract_tests.core.answer import Answer
from contract_tests.core.case import Case
from contract_tests.core.check import Skipped, check, expect
from contract_tests.core.endpoints import Map
from contract_tests.text import Text

from .values import identifier, shown


async def _features(case: Case) -> tuple[Answer, list[dict[str, Any]]]:
    answer = await case.ask(case.reading())
    features = [one for one in case.rows(answer, "features") if isinstance(one, dict)]
    if not features:
        raise Skipped(Text("aucun objet sur la carte", "no feature on the map"), answer)
    return answer, features


def _properties(feature: dict[str, Any]) -> dict[str, Any]:
    held = feature.get("properties")
    return held if isinstance(held, dict) else {}


def _point(feature: dict[str, Any]) -> tuple[float, float] | None:
    geometry = feature.get("geometry")
    found = geometry.get("coordinates") if isinstance(geometry, dict) and geometry.get("type") == "Point" else None
    if not isinstance(found, list) or len(found) not in (2, 3):
        return None
    if any(isinstance(one, bool) or not isinstance(one, (int, float)) for one in found):
        return None
    return found[0], found[1]


@check(
    "PUB-MAP-1",
    title=Text("La carte est une liste d'objets", "The map is a list of features"),
    consequence=Text("La carte est vide.", "The map is empty."),
    remedy=Text('Répondre {"type": "FeatureCollection", "features": […]}.', "Answer a FeatureCollection."),
)
async def features_are_a_list(case: Case, endpoint: Map) -> None:
    answer = await case.ask(case.reading())
    features = case.document(answer).get("features") if isinstance(case.document(answer), dict) else None
    good = isinstance(features, list) and all(isinstance(one, dict) for one in features)
    expect(good, f"« features » vaut {shown(features)}", f"“features” is {shown(features)}", answer)


@check(
    "PUB-MAP-2",
    title=Text("Le type est FeatureCollection", "The type is FeatureCollection"),
    consequence=Text("Les outils cartographiques refusent la couche.", "Mapping tools refuse the layer."),
    remedy=Text('Ajouter "type": "FeatureCollection".', 'Add "type": "FeatureCollection".'),
)
async def type_is_a_collection(case: Case, endpoint: Map) -> None:
    answer = await case.ask(case.reading())
    case.rows(answer, "features")
    kind = (answer.envelope or {}).get("type")
    expect(kind == "FeatureCollection", f"« type » vaut {shown(kind)}", f"“type” is {shown(kind)}", answer)


@check(
    "PUB-MAP-3",
    title=Text("Chaque objet a un point", "Every feature has a point"),
    consequence=Text("L'objet n'apparaît pas sur la carte.", "The feature does not show on the map."),
    remedy=Text(
        'Écrire "geometry": {"type": "Point", "coordinates": [longitude, latitude]}, en degrés.',
        'Write "geometry": {"type": "Point", "coordinates": [longitude, latitude]}, in degrees.',
    ),
)
async def every_feature_has_a_point(case: Case, endpoint: Map) -> None:
    answer, features = await _features(case)
    for feature in features:
        point = _point(feature)
        good = point is not None and -180 <= point[0] <= 180 and -90 <= point[1] <= 90
        said = shown(feature.get("geometry"))
        expect(good, f"« geometry » vaut {said}", f"“geometry” is {said}", answer)


@check(
    "PUB-MAP-4",
    feature="bbox",
    title=Text("Les points sont au bon endroit", "Points are in the right place"),
    consequence=Text(
        "Les objets de la ville apparaissent au large de la Somalie.",
        "The town's features show off the coast of Somalia.",
    ),
    remedy=Text("Écrire la longitude d'abord, puis la latitude.", "Write the longitude first, then the latitude."),
)
async def points_are_in_place(case: Case, endpoint: Map) -> None:
    answer, features = await _features(case)
    assert endpoint.bbox is not None
    west, south, east, north = endpoint.bbox
    for feature in features:
        point = _point(feature)
        if point is None or abs(point[0]) > 180 or abs(point[1]) > 90:
            continue  # PUB-MAP-3 tells
        good = west <= point[0] <= east and south <= point[1] <= north
        expect(good, f"{list(point)} hors de l'emprise", f"{list(point)} is out of the extent", answer)


@check(
    "PUB-MAP-5",
    title=Text("Chaque objet a un identifiant dans ses propriétés", "Every feature has an id in its properties"),
    consequence=Text("L'usager ne peut pas choisir l'objet.", "The user cannot choose the feature."),
    remedy=Text('Écrire "properties": {"id": "…", "text": "…"}.', 'Write "properties": {"id": "…", "text": "…"}.'),
)
async def properties_have_an_id(case: Case, endpoint: Map) -> None:
    answer, features = await _features(case)
    for feature in features:
        value = _properties(feature).get("id")
        expect(identifier(value), f"« properties.id » vaut {shown(value)}", f"“properties.id”: {shown(value)}", answer)


@check(
    "PUB-MAP-6",
    title=Text("L'identifiant est aux deux endroits", "The identifier is in both places"),
    consequence=Text(
        "La carte et la liste n'enregistrent pas la même valeur.", "The map and the list do not store the same value."
    ),
    remedy=Text("Répéter l'identifiant dans « id » de l'objet.", "Repeat the identifier in the feature's “id”."),
)
async def ids_agree(case: Case, endpoint: Map) -> None:
    answer, features = await _features(case)
    for feature in features:
        inner, outer = _properties(feature).get("id"), feature.get("id")
        if not identifier(inner):
            continue
        expect(
            outer is not None and str(outer) == str(inner),
            f"id {shown(outer)}, properties.id {shown(inner)}",
            f"id {shown(outer)}, properties.id {shown(inner)}",
            answer,
        )


@check(
    "PUB-MAP-7",
    title=Text("Chaque objet a un libellé", "Every feature has a label"),
    consequence=Text("L'usager lit un identifiant au lieu d'un nom.", "The user reads an id instead of a name."),
    remedy=Text("Donner « text » dans les propriétés.", "Give “text” in the properties."),
)
async def features_have_a_label(case: Case, endpoint: Map) -> None:
    answer, features = await _features(case)
    for feature in features:
        if not isinstance(feature.get("properties"), dict):
            continue
        text = _properties(feature).get("text")
        good = isinstance(text, str) and bool(text.strip())
        expect(good, f"« properties.text » vaut {shown(text)}", f"“properties.text” is {shown(text)}", answer)


@check(
    "PUB-MAP-8",
    title=Text("Les identifiants sont uniques", "Identifiers are unique"),
    consequence=Text("Choisir un objet en sélectionne un autre.", "Choosing a feature selects another."),
    remedy=Text("Dédoublonner les identifiants.", "Remove double identifiers."),
)
async def ids_are_unique(case: Case, endpoint: Map) -> None:
    answer, features = await _features(case)
    found = [_properties(one).get("id") for one in features]
    counted = Counter(str(one) for one in found if identifier(one))
    twice = [name for name, count in counted.items() if count > 1]
    expect(not twice, f"en double : {twice[:3]}", f"twice: {twice[:3]}", answer)
