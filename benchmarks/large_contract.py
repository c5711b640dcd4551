"""A connector whose WSDL is as large as a publisher's largest, and the text of that WSDL."""

from __future__ import annotations

from pathlib import Path

from sdk import Connector, Http, HttpUrl, Model, Row, Soap, get

TYPES, OPERATIONS = 1_000, 300
SIMPLE = ("string", "int", "date", "dateTime", "decimal", "boolean", "double")


def wsdl(types: int = TYPES, operations: int = OPERATIONS) -> str:
    """Document/literal; types of fifteen elements, a third of which refer to an earlier type."""
    schema = []
    for number in range(types):
        members = []
        for at in range(15):
            nested = number > 0 and at % 3 == 2
            kind = f"tns:Type{(number * 7 + at) % number}" if nested else f"xs:{SIMPLE[(number + at) % len(SIMPLE)]}"
            many = ' maxOccurs="unbounded"' if at == 5 else ""
            members.append(f'<xs:element name="member{at}" type="{kind}" minOccurs="0"{many}/>')
        schema.append(
            f'<xs:complexType name="Type{number}"><xs:sequence>{"".join(members)}</xs:sequence></xs:complexType>'
        )
    messages, port, binding = [], [], []
    for number in range(operations):
        for way in ("Request", "Answer"):
            schema.append(
                f'<xs:element name="{way}{number}" type="tns:Type{(number * 3 + (way == "Answer")) % types}"/>'
            )
            messages.append(f'<message name="{way}{number}"><part name="body" element="tns:{way}{number}"/></message>')
        port.append(
            f'<operation name="operation{number}"><input message="tns:Request{number}"/>'
            f'<output message="tns:Answer{number}"/></operation>'
        )
        binding.append(
            f'<operation name="operation{number}"><soap:operation soapAction="urn:{number}"/>'
            '<input><soap:body use="literal"/></input><output><soap:body use="literal"/></output></operation>'
        )
    return (
        '<definitions xmlns="http://schemas.xmlsoap.org/wsdl/" xmlns:tns="urn:large" targetNamespace="urn:large" '
        'xmlns:soap="http://schemas.xmlsoap.org/wsdl/soap/" xmlns:xs="http://www.w3.org/2001/XMLSchema">'
        '<types><xs:schema targetNamespace="urn:large" elementFormDefault="qualified">'
        f'{"".join(schema)}</xs:schema></types>{"".join(messages)}<portType name="Port">{"".join(port)}</portType>'
        '<binding name="Binding" type="tns:Port"><soap:binding transport="http://schemas.xmlsoap.org/soap/http"/>'
        f'{"".join(binding)}</binding><service name="Service"><port name="Port" binding="tns:Binding">'
        '<soap:address location="http://127.0.0.1:1/"/></port></service></definitions>'
    )


class Settings(Model):
    wsdl: Path
    url: HttpUrl


class Large(Connector[Settings]):
    """Three hundred operations."""

    name, title, category = "large", "Grand contrat", "Mesures"

    def __init__(self, settings: Settings, http: Http) -> None:
        super().__init__(settings, http)
        self.soap = Soap(http, wsdl=settings.wsdl, address=str(settings.url))

    @get
    async def request(self) -> Row:
        """Builds a request, without sending it: the contract is there."""
        return Row(size=len(self.soap.build("operation0", member0="x")))
