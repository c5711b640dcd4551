"""PUB-LIST: a list of a form (w.c.s. data source), its autocompletion and its lookup by identifier."""

from __future__ import annotations

from collections import Counter
from typing import Any

from contract_tests.caller import at, lookup
from contract_tests.core.answer import Answer
from contract_tests.core.case import Case
from contract_tests.core.check import Omitted, Skipped, check, expect
from contract_tests.core.endpoints import Choices
from contract_tests.text import Text

from .values import RESERVED, filled, identifier, shown, without_accents

LOOKED_UP = 3
"""Items read back by their id: the first, the last, and the one whose id is the strangest."""


async def _items(case: Case, endpoint: Choices) -> tuple[Answer, list[dict[str, Any]]]:
    """The items of the whole list that are objects. Raises `Skipped` when there are none."""
    answer = await case.ask(case.reading())
    items = [item for item in case.rows(answer, endpoint.data_attribute) if isinstance(item, dict)]
    if not items:
        raise Skipped(Text("la liste est vide : rien à vérifier", "the list is empty: nothing to verify"), answer)
    return answer, items


def _id(endpoint: Choices, item: dict[str, Any]) -> Any:
    return at(item, endpoint.id_attribute)


def _text(endpoint: Choices, item: dict[str, Any]) -> Any:
    return at(item, endpoint.text_attribute)


@check(
    "PUB-LIST-1",
    title=Text("Le contenu est une liste", "The content is a list"),
    consequence=Text("La liste du formulaire est vide.", "The form's list is empty."),
    remedy=Text(
        "Répondre une liste, même pour un seul élément ou aucun.", "Answer a list, even for a single item or none."
    ),
)
async def content_is_a_list(case: Case, endpoint: Choices) -> None:
    answer = await case.ask(case.reading())
    data = case.data(answer, endpoint.data_attribute)
    name = endpoint.data_attribute
    expect(isinstance(data, list), f"« {name} » vaut {shown(data)}", f"“{name}” is {shown(data)}", answer)


@check(
    "PUB-LIST-2",
    title=Text("Chaque élément a un identifiant", "Every item has an identifier"),
    consequence=Text(
        "L'élément disparaît de la liste, sans message.", "The item vanishes from the list, without a message."
    ),
    remedy=Text("Donner à chaque élément un « id » non vide.", "Give every item a non-empty “id”."),
)
async def every_item_has_an_id(case: Case, endpoint: Choices) -> None:
    answer = await case.ask(case.reading())
    for item in case.rows(answer, endpoint.data_attribute):
        expect(isinstance(item, dict), f"un élément vaut {shown(item)}", f"an item is {shown(item)}", answer)
        value = _id(endpoint, item)
        expect(identifier(value), f"« id » vaut {shown(value)}", f"“id” is {shown(value)}", answer)


@check(
    "PUB-LIST-3",
    title=Text("Chaque libellé est un texte", "Every label is a text"),
    consequence=Text(
        "Un libellé qui est un nombre fait disparaître l'élément ; absent, l'usager lit l'identifiant.",
        "A label that is a number makes the item vanish; absent, the user reads the identifier.",
    ),
    remedy=Text('Écrire "text": "2025" et non "text": 2025.', 'Write "text": "2025", not "text": 2025.'),
)
async def every_text_is_a_text(case: Case, endpoint: Choices) -> None:
    answer, items = await _items(case, endpoint)
    for item in items:
        text = _text(endpoint, item)
        expect(isinstance(text, str), f"« text » vaut {shown(text)}", f"“text” is {shown(text)}", answer)


@check(
    "PUB-LIST-4",
    title=Text("Aucun libellé n'est vide", "No label is empty"),
    consequence=Text("L'usager voit une ligne vide dans la liste.", "The user sees an empty line in the list."),
    remedy=Text("Donner un libellé, ou retirer l'élément.", "Give a label, or remove the item."),
)
async def no_text_is_empty(case: Case, endpoint: Choices) -> None:
    answer, items = await _items(case, endpoint)
    for item in items:
        text = _text(endpoint, item)
        said = shown(_id(endpoint, item))
        expect(not isinstance(text, str) or filled(text), f"libellé vide pour {said}", f"no label for {said}", answer)


