"""A case, that is a check at an endpoint, and the conversation with the target that all cases of a run share.

The same reading asked by several checks is sent once: politeness, and one answer judged from all sides.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from contract_tests.text import Text
from contract_tests.wire import Exchange, Limits, Request, Send, encoded_pairs

from .answer import UNREADABLE, Answer
from .check import Check, Omitted, Skipped
from .credentials import Credentials
from .endpoints import Call, Endpoint
from .target import Target

__all__ = ["Case", "Conversation", "user_agent"]

VERSION = "0.1.0"
CALLER_URL = "https://demarches.example.org/backoffice/management/essai/"
OWN: Literal["own"] = "own"
Proof = Credentials | Literal["own"] | None
Headers = tuple[tuple[str, str], ...]


def user_agent() -> str:
    """How the suite presents itself, so that a publisher recognises it in its logs."""
    return f"contract-tests/{VERSION} (suite de conformite Publik)"


@dataclass
class Conversation:
    """All exchanges of a run, in order, and what was already asked."""

    target: Target
    send: Send
    seed: int = 0
    allow_writes: bool = False
    limits: Limits = field(default_factory=Limits)
    clock: Callable[[], float] = time.monotonic
    exchanges: list[Exchange] = field(default_factory=list)
    secrets: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._asked: dict[Any, Answer] = {}
        self._silent: dict[str, int] = {}
        self._held = 0
        self._end = self.clock() + self.limits.budget
        self.secrets |= set(self.target.secrets())

    async def ask(self, call: Call, proof: Proof, headers: Headers, place: str, *, fresh: bool) -> Answer:
        """The answer to a call; raises `Skipped` when the target is no longer worth asking."""
        url = self.target.url(call.path)
        if call.params:
            url += ("&" if "?" in url else "?") + encoded_pairs(call.params)
        key = (call.method, url, call.body, headers, proof)
        if not fresh and key in self._asked:
            return self._asked[key]
        if self.clock() > self._end:
            raise Skipped(
                Text("le temps prévu pour l'essai est écoulé", "the time given to this run is over"),
            )
        if self._silent.get(place, 0) >= self.limits.give_up:
            raise Skipped(
                Text(
                    f"{self.limits.give_up} appels de suite sans réponse entière : l'endpoint n'est plus sollicité",
                    f"{self.limits.give_up} calls in a row without a whole answer: the endpoint is left alone",
                )
            )
        if self._held > self.limits.held:
            raise Skipped(
                Text(
                    f"plus de {self.limits.held >> 20} Mo de réponses : la cible n'est plus sollicitée",
                    f"more than {self.limits.held >> 20} MB of answers: the target is left alone",
                )
            )
        used = self.target.credentials if isinstance(proof, str) else proof
        if used is not None:
            self.secrets |= set(used.secrets())
            url, headers = used.apply(url, headers)
        exchange = await self.send(Request(call.method, url, headers, call.body))
        self.exchanges.append(exchange)
        self._held += len(exchange.response.body) if exchange.response else 0
        answer = Answer(exchange, len(self.exchanges) - 1)
        self._silent[place] = 0 if answer.complete else self._silent.get(place, 0) + 1
        self._asked.setdefault(key, answer)
        return answer


def _caller_url(call: Call) -> str:
    """The address of the form that calls: what is sent differently comes from another form."""
    number = int(hashlib.sha256(call.body or b"").hexdigest()[:8], 16)
    return f"{CALLER_URL}{number}/"


class Case:
    """What a check is given. Every exchange it makes becomes its evidence."""

    def __init__(self, check: Check | None, endpoint: Endpoint, conversation: Conversation) -> None:
        self.check = check
        self.endpoint = endpoint
        self.target = conversation.target
        self.limits = conversation.limits
        self.allow_writes = conversation.allow_writes
        self.evidence: list[int] = []
        self._conversation = conversation

    @property
    def place(self) -> str:
        """What the report calls the endpoint; `*` for a check done once."""
        return "*" if self.check is not None and self.check.once else self.endpoint.place

    async def ask(
        self,
        call: Call,
        *,
        proof: Proof = OWN,
        accept: str | None = "application/json",
        headers: Headers = (),
        fresh: bool = False,
    ) -> Answer:
        """Sends a call as w.c.s. would. `proof` None sends no credentials; `fresh` asks again what was asked before.

        Raises `Skipped` for a call that writes when writing is not allowed, and when the target cannot be reached or
        asks to wait.
        """
        if call.writes and not self.allow_writes:
            raise Skipped(
                Text("écrit sur la cible : demande --allow-writes", "writes on the target: needs --allow-writes")
            )
        sent: list[tuple[str, str]] = [("User-Agent", user_agent())]
        if accept is not None:
            sent.append(("Accept", accept))
        sent += [("Accept-Encoding", "gzip, deflate"), ("Publik-Caller-URL", _caller_url(call))]
        if call.body is not None:
            sent.append(("Content-Type", "application/json"))
        given = {name.lower() for name, _ in headers}
        kept = tuple(one for one in sent if one[0].lower() not in given)
        answer = await self._conversation.ask(call, proof, (*kept, *headers), self.endpoint.path, fresh=fresh)
        if answer.index not in self.evidence:
            self.evidence.append(answer.index)
        if answer.exchange.trouble in ("unreachable", "tls"):
            raise Skipped(
                Text(
                    f"la cible est injoignable : {answer.exchange.error}",
                    f"the target cannot be reached: {answer.exchange.error}",
                ),
                answer,
            )
        if answer.status == 429:
            raise Skipped(Text("la cible demande de ralentir (429)", "the target asks to slow down (429)"), answer)
        return answer

    async def get(self, path: str) -> Answer:
        """Reads a path."""
        return await self.ask(Call("GET", path))

    async def examples(self) -> list[Answer]:
        """The answers that must be favourable. Raises `Skipped` when all of them write and writing is not allowed."""
        calls = self.endpoint.examples(writes=self.allow_writes)
        if not calls:
            raise Skipped(
                Text(
                    "aucun appel d'exemple en lecture : demande --allow-writes",
                    "no example call that only reads: needs --allow-writes",
                )
            )
        return [await self.ask(call) for call in calls]

    async def failures(self) -> list[Answer]:
        """The answers to calls that must fail, of those that did say so."""
        answers = [await self.ask(call) for call in self.endpoint.wrongs(writes=self.allow_writes)]
        return [answer for answer in answers if answer.failure]

    def plain(self) -> Call:
        """The endpoint's most ordinary call: a reading if there is one. Raises `Skipped` as `examples` does."""
        call = self.endpoint.reads()
        if call is not None:
            return call
        calls = self.endpoint.examples(writes=self.allow_writes)
        if not calls:
            raise Skipped(
                Text(
                    "aucun appel d'exemple en lecture : demande --allow-writes",
                    "no example call that only reads: needs --allow-writes",
                )
            )
        return calls[0]

    def reading(self) -> Call:
        """The endpoint's ordinary reading. Raises `Omitted` when it is never read, `Skipped` without an example."""
        call = self.endpoint.reads()
        if call is not None:
            return call
        if not self.endpoint.readable:
            raise Omitted(Text("cet endpoint ne se lit pas", "this endpoint is not read"))
        raise Skipped(Text("aucun exemple à lire : donner example_id", "no example to read: give example_id"))

    def document(self, answer: Answer) -> Any:
        """The JSON of a favourable answer. Raises `Skipped` otherwise: another requirement says what is wrong."""
        if not answer.favourable or answer.document is UNREADABLE:
            raise Skipped(
                Text(
                    "la réponse n'est pas favorable ou pas lisible : voir les exigences PUB-ENV et PUB-HTTP",
                    "the answer is not favourable or not readable: see the requirements PUB-ENV and PUB-HTTP",
                ),
                answer,
            )
        return answer.document

    def data(self, answer: Answer, path: str = "data") -> Any:
        """The member `data` of a favourable answer (or another, by dotted path). Raises `Skipped` as `document`."""
        value = self.document(answer)
        for step in path.split("."):
            if not isinstance(value, dict) or step not in value:
                raise Skipped(
                    Text(f"la réponse n'a pas de membre « {path} »", f'the answer has no member "{path}"'), answer
                )
            value = value[step]
        return value

    def rows(self, answer: Answer, path: str = "data") -> list[Any]:
        """That member when it is a list. Raises `Skipped` otherwise."""
        value = self.data(answer, path)
        if not isinstance(value, list):
            raise Skipped(Text(f"« {path} » n'est pas une liste", f'"{path}" is not a list'), answer)
        return value

    def nonsense(self, purpose: str = "") -> str:
        """A word that nobody has, the same for the same seed and purpose."""
        digest = hashlib.sha256(f"{self._conversation.seed}:{purpose}".encode()).hexdigest()
        return "zqx" + digest[:12]

    def secrets(self) -> Sequence[str]:
        """Every secret sent so far, right or wrong."""
        return tuple(secret for secret in self._conversation.secrets if len(secret) >= 4)

    def asked(self) -> list[Answer]:
        """What this case was answered."""
        return [Answer(self._conversation.exchanges[index], index) for index in self.evidence]
