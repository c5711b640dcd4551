"""The SOAP encoding's shorthands undone: references followed, array items given their type.

An rpc/encoded answer may say a value once and point to it (`href="#id1"`, multiRef); the decoder wants a plain tree.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, cast

from lxml import etree

from sdk import xml

from .known_schemas import SOAP_ENCODING

__all__ = ["ReferenceRefused", "without_references"]

XSI_TYPE = f"{{{xml.XSI}}}type"
ARRAY_TYPE = f"{{{SOAP_ENCODING}}}arrayType"

MAX_ELEMENTS = 200_000  # once the references are followed


class ReferenceRefused(ValueError):
    """References that cannot be followed; the message names the reason, without content."""


def without_references(envelope: Any) -> Any:
    """The same envelope with every `href="#…"` replaced by what it points to, and array items carrying their type.

    The number of elements is capped: a few references to references would otherwise grow without end.
    """
    namespace = etree.QName(envelope).namespace
    envelope = _with_global_prefixes(envelope)
    body = envelope.find(f"{{{namespace}}}Body")
    targets = {element.get(name): element for element in body.iterdescendants() for name in _IDS if element.get(name)}
    wanted = {_reference(element) for element in body.iterdescendants()} - {None}
    results = [child for child in body if _id(child) is None or _id(child) not in wanted]
    if wanted and results:
        budget = [MAX_ELEMENTS]
        _expand(results[0], targets, frozenset(), budget, 0)
    for child in body:
        if results and child is not results[0]:
            body.remove(child)
    for array in envelope.xpath("//*[@e:arrayType]", namespaces={"e": SOAP_ENCODING}):
        item = array.get(ARRAY_TYPE).strip().partition("[")
        if item[0] and item[2].count("[") == 0 and not item[0].endswith((":anyType", ":ur-type", ":Struct")):
            for child in array:
                if child.get(XSI_TYPE) is None:
                    child.set(XSI_TYPE, item[0])
    return envelope


_IDS = ("id", f"{{{SOAP_ENCODING}}}id")


def _id(element: Any) -> str | None:
    return cast("str | None", element.get(_IDS[0]) or element.get(_IDS[1]))


def _reference(element: Any) -> str | None:
    href = element.get("href", "")
    if href.startswith("#"):
        return str(href[1:])
    return element.get(f"{{{SOAP_ENCODING}}}ref") or None


def _expand(node: Any, targets: Mapping[str, Any], above: frozenset[str], budget: list[int], depth: int) -> None:
    if depth > xml.MAX_DEPTH:
        raise ReferenceRefused("references nested too deeply")
    for child in list(node):
        name = _reference(child)
        if name is None:
            if child.get("href", "").startswith("cid:"):
                child.text = child.get("href")
            _expand(child, targets, above, budget, depth + 1)
            continue
        target = targets.get(name)
        if target is None or name in above:
            raise ReferenceRefused("a reference to nothing" if target is None else "a structure that contains itself")
        budget[0] -= 1 + int(target.xpath("count(.//*)"))
        if budget[0] < 0:
            raise ReferenceRefused(f"references that unfold into more than {MAX_ELEMENTS} elements")
        found = copy.deepcopy(target)
        found.tag = child.tag
        found.tail = None
        node.replace(child, found)
        _expand(found, targets, above | {name}, budget, depth + 1)


def _with_global_prefixes(envelope: Any) -> Any:
    """Names inside attributes keep their meaning wherever their element is moved."""
    prefixes: dict[str, str] = {}
    for element in envelope.iter():
        for attribute in (XSI_TYPE, ARRAY_TYPE):
            prefix, colon, name = (element.get(attribute) or "").strip().partition(":")
            namespace = element.nsmap.get(prefix) if colon else None
            if namespace:
                element.set(attribute, f"{prefixes.setdefault(namespace, f'qname{len(prefixes)}')}:{name}")
    declared = {prefix: namespace for namespace, prefix in prefixes.items()}
    root = etree.Element(envelope.tag, nsmap={**declared, "env": etree.QName(envelope).namespace})
    root.extend(list(envelope))
    return root