@check(
    "PUB-LIST-5",
    title=Text("Les identifiants sont uniques", "Identifiers are unique"),
    consequence=Text(
        "L'usager choisit une ligne et le formulaire en enregistre une autre.",
        "The user picks one line and the form stores another.",
    ),
    remedy=Text("Dédoublonner, ou former un identifiant plus précis.", "Remove doubles, or make a finer identifier."),
)
async def ids_are_unique(case: Case, endpoint: Choices) -> None:
    answer, items = await _items(case, endpoint)
    counted = Counter(str(_id(endpoint, item)) for item in items if identifier(_id(endpoint, item)))
    twice = [name for name, count in counted.items() if count > 1]
    expect(
        not twice,
        f"{len(twice)} identifiants en double, dont {shown(twice[0]) if twice else ''}",
        f"{len(twice)} identifiers twice, among them {shown(twice[0]) if twice else ''}",
        answer,
    )


@check(
    "PUB-LIST-6",
    feature="id",
    title=Text("Un élément se relit par son identifiant", "An item is read back by its identifier"),
    consequence=Text(
        "Le choix de l'usager est perdu à la page suivante, ou à la réouverture de la demande.",
        "The user's choice is lost on the next page, or when the request is opened again.",
    ),
    remedy=Text(
        "Rendre pour ?id= l'élément dont l'« id », écrit de la même façon, a cette valeur.",
        "Give for ?id= the item whose “id”, written the same way, has this value.",
    ),
)
async def ids_are_read_back(case: Case, endpoint: Choices) -> None:
    _, items = await _items(case, endpoint)
    found = [str(_id(endpoint, item)) for item in items if identifier(_id(endpoint, item))]
    if not found:
        raise Skipped(Text("aucun identifiant utilisable : voir PUB-LIST-2", "no usable id: see PUB-LIST-2"))
    strangest = max(found, key=lambda one: sum(not (char.isascii() and char.isalnum()) for char in one))
    for value in list(dict.fromkeys((found[0], found[-1], strangest)))[:LOOKED_UP]:
        answer = await case.ask(endpoint.lookup(value))
        rows = at(answer.envelope or {}, endpoint.data_attribute)
        picked = lookup(rows, endpoint.id, value) if isinstance(rows, list) and answer.favourable else None
        expect(
            picked is not None,
            f"{endpoint.id}={value} ne rend pas l'élément de cet identifiant",
            f"{endpoint.id}={value} does not give the item of that identifier",
            answer,
        )


@check(
    "PUB-LIST-7",
    feature="id",
    title=Text("La lecture par identifiant rend un seul élément", "A lookup gives a single item"),
    consequence=Text("Toute la liste est chargée à chaque affichage.", "The whole list is loaded at every display."),
    remedy=Text("Filtrer sur le paramètre d'identifiant.", "Filter on the identifier parameter."),
)
async def lookup_gives_one_item(case: Case, endpoint: Choices) -> None:
    _, items = await _items(case, endpoint)
    found = [str(_id(endpoint, item)) for item in items if identifier(_id(endpoint, item))]
    if not found or len(set(found)) != len(found):
        raise Skipped(Text("pas d'identifiants uniques : voir PUB-LIST-2 et 5", "no unique ids: see PUB-LIST-2 and 5"))
    answer = await case.ask(endpoint.lookup(found[0]))
    rows = case.rows(answer, endpoint.data_attribute)
    expect(len(rows) <= 1, f"{len(rows)} éléments", f"{len(rows)} items", answer)


@check(
    "PUB-LIST-8",
    feature="id",
    title=Text("Un identifiant inconnu rend une liste vide", "An unknown identifier gives an empty list"),
    consequence=Text(
        "La source passe pour en panne au lieu de « choix inconnu ».",
        "The source counts as down instead of “unknown choice”.",
    ),
    remedy=Text('Répondre 200 {"err": 0, "data": []}, pas 404.', 'Answer 200 {"err": 0, "data": []}, not 404.'),
)
async def unknown_id_gives_an_empty_list(case: Case, endpoint: Choices) -> None:
    case.rows(await case.ask(case.reading()), endpoint.data_attribute)
    value = case.nonsense("id")
    answer = await case.ask(endpoint.lookup(value))
    rows = at(answer.envelope or {}, endpoint.data_attribute)
    if isinstance(rows, list) and rows and answer.favourable and lookup(rows, endpoint.id, value) is None:
        raise Skipped(Text("le paramètre est ignoré : voir PUB-LIST-7", "the parameter is ignored: see PUB-LIST-7"))
    expect(answer.favourable and rows == [], f"HTTP {answer.status}", f"HTTP {answer.status}", answer)


