"""The v6 side of the simulated ATAL: JSON, an API key, OData options, problem documents."""

from __future__ import annotations

import email.policy
import json
import operator
import re
import secrets
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from email.parser import BytesParser
from typing import Any

from sdk.simulator import Clock, SimRequest, SimResponse, Simulator, on

from .simulator_data import EXPANDS, ITEMS, PATRIMONIES, THEMATICS, THIRD_PARTIES, TYPES, Demand

KEY = "cle-de-demonstration"


class Problem(Exception):
    """A refusal of the v6 API, as a problem document."""

    def __init__(self, status: int, detail: str, errors: Mapping[str, list[str]] | None = None) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, errors


class AtalV6(Simulator):
    """The database of the simulated ATAL, and the v6 API over it."""

    def __init__(self, *, clock: Clock | None = None, **options: Any) -> None:
        super().__init__(clock=clock, **options)
        self.demands: dict[str, Demand] = {}
        self.loans: dict[str, dict[str, dict[str, Any]]] = {"RoomLoans": {}, "MaterialLoans": {}}
        self.attachments: dict[str, tuple[str, str, bytes]] = {}
        """Identifier → (key, name, content)."""
        self.knows_responses = True
        """False plays an older v6, which refuses $expand=Responses."""

    def demand(self, wanted: str) -> Demand | None:
        return next((each for each in self.demands.values() if wanted in (each.number, each.uuid)), None)

    def insert(self, generation: str, fields: Mapping[str, Any]) -> Demand:
        count = len(self.demands) + 117
        demand = Demand(f"D-2025-{count:05d}", str(uuid.UUID(int=0x11865D87336B49B3E18108D76F930000 + count)), fields)
        self.demands[demand.number] = demand
        located = fields.get("Longitude") is not None
        self.record(
            "createRequest",
            generation=generation,
            number=demand.number,
            type=str(fields.get("RequestType", "")),
            located=located,
        )
        return demand

    def comment(self, demand: Demand, text: str) -> None:
        demand.comments.append(text)
        self.record("comment", number=demand.number)

    def attach(self, demand: Demand, name: str, content: bytes) -> str:
        demand.files.append((name, content))
        id = str(18249 + len(self.attachments))
        self.attachments[id] = (uuid.uuid5(uuid.NAMESPACE_URL, id).hex, name, content)
        self.record("attach", number=demand.number, size=len(content), attachment=id)
        return id

    # The v6 API.

    @on("GET", "/api/Test")
    async def test(self, request: SimRequest) -> SimResponse:
        """Plain text."""
        self.record("test", generation="v6")
        return SimResponse("ATAL API", 200)

    @on("GET", "/api/Thematics")
    @on("GET", "/api/ThirdParties")
    @on("GET", "/api/Patrimonies")
    @on("GET", "/api/InventoriedItems")
    async def listed(self, request: SimRequest) -> SimResponse:
        """The reference lists, as bare arrays."""
        rows: list[dict[str, Any]] = {
            "/api/Thematics": THEMATICS,
            "/api/ThirdParties": THIRD_PARTIES,
            "/api/Patrimonies": PATRIMONIES,
            "/api/InventoriedItems": ITEMS,
        }[request.path]
        if kind := request.query.get("type"):
            rows = [row for row in rows if str(row["Type"]) == kind]
        return self._v6(request, lambda: queried(rows, request.query))

    @on("GET", "/api/WorksRequests")
    async def requests(self, request: SimRequest) -> SimResponse:
        """The requests, filtered."""
        return self._v6(request, lambda: queried([_row(each) for each in self.demands.values()], request.query))

    @on("POST", "/api/WorksRequests")
    async def create(self, request: SimRequest) -> SimResponse:
        """Creates a request; names are bound whatever their case."""

        def answer() -> Any:
            given = _body(request)
            errors: dict[str, list[str]] = {}
            if not given.get("Object"):
                errors["Object"] = ["The Object field is required."]
            if given.get("RequestType") not in [None, *(id for id, _ in TYPES.values())]:
                errors["RequestType"] = ["The request type is unknown."]
            if errors:
                raise Problem(400, "One or more validation errors occurred.", errors)
            return _row(self.insert("v6", given))

        return self._v6(request, answer, 201)

    @on("GET", "/api/WorksRequests/{id}")
    async def one(self, request: SimRequest) -> SimResponse:
        """One request, by its UUID; `$expand=Responses` is refused by an older instance."""

        def answer() -> Any:
            expand = request.query.get("$expand", "")
            if expand and (expand not in EXPANDS or (expand == "Responses" and not self.knows_responses)):
                raise Problem(400, f"Could not find a property named '{expand}' on type 'WorksRequest'.")
            demand = self._by_uuid(request)
            responses = [{"Id": at, "Comment": text} for at, text in enumerate(demand.responses, 1)]
            return _row(demand) | ({"Responses": responses} if expand == "Responses" else {})

        return self._v6(request, answer)

    @on("POST", "/api/WorksRequests/{id}/Responses")
    async def respond(self, request: SimRequest) -> SimResponse:
        """Adds a comment (assumed)."""

        def answer() -> Any:
            demand, text = self._by_uuid(request), _body(request).get("Comment")
            if not isinstance(text, str) or not text:
                raise Problem(400, "One or more validation errors occurred.", {"Comment": ["Required."]})
            self.comment(demand, text)
            return {"Id": len(demand.comments)}

        return self._v6(request, answer, 201)

    @on("POST", "/api/WorksRequests/{id}/Attachments")
    async def upload(self, request: SimRequest) -> SimResponse:
        """Receives the multipart part `file`."""

        def answer() -> Any:
            demand = self._by_uuid(request)
            name, content = _part(request, "file")
            id = self.attach(demand, name, content)
            return {"Id": int(id), "Key": self.attachments[id][0], "FileName": name}

        return self._v6(request, answer)

    @on("GET", "/api/Attachments/{id}")
    async def attachment(self, request: SimRequest) -> SimResponse:
        """Name and key of an attachment."""

        def answer() -> Any:
            if (found := self.attachments.get(request.params["id"])) is None:
                raise Problem(404, "Not Found")
            return {"Id": int(request.params["id"]), "Key": found[0], "FileName": found[1]}

        return self._v6(request, answer)

    @on("GET", "/api/Attachments/Download/{key}")
    async def download(self, request: SimRequest) -> SimResponse:
        """The bytes, under a wrong type."""
        if not self._admitted(request):
            return _problem(Problem(401, "Unauthorized"))
        found = next((each for each in self.attachments.values() if each[0] == request.params["key"]), None)
        if found is None:
            return _problem(Problem(404, "Not Found"))
        return SimResponse(found[2], 200, "text/html")

    @on("GET", "/api/{kind:RoomLoans|MaterialLoans}/Lines")
    async def lines(self, request: SimRequest) -> SimResponse:
        """What is lent, line by line."""
        kind = request.params["kind"]
        member = "Rooms" if kind == "RoomLoans" else "Material"
        rows = [
            {**line, "LoanId": int(id), "RequestState": loan["RequestState"]}
            for id, loan in self.loans[kind].items()
            for line in loan[member]
        ]
        return self._v6(request, lambda: queried(rows, request.query))

    @on("GET", "/api/{kind:RoomLoans|MaterialLoans}/{id}")
    async def loan(self, request: SimRequest) -> SimResponse:
        """One loan."""
        return self._v6(request, lambda: self._loan(request.params["kind"], request.params["id"]))

    @on("GET", "/api/{kind:RoomLoans|MaterialLoans}")
    async def all_loans(self, request: SimRequest) -> SimResponse:
        """The loans."""
        return self._v6(request, lambda: queried(list(self.loans[request.params["kind"]].values()), request.query))

    @on("POST", "/api/{kind:RoomLoans|MaterialLoans}")
    async def lend(self, request: SimRequest) -> SimResponse:
        """Creates a pending loan; overlaps are not looked at."""

        def answer() -> Any:
            kind, given = request.params["kind"], _body(request)
            member, key, known = (
                ("Rooms", "RoomId", {row["Id"] for row in PATRIMONIES if row["CanBeLoaned"]})
                if kind == "RoomLoans"
                else ("Material", "ItemId", {row["ItemId"] for row in ITEMS})
            )
            lines = given.get(member)
            if not isinstance(lines, list) or not lines or any(line.get(key) not in known for line in lines):
                raise Problem(400, "One or more validation errors occurred.", {key: ["Unknown or not loanable."]})
            if given.get("RequesterThirdPartyId") not in {row["Id"] for row in THIRD_PARTIES}:
                raise Problem(400, "The requester is unknown.")
            id = str(2573 + len(self.loans["RoomLoans"]) + len(self.loans["MaterialLoans"]))
            self.loans[kind][id] = {**given, "Id": int(id), "RequestState": 0}
            self.record("lend", kind=kind, loan=id)
            return self.loans[kind][id]

        return self._v6(request, answer, 201)

    @on("PATCH", "/api/{kind:RoomLoans|MaterialLoans}")
    async def decide(self, request: SimRequest) -> SimResponse:
        """Sets the state of the loan `?id=`; answers nothing."""

        def answer() -> Any:
            kind, id = request.params["kind"], request.query.get("id", "")
            loan, state = self._loan(kind, id), _body(request).get("RequestState")
            if state not in (0, 2, 3, 4):
                raise Problem(400, "The state is unknown.")
            loan["RequestState"] = state
            self.record("decide", kind=kind, loan=id, state=state)
            return None

        return self._v6(request, answer)

    def _loan(self, kind: str, id: str) -> dict[str, Any]:
        if (found := self.loans[kind].get(id)) is None:
            raise Problem(404, "Not Found")
        return found

    def _by_uuid(self, request: SimRequest) -> Demand:
        demand = self.demand(request.params["id"])
        if demand is None or demand.uuid != request.params["id"]:
            raise Problem(404, "Not Found")
        return demand

    def _admitted(self, request: SimRequest) -> bool:
        return secrets.compare_digest(request.headers.get("X-API-Key", ""), KEY)

    def _v6(self, request: SimRequest, answer: Callable[[], Any], status: int = 200) -> SimResponse:
        try:
            if not self._admitted(request):
                raise Problem(401, "Unauthorized")
            value = answer()
        except Problem as problem:
            return _problem(problem)
        return SimResponse(b"", 200, "application/octet-stream") if value is None else SimResponse.json(value, status)


