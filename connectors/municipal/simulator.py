"""A town that keeps interventions in a small database and wrote a webservice on it, in Publik's micro-format.

The database is a real SQLite file: the same records are reached by the webservice, and by the file itself in the
connector's `database` mode.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import sqlite3
import tempfile
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple
from urllib.parse import urlencode
from zoneinfo import ZoneInfo

from sdk import Text
from sdk.simulator import SimRequest, SimResponse, Simulator, on

PARIS = ZoneInfo("Europe/Paris")
USER, PASSWORD = "relais", "simula"
STATES = {
    "NEW": {"text": "Enregistrée", "final": False},
    "PLAN": {"text": "Planifiée", "final": False},
    "WORK": {"text": "En cours", "final": False},
    "DONE": {"text": "Terminée", "final": True},
    "NO": {"text": "Sans suite", "final": True},
}
KINDS = {"VOIRIE": "Voirie et trottoirs", "ECLAIR": "Éclairage public", "PROPR": "Propreté", "VERTS": "Espaces verts"}
COLUMNS = {
    "number": "NUM_FICHE",
    "display_number": "NUM_AFFICHE",
    "reference": "REF_EXTERNE",
    "state": "ETAT",
    "comment": "REPONSE",
    "updated": "DATE_MAJ",
    "kind": "CODE_TYPE",
    "subject": "OBJET",
    "description": "DETAIL",
    "place": "LIEU",
    "longitude": "X",
    "latitude": "Y",
    "wished_date": "DATE_SOUHAIT",
    "last_name": "NOM",
    "first_name": "PRENOM",
    "email": "MEL",
    "phone": "TEL",
}
LENGTHS = {"subject": 60, "description": 500, "place": 120, "last_name": 40, "first_name": 40, "email": 80, "phone": 20}
SCHEMA = """
create table TYPE_INTER (CODE varchar(10) primary key, LIBELLE varchar(40) not null);
create table INTERVENTION (
    NUM_FICHE integer primary key autoincrement,
    NUM_AFFICHE varchar(12),
    REF_EXTERNE varchar(30),
    CODE_TYPE varchar(10) references TYPE_INTER (CODE),
    OBJET varchar(60) not null,
    DETAIL varchar(500),
    LIEU varchar(120),
    X numeric(9, 6),
    Y numeric(9, 6),
    DATE_SOUHAIT date,
    NOM varchar(40),
    PRENOM varchar(40),
    MEL varchar(80),
    TEL varchar(20),
    SECTEUR varchar(20),
    ORIGINE varchar(10),
    ETAT varchar(6) not null default 'NEW',
    REPONSE varchar(200),
    DATE_MAJ timestamp
);
create trigger NUMEROTE after insert on INTERVENTION begin
    update INTERVENTION set NUM_AFFICHE = 'INT-' || printf('%05d', new.NUM_FICHE) where NUM_FICHE = new.NUM_FICHE;