@check(
    "PUB-LIST-9",
    feature="q",
    title=Text("La recherche filtre", "The search filters"),
    consequence=Text(
        "L'usager tape et la liste proposée ne change pas.", "The user types and the offered list does not change."
    ),
    remedy=Text("Filtrer sur « q », et rendre [] sans résultat.", "Filter on “q”, and give [] without a result."),
)
async def the_search_filters(case: Case, endpoint: Choices) -> None:
    case.rows(await case.ask(case.reading()), endpoint.data_attribute)
    answer = await case.ask(endpoint.search(case.nonsense("term")))
    rows = at(answer.envelope or {}, endpoint.data_attribute)
    expect(
        answer.favourable and rows == [],
        f"HTTP {answer.status}, {len(rows) if isinstance(rows, list) else 'pas de'} éléments pour un terme absent",
        f"HTTP {answer.status}, {len(rows) if isinstance(rows, list) else 'no'} items for a term found nowhere",
        answer,
    )


async def _term(case: Case, endpoint: Choices) -> str:
    """A word that finds something: the example, or the longest word of the first labels."""
    if endpoint.example:
        return endpoint.example
    _, items = await _items(case, endpoint)
    words = [word for item in items[:20] for word in str(_text(endpoint, item) or "").split() if word.isalpha()]
    if not words:
        raise Omitted(Text("aucun mot dans les libellés : donner example", "no word in the labels: give example"))
    return max(words, key=len)


async def _found(case: Case, endpoint: Choices, term: str) -> tuple[Answer, set[str]]:
    answer = await case.ask(endpoint.search(term))
    rows = case.rows(answer, endpoint.data_attribute)
    return answer, {str(_id(endpoint, item)) for item in rows if isinstance(item, dict)}


async def _same(case: Case, endpoint: Choices, term: str, other: str) -> None:
    answer, found = await _found(case, endpoint, other)
    _, usual = await _found(case, endpoint, term)
    if not usual:
        raise Skipped(Text(f"« {term} » ne trouve rien", f'"{term}" finds nothing'), answer)
    expect(
        found == usual,
        f"« {other} » trouve {len(found)} éléments, « {term} » {len(usual)}",
        f'"{other}" finds {len(found)} items, "{term}" {len(usual)}',
        answer,
    )


@check(
    "PUB-LIST-10",
    feature="q",
    title=Text("Majuscules et minuscules se valent", "Case does not matter"),
    consequence=Text(
        "L'usager qui tape en minuscules ne trouve pas sa rue.", "A user who types in lower case finds no street."
    ),
    remedy=Text("Comparer sans tenir compte de la casse.", "Compare case-blind."),
)
async def case_does_not_matter(case: Case, endpoint: Choices) -> None:
    term = await _term(case, endpoint)
    await _same(case, endpoint, term, term.upper())
    await _same(case, endpoint, term, term.lower())


@check(
    "PUB-LIST-11",
    feature="q",
    title=Text("Les accents sont facultatifs", "Accents are optional"),
    consequence=Text(
        "L'usager qui tape « ecole » ne trouve pas « École ».", "A user who types “ecole” does not find “École”."
    ),
    remedy=Text("Comparer sans tenir compte des accents.", "Compare accent-blind."),
)
async def accents_are_optional(case: Case, endpoint: Choices) -> None:
    _, items = await _items(case, endpoint)
    words = [word for item in items for word in str(_text(endpoint, item) or "").split() if word.isalpha()]
    accented = next((one for one in (endpoint.example, *words) if one != without_accents(one)), None)
    if accented is None:
        raise Omitted(Text("aucun mot accentué dans les libellés", "no accented word in the labels"))
    await _same(case, endpoint, accented, without_accents(accented))


