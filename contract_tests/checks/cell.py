"""PUB-CELL: a JSON document shown by a cell of the portal."""

from __future__ import annotations

from contract_tests.core.answer import UNREADABLE
from contract_tests.core.case import Case
from contract_tests.core.check import check, expect
from contract_tests.core.endpoints import Cell
from contract_tests.text import Text

from .values import shown


@check(
    "PUB-CELL-1",
    title=Text("Le document est un objet ou une liste", "The document is an object or a list"),
    consequence=Text("La cellule n'affiche rien.", "The cell shows nothing."),
    remedy=Text('Répondre {"err": 0, "data": …}.', 'Answer {"err": 0, "data": …}.'),
)
async def document_is_a_container(case: Case, endpoint: Cell) -> None:
    answer = await case.ask(case.reading())
    value = case.document(answer)
    expect(isinstance(value, (dict, list)), f"le document vaut {shown(value)}", f"{shown(value)}", answer)


@check(
    "PUB-CELL-2",
    feature="variables",
    title=Text("Une variable vide est comprise", "An empty variable is understood"),
    consequence=Text(
        "La page d'accueil montre une erreur aux visiteurs anonymes.",
        "The home page shows an error to anonymous visitors.",
    ),
    remedy=Text("Répondre un document vide, ou 4xx.", "Answer an empty document, or 4xx."),
)
async def empty_variables_are_understood(case: Case, endpoint: Cell) -> None:
    case.document(await case.ask(case.reading()))
    for name in endpoint.variables:
        answer = await case.ask(case.reading().adding((name, "")))
        expect(
            answer.complete and answer.status < 500 and (answer.status >= 400 or answer.document is not UNREADABLE),
            f"{name}= : HTTP {answer.status}",
            f"{name}=: HTTP {answer.status}",
            answer,
        )
