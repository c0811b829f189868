"""RSP sessions: what the SM-DP+ remembers between initiateAuthentication and the end of a download.

Anybody may begin a session. So one costs no memory before an eUICC has proven itself in it: its transaction id says
when it began and bears our MAC, its challenge is derived from that. Then it is kept, in memory. When the server is
restarted an IPA simply begins again with the same matchingId; what must survive, the downloads that wait for their
result, is in the store.
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric import ec

from microipa.smdpp.identity import ServerIdentity
from microipa.smdpp.refusal import Refused, ServerBusy

CHALLENGE_BYTES = 16
TRANSACTION_ID_BYTES = 16
_TIME_BYTES, _MAC_BYTES = 6, 6  # of it
_RANDOM_BYTES = TRANSACTION_ID_BYTES - _TIME_BYTES - _MAC_BYTES
MAX_SESSIONS = 1024
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
    """None older than ``max_age`` seconds, and at most ``limit`` in which an eUICC has proven itself."""

    def __init__(
        self,
        limit: int = MAX_SESSIONS,
        max_age: float = MAX_AGE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._limit = limit
        self._max_age = max_age
        self._clock = clock
        self._secret = secrets.token_bytes(32)
        self._identities: dict[bytes, ServerIdentity] = {}  # those that began sessions, by their CI
        self._kept: dict[bytes, RspSession] = {}
        self._ended: dict[bytes, float] = {}  # of sessions that were kept: their beginnings

    def begin(self, identity: ServerIdentity) -> RspSession:
        """A new session as ``identity``. Nothing is kept of it."""
        self._identities[identity.ci_pk_id] = identity
        head = int(self._clock() * 1000).to_bytes(_TIME_BYTES, "big") + secrets.token_bytes(_RANDOM_BYTES)
        return self._session(head + self._derived(head, identity.ci_pk_id)[:_MAC_BYTES], identity)

    def keep(self, session: RspSession) -> None:
        """From now on ``get`` gives this very session. Raises ServerBusy when there is no room."""
        self._forget_old()
        if session.transaction_id not in self._kept and len(self._kept) >= self._limit:
            raise ServerBusy(f"{self._limit} downloads are running, which is the limit")
        self._kept[session.transaction_id] = session

    def get(self, transaction_id: bytes) -> RspSession:
        """Raises Refused 8.10.1/3.9 for a session that never was, is over, or is too old."""
        self._forget_old()
        session = self._kept.get(transaction_id) or self._unproven(transaction_id)
        if session is None:
            raise Refused(
                "8.10.1", "3.9", f"no session has the transaction id {transaction_id.hex().upper()}"
            )
        return session

    def end(self, transaction_id: bytes) -> None:
        session = self._kept.pop(transaction_id, None)
        if session:
            self._ended[transaction_id] = session.started

    def end_others(self, order_id: int, keep: RspSession | None = None) -> None:
        """A new attempt at an order ends the sessions of earlier ones; so does its cancellation."""
        for session in list(self._kept.values()):
            known = session.authenticated
            if session is not keep and known is not None and known.order_id == order_id:
                self.end(session.transaction_id)

    def forget(self) -> None:
        """What a restart of the server does: all sessions are gone."""
        self._kept.clear()
        self._secret = secrets.token_bytes(32)

    def _unproven(self, transaction_id: bytes) -> RspSession | None:
        """The session that we began under this transaction id, if it may still be gone on with."""
        head, mac = transaction_id[:-_MAC_BYTES], transaction_id[-_MAC_BYTES:]
        for ci_pk_id, identity in self._identities.items():
            if hmac.compare_digest(self._derived(head, ci_pk_id)[:_MAC_BYTES], mac):
                session = self._session(transaction_id, identity)
                current = self._clock() - session.started <= self._max_age and transaction_id not in self._ended
                return session if current else None
        return None

    def _session(self, transaction_id: bytes, identity: ServerIdentity) -> RspSession:
        challenge = self._derived(b"challenge", transaction_id)[:CHALLENGE_BYTES]
        started = int.from_bytes(transaction_id[:_TIME_BYTES], "big") / 1000
        return RspSession(transaction_id, challenge, started, identity)

    def _derived(self, purpose: bytes, data: bytes) -> bytes:
        return hmac.digest(self._secret, purpose + b"|" + data, "sha256")

    def _forget_old(self) -> None:
        oldest = self._clock() - self._max_age
        self._kept = {name: session for name, session in self._kept.items() if session.started >= oldest}
        self._ended = {name: started for name, started in self._ended.items() if started >= oldest}