def _row(demand: Demand) -> dict[str, Any]:
    state: Any = int(demand.state) if demand.state.isdigit() else demand.state
    return {**demand.fields, "Id": demand.uuid, "Number": demand.number, "RequestState": state}


# --- HTTP of the v6 API -----------------------------------------------------------------------------------------------


def refused_by_v6(detail: str) -> SimResponse:
    """A business refusal of the v6 API."""
    return _problem(Problem(422, detail))


def _problem(problem: Problem) -> SimResponse:
    document: dict[str, Any] = {"title": "Error", "status": problem.status, "detail": problem.detail}
    if problem.errors:
        document["errors"] = problem.errors
    body = json.dumps(document, ensure_ascii=False)
    return SimResponse(body, problem.status, "application/problem+json; charset=utf-8")


_NAMES = (
    *("Contact", "RequesterId", "RecipientId", "RequestingDepartmentId", "RequestType", "Object", "Description"),
    *("Localization", "Longitude", "Latitude", "DesiredDate", "PatrimonyId", "Comment", "RequestState"),
    *("StartDate", "EndDate", "PlannedPeopleNumber", "RequesterThirdPartyId", "Rooms", "Material"),
)
_BOUND = {name.lower(): name for name in _NAMES}


def _body(request: SimRequest) -> dict[str, Any]:
    try:
        given = request.json()
    except ValueError:
        raise Problem(400, "The body is not JSON.") from None
    if not isinstance(given, dict):
        raise Problem(400, "The body is not an object.")
    return {_BOUND.get(str(name).lower(), str(name)): value for name, value in given.items()}


