"""A root SM-DS as the lab sees it: ES11 for devices, ES12 for SM-DP+ (SGP.22 clauses 3.6, 5.8 and 5.9).

One level, no cascade. The functions run to their end without waiting for anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from sqlalchemy import Select, select
from starlette.applications import Starlette

from microipa.crypto.pki import Pki
from microipa.crypto.revocation import Issuer
from microipa.net.https_server import LOOPBACK, serve_https
from microipa.smdpp.answers import AuthenticateServerOk
from microipa.smdpp.authentication import SM_DS, Authentication, InitiateAuthenticationOk
from microipa.smdpp.callers import Callers
from microipa.smdpp.es9_http import AUTHENTICATE, INITIATE
from microipa.smdpp.json_binding import Field, flag, requester, text
from microipa.smdpp.refusal import MalformedRequest, Refused
from microipa.smdpp.rsp_http import Function, Interface
from microipa.smdpp.sessions import RspSession, Sessions
from microipa.smds.identity import SmdsIdentity
from microipa.smds.store import SCHEMA, EventRecord
from microipa.storage.database import Database
from microipa.trace import Trace
from microipa.trace.key_log import KeyLog

MAX_TEXT = 255  # characters of an event's identifier and address
MAX_EVENTS = 64  # for one eUICC


@dataclass(frozen=True)
class AuthenticateClientOk:
    """``event_entries``: eventId and rspServerAddress of each, oldest first."""

    transaction_id: bytes
    event_entries: list[dict[str, str]]


@dataclass(frozen=True)
class Event:
    """One event as it stands."""

    eid: str
    event_id: str
    rsp_server_address: str


class Smds:
    """An SM-DS whose events live in ``folder``/smds.sqlite.

    ``keys``: our own PKI, or an identity for each CI, the preferred one first. SM-DP+ are those with a TLS
    certificate under one of these CIs or in ``servers``.
    """

    def __init__(
        self,
        keys: Pki | Sequence[SmdsIdentity],
        folder: Path,
        *,
        servers: Sequence[x509.Certificate | Issuer] = (),
        trace: Trace | None = None,
    ) -> None:
        identities = [SmdsIdentity.of(keys)] if isinstance(keys, Pki) else list(keys)
        self._tls = identities[0].tls
        self.address = identities[0].address
        self._servers = Callers([*(identity.issuer for identity in identities), *servers], ("tls",))
        self.key_log: KeyLog | None = None
        """A file that is there: an ES11 server that starts later writes the secrets of its connections into it."""
        self._store = Database(folder / "smds.sqlite", SCHEMA)
        self._sessions = Sessions()
        by_ci = {identity.ci_pk_id: identity for identity in identities}
        self._authentication = Authentication(SM_DS, by_ci, self._sessions, self.address)
        # ES11 has the paths of ES9+ (clause 6.5.2): a device asks an SM-DS as it asks an SM-DP+.
        devices = Interface("smds", "es9plus", trace).routes(
            {
                "initiateAuthentication": Function(self.initiate_authentication, INITIATE),
                "authenticateClient": Function(self.authenticate_client, AUTHENTICATE),
            }
        )
        self.app = Starlette(routes=devices)
        header = Field("header", "requester", requester)
        event = (Field("eid", "eid", text), Field("eventId", "event_id", text))
        address = Field("rspServerAddress", "rsp_server_address", text)
        forwarding = Field("forwardingIndicator", "forwarding", flag)
        es12 = Interface("smds", "es12", trace, callers=self._servers).routes(
            {
                "registerEvent": Function(self.register_event, (header, *event, address, forwarding)),
                "deleteEvent": Function(self.delete_event, (header, *event)),
            }
        )
        self.servers_app = Starlette(routes=es12)

    # ES11

    def initiate_authentication(
        self, euicc_challenge: bytes, euicc_info1: bytes, smdp_address: str
    ) -> InitiateAuthenticationOk:
        """Clause 5.8.1; ``smdp_address`` is the name that the field has on every server."""
        return self._authentication.initiate(euicc_challenge, euicc_info1, smdp_address)

    def authenticate_client(self, transaction_id: bytes, authenticate_server_response: bytes) -> AuthenticateClientOk:
        """What waits for the eUICC that proves its EID (clause 5.8.2)."""
        session = self._sessions.get(transaction_id)
        return session.once(
            "authenticateClient",
            authenticate_server_response,
            lambda: self._waiting(session, AuthenticateServerOk.parse(authenticate_server_response)),
        )

    def _waiting(self, session: RspSession, proof: AuthenticateServerOk) -> AuthenticateClientOk:
        eid, _ = self._authentication.verify(session, proof)
        events = [event for event in self.events(eid) if proof.matching_id in (None, "", event.event_id)]
        if proof.matching_id and not events:
            raise Refused("8.9.5", "3.9", f"there is no event {proof.matching_id[:128]!a} for eUICC {eid}")
        entries = [{"eventId": event.event_id, "rspServerAddress": event.rsp_server_address} for event in events]
        return AuthenticateClientOk(session.transaction_id, entries)

    # ES12

    def register_event(
        self, requester: str, eid: str, event_id: str, rsp_server_address: str, forwarding: bool
    ) -> None:
        """Clause 5.9.1. The same event from the same server again is no error: its answer was lost.

        ``forwarding`` is for an SM-DS with another above it, which this one has not.
        """
        if not re.fullmatch("[0-9]{32}", eid):
            raise MalformedRequest(f"eid {eid[:64]!a} has not 32 digits")
        for name, value in (("eventId", event_id), ("rspServerAddress", rsp_server_address)):
            if not 1 <= len(value) <= MAX_TEXT:
                raise MalformedRequest(f"{name} has {len(value)} characters, 1 to {MAX_TEXT} are allowed")
        with self._store.work() as database:
            known = database.get(EventRecord, (eid, event_id))
            if known and (known.owner, known.rsp_server_address) != (requester, rsp_server_address):
                raise Refused("8.9.5", "3.3", f"event {event_id!a} is already registered for eUICC {eid}")
            if not known and len(database.scalars(_of(eid)).all()) >= MAX_EVENTS:
                raise Refused("8.9", "4.2", f"eUICC {eid} has {MAX_EVENTS} events, which is the limit")
            if not known:
                database.add(
                    EventRecord(
                        eid=eid, event_id=event_id, rsp_server_address=rsp_server_address, owner=requester
                    )
                )

    def delete_event(self, requester: str, eid: str, event_id: str) -> None:
        """Clause 5.9.2; only the server that registered an event knows it."""
        with self._store.work() as database:
            known = database.get(EventRecord, (eid, event_id))
            if known is None or known.owner != requester:
                raise Refused("8.9.5", "3.9", f"there is no event {event_id[:128]!a} of yours for eUICC {eid[:32]!a}")
            database.delete(known)

    # The lab

    def events(self, eid: str) -> list[Event]:
        """What waits for one eUICC, oldest first."""
        with self._store.work() as database:
            return [Event(one.eid, one.event_id, one.rsp_server_address) for one in database.scalars(_of(eid))]

    def serve(self, port: int = 0, host: str = LOOPBACK) -> AbstractAsyncContextManager[int]:
        """Serve ES11 by HTTPS: ``async with smds.serve() as port``. Raises PortTaken."""
        return serve_https(self.app, self._tls, port, host=host, key_log=self.key_log)

    def serve_servers(self, port: int = 0, host: str = LOOPBACK) -> AbstractAsyncContextManager[int]:
        """Serve ES12 by HTTPS with mutual authentication. Raises PortTaken."""
        return serve_https(self.servers_app, self._tls, port, host=host, clients=self._servers.issuers)


def _of(eid: str) -> Select[EventRecord]:
    return select(EventRecord).where(EventRecord.eid == eid).order_by(EventRecord.registered)
