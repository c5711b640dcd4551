"""JSON over HTTP: what a status means, what a body is, said once.

self.api = Rest(http.using(bearer(settings.token)), settings.url, refusals=(409, 422))
rows = await self.api.get("clients/{id}/requests", values={"id": number}, params={"state": "open"})
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from email.message import Message
from typing import Any
from urllib.parse import quote

from yarl import URL

from .call import current_call
from .errors import (
    InvalidInput,
    Misconfigured,
    NotFound,
    Rejected,
    Text,
    UpstreamInvalid,
    UpstreamUnavailable,
    one_line,
)
from .files import File
from .http import Http
from .messages import Params, Response, invalid_answer, retry_after, word

__all__ = ["Rest"]

_UNAVAILABLE = frozenset({408, 425, 429, 502, 503, 504})
_NOT_JSON = ("text/html", "application/xhtml+xml", "text/xml", "application/xml", "text/csv", "application/pdf")
_DOTS = re.compile(r"(?:^|/)(?:\.|%2e){1,2}(?:/|$)", re.IGNORECASE)


class Rest:
    """A publisher's REST service at `base_url`.

    `unprocessed`: statuses the publisher documents as "not executed", so that the request may be sent again.
    `refusals`: statuses that carry a business refusal; its text is `message(response)`, else the `detail` or `title` of
    a problem document (RFC 9457). `headers` go with every request.

    2xx is a value. 401 and 403 are `Misconfigured`, 3xx too; 404 is `NotFound` for a read; 408, 425, 429, 502, 503
    and 504 are `UpstreamUnavailable`; every other status is `UpstreamInvalid`.
    """

    def __init__(
        self,
        http: Http,
        base_url: str,
        *,
        unprocessed: Collection[int] = (),
        refusals: Collection[int] = (),
        message: Callable[[Response], str | None] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.http = http
        self.base_url = base_url.rstrip("/")
        self._unprocessed = frozenset(unprocessed)
        self._refusals = frozenset(refusals)
        self._message = message
        self._headers = {"Accept": "application/json", **(headers or {})}

    async def get(self, path: str = "", *, empty: bool = False, **options: Any) -> Any:
        """The JSON at `path`. Options: `values`, `params`, `headers`, `timeout`, `max_bytes`, `follow`."""
        return self._decoded(await self.request("GET", path, repeatable=True, **options), empty)

    async def post(self, path: str = "", *, empty: bool = False, **options: Any) -> Any:
        """Sends `json=`, `form=`, `files=` or `body=`; the JSON of the answer. `empty=True`: no body is fine (None)."""
        return self._decoded(await self.request("POST", path, **options), empty)

    async def put(self, path: str = "", *, empty: bool = False, **options: Any) -> Any:
        """As `post`, with PUT."""
        return self._decoded(await self.request("PUT", path, **options), empty)

    async def patch(self, path: str = "", *, empty: bool = False, **options: Any) -> Any:
        """As `post`, with PATCH."""
        return self._decoded(await self.request("PATCH", path, **options), empty)

    async def delete(self, path: str = "", *, empty: bool = True, **options: Any) -> Any:
        """As `post`, with DELETE; an empty answer is fine unless `empty=False`."""
        return self._decoded(await self.request("DELETE", path, **options), empty)

    async def get_file(self, path: str = "", *, html: bool = False, **options: Any) -> File:
        """The file at `path`, named by `Content-Disposition` or the end of the path. A page of HTML is refused (it is
        an error or a login page) unless `html=True`."""
        headers = {"Accept": "*/*", **(options.pop("headers", None) or {})}
        response = await self.request("GET", path, repeatable=True, headers=headers, **options)
        if not response.body:
            raise invalid_answer(response, "an empty file")
        file = File(filename=_file_name(response), content_type=response.content_type, content=response.body)
        if not html and file.content_type in ("text/html", "application/xhtml+xml"):
            raise invalid_answer(response, "a page of HTML instead of a file")
        return file

    async def request(
        self,
        method: str,
        path: str = "",
        *,
        values: Mapping[str, Any] | None = None,
        params: Params | None = None,
        headers: Mapping[str, str] | None = None,
        repeatable: bool | None = None,
        **options: Any,
    ) -> Response:
        """The answer as it came, its status checked: what `get` and the others decode. `values` fill the `{names}` of
        `path`, percent-encoded."""
        response = await self.http.request(
            method,
            self._address(path, values or {}),
            params=params,
            headers={**self._headers, **(headers or {})},
            repeatable=repeatable,
            **options,
        )
        if not response.ok:
            self._refuse(response, current_call().repeatable if repeatable is None else repeatable)
        return response

    def _address(self, path: str, values: Mapping[str, Any]) -> str:
        if values:
            path = path.format(**{name: _segment(value) for name, value in values.items()})
        if path.startswith(("http://", "https://")):  # a link given by the publisher, such as the next page
            if URL(path).origin() != URL(self.base_url).origin():
                raise UpstreamInvalid(
                    Text("Le logiciel renvoie vers une autre adresse.", en="The software points to another address."),
                    detail="a link to another origin",
                )
            return path
        if _DOTS.search(path.partition("?")[0]):
            raise InvalidInput(
                Text("Un identifiant contient un caractère interdit.", en="An identifier holds a forbidden character."),
                detail="a dot segment in a path",
            )
        if not path:
            return self.base_url
        return self.base_url + ("" if path[0] in "/?" else "/") + path

    def _decoded(self, response: Response, empty: bool) -> Any:
        if not response.body.strip():
            if empty:
                return None
            raise invalid_answer(response, "an empty answer")
        if response.content_type in _NOT_JSON:
            raise invalid_answer(response, "not JSON")
        return response.json()

    def _refuse(self, response: Response, repeatable: bool) -> None:
        status = response.status
        processed = False if status in self._unprocessed else None
        if status in self._refusals:
            text, code = self._reason(response)
            raise Rejected(
                text or Text("Le logiciel a refusé la demande.", en="The software refused the request."),
                detail=f"status {status}",
                code=code,
            )
        if 300 <= status < 400:
            raise Misconfigured(
                Text(
                    "L'adresse du logiciel renvoie ailleurs : corriger le réglage.",
                    en="The software's address redirects: correct the setting.",
                ),
                detail=f"status {status}: redirects are not followed",
                processed=processed,
            )
        if status in (401, 403):
            raise Misconfigured(
                Text("Le logiciel refuse nos identifiants.", en="The software refuses our credentials."),
                detail=f"status {status}",
                processed=processed,
            )
        if status == 404 and repeatable:
            raise NotFound(Text("Élément introuvable dans le logiciel.", en="Not found in the software."))
        if status in _UNAVAILABLE:
            raise UpstreamUnavailable(
                Text("Le logiciel est indisponible pour le moment.", en="The software is unavailable for now."),
                detail=f"status {status}",
                retry_after=retry_after(response),
                processed=processed,
                timeout=status in (408, 504),
            )
        raise invalid_answer(response, "a status that its contract does not allow", processed=processed)

    def _reason(self, response: Response) -> tuple[str, str | None]:
        problem: Any = None
        if response.content_type.endswith("json"):
            try:
                problem = response.json()
            except UpstreamInvalid:
                problem = None
        text = self._message(response) if self._message is not None else None
        code = None
        if isinstance(problem, dict):
            code = problem.get("code")
            text = text or next((problem[k] for k in ("detail", "title") if isinstance(problem.get(k), str)), None)
        code = str(code) if isinstance(code, (str, int)) and not isinstance(code, bool) else None
        return one_line(text), code[:100] if code and code.isprintable() else None


def _segment(value: Any) -> str:
    return quote(word(value), safe="")


def _file_name(response: Response) -> str:
    announced = response.headers.get("Content-Disposition", "")
    if announced:
        message = Message()
        message["Content-Disposition"] = announced
        name = message.get_filename()
        if name:
            return name
    return URL(response.url).name if response.url else ""