def _part(request: SimRequest, wanted: str) -> tuple[str, bytes]:
    head = f"Content-Type: {request.headers.get('Content-Type', '')}\r\n\r\n".encode()
    message = BytesParser(policy=email.policy.HTTP).parsebytes(head + request.body)
    for part in message.iter_parts() if message.is_multipart() else ():
        if part.get_param("name", header="content-disposition") == wanted:
            content = part.get_payload(decode=True)
            return part.get_filename() or "", content if isinstance(content, bytes) else b""
    raise Problem(400, "One or more validation errors occurred.", {wanted: ["The file field is required."]})


_TERM = re.compile(r"contains\(\w+,'(?:[^']|'')*'\)|\(?\w+ (?:lt|gt|le|ge|eq) [^\s()]+\)?|\w+")
_JOINER = re.compile(r" (and|or) ")
_COMPARED = {"lt": operator.lt, "gt": operator.gt, "le": operator.le, "ge": operator.ge, "eq": operator.eq}


def queried(rows: Sequence[Mapping[str, Any]], query: Mapping[str, str]) -> list[Mapping[str, Any]]:
    """$filter (comparisons, `contains`, a boolean; all `and` or all `or`) and $top."""
    kept = list(rows)
    if wanted := query.get("$filter"):
        terms, every = _terms(wanted)
        kept = [row for row in kept if every(_holds(term, row) for term in terms)]
    top = query.get("$top", "")
    return kept[: int(top)] if top.isdigit() else kept


def _terms(wanted: str) -> tuple[list[str], Callable[[Iterable[bool]], bool]]:
    terms: list[str] = []
    joiners: set[str] = set()
    at = 0
    while term := _TERM.match(wanted, at):
        terms.append(term[0])
        if term.end() == len(wanted) and len(joiners) < 2:
            return terms, any if joiners == {"or"} else all
        joiner = _JOINER.match(wanted, term.end())
        if joiner is None:
            break
        joiners.add(joiner[1])
        at = joiner.end()
    raise Problem(400, "The query specified in the URI is not valid.")


def _holds(term: str, row: Mapping[str, Any]) -> bool:
    if inside := re.fullmatch(r"contains\((\w+),'(.*)'\)", term):
        return inside[2].replace("''", "'").casefold() in str(row.get(inside[1], "")).casefold()
    if compared := re.fullmatch(r"\(?(\w+) (\w\w) ([^\s()]+)\)?", term):
        return bool(_COMPARED[compared[2]](str(row.get(compared[1], "")), compared[3].strip("'")))
    return row.get(term) is True