@check(
    "PUB-LIST-12",
    feature="q",
    title=Text("Une recherche vide reçoit une liste", "An empty search gets a list"),
    consequence=Text(
        "La liste est en erreur dès que l'usager ouvre le champ.",
        "The list is in error as soon as the user opens the field.",
    ),
    remedy=Text(
        "Répondre à q= une liste : les premiers éléments, ou aucun.", "Answer q= with a list: the first items, or none."
    ),
)
async def empty_search_gets_a_list(case: Case, endpoint: Choices) -> None:
    case.rows(await case.ask(case.reading()), endpoint.data_attribute)
    answer = await case.ask(endpoint.search(""))
    rows = at(answer.envelope or {}, endpoint.data_attribute)
    expect(answer.favourable and isinstance(rows, list), f"HTTP {answer.status}", f"HTTP {answer.status}", answer)


@check(
    "PUB-LIST-13",
    feature="q",
    title=Text("Les caractères réservés sont compris", "Reserved characters are understood"),
    consequence=Text(
        "« rue de l'Église & Cie » donne une liste en erreur.", "“rue de l'Église & Cie” gives a list in error."
    ),
    remedy=Text(
        "Décoder le paramètre une fois, et ne jamais le coller dans une requête SQL.",
        "Decode the parameter once, and never paste it in an SQL query.",
    ),
)
async def reserved_characters_are_understood(case: Case, endpoint: Choices) -> None:
    case.rows(await case.ask(case.reading()), endpoint.data_attribute)
    answer = await case.ask(endpoint.search(RESERVED))
    expect(answer.favourable, f"HTTP {answer.status} pour {RESERVED}", f"HTTP {answer.status} for {RESERVED}", answer)


@check(
    "PUB-LIST-14",
    title=Text("Le tri est stable", "The order is stable"),
    consequence=Text(
        "La liste change d'ordre à chaque page : l'usager ne retrouve pas ses choix.",
        "The list changes order at every page: the user does not find their choices again.",
    ),
    remedy=Text("Trier dans le service (ORDER BY).", "Sort in the service (ORDER BY)."),
)
async def the_order_is_stable(case: Case, endpoint: Choices) -> None:
    _, items = await _items(case, endpoint)
    first = [str(_id(endpoint, item)) for item in items]
    for _ in range(2):  # an order that alternates would else be met at its first turn
        again = await case.ask(case.reading(), fresh=True)
        rows = case.rows(again, endpoint.data_attribute)
        second = [str(_id(endpoint, item)) for item in rows if isinstance(item, dict)]
        if Counter(first) != Counter(second):
            raise Skipped(Text("la liste a changé entre deux appels", "the list changed between two calls"), again)
        expect(
            first == second,
            "deux appels de suite donnent deux ordres",
            "two calls in a row give two orders",
            again,
        )


@check(
    "PUB-LIST-15",
    feature="q",
    title=Text("Un libellé entier trouve son élément", "A whole label finds its item"),
    consequence=Text(
        "Le préremplissage et l'import ne retrouvent pas la valeur.", "Prefilling and import do not find the value."
    ),
    remedy=Text("Chercher tous les mots du terme dans le libellé.", "Search all the words of the term in the label."),
)
async def whole_labels_are_found(case: Case, endpoint: Choices) -> None:
    _, items = await _items(case, endpoint)
    labelled = [item for item in items if filled(_text(endpoint, item))]
    if not labelled:
        raise Skipped(Text("aucun libellé : voir PUB-LIST-3", "no label: see PUB-LIST-3"))
    longest = max(labelled, key=lambda item: len(_text(endpoint, item).split()))
    for item in (labelled[0], longest):
        text = _text(endpoint, item)
        answer = await case.ask(endpoint.search(text))
        rows = case.rows(answer, endpoint.data_attribute)
        expect(
            any(isinstance(row, dict) and _text(endpoint, row) == text for row in rows),
            f"« {text} » ne se trouve pas lui-même",
            f'"{text}" does not find itself',
            answer,
        )


@check(
    "PUB-LIST-16",
    title=Text("« disabled » est un booléen", "“disabled” is a boolean"),
    consequence=Text(
        'Le texte "false" est tenu pour vrai : l\'élément ne peut pas être choisi.',
        'The text "false" counts as true: the item cannot be chosen.',
    ),
    remedy=Text("Écrire true ou false, sans guillemets.", "Write true or false, without quotes."),
)
async def disabled_is_a_boolean(case: Case, endpoint: Choices) -> None:
    answer, items = await _items(case, endpoint)
    for item in items:
        value = item.get("disabled", False)
        expect(isinstance(value, bool), f"« disabled » vaut {shown(value)}", f"“disabled” is {shown(value)}", answer)
