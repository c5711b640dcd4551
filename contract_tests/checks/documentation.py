"""PUB-DOC: what an integrator needs before the first call."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from contract_tests.core.case import Case
from contract_tests.core.check import check, expect
from contract_tests.core.endpoints import Endpoint
from contract_tests.text import Text


@check(
    "PUB-DOC-1",
    feature="description",
    title=Text("Le service est décrit", "The service is described"),
    consequence=Text("L'intégrateur règle les appels à tâtons.", "The integrator sets calls up by trial and error."),
    remedy=Text(
        "Publier un document OpenAPI qui décrit chaque endpoint.",
        "Publish an OpenAPI document that describes every endpoint.",
    ),
)
async def service_is_described(case: Case, endpoint: Endpoint) -> None:
    answer = await case.get(case.target.description)
    held = answer.envelope or {}
    paths = held.get("paths")
    expect(
        answer.success and isinstance(held.get("openapi", held.get("swagger")), str) and isinstance(paths, dict),
        f"HTTP {answer.status}, pas un document OpenAPI",
        f"HTTP {answer.status}, not an OpenAPI document",
        answer,
    )
    assert isinstance(paths, dict)
    calls = endpoint.examples(writes=True)
    wanted = [urlsplit(path).path for path in (endpoint.path, *(call.path for call in calls))]
    described = any(_matches(template, path) for template in paths for path in wanted)
    expect(described, f"{endpoint.path} n'est pas décrit", f"{endpoint.path} is not described", answer)


def _matches(template: str, path: str) -> bool:
    pattern = "".join(
        "[^/]+" if part.startswith("{") else re.escape(part) for part in re.split(r"(\{[^}]*\})", template.strip("/"))
    )
    return re.search(f"(?:^|/){pattern}(?:/|$)", path.strip("/")) is not None


@check(
    "PUB-DOC-2",
    once=True,
    title=Text("Un contact est donné", "A contact is given"),
    consequence=Text(
        "Personne ne sait qui appeler quand le service s'arrête.", "Nobody knows whom to call when the service stops."
    ),
    remedy=Text("Écrire contact dans la cible.", "Write contact in the target."),
)
async def contact_is_given(case: Case, endpoint: Endpoint) -> None:
    expect(bool(case.target.contact.strip()), "contact absent de la cible", "no contact in the target")


@check(
    "PUB-DOC-3",
    once=True,
    title=Text("Un environnement de test existe", "A test environment exists"),
    consequence=Text(
        "Chaque essai d'un formulaire crée une vraie demande.", "Every trial of a form creates a real request."
    ),
    remedy=Text(
        'Ouvrir un environnement de test, et le déclarer : environment = "test".',
        'Open a test environment, and declare it: environment = "test".',
    ),
)
async def test_environment_exists(case: Case, endpoint: Endpoint) -> None:
    expect(
        case.target.environment == "test",
        "la cible est un environnement de production",
        "the target is a production environment",
    )
