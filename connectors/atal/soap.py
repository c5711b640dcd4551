"""ATAL over SOAP: the customer's own WSDL, its operations filled by position or by name from a field map."""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from sdk import (
    Choice,
    File,
    Hit,
    Http,
    InvalidInput,
    Misconfigured,
    NotFound,
    Receipt,
    Rejected,
    RelaisError,
    Soap,
    SoapFault,
    Text,
    basic,
    current_call,
)
from sdk.geography import lambert93

from .generation import hit, not_offered, progress, settled, source, written
from .models import Attached, Comment, RequestProgress, WorkRequest
from .settings import Action, ListName, ListSource, Settings, SoapCall
from .shapes import choices, fill, invalid, member, placeholders, text_of

ASSUMED = {"requests": "assumed-demande.wsdl", "references": "assumed-villeagile.wsdl"}

_REQUEST = (
    "{contact_name}",
    "{contact_phone}",
    "{email}",
    "{contact_address}",
    "{object}",
    "{place}",
    "{description}",
    "",
    "{equipment}",
    "{service}",
    "{wished_date}",
    "{type}",
)
OPERATIONS: dict[Action, SoapCall] = {
    "test": SoapCall(operation="testConnection", arguments=[""]),
    "create": SoapCall(operation="insertDemandeByType", arguments=[*_REQUEST]),
    "create_located": SoapCall(operation="insertDemandeXYByType", arguments=[*_REQUEST, "{longitude}", "{latitude}"]),
    "details": SoapCall(
        operation="retrieveDetailsDemande",
        arguments=["{request}"],
        result={
            "number": "codeDemande",
            "status": "etatDemande.description",
            "object": "objetDemande",
            "comment": "commentairesDestinataires",
        },
    ),
    "comment": SoapCall(operation="insertActionComment", arguments=["{request}", "{text}"]),
    "attach": SoapCall(operation="upload", arguments=["{request}", "{filename}", "{content}"]),
    "search": SoapCall(
        operation="infosDemandes",
        arguments=["{q}"],
        result={
            "number": "codeDemande",
            "status": "etatDemande.description",
            "object": "objetDemande",
            "place": "lieuDemande",
        },
    ),
}
SOURCES: dict[ListName, ListSource] = {
    "types": ListSource(operation="getTypesDemande", id="code", text="libelle"),
    "thematics": ListSource(operation="getThematiqueATAL", id="code", text="libelle", parent="codeParent"),
    "equipment": ListSource(operation="getTypesEquipement", id="code", text="libelle", parent="codeParent"),
    "services": ListSource(operation="getServices", id="code", text="libelle"),
    "third_parties": ListSource(operation="getTiers", id="code", text="nom"),
    "rooms": ListSource(),
    "material": ListSource(),
}
COMPOSED = {
    "contact_name": {"last_name", "first_name"},
    "contact_phone": {"phone", "mobile"},
    "contact_address": {"address", "zip_code", "city"},
}
"""Names of templates made of several fields of the form."""

_FIELDS = {
    *("type", "thematic", "equipment", "service", "requester", "recipient", "object", "description", "place"),
    *("longitude", "latitude", "wished_date", "last_name", "first_name", "email", "phone", "mobile", "address"),
    *("zip_code", "city", *COMPOSED),
}
_KNOWN: dict[Action, set[str]] = {
    "test": set(),
    "create": _FIELDS,
    "create_located": _FIELDS,
    "details": {"request"},
    "comment": {"request", "text", "author"},
    "attach": {"request", "filename", "content", "content_type"},
    "search": {"q"},
}


