"""Report data as the engine gives it, for tests: several profiles, every status, as many outcomes as wanted."""

from __future__ import annotations

import random
from collections import Counter
from datetime import UTC, datetime
from typing import Any

from contract_tests import certificate

NOW = datetime(2026, 3, 20, 9, 0, tzinfo=UTC)

# (check, requirement, level, title, sentence, consequence, remedy), French then English.
_CHECKS: dict[str, list[tuple[str, str, str, tuple[str, str], tuple[str, str], tuple[str, str], tuple[str, str]]]] = {
    "search": [
        (
            "search.hit-url-is-absolute",
            "PUB-SEARCH-3",
            "MUST",
            ("L'adresse de chaque réponse est absolue", "Each hit has an absolute address"),
            (
                "Chaque élément de data porte une url absolue, en http ou https.",
                "Each item of data carries an absolute url, http or https.",
            ),
            (
                "L'agent clique sur un résultat et arrive sur une page introuvable du portail.",
                "The agent clicks a result and lands on a missing page of the portal.",
            ),
            (
                "Préfixez l'adresse par celle de votre application : https://ged.exemple.fr/dossier/88.",
                "Put your application's address first: https://ged.exemple.fr/dossier/88.",
            ),
        ),
        (
            "search.accents-do-not-matter",
            "PUB-SEARCH-6",
            "SHOULD",
            ("« école » et « ecole » trouvent la même chose", "“école” and “ecole” find the same thing"),
            ("La recherche ne distingue ni accents ni majuscules.", "The search ignores accents and case."),
            ("L'agent croit que le dossier n'existe pas.", "The agent believes the file does not exist."),
            ("Comparez des textes sans accents ni majuscules.", "Compare texts without accents or case."),
        ),
    ],
    "request": [
        (
            "create.identifier-is-returned",
            "PUB-CREATE-2",
            "MUST",
            ("La création rend un identifiant", "Creation returns an identifier"),
            (
                "La réponse à une création porte un identifiant non vide dans data.",
                "The answer to a creation carries a non-empty identifier in data.",
            ),
            (
                "L'usager ne saura jamais où en est sa demande.",
                "The citizen will never know what becomes of the request.",
            ),
            ("Renvoyez data.id, en texte.", "Return data.id, as text."),
        ),
        (
            "status.final-does-not-change",
            "PUB-STATUS-4",
            "MUST",
            ("Un état final ne change plus", "A final status no longer changes"),
            ("Un état annoncé final reste le même ensuite.", "A status announced as final stays the same."),
            ("La demande est close à tort chez l'usager.", "The request is wrongly closed for the citizen."),
            ("N'annoncez final qu'à la clôture du dossier.", "Announce final only when the file is closed."),
        ),
    ],
    "choices": [
        (
            "list.ids-are-unique",
            "PUB-LIST-2",
            "MUST",
            ("Chaque choix a un identifiant à lui", "Each choice has an identifier of its own"),
            ("Deux éléments d'une liste n'ont jamais le même id.", "Two items of a list never have the same id."),
            (
                "L'usager choisit une école, une autre est enregistrée.",
                "The citizen picks a school, another is stored.",
            ),
            ("Utilisez la clé primaire de la table.", "Use the table's primary key."),
        ),
        (
            "list.id-round-trips",
            "PUB-LIST-5",
            "MUST",
            ("Un choix se relit par son identifiant", "A choice is read back by its identifier"),
            ("?id= rend l'élément de cet identifiant, et lui seul.", "?id= returns the item of that id, and no other."),
            ("Le formulaire refuse le choix de l'usager.", "The form refuses the citizen's choice."),
            ("Filtrez sur l'identifiant, en texte.", "Filter on the identifier, as text."),
        ),
    ],
    "billing": [
        (
            "billing.amount-is-readable",
            "PUB-BILL-3",
            "MUST",
            ("Le montant est un nombre décimal", "The amount is a decimal number"),
            ("amount se lit comme un nombre décimal à point.", "amount reads as a decimal number with a dot."),
            ("La facture ne peut pas être payée en ligne.", "The invoice cannot be paid online."),
            ("Écrivez 31.50, et non 31,50 €.", "Write 31.50, not 31,50 €."),
        ),
        (
            "billing.other-debtor-is-refused",
            "PUB-BILL-7",
            "MUST",
            ("La facture d'un autre reste secrète", "Someone else's invoice stays secret"),
            ("Une facture d'un autre débiteur est introuvable (404).", "Another debtor's invoice is not found (404)."),
            ("Un usager lit la facture de son voisin.", "A citizen reads a neighbour's invoice."),
            ("Vérifiez NameID à chaque lecture.", "Check NameID at each read."),
        ),
    ],
    "map": [
        (
            "map.longitude-first",
            "PUB-MAP-2",
            "MUST",
            ("La longitude vient avant la latitude", "Longitude comes before latitude"),
            ("Les coordonnées sont [longitude, latitude].", "Coordinates are [longitude, latitude]."),
            ("Les bancs publics apparaissent au large de la Somalie.", "The benches appear off the coast of Somalia."),
            ("Inversez les deux nombres.", "Swap the two numbers."),
        ),
    ],
    "envelope": [
        (
            "envelope.err-is-an-integer",
            "PUB-ENV-1",
            "MUST",
            ("err est un entier", "err is an integer"),
            ("La réponse porte err, entier : 0 en cas de succès.", "The answer carries err, an integer: 0 on success."),
            ("Le formulaire prend une erreur pour un succès.", "The form takes an error for a success."),
            ('Écrivez "err": 0, sans guillemets.', 'Write "err": 0, without quotes.'),
        ),
        (
            "envelope.not-html",
            "PUB-ENV-8",
            "MUST",
            ("Une erreur n'est jamais une page HTML", "An error is never an HTML page"),
            ("Tout corps de réponse est du JSON, erreurs comprises.", "Every body is JSON, errors included."),
            ("L'agent lit « erreur inconnue ».", "The agent reads “unknown error”."),
            ("Rendez l'enveloppe aussi pour 404 et 500.", "Return the envelope for 404 and 500 too."),
        ),
    ],
    "signed": [
        (
            "signature.replay-is-refused",
            "PUB-SIGN-5",
            "MUST",
            ("Un appel signé ne se rejoue pas", "A signed call cannot be replayed"),
            ("Un nonce déjà vu est refusé pendant 30 secondes.", "A nonce already seen is refused for 30 seconds."),
            ("Un appel intercepté pourrait être rejoué.", "An intercepted call could be replayed."),
            ("Gardez les nonces une minute.", "Keep nonces for one minute."),
        ),
    ],
}
_TITLES = {
    "search": ("Moteur de recherche", "Search engine"),
    "request": ("Création et suivi", "Create and status"),
    "choices": ("Liste de choix", "Choice list"),
    "billing": ("Facturation (régie)", "Billing"),
    "map": ("Carte (GeoJSON)", "Map (GeoJSON)"),
    "envelope": ("Enveloppe", "Envelope"),
    "signed": ("Appels signés", "Signed calls"),
}
_PATHS = {
    "search": "/api/usagers/",
    "request": "/api/demandes/",
    "choices": "/api/ecoles/",
    "billing": "/regie/invoices/",
    "map": "/api/bancs.geojson",
    "envelope": "/api/usagers/",
    "signed": "/api/usagers/",
}
_MESSAGES = {
    "pass": ("Respecté.", "Holds."),
    "omit": ("Le service n'annonce pas cette option.", "The service does not announce this option."),
    "skip": (
        "Impossible à savoir : la cible n'autorise pas les écritures.",
        "Cannot be known: the target does not allow writes.",
    ),
    "warn": ("Le service répond, mais moins bien qu'attendu.", "The service answers, less well than expected."),
    "fail": (
        "Attendu : une valeur conforme. Reçu : « /dossier/88 ».",
        "Expected: a conforming value. Received: “/dossier/88”.",
    ),
    "error": (
        "La suite s'est trompée ; rien n'est reproché au service.",
        "The suite failed; the service is not blamed.",
    ),
}


