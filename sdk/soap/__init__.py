"""SOAP: a publisher's operations as plain calls.

    self.atal = Soap(http, wsdl=self.file("demande.wsdl"), address=str(settings.url))
    number = await self.atal.call("insertDemande", typeDemande=request.type, demandeLieu=request.place)

The WSDL and what it imports are files; nothing is ever fetched. Values are plain (see `sdk.soap.decoder`):
dictionaries, lists, text, int, Decimal, date, bytes; what the schema repeats is always a list. Sizes are bytes, times
are seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from sdk import xml
from sdk.call import current_call
from sdk.errors import Misconfigured, RelaisError, Text, UpstreamInvalid
from sdk.files import File
from sdk.messages import Request, Response

from . import wsdl as grammar
from .decoder import Answer, SoapFault
from .encoder import NIL, UsernameToken, encode, encode_answer, encode_fault, http_headers
from .envelopes import LONG, read, read_request
from .large import Job, Source, apart, read_large
from .meanings import (
    REFUSED_SECURITY,
    UNAVAILABLE,
    FaultReader,
    by_status,
    credentials,
    declared,
    plain_code,
    shown,
)
from .reader import refused
from .values import Record, invalid
from .wsdl import Operation

if TYPE_CHECKING:
    from sdk.http import Http

__all__ = ["NIL", "Answer", "Record", "Soap", "SoapFault", "UsernameToken"]

HUGE = xml.MAX_BYTES  # above, a single text may be longer than the parser's usual limit
LARGE = 64 * 1024  # bytes of answer above which reading it at once would hold the loop for more than some 2 ms
HEAVY = 512 * 1024  # bytes of arguments above which writing them would


class Soap:
    """One port of a publisher's SOAP service.

    - `wsdl`: its file, inside the connector's package. `locations`: the file for each location it imports and that is
      not beside it (`{"http://…/types.xsd": self.file("types.xsd")}`). `service`, `port`: names, when it has several.
    - `address`: where it answers; overrides the WSDL's. `security`: a `UsernameToken`. `headers`: SOAP headers of every
      call, by the name the WSDL gives them, or as `"{namespace}Name"`.
    - `repeatable`: operations that change nothing upstream, so that a failed call may be sent again.
    - `faults`: what a SOAP fault means, by the publisher's code, the name the WSDL gives the fault, the name of its
      detail's element or its faultcode (`{"P5": lambda fault: Rejected("…", code="P5"), "NoSuchCustomer": NotFound}`),
      or one function `fault → error or None`. A fault it does not name is `UpstreamInvalid`. A key is free text, since
      publishers' codes are: a misspelt one is not refused, it never applies.
    - `check`: called with each value; raises the error a publisher reports inside a normal answer.
    - `unprocessed`: HTTP statuses by which the publisher documents that it executed nothing (401, 503…).
    - `strict=False` keeps as text a value that is not of its declared type, and ignores undeclared elements.

    Raises `Misconfigured` when the WSDL cannot be used. It reads files: build it where connectors are built.
    """

    def __init__(
        self,
        http: Http | None,
        *,
        wsdl: Path,
        address: str | None = None,
        service: str | None = None,
        port: str | None = None,
        locations: Mapping[str, Path] | None = None,
        headers: Mapping[str, Any] | None = None,
        security: UsernameToken | None = None,
        repeatable: Collection[str] = (),
        faults: Mapping[str, FaultReader | type[RelaisError]] | FaultReader | None = None,
        check: Callable[[Any], None] | None = None,
        strict: bool = True,
        unprocessed: Collection[int] = (),
        max_bytes: int | None = None,
        timeout: float | None = None,
    ) -> None:
        self._http = http
        self._unprocessed = frozenset(unprocessed)
        self._contract = grammar.load(wsdl, locations, strict=strict)
        self._operations = self._contract.operations(service, port)
        self._address = self._contract.address(service, port) if address is None else address
        if http is not None and (
            urlsplit(self._address).scheme not in ("http", "https") or not urlsplit(self._address).hostname
        ):
            raise refused(
                f"Le service SOAP de {wsdl.name} n'a pas d'adresse : indiquez-la dans la configuration de l'instance.",
                f"The SOAP service of {wsdl.name} has no address: give it in the instance's settings.",
            )
        self._source = Source(wsdl, tuple(sorted((locations or {}).items())), strict, service, port)
        if http is not None:
            http.contracts[f"{wsdl.name} {service or ''}/{port or ''}".rstrip(" /")] = self.left
        self._headers = dict(headers or {})
        self._security = security
        self._repeatable = frozenset(repeatable)
        for name in self._repeatable:
            self.operation(name)
        self._faults = faults
        self._check = check
        self._max_bytes = max_bytes
        self._timeout = timeout

    async def call(
        self,
        operation: str,
        /,
        *positional: Any,
        args: Mapping[str, Any] | None = None,
        repeatable: bool | None = None,
        soap_headers: Mapping[str, Any] | None = None,
        check: Callable[[Any], None] | None = None,
        max_bytes: int | None = None,
        timeout: float | None = None,
        **named: Any,
    ) -> Any:
        """Calls an operation, its arguments by name or in the WSDL's order; any name at all in `args={"param-1": …}`.

        Structures are dictionaries (or models), files are bytes (or `File`); None leaves an argument out, `NIL` sends
        it empty and nil; `{"xsi:type": "Name", …}` chooses a derived type. The value comes without its wrappers: see
        `sdk.soap.decoder.decode`. `max_bytes` above 10 MB also allows a single text that large (a file in base64).

        Raises TypeError for an argument, or a member at any depth, that the WSDL does not have (a bug of the
        connector), `InvalidInput` for values their type, enumeration, range or length refuses, by field
        (`lines/0/amount`).
        """
        answer = await self.exchange(
            operation,
            *positional,
            args=args,
            repeatable=repeatable,
            soap_headers=soap_headers,
            check=check,
            max_bytes=max_bytes,
            timeout=timeout,
            **named,
        )
        return answer.value

    async def exchange(
        self,
        operation: str,
        /,
        *positional: Any,
        args: Mapping[str, Any] | None = None,
        repeatable: bool | None = None,
        soap_headers: Mapping[str, Any] | None = None,
        check: Callable[[Any], None] | None = None,
        max_bytes: int | None = None,
        timeout: float | None = None,
        **named: Any,
    ) -> Answer:
        """`call`, with the SOAP headers and the attachments of the answer."""
        if self._http is None:
            raise RuntimeError("this Soap was built without an Http: it encodes and decodes, it does not call")
        found = self.operation(operation)
        named = {**(args or {}), **named}
        limit = max_bytes or self._max_bytes or self._http.max_bytes
        if _weight([positional, named]) > HEAVY:
            body = await asyncio.to_thread(self._encoded, found, positional, named, soap_headers)
        else:
            body = self._encoded(found, positional, named, soap_headers)
        if repeatable is None and operation in self._repeatable:
            repeatable = True
        wait = self._timeout if timeout is None else timeout
        request = Request("POST", self._address, http_headers(found), body, repeatable, wait, limit)
        response = await self._http.send(request)
        answer = await self._answer(found, response, limit)
        for each in (self._check, check):
            if each is not None:
                each(answer.value)
        return answer

    def operations(self) -> dict[str, str]:
        """Signature of each operation, for people: `find(name: string, limit?: int) → [{id: string}] ! NotKnown {}`."""
        return {name: operation.signature() for name, operation in self._operations.items()}

    def operation(self, name: str) -> Operation:
        """An operation with its types. Raises LookupError naming those there are."""
        try:
            return self._operations[name]
        except KeyError:
            known = ", ".join(sorted(self._operations))
            raise LookupError(f"{self._contract.path.name} has no operation {name!r}; this port has: {known}") from None

    def left(self) -> dict[str, Text]:
        """What no compiled reader reads, so more slowly: operation, structure or member of an answer → reason."""
        return {name: reason for each in self._operations.values() for name, reason in each.left().items()}

    @property
    def digest(self) -> str:
        """SHA-256 of the WSDL and all it imports: tells when a publisher's contract changed."""
        return self._contract.digest

    @property
    def notes(self) -> tuple[str, ...]:
        """What of the WSDL had to be left out."""
        return self._contract.notes

    async def close(self) -> None:
        """Stops the process that decodes large answers; the next large answer starts another."""
        apart.stop()

    # Bytes: for tests and simulators.

    def build(
        self,
        operation: str,
        /,
        *positional: Any,
        args: Mapping[str, Any] | None = None,
        soap_headers: Mapping[str, Any] | None = None,
        **named: Any,
    ) -> bytes:
        """The envelope `call` would send."""
        return self._encoded(self.operation(operation), positional, {**(args or {}), **named}, soap_headers)

    def decode(self, operation: str, answer: bytes | Response) -> Any:
        """The value of an answer, or the error `call` would raise for it."""
        found = self.operation(operation)
        response = answer if isinstance(answer, Response) else Response(200, {"Content-Type": "text/xml"}, answer)
        if not self._expects_value(found, response):
            return None
        return self._settled(found, response, self._read(found, response, self._max_bytes or len(response.body))).value

    def read_request(self, body: bytes, content_type: str = "") -> tuple[str, dict[str, Any]]:
        """(operation, arguments by name) of a request, as the publisher reads it."""
        return read_request(self._operations, body, content_type)

    def answer(self, operation: str, value: Any = None) -> bytes:
        """The envelope a publisher answers for `value`, given as `call` returns it."""
        return encode_answer(self.operation(operation), value)

    def fault(self, operation: str, code: str, string: str, detail: Any = None, *, name: str = "") -> bytes:
        """The envelope of a fault; `name` is one the operation declares (or its element), `detail` its members."""
        return encode_fault(self.operation(operation), code, string, detail, name=name)

    # Inside.

    def _encoded(
        self, operation: Operation, positional: Any, named: Mapping[str, Any], headers: Mapping[str, Any] | None
    ) -> bytes:
        return encode(
            operation,
            positional,
            named,
            headers={**self._headers, **(headers or {})},
            security=self._security,
            address=self._address,
        )

    async def _answer(self, operation: Operation, response: Response, limit: int) -> Answer:
        if not self._expects_value(operation, response):
            return Answer()
        if len(response.body) <= LARGE:
            await operation.prepare(arriving=len(response.body) > LONG)
            answer = self._read(operation, response, limit)
            way = "compiled" if answer is not None and answer.compiled else "zeep"
        else:
            content_type = response.headers.get("Content-Type", "")
            job = Job(self._source, operation.name, response.body, content_type, limit, limit > HUGE)
            try:
                answer, way = await read_large(operation, job)
            except UpstreamInvalid:
                if response.status < 400:
                    raise
                answer, way = None, "zeep"
        read_so = current_call().read_so
        read_so[way] = read_so.get(way, 0) + 1
        return self._settled(operation, response, answer)

    def _expects_value(self, operation: Operation, response: Response) -> bool:
        """False for the empty acknowledgement of a one-way operation; raises for what can hold no envelope."""
        status = response.status
        if 300 <= status < 400:
            raise Misconfigured(
                Text(
                    "L'adresse du webservice renvoie vers une autre adresse : corrigez-la dans la configuration.",
                    en="The webservice's address redirects elsewhere: correct it in the settings.",
                ),
                detail=f"status {status}",
                code="redirect",
            )
        if response.body and not response.body.isspace():
            return True
        if operation.one_way and 200 <= status < 300:
            return False
        if status >= 400:
            raise self._refused(response)
        raise invalid(f"status {status} with an empty body")

    def _read(self, operation: Operation, response: Response, limit: int) -> Answer | None:
        try:
            return read(
                operation, response.body, response.headers.get("Content-Type", ""), max_bytes=limit, huge=limit > HUGE
            )
        except UpstreamInvalid:
            if response.status >= 400:
                return None
            raise

    def _settled(self, operation: Operation, response: Response, answer: Answer | None) -> Answer:
        if answer is not None and answer.fault is not None:
            raise self._meaning(answer.fault, response)
        if response.status >= 400 or answer is None:
            raise self._refused(response)
        return answer

    def _refused(self, response: Response) -> RelaisError:
        """What a status without SOAP means."""
        error = by_status(response)
        if response.status in self._unprocessed:
            error.processed = False
        return error

    def _meaning(self, fault: SoapFault, response: Response) -> RelaisError:
        """The author's word first; what is known of HTTP and WS-Security next; else the contract is broken."""
        if callable(self._faults):
            error = self._faults(fault)
            if error is not None:
                return error
        elif self._faults:
            for name in (fault.code, fault.name, fault.type, fault.faultcode):
                found = self._faults.get(name) if name else None
                error = declared(found, fault) if found is not None else None
                if error is not None:
                    return error
        if fault.code in REFUSED_SECURITY or fault.faultcode in REFUSED_SECURITY or response.status in (401, 403):
            error = credentials(f"fault {shown(fault)}, status {response.status}")
            error.processed = False if response.status in self._unprocessed else None
            return error
        if response.status in UNAVAILABLE:
            return self._refused(response)
        return UpstreamInvalid(
            Text(
                "Le logiciel de l'éditeur a répondu par une erreur que le connecteur ne connaît pas.",
                en="The publisher's software answered an error the connector does not know.",
            ),
            detail=f"fault {shown(fault)}, status {response.status}",
            code=plain_code(fault),
        )


def _weight(value: Any) -> int:
    if value is None or type(value) in (int, bool, float):
        return 0
    if isinstance(value, str | bytes):
        return len(value)
    if type(value) is dict:
        return sum(map(_weight, value.values()))
    if isinstance(value, File):
        return value.size
    if isinstance(value, Mapping):
        return sum(map(_weight, value.values()))
    return sum(map(_weight, value)) if isinstance(value, list | tuple) else 0
