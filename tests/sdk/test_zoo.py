"""Every real contract at hand: it loads offline and both ways of every operation are written and read, or it is refused
with a sentence that says why."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from zeep import xsd
from zeep.xsd.visitor import SchemaVisitor

from sdk.errors import InvalidInput, Misconfigured, english
from sdk.messages import Response
from sdk.soap import Soap, facets, wsdl
from sdk.soap.encoder import encode, encode_answer
from sdk.soap.envelopes import read
from sdk.soap.values import plain

from .wsdl_values import members_of, value_of

INTERFACES = Path(__file__).resolve().parents[2].parent / "shared" / "interfaces"
ZOO = INTERFACES / "zoo"
FOLDERS = ("zoo", "payfip", "ciril", "iparapheur", "plonemeeting", "saga-futursystem")

# What no reader can use, and a piece of the sentence that must say so.
REFUSED = {
    "17-wcf-split-wsaw": "which does not come with it",
    "28-four-wsdl-catalog-cyclic-xsd/wsdl/catalog/hello_world_bindings.wsdl": "no SOAP port over HTTP: it is only a fr",
    "28-four-wsdl-catalog-cyclic-xsd/wsdl/catalog/hello_world_messages.wsdl": "no SOAP port over HTTP: it is only a fr",
    "28-four-wsdl-catalog-cyclic-xsd/wsdl/catalog/hello_world_port_type.wsdl": "No namespace defined for 'x1'",
    "28-four-wsdl-catalog-cyclic-xsd/wsdl/catalog/hello_world_wsdl_import.wsdl": "no SOAP port over HTTP: it is only a",
    "28-four-wsdl-catalog-cyclic-xsd/wsdl/others/hello_world_bindings_catalog.wsdl": "no SOAP port over HTTP",
    "28-four-wsdl-catalog-cyclic-xsd/wsdl/others/hello_world_messages_catalog.wsdl": "no SOAP port over HTTP",
    "28-four-wsdl-catalog-cyclic-xsd/wsdl/others/hello_world_wsdl_import_catalog.wsdl": "no SOAP port over HTTP",
    "30-wsdl-import-xsd-include-chain/registration.wsdl": "no usable operation",
    "32-self-recursive-types/recursive2.wsdl": "No definition '{http://bugrepro.com/account}AddAttributeSecureHeader'",
    "40-relative-query-xsd-import-juniper/juniper.wsdl": 'imports "SystemService?xsd=xsd0.xsd", which does not come',
    "41-http-get-post-binding": "no SOAP port over HTTP",
    "42-odd/binding-exception.wsdl": "No namespace defined for 'wsdlt'",
    "42-odd/missing_message_definition.wsdl": "The wsdl:operation 'GetWeather' was not found",
    "42-odd/schemas_without_targetnamespace.wsdl": "No namespace defined for 'n'",
    "43-not-well-formed": "not well-formed",
    "47-jms-transport-not-http": "no SOAP port over HTTP",
}


def _locations() -> dict[str, Path]:
    if not ZOO.is_dir():
        return {}
    known = {location: ZOO / path for location, path in json.loads((ZOO / "locations.json").read_text()).items()}
    folder = ZOO / "28-four-wsdl-catalog-cyclic-xsd" / "wsdl"
    for location in ("nopath/Invoice.xsd", "doesnotexist/nopath/Invoice.xsd"):  # as META-INF/jax-ws-catalog.xml says
        known[location] = folder / "Invoice.xsd"
    for name in ("bindings", "messages", "port_type", "services", "wsdl_import"):
        known[f"doesnotexist/hello_world_{name}.wsdl"] = folder / "catalog" / f"hello_world_{name}.wsdl"
    return known


def _contracts() -> list[Any]:
    found = sorted(path for folder in FOLDERS for path in (INTERFACES / folder).rglob("*.wsdl"))
    if not found:
        return [
            pytest.param(None, marks=pytest.mark.skip(reason="the folder of interfaces is not beside the checkout"))
        ]
    return [pytest.param(path, id=_name(path)) for path in found]


def _name(path: Path) -> str:
    return str(path.relative_to(ZOO if path.is_relative_to(ZOO) else INTERFACES))


def _operations(contract: wsdl.Contract) -> list[wsdl.Operation]:
    found = []
    for service in contract.document.services.values():
        for port in service.ports.values():
            if port.binding is not None and port.binding.all():
                found += contract.operations(service.name, port.name).values()
    return found


@pytest.mark.parametrize("path", _contracts())
def test_every_contract_is_usable_or_refused_with_its_reason(path: Path) -> None:
    expected = REFUSED.get(_name(path)) or REFUSED.get(_name(path).partition("/")[0])
    if expected is not None:
        with pytest.raises(Misconfigured) as refusal:
            Soap(None, wsdl=path, locations=_locations())
        assert expected in english(refusal.value.message)
        assert path.name in refusal.value.message
        _note(path, None, english(refusal.value.message))
        return
    contract = wsdl.load(path, _locations())
    operations = _operations(contract)
    assert operations
    for operation in operations:
        _check_request(operation)
        _check_answer(operation)
        assert operation.signature().startswith(operation.name + "(")
    _note(path, contract, "")


def _check_request(operation: wsdl.Operation) -> None:
    body = operation.grammar.input.body
    soap_headers = {name: value_of(element.type) for name, element in operation.headers.items()}
    if body is None:
        named: dict[str, Any] = {}
    elif isinstance(body.type, xsd.ComplexType):
        named = members_of(body.type)
    else:
        named = {body.name: value_of(body.type)}
    written = encode(operation, named=named, headers=soap_headers, address="https://example.org/")
    soap = _alone(operation)
    name, read_back = soap.read_request(written)
    twin = soap.operation(name).grammar.input.body  # two operations may share one input
    assert name == operation.name or twin.qname == body.qname
    _assert_same(read_back, plain(named), operation.name)


def _check_answer(operation: wsdl.Operation) -> None:
    output = operation.grammar.output
    if output is None:
        assert _alone(operation).decode(operation.name, Response(202, {}, b"")) is None
        return
    value = _result(output)
    written = encode_answer(operation, value)
    if output.body is None:
        assert read(operation, written).value is None or operation.attachments
        return
    _assert_same(read(operation, written, "text/xml; charset=utf-8").value, plain(value), operation.name)


def _result(output: Any) -> Any:
    """What `call` returns: the wrapper, then a structure of one member, are not shown."""
    body = output.body
    if body is None or not isinstance(body.type, xsd.ComplexType):
        return None if body is None else value_of(body.type)
    value = members_of(body.type)
    inner = wsdl.shown_member(output)
    if inner is None:
        return value or None
    name, member = body.type.elements[0]
    found = value.get(name)
    return found if member is inner or found is None else found.get(member.type.elements[0][0])


def _alone(operation: wsdl.Operation) -> Soap:
    service, _, port = operation.port.partition("/")
    return Soap(None, wsdl=operation.contract.path, locations=_locations(), service=service, port=port)


def _assert_same(found: Any, expected: Any, where: str) -> None:
    """Equal, where what was not given may come back as None, [] or {}."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for name in {*expected, *found}:
            _assert_same(found.get(name), expected.get(name), f"{where}.{name}")
    elif isinstance(expected, list) and isinstance(found, list):
        assert len(found) == len(expected), where
        for at, (one, other) in enumerate(zip(found, expected, strict=True)):
            _assert_same(one, other, f"{where}.{at}")
    elif found in (None, [], {}) or expected in (None, [], {}):
        assert not found, where
        assert expected in (None, [], {}), where
    else:
        assert found == expected, where
        assert type(found) is type(expected), where


