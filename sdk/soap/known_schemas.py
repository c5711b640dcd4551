"""The few schemas that publishers import by their public address and never ship, written from their specifications.

They hold what a contract may refer to (types, attributes, groups), not what a validator would need.
"""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["KNOWN_SCHEMAS", "SOAP_ENCODING", "SOAP_ENCODING_12", "location_of"]

SOAP_ENCODING = "http://schemas.xmlsoap.org/soap/encoding/"
SOAP_ENCODING_12 = "http://www.w3.org/2003/05/soap-encoding"
XML = "http://www.w3.org/XML/1998/namespace"
XMIME = "http://www.w3.org/2005/05/xmlmime"
XOP = "http://www.w3.org/2004/08/xop/include"
SWAREF = "http://ws-i.org/profiles/basic/1.1/xsd"

# SOAP 1.1, section 5: each built-in type has a name of its own there; `id` and `href` are resolved before decoding.
_ENCODED = """
    string boolean decimal float double duration dateTime time date gYearMonth gYear gMonthDay gDay gMonth
    hexBinary base64Binary anyURI QName NOTATION normalizedString token language NMTOKEN NMTOKENS Name NCName ID
    IDREF IDREFS ENTITY ENTITIES integer nonPositiveInteger negativeInteger long int short byte
    nonNegativeInteger unsignedLong unsignedInt unsignedShort unsignedByte positiveInteger
""".split()  # noqa: SIM905 (a list of forty strings reads worse)


def _schema(namespace: str, content: str) -> bytes:
    return (
        f'<xs:schema xmlns:xs="http://www.w3.org/2001/XMLSchema" xmlns:t="{namespace}" targetNamespace="{namespace}">'
        f"{content}</xs:schema>"
    ).encode()


_ANYTHING = (
    '<xs:sequence><xs:any namespace="##any" minOccurs="0" maxOccurs="unbounded" processContents="lax"/></xs:sequence>'
)

_SOAP_ENCODING = _schema(
    SOAP_ENCODING,
    '<xs:attribute name="arrayType" type="xs:string"/><xs:attribute name="offset" type="xs:string"/>'
    '<xs:attribute name="position" type="xs:string"/><xs:attribute name="root" type="xs:boolean"/>'
    '<xs:attributeGroup name="commonAttributes">'
    '<xs:attribute name="id" type="xs:ID"/><xs:attribute name="href" type="xs:anyURI"/></xs:attributeGroup>'
    '<xs:attributeGroup name="arrayAttributes">'
    '<xs:attribute ref="t:arrayType"/><xs:attribute ref="t:offset"/></xs:attributeGroup>'
    '<xs:attributeGroup name="arrayMemberAttributes"><xs:attribute ref="t:position"/></xs:attributeGroup>'
    f'<xs:group name="Array">{_ANYTHING}</xs:group><xs:group name="Struct">{_ANYTHING}</xs:group>'
    '<xs:complexType name="Array"><xs:group ref="t:Array" minOccurs="0"/><xs:attribute ref="t:arrayType"/>'
    '<xs:attribute ref="t:offset"/><xs:attributeGroup ref="t:commonAttributes"/></xs:complexType>'
    '<xs:complexType name="Struct"><xs:group ref="t:Struct" minOccurs="0"/>'
    '<xs:attributeGroup ref="t:commonAttributes"/></xs:complexType>'
    '<xs:element name="Array" type="t:Array"/><xs:element name="Struct" type="t:Struct"/>'
    '<xs:simpleType name="base64"><xs:restriction base="xs:base64Binary"/></xs:simpleType>'
    + "".join(
        f'<xs:simpleType name="{name}"><xs:restriction base="xs:{name}"/></xs:simpleType>'
        f'<xs:element name="{name}" type="xs:{name}"/>'
        for name in _ENCODED
    ),
)

_XML = _schema(
    XML,
    '<xs:attribute name="lang" type="xs:language"/><xs:attribute name="space" type="xs:NCName"/>'
    '<xs:attribute name="base" type="xs:anyURI"/><xs:attribute name="id" type="xs:ID"/>'
    '<xs:attributeGroup name="specialAttrs"><xs:attribute ref="xml:base"/><xs:attribute ref="xml:lang"/>'
    '<xs:attribute ref="xml:space"/><xs:attribute ref="xml:id"/></xs:attributeGroup>',
).replace(f' xmlns:t="{XML}"'.encode(), b"")


def _with_content_type(name: str) -> str:
    return (
        f'<xs:complexType name="{name}"><xs:simpleContent><xs:extension base="xs:{name}">'
        '<xs:attribute ref="t:contentType"/></xs:extension></xs:simpleContent></xs:complexType>'
    )


_XMIME = _schema(
    XMIME,
    '<xs:attribute name="contentType" type="xs:string"/><xs:attribute name="expectedContentTypes" type="xs:string"/>'
    + _with_content_type("base64Binary")
    + _with_content_type("hexBinary"),
)

_XOP = _schema(
    XOP,
    f'<xs:element name="Include" type="t:Include"/><xs:complexType name="Include">{_ANYTHING}'
    '<xs:attribute name="href" type="xs:anyURI" use="required"/></xs:complexType>',
)

_SWAREF = _schema(SWAREF, '<xs:simpleType name="swaRef"><xs:restriction base="xs:anyURI"/></xs:simpleType>')

KNOWN_SCHEMAS: Mapping[str, bytes] = {
    SOAP_ENCODING: _SOAP_ENCODING,
    SOAP_ENCODING.rstrip("/"): _SOAP_ENCODING,
    "http://www.w3.org/2001/xml.xsd": _XML,
    "https://www.w3.org/2001/xml.xsd": _XML,
    "http://www.w3.org/2001/03/xml.xsd": _XML,
    XML: _XML,
    XMIME: _XMIME,
    XOP: _XOP,
    SWAREF: _SWAREF,
    "http://ws-i.org/profiles/basic/1.1/swaref.xsd": _SWAREF,
}
"""Schema documents by public address."""


def location_of(namespace: str | None) -> str | None:
    """Where an import that names no location finds one of these; None for any other namespace."""
    return namespace if namespace in KNOWN_SCHEMAS else None