class OverSoap:
    """The services of one older ATAL. `folder` holds the WSDLs that stand for those the customer did not give."""

    def __init__(self, settings: Settings, http: Http, folder: Path) -> None:
        self.settings = settings
        options = settings.soap
        way = http.using(basic(settings.username, settings.password)) if settings.username else http
        self.assumed = options.wsdl is None
        wsdl = options.wsdl or folder / ASSUMED["requests"]
        services = [
            (wsdl, settings.url),
            *((each.wsdl or folder / ASSUMED["references"], each.url) for each in options.others),
        ]
        # A service that lies about its types is still read: what is needed of an answer is text.
        built = [
            Soap(way, wsdl=path, address=url, faults=self._fault, strict=False, timeout=settings.timeout)
            for path, url in services
        ]
        self.services = [(each, each.operations()) for each in built]
        self.calls: dict[Action, SoapCall] = {}
        self._unfit: dict[Action, Misconfigured] = {}
        for action, call in OPERATIONS.items():
            override = options.operations.get(action)
            self.calls[action] = call.model_copy(update=override.model_dump(exclude_unset=True) if override else {})
            try:
                self._check_map(action)
            except Misconfigured as error:
                # What the settings name must be right at once; what we assume may be wrong until it is asked for.
                if override or action in ("create", "details"):
                    raise
                self._unfit[action] = error

    # Calls.

    def _service(self, operation: str) -> Soap | None:
        return next((each for each, signatures in self.services if operation in signatures), None)

    def _check_map(self, action: Action) -> None:
        call = self.calls[action]
        where = f"soap.operations.{action}"
        soap = self._service(call.operation)
        if soap is None:
            known = ", ".join(sorted(name for _, signatures in self.services for name in signatures))
            raise _wrong_map(
                where,
                f"le WSDL n'a pas d'opération « {call.operation} » ; il a : {known}",
                f"the WSDL has no operation {call.operation}; it has: {known}",
            )
        parameters = list(soap.operation(call.operation).parameters)
        arguments = call.arguments
        if isinstance(arguments, list):
            templates = arguments
            if len(arguments) > len(parameters):
                raise _wrong_map(
                    where,
                    f"{call.operation} prend {len(parameters)} paramètres, pas {len(arguments)}",
                    f"{call.operation} takes {len(parameters)} parameters, not {len(arguments)}",
                )
        else:
            templates = list(arguments.values())
            if wrong := [name for name in arguments if name.partition(".")[0] not in parameters]:
                listed = ", ".join(parameters)
                raise _wrong_map(
                    where,
                    f"{call.operation} n'a pas de paramètre « {wrong[0]} » ; il a : {listed}",
                    f"{call.operation} has no parameter {wrong[0]}; it has: {listed}",
                )
        if strange := set().union(*map(placeholders, templates)) - _KNOWN[action]:
            listed = ", ".join(sorted(_KNOWN[action])) or "—"
            raise _wrong_map(
                where,
                f"{{{min(strange)}}} n'existe pas ; il y a : {listed}",
                f"{{{min(strange)}}} does not exist; there are: {listed}",
            )
        _check_arguments(soap, call.operation, where, *self._arguments(soap, call, {}, None))

    async def _call(self, action: Action, values: Mapping[str, str], file: File | None = None) -> Any:
        call = self.calls[action]
        soap = self._service(call.operation)
        if soap is None:
            raise not_offered(
                f"n'a pas d'opération « {call.operation} »",
                f"has no operation {call.operation}",
                f"soap.operations.{action}",
            )
        if action in self._unfit:
            raise self._unfit[action]
        ordered, named = self._arguments(soap, call, values, file)
        answer = await soap.call(call.operation, *ordered, **named)
        return member(answer, call.at) if call.at else answer

    def _arguments(
        self, soap: Soap, call: SoapCall, values: Mapping[str, str], file: File | None
    ) -> tuple[list[Any], dict[str, Any]]:
        """By position and by name. What the form left empty is an empty text, as this software expects; an optional
        date or number cannot be, and is left out."""
        operation = soap.operation(call.operation)
        signature = operation.signature()

        def value_of(name: str, template: str) -> Any:
            kind = re.search(rf"[(,{{ ]{re.escape(name)}(\??): (\w+)", signature)
            if file is not None and "{content}" in template:
                if template == "{content}" and kind and kind[2] == "base64Binary":
                    return file.content
                return fill(template, {**values, "content": base64.b64encode(file.content).decode("ascii")})
            text = fill(template, values)
            return None if not text and kind and kind[1] and kind[2] != "string" else text

        if isinstance(call.arguments, list):
            return [value_of(*each) for each in zip(operation.parameters, call.arguments, strict=False)], {}
        named: dict[str, Any] = {}
        for name, template in call.arguments.items():
            *above, last = name.split(".")
            place = named
            for step in above:
                place = place.setdefault(step, {})
            place[last] = value_of(last, template)
        return [], named

    def _fault(self, fault: SoapFault) -> RelaisError | None:
        for name in (fault.code, fault.type, fault.faultcode):
            if name and (sentence := self.settings.soap.refusals.get(name)):
                return Rejected(Text(sentence, en=sentence), code=name)
        return None

    # Lists.

    async def choices(self, name: ListName, parent: str = "") -> list[Choice]:
        found = source(self.settings, SOURCES, name)
        if fixed := written(found):
            return fixed
        soap = self._service(found.operation) if found.operation else None
        if soap is None:
            raise not_offered(f"ne donne pas la liste « {name} »", f"has no list {name}", f"lists.{name}")
        _check_arguments(soap, found.operation, f"lists.{name}", found.arguments)
        rows = await soap.call(found.operation, *found.arguments)
        rows = member(rows, found.at) if found.at else rows
        if rows is None:
            return []
        if isinstance(rows, Mapping) and len(rows) == 1:  # an answer whose list stands one step below
            rows = next(iter(rows.values())) or []
        if not isinstance(rows, list):
            raise invalid(f"no list in the answer of {found.operation}")
        return choices(rows, found, parent=parent)

    # Requests.

    async def create(self, request: WorkRequest) -> Receipt:
        action: Action = "create" if request.longitude is None else "create_located"
        if self.assumed:
            current_call().notes["wsdl"] = "assumed"
        values = settled(self.settings, request, self._placed(action), f"soap.operations.{action}")
        answer = await self._call(action, self._texts(values))
        places = self.calls[action].result.get("number", "numeroDemande|codeDemande|numero|return")
        number = text_of(answer, places) if isinstance(answer, Mapping) else text_of({"number": answer}, "number")
        if not number:
            raise invalid(f"{self.calls[action].operation} without a request number")
        return Receipt(id=number, display_id=number)

    def _placed(self, action: Action) -> set[str]:
        arguments = self.calls[action].arguments
        templates = arguments if isinstance(arguments, list) else arguments.values()
        named = set().union(*map(placeholders, templates))
        return named.union(*(COMPOSED[name] for name in named if name in COMPOSED))

    def _texts(self, values: Mapping[str, Any]) -> dict[str, str]:
        """Every field as the text SOAP carries, and those composed of several."""
        if self.settings.soap.coordinates == "lambert93" and "longitude" in values:
            east, north = lambert93(values["longitude"], values["latitude"])
            values = {**values, "longitude": east, "latitude": north}
        texts = {name: self._text(value) for name, value in values.items()}

        def joined(separator: str, *names: str) -> str:
            return separator.join(filter(None, (texts.get(name, "") for name in names)))

        locality = joined(" ", "zip_code", "city")
        return texts | {
            "contact_name": joined(" ", "last_name", "first_name"),
            "contact_phone": joined(" / ", "phone", "mobile"),
            "contact_address": ", ".join(filter(None, (texts.get("address", ""), locality))),
        }

    def _text(self, value: Any) -> str:
        if isinstance(value, date):
            return value.strftime(self.settings.soap.date_format)
        return format(Decimal(repr(value)), "f") if isinstance(value, float) else str(value)

    async def follow(self, request: str) -> RequestProgress:
        answer = await self._call("details", {"request": request})
        result = self.calls["details"].result
        if isinstance(answer, str) and answer.strip():  # an operation that answers the state alone
            return progress(self.settings, request, answer.strip())
        if not isinstance(answer, Mapping) or not any(text_of(answer, place) for place in result.values()):
            raise NotFound(Text("ATAL ne connaît pas cette demande.", en="ATAL does not know this request."))
        status = text_of(answer, result.get("status", "etatDemande"))
        if not status:
            raise invalid("a request without a state: see soap.operations.details.result.status")
        comments = member(answer, result.get("comment", "commentairesDestinataires"))
        said = comments if isinstance(comments, list) else [comments]
        return progress(
            self.settings,
            request,
            status,
            number=text_of(answer, result.get("number", "codeDemande")),
            object=text_of(answer, result.get("object", "objetDemande")),
            comments=[each.strip() for each in said if isinstance(each, str) and each.strip()],
        )

    async def comment(self, request: str, comment: Comment) -> None:
        arguments = self.calls["comment"].arguments
        templates = arguments if isinstance(arguments, list) else list(arguments.values())
        text = comment.text
        if comment.author and not any("author" in placeholders(each) for each in templates):
            text = f"{comment.author} : {text}"
        await self._call("comment", {"request": request, "text": text, "author": comment.author})

    async def attach(self, request: str, file: File) -> Attached:
        values = {"request": request, "filename": file.filename, "content_type": file.content_type}
        await self._call("attach", values, file)
        return Attached(filename=file.filename, size=file.size)

    async def download(self, attachment: str) -> File:
        raise not_offered("ne rend pas les fichiers", "gives no file back", "generation")

    async def search(self, q: str, limit: int) -> list[Hit]:
        if self._service(self.calls["search"].operation) is None:
            return await self._by_number(q)
        rows = await self._call("search", {"q": q})
        result = self.calls["search"].result
        if not isinstance(rows, list):
            rows = [] if rows is None else [rows]
        return [
            self._hit(
                text_of(row, result.get("number", "codeDemande")),
                text_of(row, result.get("object", "objetDemande")),
                text_of(row, result.get("place", "lieuDemande")),
                text_of(row, result.get("status", "etatDemande")),
            )
            for row in rows[:limit]
        ]

    async def _by_number(self, q: str) -> list[Hit]:
        """What is left without a search operation: the request of that very number."""
        try:
            one = await self.follow(q.strip())
        except NotFound:
            return []
        return [self._hit(one.number or one.id, one.object, "", one.status)]

    def _hit(self, number: str, object: str, place: str, status: str) -> Hit:
        return hit(self.settings, number, number, object, place, status)

    async def check(self) -> None:
        if self._service(self.calls["test"].operation) is None:
            raise _wrong_map(
                "soap.operations.test",
                "le WSDL n'a pas d'opération pour vérifier la connexion",
                "the WSDL has no operation to test the connection",
            )
        await self._call("test", {})


def _check_arguments(
    soap: Soap, operation: str, where: str, ordered: list[Any], named: Mapping[str, Any] | None = None
) -> None:
    """Refuses arguments the operation does not take, or not all of those it needs."""
    try:
        soap.build(operation, *ordered, **(named or {}))
    except TypeError:
        signature = soap.operation(operation).signature()
        raise _wrong_map(
            where,
            f"ces paramètres ne sont pas ceux de {signature}",
            f"these parameters are not those of {signature}",
        ) from None
    except InvalidInput:
        return  # a value to come, of a type that an empty text is not


def _wrong_map(where: str, french: str, english: str) -> Misconfigured:
    return Misconfigured(Text(f"{where} : {french}.", en=f"{where}: {english}."), code="field-map", processed=False)
