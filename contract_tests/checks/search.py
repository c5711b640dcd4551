"""PUB-SEARCH: a search engine of the portal."""

from __future__ import annotations

from typing import Any

from contract_tests.core.answer import UNREADABLE, Answer
from contract_tests.core.case import Case
from contract_tests.core.check import Omitted, Skipped, check, expect
from contract_tests.core.endpoints import Search
from contract_tests.text import Text

from .values import RESERVED, absolute, active_html, filled, has_markup, shown, without_accents


async def _hits(case: Case, endpoint: Search) -> tuple[Answer, list[dict[str, Any]]]:
    """The hits of the example term that are objects. Raises `Skipped` when it finds none."""
    answer = await case.ask(endpoint.search(endpoint.example))
    hits = [hit for hit in case.rows(answer) if isinstance(hit, dict)]
    if not hits:
        raise Skipped(
            Text(
                f"« {endpoint.example} » ne trouve rien : donner un terme qui a des résultats (--example, ou example)",
                f'"{endpoint.example}" finds nothing: give a term that has results (--example, or example)',
            ),
            answer,
        )
    return answer, hits


@check(
    "PUB-SEARCH-1",
    title=Text("Les résultats sont une liste d'objets", "Results are a list of objects"),
    consequence=Text("Le portail n'affiche aucun résultat.", "The portal shows no result."),
    remedy=Text('Répondre {"err": 0, "data": [{…}, …]}.', 'Answer {"err": 0, "data": [{…}, …]}.'),
)
async def data_is_a_list_of_objects(case: Case, endpoint: Search) -> None:
    answer = await case.ask(endpoint.search(endpoint.example))
    data = case.data(answer)
    expect(isinstance(data, list), f"« data » vaut {shown(data)}", f"“data” is {shown(data)}", answer)
    for hit in data:
        expect(isinstance(hit, dict), f"un résultat vaut {shown(hit)}", f"a hit is {shown(hit)}", answer)


@check(
    "PUB-SEARCH-2",
    title=Text("Chaque résultat a un titre", "Every hit has a title"),
    consequence=Text("Le résultat s'affiche sans titre cliquable.", "The hit shows without a title to click."),
    remedy=Text("Donner à chaque résultat un « text » lisible.", "Give every hit a readable “text”."),
)
async def every_hit_has_a_text(case: Case, endpoint: Search) -> None:
    answer, hits = await _hits(case, endpoint)
    for hit in hits:
        text = hit.get("text")
        expect(filled(text), f"« text » vaut {shown(text)}", f"“text” is {shown(text)}", answer)


@check(
    "PUB-SEARCH-3",
    title=Text("Chaque adresse est absolue", "Every address is absolute"),
    consequence=Text(
        "L'agent clique et arrive sur une page inconnue du portail.",
        "The agent clicks and lands on an unknown page of the portal.",
    ),
    remedy=Text("Donner l'adresse entière : https://…", "Give the whole address: https://…"),
)
async def every_url_is_absolute(case: Case, endpoint: Search) -> None:
    answer, hits = await _hits(case, endpoint)
    for hit in hits:
        url = hit.get("url")
        expect(absolute(url), f"« url » vaut {shown(url)}", f"“url” is {shown(url)}", answer)


@check(
    "PUB-SEARCH-4",
    title=Text("Chaque résultat a une description", "Every hit has a description"),
    consequence=Text(
        "L'agent ne distingue pas des résultats de même titre.", "The agent cannot tell hits of the same title apart."
    ),
    remedy=Text("Donner une « description », au besoin vide.", "Give a “description”, empty if need be."),
)
async def every_hit_has_a_description(case: Case, endpoint: Search) -> None:
    answer, hits = await _hits(case, endpoint)
    for hit in hits:
        said = hit.get("description")
        expect(isinstance(said, str), f"« description » vaut {shown(said)}", f"“description” is {shown(said)}", answer)


@check(
    "PUB-SEARCH-5",
    title=Text("La description n'est pas active", "The description is not active"),
    consequence=Text(
        "Un texte saisi dans votre logiciel s'exécute dans la session de l'agent.",
        "A text typed in your software runs in the agent's session.",
    ),
    remedy=Text(
        "Nettoyer le HTML (liste blanche de balises) ou n'envoyer que du texte échappé.",
        "Clean the HTML (allowed tags only) or send escaped text only.",
    ),
)
async def descriptions_are_not_active(case: Case, endpoint: Search) -> None:
    answer, hits = await _hits(case, endpoint)
    for hit in hits:
        found = active_html(hit["description"]) if isinstance(hit.get("description"), str) else ""
        expect(not found, f"la description contient {found}", f"the description holds {found}", answer)


@check(
    "PUB-SEARCH-6",
    title=Text("Le titre est du texte", "The title is plain text"),
    consequence=Text("Des balises s'affichent telles quelles à l'agent.", "Tags show as such to the agent."),
    remedy=Text("Réserver le HTML à « description ».", "Keep HTML for “description”."),
)
async def titles_are_plain(case: Case, endpoint: Search) -> None:
    answer, hits = await _hits(case, endpoint)
    for hit in hits:
        text = hit.get("text")
        if isinstance(text, str):
            expect(not has_markup(text), f"« text » vaut {shown(text)}", f"“text” is {shown(text)}", answer)


