"""Tabular: the tables a town already keeps (CSV, XLSX, ODS) as lists, rows and named queries.

A table is read where it is, a file or an address; the index that answers follows it, and keeps answering while the
new version is read or when it cannot be. All values are text; see `sdk.tabular` for filters, templates and types.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from sdk import (
    MINUTE,
    Choices,
    Connector,
    Feature,
    FeatureCollection,
    Field,
    Http,
    HttpUrl,
    InvalidInput,
    Misconfigured,
    Model,
    NotFound,
    Point,
    Row,
    Text,
    every,
    get,
)
from sdk.errors import english
from sdk.tabular import (
    Reading,
    Structure,
    Structured,
    Table,
    TableOptions,
    UnknownColumn,
    UrlSource,
    columns_of,
    fill,
    to_decimal,
)

_NOT_FILTERS = {"NameID", "email", "page_limit", "page", "_"}
"""What Publik adds to any address by itself: not a filter unless the table has such a column."""
_LARGEST_PAGE = 10_000
_ID, _TEXT, _LATITUDE, _LONGITUDE = " id", " text", " latitude", " longitude"
"""What a feature is made of, beside the columns: no column's name begins with a space."""


class Query(Model):
    """Une requête nommée : des lignes choisies, triées, et montrées d'une certaine façon."""

    description: str = Field(default="", description="À quoi elle sert")
    filters: dict[str, str] = Field(
        default={},
        description="Colonne, ou `colonne__comparaison` → valeur ; `{x}` y est le paramètre `x` de l'appel",
    )
    defaults: dict[str, str] = Field(default={}, description="Valeur des paramètres qui ne sont pas donnés")
    optional: tuple[str, ...] = Field(
        default=(), description="Paramètres dont l'absence, ou le vide, retire les filtres qui les citent"
    )
    order: tuple[str, ...] = Field(default=(), description="Colonnes ou modèles de tri ; `-colonne` pour décroissant")
    distinct: tuple[str, ...] = Field(default=(), description="Une seule ligne, la première, par combinaison")
    columns: dict[str, str] = Field(default={}, description="Clé → colonne ou modèle ; toutes les colonnes sinon")
    structure: Structure = Field(default="dict", description="Forme de `data`")
    limit: int | None = Field(default=None, ge=1, description="Nombre maximal de lignes")


class Settings(TableOptions):
    """Un tableau, là où il est : `file` ou `url`. Le reste est trouvé dans le fichier, et expliqué par `diagnosis`."""

    file: Path | None = Field(default=None, description="Chemin du fichier, relatif à relais.toml")
    url: HttpUrl | None = Field(default=None, description="Adresse du fichier, relue tous les quarts d'heure")
    id: str = Field(default="id", description="Colonne ou modèle qui identifie un choix : `{insee}-{cp}`")
    text: str = Field(default="text", description="Colonne ou modèle du libellé : `{cp} {commune|title}`")
    order: tuple[str, ...] = Field(default=(), description="Tri de `data` ; l'ordre du fichier sinon")
    search: tuple[str, ...] = Field(default=(), description="Colonnes où `q` cherche ; celles des libellés sinon")
    index: tuple[str, ...] = Field(
        default=(), description="Colonnes souvent filtrées, à indexer, outre celles des requêtes"
    )
    latitude: str = Field(default="", description="Colonne de la latitude, en degrés : fait de `map` une carte")
    longitude: str = Field(default="", description="Colonne de la longitude, en degrés")
    suggestions: int = Field(default=100, ge=1, le=10_000, description="Nombre maximal de choix quand `q` est donné")
    queries: dict[str, Query] = Field(default={}, description="Requêtes nommées")


class Place(Row):
    """Ce que la carte montre d'une ligne ; ses colonnes l'accompagnent."""

    text: str = Field(description="Libellé", examples=["École maternelle Jacques Prévert"])


class ColumnFound(Model):
    """Une colonne, telle qu'elle a été trouvée."""

    name: str = Field(description="Nom, dans les lignes et les filtres")
    header: str = Field(description="En-tête, tel qu'il est écrit dans le fichier")
    type: str = Field(description="text, integer, decimal ou date")


class Faulty(Model):
    """Une ligne fautive. La ligne 0 est le fichier entier."""

    line: int
    fault: str


class Diagnosis(Model):
    """Ce qui a été trouvé dans le fichier, et pourquoi."""

    usable: bool = Field(description="La version présente du fichier est celle qui répond")
    kind: str = Field(description="csv, xlsx ou ods")
    encoding: str
    delimiter: str
    sheet: str
    header: int = Field(description="Ligne de l'en-tête ; 0 quand il n'y en a pas")
    rows: int
    columns: list[ColumnFound]
    first_bad_line: Faulty | None
    explanation: list[str] = Field(description="Une phrase par constat, en français")
    explanation_en: list[str] = Field(description="The same, in English")


