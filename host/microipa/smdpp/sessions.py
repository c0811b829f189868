"""RSP sessions: what the SM-DP+ remembers between initiateAuthentication and the end of a download.

They live in memory. When the server is restarted an IPA simply begins again with the same matchingId; what
must survive, the downloads that wait for their result, is in the store.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric import ec

from microipa.smdpp.identity import ServerIdentity
from microipa.smdpp.refusal import Refused, ServerBusy

TRANSACTION_ID_BYTES = 16
CHALLENGE_BYTES = 16
MAX_SESSIONS = 64
MAX_AGE_S = 1800.0  # NB-IoT takes minutes for one download, nothing takes half an hour

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Authenticated:
    """What authenticateClient proved and chose."""

    eid: str
    public_key: ec.EllipticCurvePublicKey
    euicc_certificate: bytes
    order_id: int
    smdp_signature2: bytes  # 64 bytes
    package: int = 0  # which of the order's


@dataclass
class RspSession:
    transaction_id: bytes
    server_challenge: bytes
    started: float
    identity: ServerIdentity
    authenticated: Authenticated | None = None
    _answers: dict[str, tuple[bytes, object]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The transaction id as JSON carries it and the store keeps it."""
        return self.transaction_id.hex().upper()

    def once(self, function: str, request: bytes, answer: Callable[[], Answer]) -> Answer:
        """Do ``function`` once: the same request again (its answer was lost) gets the same answer again.

        A different request for a function already answered is refused.
        """
        if function not in self._answers:
            self._answers[function] = (request, answer())
        known_request, known_answer = self._answers[function]
        if known_request != request:
            raise Refused("8.10.1", "3.9", f"{function} was answered before in transaction {self.name}")
        return known_answer  # type: ignore[return-value]


class Sessions:
    """At most ``limit`` sessions, none older than ``max_age`` seconds."""

    def __init__(
        self,
        limit: int = MAX_SESSIONS,
        max_age: float = MAX_AGE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._max_age = max_age
        self._clock = clock
        self._open: dict[bytes, RspSession] = {}  # oldest first

    def begin(self, identity: ServerIdentity) -> RspSession:
        """A new session as ``identity``. When there is no room, the oldest that proved nothing yet has to go.

        Raises ServerBusy when all are authenticated.
        """
        self._forget_old()
        if len(self._open) >= self._limit:
            idle = next((s for s in self._open.values() if s.authenticated is None), None)
            if idle is None:
                raise ServerBusy(f"{self._limit} downloads are under way, no more fit")
            self.end(idle.transaction_id)
        session = RspSession(
            secrets.token_bytes(TRANSACTION_ID_BYTES),
            secrets.token_bytes(CHALLENGE_BYTES),
            self._clock(),
            identity,
        )
        self._open[session.transaction_id] = session
        return session

    def get(self, transaction_id: bytes) -> RspSession:
        """Raises Refused 8.10.1/3.9 for a session that never was, is over, or is too old."""
        self._forget_old()
        session = self._open.get(transaction_id)
        if session is None:
            raise Refused(
                "8.10.1", "3.9", f"no session has the transaction id {transaction_id.hex().upper()}"
            )
        return session

    def end(self, transaction_id: bytes) -> None:
        self._open.pop(transaction_id, None)

    def end_others(self, order_id: int, keep: RspSession | None = None) -> None:
        """A new attempt at an order ends the sessions of earlier ones; so does its cancellation."""
        for session in list(self._open.values()):
            known = session.authenticated
            if session is not keep and known is not None and known.order_id == order_id:
                self.end(session.transaction_id)

    def _forget_old(self) -> None:
        oldest = self._clock() - self._max_age
        for session in list(self._open.values()):
            if session.started < oldest:
                self.end(session.transaction_id)