@check(
    "PUB-SEARCH-7",
    title=Text("La recherche tient compte du terme", "The search heeds its term"),
    consequence=Text(
        "L'agent voit les mêmes résultats quoi qu'il cherche.", "The agent sees the same hits whatever they search."
    ),
    remedy=Text(
        "Filtrer sur le paramètre « q » (ou déclarer son vrai nom).",
        "Filter on the parameter “q” (or declare its real name).",
    ),
)
async def the_term_is_heeded(case: Case, endpoint: Search) -> None:
    answer = await case.ask(endpoint.search(case.nonsense("term")))
    rows = case.rows(answer)
    expect(
        not rows,
        f"un terme absent partout trouve {len(rows)} résultats",
        f"a term found nowhere finds {len(rows)} hits",
        answer,
    )


@check(
    "PUB-SEARCH-8",
    title=Text("Pas de résultat n'est pas une erreur", "No result is not an error"),
    consequence=Text(
        "Le portail montre une erreur à l'agent qui ne trouve simplement rien.",
        "The portal shows an error to an agent who simply finds nothing.",
    ),
    remedy=Text('Répondre {"err": 0, "data": []}.', 'Answer {"err": 0, "data": []}.'),
)
async def nothing_found_is_an_empty_list(case: Case, endpoint: Search) -> None:
    usual = await case.ask(endpoint.search(endpoint.example))
    case.document(usual)
    answer = await case.ask(endpoint.search(case.nonsense("term")))
    data = (answer.envelope or {}).get("data")
    ordinary = (usual.envelope or {}).get("data")
    if isinstance(ordinary, list):
        expect(
            answer.favourable and isinstance(data, list),
            f"HTTP {answer.status}, err {shown((answer.envelope or {}).get('err'))}, data {shown(data)}",
            f"HTTP {answer.status}, err {shown((answer.envelope or {}).get('err'))}, data {shown(data)}",
            answer,
        )


@check(
    "PUB-SEARCH-9",
    title=Text("Majuscules et minuscules se valent", "Case does not matter"),
    consequence=Text(
        "« DUPONT » et « dupont » ne trouvent pas la même chose.", "“DUPONT” and “dupont” do not find the same."
    ),
    remedy=Text("Comparer sans tenir compte de la casse.", "Compare case-blind."),
)
async def case_does_not_matter(case: Case, endpoint: Search) -> None:
    answer, hits = await _hits(case, endpoint)
    for term in (endpoint.example.upper(), endpoint.example.lower()):
        await _as_many(case, endpoint, term, len(hits), answer)


@check(
    "PUB-SEARCH-10",
    title=Text("Les accents sont facultatifs", "Accents are optional"),
    consequence=Text(
        "L'agent qui tape sans accents ne trouve pas la personne.", "An agent who types without accents finds nobody."
    ),
    remedy=Text("Comparer sans tenir compte des accents.", "Compare accent-blind."),
)
async def accents_are_optional(case: Case, endpoint: Search) -> None:
    answer, hits = await _hits(case, endpoint)
    words = [word for hit in hits for word in str(hit.get("text", "")).split()]
    accented = next((one for one in (endpoint.example, *words) if one != without_accents(one)), None)
    if accented is None:
        raise Omitted(Text("aucun mot accentué dans les résultats", "no accented word in the hits"), answer)
    with_them = await case.ask(endpoint.search(accented))
    await _as_many(case, endpoint, without_accents(accented), len(case.rows(with_them)), with_them)


async def _as_many(case: Case, endpoint: Search, term: str, expected: int, usual: Answer) -> None:
    answer = await case.ask(endpoint.search(term))
    found = case.rows(answer)
    expect(
        len(found) == expected,
        f"« {term} » trouve {len(found)} résultats, et l'autre écriture {expected}",
        f'"{term}" finds {len(found)} hits, and the other spelling {expected}',
        answer,
    )


@check(
    "PUB-SEARCH-11",
    title=Text("Les caractères réservés sont compris", "Reserved characters are understood"),
    consequence=Text(
        "Une apostrophe ou un « & » dans un nom donne une erreur.",
        "An apostrophe or an “&” in a name gives an error.",
    ),
    remedy=Text(
        "Décoder le paramètre une fois, et ne jamais le coller dans une requête SQL.",
        "Decode the parameter once, and never paste it in an SQL query.",
    ),
)
async def reserved_characters_are_understood(case: Case, endpoint: Search) -> None:
    case.document(await case.ask(endpoint.search(endpoint.example)))
    answer = await case.ask(endpoint.search(RESERVED))
    expect(answer.favourable, f"HTTP {answer.status} pour {RESERVED}", f"HTTP {answer.status} for {RESERVED}", answer)


@check(
    "PUB-SEARCH-12",
    title=Text("Une recherche vide ne casse rien", "An empty search breaks nothing"),
    consequence=Text(
        "Le portail montre une erreur avant même que l'agent ait tapé.",
        "The portal shows an error before the agent has typed anything.",
    ),
    remedy=Text("Répondre une liste vide à q=.", "Answer an empty list to q=."),
)
async def empty_search_is_answered(case: Case, endpoint: Search) -> None:
    case.document(await case.ask(endpoint.search(endpoint.example)))
    answer = await case.ask(endpoint.search(""))
    expect(
        answer.status < 500 and answer.document is not UNREADABLE,
        f"HTTP {answer.status}",
        f"HTTP {answer.status}",
        answer,
    )