class Tabular(Connector[Settings]):
    """Un tableau (CSV, XLSX, ODS) comme source de listes, de lignes, de cartes et de requêtes nommées.

    English:
    A table (CSV, XLSX, ODS) as a source of lists, rows, maps and named queries.
    """

    name, title, category = "tabular", "Fichiers tableur", "Données"

    def __init__(self, settings: Settings, http: Http) -> None:
        super().__init__(settings, http)
        if (settings.file is None) == (settings.url is None):
            raise Misconfigured(Text("Donner « file » ou « url », un seul.", en='Give "file" or "url", one of them.'))
        queries = settings.queries.values()
        try:
            labels = [settings.text, *(query.columns["text"] for query in queries if "text" in query.columns)]
            searched = [column for label in labels for column in columns_of(label)]
        except UnknownColumn as error:
            raise Misconfigured(error.message) from None
        self.table = Table(
            settings.file if settings.file is not None else UrlSource(http, str(settings.url)),
            folder=http.folder / "table",
            options=TableOptions.model_validate({name: getattr(settings, name) for name in TableOptions.model_fields}),
            id=settings.id,
            text=settings.text,
            index=settings.index,
            filters=tuple(key for query in queries for key in query.filters),
            search=settings.search or tuple(dict.fromkeys(searched)),
            orders=(settings.order, *(query.order for query in queries)),
            setting="file" if settings.file is not None else "url",
        )

    async def close(self) -> None:
        await self.table.close()

    async def check(self) -> None:
        """Lit la version présente du fichier, et vérifie les colonnes que citent les réglages."""
        await self.table.refresh()
        await self.table.verify([*map(_ascending, self.settings.order)], setting="order")
        for name in ("latitude", "longitude"):
            if column := getattr(self.settings, name):
                await self.table.verify([column], setting=name)
        for name in self.settings.queries:
            await self._verify(name)

    @every(15 * MINUTE, at_start=True)
    async def refresh(self) -> None:
        await self.table.refresh()

    @get
    async def data(
        self,
        /,
        q: str | None = None,
        id: str | None = None,
        limit: Annotated[int, Field(ge=1)] | None = None,
        **filters: str,
    ) -> Choices:
        """Les lignes comme choix d'une liste.

        `q` : chaque mot doit être dans le libellé, sans tenir compte des accents ni de la casse ; au plus
        `suggestions` choix, le libellé exact en premier. `id` : le choix de cet identifiant. Tout autre paramètre
        filtre : `?Code_postal=35000`, `?population__gte=1000`. Les colonnes accompagnent chaque choix.

        English:
        Rows as a form's list. `q`: every word must be in the label, accent- and case-blind. Other parameters filter.
        """
        most = limit if limit is not None else self.settings.suggestions if q is not None else None
        return await self.table.choices(
            q=q, only=id, where=await self._filters(filters), order=self.settings.order, limit=most
        )

    @get
    async def rows(
        self,
        /,
        q: str | None = None,
        sort: str = "",
        distinct: str = "",
        columns: str = "",
        limit: Annotated[int, Field(ge=1, le=_LARGEST_PAGE)] = 1_000,
        offset: Annotated[int, Field(ge=0)] = 0,
        **filters: str,
    ) -> list[Row]:
        """Les lignes, filtrées, triées, dédoublonnées.

        Filtres : `?colonne=valeur`, ou `?colonne__gte=…` avec ne, lt, lte, gt, gte, in (valeurs séparées par des
        virgules), contains, startswith, empty. Le nom d'une colonne s'écrit aussi sans accent ni majuscule, `_` à la
        place des espaces. `sort=-population,commune` ; `distinct=code_postal` ; `columns=commune,code_postal`.
        Au plus `limit` lignes (1 000 sans précision, 10 000 au plus), à partir de `offset`.

        English:
        Rows, filtered (`?column=value`, `?column__gte=…`), sorted, made distinct, with the columns asked for.
        """
        found = await self.table.rows(
            q,
            await self._filters(filters),
            order=_listed(sort),
            distinct=_listed(distinct),
            columns=_listed(columns),
            limit=limit,
            offset=offset,
        )
        return [_row(row) for row in found]

    @get
    async def map(
        self,
        /,
        q: str | None = None,
        id: str | None = None,
        limit: Annotated[int, Field(ge=1, le=_LARGEST_PAGE)] = 1_000,
        **filters: str,
    ) -> FeatureCollection[Place]:
        """Les lignes qui ont une position, comme couche de carte (GeoJSON).

        Demande les réglages `latitude` et `longitude`. Mêmes filtres que `rows` ; `q` cherche comme dans `data`. Une
        ligne sans position, ou dont la position n'est pas sur Terre, est laissée de côté.

        English:
        The rows that have a position, as a map layer (GeoJSON). Needs the settings `latitude` and `longitude`; same
        filters as `rows`. A row without a usable position is left out.
        """
        latitude, longitude = self.settings.latitude, self.settings.longitude
        if not (latitude and longitude):
            raise Misconfigured(
                Text(
                    "Les réglages « latitude » et « longitude » manquent : ils nomment les colonnes de la carte.",
                    en='The settings "latitude" and "longitude" are missing: they name the columns of the map.',
                )
            )
        names = [column.name for column in await self.table.columns()]
        wanted = {**{name: name for name in names}, **_placed(self.settings)}
        found = await self.table.rows(
            q,
            await self._filters(filters),
            order=self.settings.order,
            columns=wanted,
            equal=None if id is None else (self.settings.id, id),
            limit=limit,
        )
        return FeatureCollection(features=[feature for row in found if (feature := _feature(row)) is not None])

    @get("query/{query_name}")
    async def query(
        self,
        /,
        query_name: str,
        q: str | None = None,
        id: str | None = None,
        limit: Annotated[int, Field(ge=1)] | None = None,
        **parameters: str,
    ) -> Structured:
        """Le résultat d'une requête nommée des réglages, dans la structure qu'elle déclare.

        `q` cherche comme dans `data` ; `id` retient la ligne dont la clé `id` vaut cette valeur. Les autres paramètres
        sont ceux que citent les filtres de la requête.

        English:
        The result of a named query of the settings, in the structure it declares.
        """
        query = self.settings.queries.get(query_name)
        if query is None:
            known = ", ".join(self.settings.queries) or "–"
            raise NotFound(Text(f"Requête inconnue ; requêtes : {known}.", en=f"No such query; queries: {known}."))
        await self._verify(query_name)
        equal = None if id is None else (query.columns.get("id", self.settings.id), id)
        limits = (limit, query.limit, 1 if query.structure in ("row", "value") else None)
        found = await self.table.rows(
            q,
            _filled(query, parameters),
            order=query.order,
            distinct=query.distinct,
            columns=query.columns,
            equal=equal,
            limit=min((each for each in limits if each is not None), default=None),
        )
        return Structured.of(found, query.structure)

    @get
    async def diagnosis(self) -> Diagnosis:
        """Ce qui a été trouvé dans le fichier, et pourquoi : encodage, séparateur, en-tête, colonnes, ligne fautive.

        English:
        What was found in the file, and why.
        """
        try:
            reading = await self.table.refresh()
        except Misconfigured:
            found = self.table.refused or self.table.reading
            if found is None:
                raise
            reading = found
        return _diagnosis(reading)

    async def _verify(self, name: str) -> None:
        """The columns a query names belong to the settings: a wrong one is the operator's, not the caller's."""
        query = self.settings.queries[name]
        expressions = (*query.columns.values(), *query.distinct, *map(_ascending, query.order))
        await self.table.verify(expressions, tuple(query.filters), setting=f"queries.{name}")

    async def _filters(self, given: Mapping[str, str]) -> Mapping[str, str]:
        if _NOT_FILTERS.isdisjoint(given):
            return given
        names = {column.name for column in await self.table.columns()}
        return {key: value for key, value in given.items() if key in names or key not in _NOT_FILTERS}