def pair(fr_en: tuple[str, str]) -> dict[str, str]:
    return {"fr": fr_en[0], "en": fr_en[1]}


def report_data(outcomes: int = 1000, *, seed: int = 7, perfect: bool = False, sealed: bool = True) -> dict[str, Any]:
    """A report's data of `outcomes` outcomes; `perfect`: everything passes; otherwise every status is met."""
    chance = random.Random(seed)
    rows: list[dict[str, Any]] = []
    evidence: list[dict[str, Any]] = []
    profiles = list(_CHECKS)
    for number in range(outcomes):
        profile = profiles[number % len(profiles)]
        known = _CHECKS[profile]
        check, requirement, level, title, sentence, consequence, remedy = known[number // len(profiles) % len(known)]
        case = f"{_PATHS[profile]}?q=cas{number}"
        status = _status(profile, level, number, chance, perfect=perfect)
        evidence.append(_exchange(number, case, status))
        rows.append(
            {
                "id": f"{check}@{case}",
                "check": check,
                "case": case,
                "profile": profile,
                "title": pair(title),
                "requirements": [
                    {"id": requirement, "level": level, "sentence": pair(sentence), "source": "publik-contracts §2"}
                ],
                "status": status,
                "message": pair(_MESSAGES[status]),
                "consequence": pair(consequence if status in ("fail", "warn") else ("", "")),
                "remedy": pair(remedy if status in ("fail", "warn") else ("", "")),
                "caller": [
                    {
                        "row": "err absent",
                        "effect": pair(
                            (
                                "w.c.s. tient la réponse pour un succès et continue le traitement.",
                                "w.c.s. takes the answer for a success and goes on.",
                            )
                        ),
                        "source": "publik-contracts §1.2, étape 4",
                    }
                ]
                if status in ("fail", "warn")
                else [],
                "replay": f"curl -sS -u '***' 'https://metier.exemple.fr{case}'",
                "evidence": [number],
                "waiver": None,
            }
        )
    if not perfect:
        failing = [row for row in rows if row["status"] == "fail" and row["profile"] == "choices"]
        if len(failing) > 1:
            live = {"reason": "Correctif livré en version 4.3", "author": "DSI de Rouville", "until": "2026-09-30"}
            failing[0]["waiver"] = live
            failing[1]["waiver"] = {**live, "reason": "Reprise de données", "until": "2026-01-31"}
    data = {
        "schema": 1,
        "suite": {"name": "contract-tests", "version": "0.1.0"},
        "requirements": {"version": "2026.1", "digest": "sha256:" + "ab" * 32},
        "target": {
            "name": "Gestion des demandes — Rouville",
            "base_url": "https://metier.exemple.fr",
            "contact": "support@exemple.fr",
            "software": "Demandes+",
            "version": "4.2.1",
            "environment": "test",
        },
        "run": {
            "id": "0d5c1f5e-9d0f-4f0a-9a52-3c6f6f0c9c11",
            "seed": 20260314,
            "started": "2026-03-14T09:26:53Z",
            "ended": "2026-03-14T09:31:12Z",
            "duration_s": 259.4,
            "allow_writes": True,
            "rate_per_s": 1.0,
            "command": "contract-tests run target.toml --allow-writes",
        },
        "profiles": [_profile(profile, rows) for profile in profiles],
        "outcomes": rows,
        "evidence": evidence,
        "waivers": []
        if perfect
        else [
            {
                "requirement": "PUB-LIST-2",
                "case": "",
                "reason": "Correctif livré en version 4.3",
                "author": "DSI de Rouville",
                "until": "2026-09-30",
            }
        ],
        "head": "",
        "signature": None,
    }
    return certificate.seal(data) if sealed else data


def _status(profile: str, level: str, number: int, chance: random.Random, *, perfect: bool) -> str:
    if perfect or number < len(_CHECKS):
        return "pass"
    draw = chance.random()
    if profile in ("choices", "billing") and draw < 0.12:
        return "fail"
    if profile == "signed" and draw < 0.1:
        return "skip"
    if profile == "map" and draw < 0.04:
        return "error"
    if draw > 0.95:
        return "omit"
    if level == "SHOULD" and draw < 0.2:
        return "warn"
    return "pass"


def _profile(profile: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    counts = Counter(row["status"] for row in rows if row["profile"] == profile)
    verdict = "conformant"
    why = ("Toutes les obligations sont tenues.", "Every obligation is met.")
    if counts["fail"]:
        verdict, why = "not-conformant", ("Des obligations ne sont pas tenues.", "Some obligations are not met.")
    elif counts["skip"] or counts["error"]:
        verdict, why = (
            "partial",
            ("Des obligations n'ont pas pu être vérifiées.", "Some obligations could not be checked."),
        )
    elif not counts["pass"]:
        verdict, why = "not-tested", ("Aucun point d'accès déclaré.", "No endpoint declared.")
    return {
        "id": profile,
        "title": pair(_TITLES[profile]),
        "verdict": verdict,
        "why": pair(why),
        "counts": {status: counts[status] for status in ("pass", "omit", "skip", "warn", "fail", "error")},
    }


def _exchange(number: int, case: str, status: str) -> dict[str, Any]:
    body = (
        '{"err": 0, "data": [{"id": "88", "url": "/dossier/88", "text": "Dossier n° 88 — école Pasteur",'
        f' "description": "Ouvert le <b>3 mai</b>", "rang": {number}' + "}]}"
    )
    request = {
        "method": "GET",
        "url": f"https://metier.exemple.fr{case}",
        "headers": [
            ["Accept", "application/json"],
            ["Authorization", "Basic ***"],
            ["User-Agent", "contract-tests/0.1.0"],
            ["Publik-Caller-URL", "https://demarches.exemple.fr/backoffice/management/demande/12/"],
        ],
        "body": None,
    }
    response: dict[str, Any] | None = {
        "status": 200,
        "reason": "OK",
        "headers": [["Content-Type", "application/json; charset=utf-8"], ["Content-Length", str(len(body.encode()))]],
        "body": body,
        "truncated": False,
    }
    if status == "error":
        response = None
    return {
        "request": request,
        "response": response,
        "error": "délai de 28 s dépassé" if response is None else None,
        "started": "2026-03-14T09:27:00.125Z",
        "elapsed_ms": 12.5 + number % 40,
        "digest": "",
        "previous": "",
    }
