"""PUB-STAT: statistics for the portal's charts."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

from contract_tests.core.answer import Answer
from contract_tests.core.case import Case
from contract_tests.core.check import Omitted, Skipped, check, expect
from contract_tests.core.endpoints import Call, Statistics
from contract_tests.text import Text

from .values import absolute, filled, identifier, shown

ASKED = 5
"""Statistics whose data are read."""


async def _catalogue(case: Case) -> tuple[Answer, list[dict[str, Any]]]:
    answer = await case.ask(case.reading())
    found = [one for one in case.rows(answer) if isinstance(one, dict)]
    if not found:
        raise Skipped(Text("le catalogue est vide", "the catalogue is empty"), answer)
    return answer, found


async def _data(case: Case, *more: tuple[str, str]) -> list[tuple[Answer, dict[str, Any]]]:
    """The data of the first statistics of this host: credentials go nowhere else."""
    _, found = await _catalogue(case)
    here = urlsplit(case.target.base_url).netloc
    urls = [one["url"] for one in found if absolute(one.get("url")) and urlsplit(one["url"]).netloc == here]
    if not urls:
        raise Skipped(Text("aucune adresse de données sur cet hôte", "no data address on this host"))
    answers = []
    for url in urls[:ASKED]:
        answer = await case.ask(Call("GET", url, more))
        data = case.data(answer)
        answers.append((answer, data if isinstance(data, dict) else {}))
    return answers


def _series(data: dict[str, Any]) -> list[dict[str, Any]]:
    held = data.get("series")
    return [one for one in held if isinstance(one, dict)] if isinstance(held, list) else []


@check(
    "PUB-STAT-1",
    title=Text("Le catalogue liste des statistiques", "The catalogue lists statistics"),
    consequence=Text("La statistique n'est pas proposée à l'administrateur.", "The statistic is not offered."),
    remedy=Text("Donner name, id et une url entière.", "Give name, id and a whole url."),
)
async def catalogue_lists_statistics(case: Case, endpoint: Statistics) -> None:
    answer = await case.ask(case.reading())
    data = case.data(answer)
    expect(isinstance(data, list), f"« data » vaut {shown(data)}", f"“data” is {shown(data)}", answer)
    for one in data:
        good = isinstance(one, dict) and filled(one.get("name")) and identifier(one.get("id"))
        good = good and absolute(one.get("url"))
        expect(good, f"une statistique vaut {shown(one)}", f"a statistic is {shown(one)}", answer)


@check(
    "PUB-STAT-2",
    title=Text("Les filtres ont des options", "Filters have options"),
    consequence=Text("Le filtre ne s'affiche pas.", "The filter does not show."),
    remedy=Text("Donner id, label, options: [{id, label}].", "Give id, label, options: [{id, label}]."),
)
async def filters_have_options(case: Case, endpoint: Statistics) -> None:
    answer, found = await _catalogue(case)
    filters = [each for one in found if isinstance(one.get("filters"), list) for each in one["filters"]]
    if not filters:
        raise Omitted(Text("aucun filtre", "no filter"), answer)
    for each in filters:
        good = isinstance(each, dict) and identifier(each.get("id")) and filled(each.get("label"))
        good = good and isinstance(each.get("options"), list) and all(map(_option, each["options"]))
        expect(good, f"un filtre vaut {shown(each)}", f"a filter is {shown(each)}", answer)


def _option(option: Any) -> bool:
    if isinstance(option, list):  # grouped: [group, [options]]
        return len(option) == 2 and isinstance(option[1], list) and all(map(_option, option[1]))
    return isinstance(option, dict) and "id" in option and "label" in option


@check(
    "PUB-STAT-3",
    title=Text("Les données ont des étiquettes et des séries", "Data have labels and series"),
    consequence=Text("Le graphique est vide.", "The chart is empty."),
    remedy=Text('Répondre {"x_labels": […], "series": [{"label", "data"}]}.', "Answer x_labels and series."),
)
async def data_have_series(case: Case, endpoint: Statistics) -> None:
    for answer, data in await _data(case):
        series = data.get("series")
        good = isinstance(data.get("x_labels"), list) and isinstance(series, list)
        good = good and all(
            isinstance(one, dict) and "label" in one and isinstance(one.get("data"), list) for one in series or []
        )
        expect(good, f"« data » vaut {shown(data)}", f"“data” is {shown(data)}", answer)


@check(
    "PUB-STAT-4",
    title=Text("Chaque série a sa longueur", "Every series has its length"),
    consequence=Text("Les valeurs sont décalées dans le graphique.", "Values are shifted in the chart."),
    remedy=Text("Compléter par null les valeurs absentes.", "Fill missing values with null."),
)
async def series_have_their_length(case: Case, endpoint: Statistics) -> None:
    for answer, data in await _data(case):
        labels = data.get("x_labels")
        for one in _series(data):
            held = one.get("data")
            if not isinstance(labels, list) or not isinstance(held, list):
                continue
            said = f"{len(held)} / {len(labels)}"
            expect(len(held) == len(labels), said, said, answer)


@check(
    "PUB-STAT-5",
    title=Text("Les valeurs sont des nombres", "Values are numbers"),
    consequence=Text("Le graphique échoue.", "The chart fails."),
    remedy=Text('Écrire 12, et non "12".', 'Write 12, not "12".'),
)
async def values_are_numbers(case: Case, endpoint: Statistics) -> None:
    for answer, data in await _data(case):
        for one in _series(data):
            for value in one.get("data") or []:
                good = value is None or (isinstance(value, (int, float)) and not isinstance(value, bool))
                expect(good, f"une valeur est {shown(value)}", f"a value is {shown(value)}", answer)


@check(
    "PUB-STAT-6",
    title=Text("La période est acceptée", "The period is accepted"),
    consequence=Text("Choisir une période vide le graphique.", "Choosing a period empties the chart."),
    remedy=Text("Accepter start et end.", "Accept start and end."),
)
async def period_is_accepted(case: Case, endpoint: Statistics) -> None:
    await _data(case)
    for answer, _ in await _period(case):
        expect(answer.favourable, f"HTTP {answer.status}", f"HTTP {answer.status}", answer)


async def _period(case: Case) -> list[tuple[Answer, None]]:
    _, found = await _catalogue(case)
    here = urlsplit(case.target.base_url).netloc
    urls = [one["url"] for one in found if absolute(one.get("url")) and urlsplit(one["url"]).netloc == here]
    period = (("start", "2025-01-01"), ("end", "2025-12-31"))
    return [(await case.ask(Call("GET", url, period)), None) for url in urls[:ASKED]]