def _note(path: Path, contract: wsdl.Contract | None, sentence: str) -> None:
    """A line of the table, for whoever asked for one."""
    table = os.environ.get("RELAIS_ZOO_TABLE")
    if not table:
        return
    if contract is None:
        line = f"| {_name(path)} | | | | {sentence} |"
    else:
        services = contract.document.services.values()
        ports = [port for service in services for port in service.ports.values() if port.binding is not None]
        count = sum(len(port.binding.all()) for port in ports)
        line = f"| {_name(path)} | {len(services)} | {len(ports)} | {count} | loaded |"
    with open(table, "a", encoding="utf-8") as out:
        out.write(line + "\n")


@pytest.mark.parametrize("words", [["du lac"], [""], ["a\tb"], [None]])
def test_an_item_that_a_list_of_words_cannot_carry_is_refused(words: list[Any]) -> None:
    path = ZOO / "48-xsd-list-and-array" / "string_array_test.wsdl"
    if not path.exists():
        pytest.skip("the folder of interfaces is not beside the checkout")
    soap = Soap(None, wsdl=path)
    with pytest.raises(InvalidInput):
        soap.build("StringListTest", words)
    assert b">lac parc<" in soap.build("StringListTest", ["lac", "parc"])


@pytest.mark.parametrize("path", _contracts())
def test_members_read_in_one_go_are_those_that_zeep_reads(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = _described(path)
    monkeypatch.setitem(facets._Visitor.visitors, f"{facets.XSD}element", SchemaVisitor.visit_element)
    assert found == _described(path)


def _described(path: Path) -> list[Any] | str:
    """Every element a contract leads to, each type by the place where it was first met."""
    try:
        types = wsdl._load(path, _locations(), True).document.types
    except Misconfigured as refused:
        return english(refused.message)
    places: dict[int, int] = {}
    told: list[Any] = []
    waiting = [*sorted(types.elements, key=str), *sorted(types.types, key=lambda kind: str(kind.qname))]
    for node in waiting:
        if id(node) in places:
            continue
        places[id(node)] = len(places)
        if isinstance(node, xsd.Element):
            limits = (node.min_occurs, node.max_occurs, node.nillable, node.default, node.is_global)
            told.append((node.qname.text, node.name, node.attr_name, *limits, type(node), _kind(node.type)))
            waiting.append(node.type)
        elif isinstance(node, xsd.ComplexType):
            told.append((_kind(node), [(name, type(each)) for name, each in node.elements_nested]))
            waiting += [each for _, each in node.elements]
    return told


def _kind(kind: Any) -> Any:
    return kind.name, getattr(kind, "qname", None) and kind.qname.text, kind.is_global, type(kind).__mro__[1].__name__