def _filled(query: Query, given: Mapping[str, str]) -> dict[str, str]:
    """The filters of the query with the caller's values in their places."""
    values = {**query.defaults, **{name: value for name, value in given.items() if value or name not in query.defaults}}
    absent = {name for name in query.optional if not values.get(name)}
    filled = {}
    for key, template in query.filters.items():
        try:
            if absent.isdisjoint(columns_of(template) if "{" in template else ()):
                filled[key] = fill(template, values)
        except UnknownColumn as error:
            raise InvalidInput(
                Text(f"Paramètre manquant : {error.message}.", en=f"Missing parameter: {error.message.en}."),
                fields={error.name: [Text("est obligatoire", en="is required")]},
            ) from None
    return filled


def _diagnosis(reading: Reading) -> Diagnosis:
    bad = reading.fault or reading.first_bad
    sentences = reading.explain()
    return Diagnosis(
        usable=reading.fault is None,
        kind=reading.kind,
        encoding=reading.encoding,
        delimiter=reading.delimiter,
        sheet=reading.sheet,
        header=reading.header,
        rows=reading.rows,
        columns=[ColumnFound(name=each.name, header=each.header, type=each.type) for each in reading.columns],
        first_bad_line=Faulty(line=bad.line, fault=bad.fault) if bad else None,
        explanation=[str(sentence) for sentence in sentences],
        explanation_en=[english(sentence) for sentence in sentences],
    )


def _row(values: dict[str, Any]) -> Row:
    return Row.model_construct(**values)  # text from the index: nothing is left to verify


def _placed(settings: Settings) -> dict[str, str]:
    """Names that no column bears → what a feature is made of."""
    return {_ID: settings.id, _TEXT: settings.text, _LATITUDE: settings.latitude, _LONGITUDE: settings.longitude}


def _feature(row: dict[str, str]) -> Feature[Place] | None:
    """The row as a point of the map; None where it has no place on it."""
    key, text, *degrees = (row.pop(name) for name in (_ID, _TEXT, _LATITUDE, _LONGITUDE))
    position = [to_decimal(one) for one in degrees]
    if not key or None in position:
        return None
    latitude, longitude = (float(one or 0) for one in position)
    if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
        return None
    return Feature(id=key, geometry=Point(coordinates=(longitude, latitude)), properties=Place(**{**row, "text": text}))


def _listed(names: str) -> tuple[str, ...]:
    return tuple(name for name in map(str.strip, names.split(",")) if name)


def _ascending(order: str) -> str:
    return order.removeprefix("-")