end;
"""


class _Done(NamedTuple):
    """What a statement gave."""

    rows: list[sqlite3.Row]
    number: int
    changed: int


class MunicipalSimulator(Simulator):
    """The town of Simula: a webservice of four reads and one creation, over one table."""

    name, title = "municipal", "Municipal"
    known = (
        Text(
            "Le micro-format de Publik : err, err_class, err_desc, data ; HTTP Basic ; objet JSON à plat.",
            en="Publik's micro-format: err, err_class, err_desc, data; HTTP Basic; a flat JSON object.",
        ),
        Text(
            "Que Rouen a écrit deux appels sur la base Municipal : créer une fiche, lire son avancement.",
            en="That Rouen wrote two calls on the Municipal database: create a record, read its progress.",
        ),
    )
    assumed = (
        Text(
            "Tout le reste : chemins, clés, table, colonnes, longueurs, états, types, classes d'erreur sont inventés, "
            "à remplacer par le document de Rouen.",
            en="Everything else: paths, keys, table, columns, lengths, states, kinds, error classes are invented, "
            "to be replaced by Rouen's document.",
        ),
        Text(
            "Que deux créations de même référence font deux fiches, et qu'une fiche se cherche par sa référence.",
            en="That two creations of one reference make two records, and that a record is found by its reference.",
        ),
    )
    own_faults: ClassVar[tuple[str, ...]] = ("no-err", "err-true", "bare-list", "no-id", "latin-1")

    variants: ClassVar[Mapping[str, Mapping[str, Any]]] = {"webservice": {}, "database": {"mode": "database"}}

    def __init__(self, *, mode: Literal["webservice", "database"] = "webservice", **options: Any) -> None:
        super().__init__(**options)
        self.mode = mode
        self._folder: tempfile.TemporaryDirectory[str] | None = None

    @property
    def file(self) -> Path:
        """The town's database, while the simulator runs."""
        if self._folder is None:
            raise RuntimeError("the simulator is not started")
        return Path(self._folder.name) / "simula.db"

    async def start(self, port: int = 0, host: str = "127.0.0.1") -> None:
        """Creates the database, then listens."""
        self._folder = tempfile.TemporaryDirectory(prefix="relais-municipal-")
        with contextlib.closing(sqlite3.connect(self.file)) as base:
            base.executescript(SCHEMA)
            base.executemany("insert into TYPE_INTER values (?, ?)", KINDS.items())
            base.commit()
        await super().start(port, host)

    async def stop(self) -> None:
        """Stops listening, and forgets everything."""
        await super().stop()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None

    def demo_settings(self) -> dict[str, Any]:
        """The settings of a sample instance."""
        return self.database_settings() if self.mode == "database" else self.service_settings()

    def service_settings(self) -> dict[str, Any]:
        """`webservice` mode."""
        return {
            "webservice": {
                "url": self.url,
                "user": USER,
                "password": PASSWORD,
                "find_path": "interventions",
                "search_path": "recherche",
                "kinds_path": "types",
                "extra": ["secteur"],
            },
            "states": STATES,
            "record_url": f"{self.url}/fiches/{{number}}",
        }

    def database_settings(self) -> dict[str, Any]:
        """`database` mode, on the same records."""
        return {
            "database": {
                "url": f"sqlite:///{self.file}",
                "table": "INTERVENTION",
                "columns": COLUMNS,
                "extra": {"secteur": "SECTEUR"},
                "constants": {"ETAT": "NEW", "ORIGINE": "PUBLIK"},
                "kinds": {"table": "TYPE_INTER", "id": "CODE", "text": "LIBELLE"},
                "charset": "cp1252",
            },
            "states": STATES,
            "record_url": f"{self.url}/fiches/{{number}}",
        }

    def demo_lines(self, base_url: str) -> list[tuple[str, str]]:
        """A creation, its progress, what an agent of the town does meanwhile, the agents' search, the lists."""
        body = {"reference": "VOI-2041", "kind": "VOIRIE", "subject": "Nid-de-poule", "place": "3 rue du Lac"}
        return [
            (
                Text("Créer une fiche d'intervention", en="Create an intervention record"),
                f"curl -s {base_url}/interventions -H 'Content-Type: application/json' "
                f"-d '{json.dumps(body, ensure_ascii=False)}'",
            ),
            (Text("Où en est-elle ?", en="Where does it stand?"), f"curl -s {base_url}/interventions/1"),
            (
                Text("Un agent de la ville la planifie", en="An agent of the town plans it"),
                f"curl -s -d number=1 -d state=PLAN -d comment=Jeudi {self.url}/_simulator/state",
            ),
            (Text("Recherche des agents", en="The agents' search"), f"curl -s '{base_url}/search?q=lac'"),
            (Text("Types d'intervention", en="Kinds of intervention"), f"curl -s {base_url}/kinds"),
            (Text("États", en="States"), f"curl -s {base_url}/states"),
        ]

    # The webservice.

    @on("POST", "/interventions")
    async def created(self, request: SimRequest) -> SimResponse:
        """A record, from a flat object."""
        if (denied := _denied(request)) is not None:
            return denied
        try:
            given = request.json()
        except ValueError:
            return _refusal("BadRequest", "Le corps n'est pas du JSON.", 400)
        if not isinstance(given, dict) or any(isinstance(value, dict | list) for value in given.values()):
            return _refusal("BadRequest", "Un objet JSON à plat est attendu.", 400)
        unknown = sorted(set(given) - set(COLUMNS) - {"secteur"})
        if unknown:
            return _refusal("UnknownField", f"Clé inconnue : {', '.join(unknown)}")
        if not given.get("subject"):
            return _refusal("MissingField", "Le champ subject est obligatoire.")
        for name, most in LENGTHS.items():
            if len(str(given.get(name, ""))) > most:
                return _refusal("TooLong", f"Le champ {name} dépasse {most} caractères.")
        if given.get("kind") and given["kind"] not in KINDS:
            return _refusal("UnknownKind", "Type d'intervention inconnu.")
        row = {COLUMNS.get(name, name.upper()): value for name, value in given.items()}
        row |= {"ETAT": "NEW", "ORIGINE": "PUBLIK", "DATE_MAJ": self._moment()}
        # Names come from the tables above, values are bound.
        marks = ", ".join("?" * len(row))
        statement = f"insert into INTERVENTION ({', '.join(row)}) values ({marks})"  # noqa: S608
        number = (await self._do(statement, *row.values())).number
        self.record("created", number=number, reference=given.get("reference", ""))
        return _answer({"id": str(number), "display_id": f"INT-{number:05d}"})

    @on("GET", "/interventions")
    async def found(self, request: SimRequest) -> SimResponse:
        """The records of a reference, oldest first."""
        if (denied := _denied(request)) is not None:
            return denied
        done = await self._do(
            "select NUM_FICHE, NUM_AFFICHE from INTERVENTION where REF_EXTERNE = ? order by 1",
            request.query.get("reference", ""),
        )
        return _answer([{"id": str(row["NUM_FICHE"]), "display_id": row["NUM_AFFICHE"]} for row in done.rows])

    @on("GET", "/interventions/{number}")
    async def read(self, request: SimRequest) -> SimResponse:
        """Where a record stands; words and end are left to whoever reads."""
        if (denied := _denied(request)) is not None:
            return denied
        done = await self._do("select * from INTERVENTION where NUM_FICHE = ?", request.params["number"])
        if not done.rows:
            return _refusal("NotFound", "Aucune fiche de ce numéro.", 404)
        row = done.rows[0]
        data = {"id": str(row["NUM_FICHE"]), "status": row["ETAT"], "comment": row["REPONSE"] or ""}
        return _answer({**data, **({"updated": _told(row["DATE_MAJ"])} if row["DATE_MAJ"] else {})})

    @on("GET", "/recherche")
    async def searched(self, request: SimRequest) -> SimResponse:
        """Portal search: subject and place, as typed."""
        if (denied := _denied(request)) is not None:
            return denied
        done = await self._do(
            "select * from INTERVENTION where instr(lower(OBJET || ' ' || coalesce(LIEU, '')), lower(?)) "
            "order by NUM_FICHE desc",
            request.query.get("q", ""),
        )
        return _answer(
            [
                {
                    "url": f"{self.url}/fiches/{row['NUM_FICHE']}",
                    "text": f"{row['NUM_AFFICHE']} {row['OBJET']}",
                    "description": f"<b>{STATES[row['ETAT']]['text']}</b>",
                }
                for row in done.rows
            ]
        )

    @on("GET", "/types")
    async def kinds(self, request: SimRequest) -> SimResponse:
        """The kinds of intervention."""
        if (denied := _denied(request)) is not None:
            return denied
        return _answer([{"id": code, "text": text} for code, text in KINDS.items()])

    # The agents of the town.

    @on("POST", "/_simulator/state")
    async def moved(self, request: SimRequest) -> SimResponse:
        """`number=…&state=…`, and `comment=…`: what an agent does in the software."""
        form = request.form()
        if form.get("state") not in STATES:
            return SimResponse(f"Send number=… and state=… among {', '.join(STATES)}.\n", 400)
        done = await self._do(
            "update INTERVENTION set ETAT = ?, REPONSE = ?, DATE_MAJ = ? where NUM_FICHE = ?",
            form["state"],
            form.get("comment") or None,
            self._moment(),
            form.get("number", ""),
        )
        return _answer({"changed": done.changed})

    async def conclude(self, identifier: str) -> None:
        """An agent of the town ends it."""
        await self.moved(SimRequest("POST", "", {}, {}, urlencode({"number": identifier, "state": "DONE"}).encode()))

    def refusal(self, request: SimRequest) -> SimResponse:
        """A refusal in the micro-format."""
        return _refusal("Closed", "Le service est fermé aux demandes jusqu'à lundi.")

    def spoil(self, fault: str, request: SimRequest) -> SimResponse:
        """Answers outside the format."""
        if fault == "no-err":
            return SimResponse.json({"data": {"id": "1", "status": "NEW"}})
        if fault == "err-true":
            return SimResponse.json({"err": True, "err_desc": "non"})
        if fault == "bare-list":
            return SimResponse.json([{"id": "1", "text": "Voirie"}])
        if fault == "no-id":
            return _answer({"numero": 12})
        return SimResponse('{"err": 0, "data": {"id": "1", "status": "Terminée"}}'.encode("latin-1"))

    def _moment(self) -> str:
        """The town's time, as such columns keep it: without a zone."""
        return self.clock.now().astimezone(PARIS).strftime("%Y-%m-%d %H:%M:%S.%f")

    async def _do(self, statement: str, *values: Any) -> _Done:
        """One statement on the town's database, apart from the loop: another writer may hold it for a while."""
        return await asyncio.to_thread(_execute, self.file, statement, values)


def _execute(file: Path, statement: str, values: tuple[Any, ...]) -> _Done:
    with contextlib.closing(sqlite3.connect(file)) as base:
        base.row_factory = sqlite3.Row
        with base:
            done = base.execute(statement, values)
            return _Done(done.fetchall(), done.lastrowid or 0, done.rowcount)


def _denied(request: SimRequest) -> SimResponse | None:
    expected = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
    if request.headers.get("Authorization") == expected:
        return None
    return SimResponse("", 401, headers={"WWW-Authenticate": 'Basic realm="Simula"'})


def _told(moment: str) -> str:
    return datetime.fromisoformat(moment).replace(tzinfo=PARIS).isoformat()


def _answer(data: Any) -> SimResponse:
    return SimResponse.json({"err": 0, "data": data})


def _refusal(kind: str, said: str, status: int = 200) -> SimResponse:
    return SimResponse.json({"err": 1, "err_class": f"simula.{kind}", "err_desc": said, "data": None}, status)


SIMULATOR = MunicipalSimulator
