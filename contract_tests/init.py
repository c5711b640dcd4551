"""Writing a first `target.toml`: from an OpenAPI document when there is one, else from a few answers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from contract_tests import openapi, toml
from contract_tests.core.answer import UNREADABLE, json_of
from contract_tests.core.case import user_agent
from contract_tests.core.credentials import Basic
from contract_tests.core.target import BadTarget
from contract_tests.text import Language, Text
from contract_tests.wire import Request, Wire

__all__ = ["ask_target", "described", "written"]

Prompt = Callable[..., Any]
VARIABLE = "CONTRACT_TESTS_PASSWORD"


async def described(url: str, user: str = "") -> Mapping[str, Any] | None:
    """The OpenAPI document at an address; None when something else is there. Raises `BadTarget` when nothing is."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise BadTarget(
            Text(
                f"{url} n'est pas une adresse : donner celle du service ou de son document OpenAPI, en https://",
                f"{url} is no address: give the service's or its OpenAPI document's, with https://",
            )
        )
    headers: tuple[tuple[str, str], ...] = (("User-Agent", user_agent()), ("Accept", "application/json"))
    if user:
        _, headers = Basic(user.partition(":")[0], os.environ.get(VARIABLE, "")).apply(url, headers)
    async with Wire(rate=0) as wire:
        exchange = await wire(Request("GET", url, headers))
    if exchange.response is None:
        raise BadTarget(Text(f"adresse injoignable : {exchange.error}", f"unreachable address: {exchange.error}"))
    if exchange.response.status in (401, 403) and urlsplit(url).path.endswith(".json"):
        raise BadTarget(
            Text(
                f"le document demande un compte qui y ait droit : --basic utilisateur, mot de passe dans {VARIABLE}",
                f"the document asks for an account with a right to it: --basic user, and its password in {VARIABLE}",
            )
        )
    document = json_of(exchange.response.body)
    found = document is not UNREADABLE and isinstance(document, dict) and isinstance(document.get("paths"), dict)
    return document if found else None


def written(url: str, document: Mapping[str, Any], user: str = "", language: Language = "fr") -> str:
    """The target file of an OpenAPI document; what a person must complete is said in comments."""
    found = openapi.derived(document)
    base, prefix = _base(url, document)
    tables = [{**table, "path": prefix + table["path"]} for table in found.endpoints]
    for table in tables:
        if "status" in table:
            table["status"] = prefix + table["status"]
    comments = [f"{path} : {reason.to(language)}" for path, reason in found.left_out]
    comments += _wanted(tables, language)
    head = {
        **_head(str(document.get("info", {}).get("title") or urlsplit(url).hostname), base, _contact(document), user),
        "description": url,
    }
    return toml.dumps({**head, "auth": _auth(user)}, tables, comments)


def _base(url: str, document: Mapping[str, Any]) -> tuple[str, str]:
    """The service's address, and what comes before the paths of the document."""
    parts = urlsplit(url)
    here = f"{parts.scheme}://{parts.netloc}"
    servers = document.get("servers") or [{}]
    declared = str(servers[0].get("url", "")) if isinstance(servers[0], Mapping) else ""
    stated = urlsplit(declared)
    if stated.scheme in ("http", "https") and stated.netloc:
        return f"{stated.scheme}://{stated.netloc}", stated.path.rstrip("/")
    return here, stated.path.rstrip("/") if declared.startswith("/") else ""


def _contact(document: Mapping[str, Any]) -> str:
    contact = document.get("info", {}).get("contact", {})
    return str(contact.get("email") or contact.get("url") or "") if isinstance(contact, Mapping) else ""


def _head(name: str, base: str, contact: str, user: str) -> dict[str, Any]:
    return {"name": name, "base_url": base, "contact": contact, "environment": "production"}


def _auth(user: str) -> dict[str, Any]:
    return {"user": user.partition(":")[0], "password": {"env": VARIABLE}} if user else {}


def _wanted(tables: list[dict[str, Any]], language: Language) -> list[str]:
    said = []
    for table in tables:
        missing = {
            "request": Text(
                "example_id (une demande qui existe), final_id (une demande close), statuses",
                "example_id (an existing request), final_id (a closed one), statuses",
            ),
            "status": Text(
                "example_id (une demande qui existe), final_id (une demande close), statuses",
                "example_id (an existing request), final_id (a closed one), statuses",
            ),
            "search": Text("example (un terme qui a des résultats)", "example (a term with results)"),
            "file": Text("missing (un fichier absent)", "missing (a missing file)"),
        }.get(table["profile"])
        if missing is not None:
            label = Text("à compléter", "to complete").to(language)
            said.append(f"{table['path']} : {label} : {missing.to(language)}")
    return said


def ask_target(
    url: str,
    user: str,
    profiles: tuple[str, ...],
    prompt: Prompt,
    confirm: Prompt,
    language: Language = "fr",
) -> str:
    """The target file of what a person answers."""

    def asked(fr: str, en: str, default: str = "") -> str:
        return str(prompt(Text(fr, en).to(language), default=default))

    parts = urlsplit(url)
    base = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"
    head = _head(asked("Nom du service", "Name of the service", parts.hostname or ""), base, "", user)
    head["contact"] = asked("Contact technique", "Technical contact")
    if confirm(Text("Est-ce un environnement de test ?", "Is it a test environment?").to(language)):
        head["environment"] = "test"
    user = user or asked("Compte HTTP Basic (vide : aucun)", "HTTP Basic account (empty: none)")
    endpoints: list[dict[str, Any]] = []
    path = parts.path or "/"
    while True:
        profile = asked(f"Profil ({', '.join(profiles)})", f"Profile ({', '.join(profiles)})", "search")
        if profile not in profiles:
            continue
        table: dict[str, Any] = {"profile": profile, "path": asked("Chemin", "Path", path)}
        table |= _questions(profile, asked)
        endpoints.append(table)
        if not confirm(Text("Un autre endpoint ?", "Another endpoint?").to(language)):
            break
    return toml.dumps({**head, "auth": _auth(user)}, endpoints, _wanted(endpoints, language))


def _questions(profile: str, asked: Callable[..., str]) -> dict[str, Any]:
    match profile:
        case "search" | "choices":
            return {"example": asked("Un terme qui a des résultats", "A term with results")}
        case "request":
            body = asked("Corps d'exemple, en JSON", "Example body, in JSON", "{}")
            try:
                read = json.loads(body)
            except ValueError:
                read = None
            if not isinstance(read, dict):
                raise BadTarget(Text("le corps n'est pas un objet JSON", "the body is not a JSON object"))
            required = asked("Champs obligatoires, séparés par des virgules", "Required fields, comma-separated")
            return {
                "status": asked("Chemin de l'état, avec {id}", "Path of the status, with {id}"),
                "required": [name.strip() for name in required.split(",") if name.strip()],
                "example_id": asked("Une demande qui existe", "A request that exists"),
                "body": read,
            }
        case "status":
            return {"example_id": asked("Une demande qui existe", "A request that exists")}
        case "file":
            return {"missing": asked("Chemin d'un fichier absent", "Path of a missing file")}
        case "billing":
            return {"name_id": asked("NameID qui a des factures", "NameID with invoices")}
        case "sms":
            return {"to": [asked("Numéro qui recevra les essais", "Number that will receive the trials")]}
    return {}
