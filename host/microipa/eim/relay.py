"""Indirect download: four ESipa functions the eIM carries to the SM-DP+ (SGP.32 3.2.3.2, 5.14).

What card and server signed passes through as raw slices. Only a device with an open download order gets to an
SM-DP+, and only to the one its activation code names.

What an SM-DP+ cannot do now is not final. SGP.32 v1.2 has no code for it: the device gets undefinedError(127) of
the function, invalidTransactionId where the SM-DP+ has lost the session, and ends its attempt. The order stays
open (``Orders.interrupt``). A device that then sends CancelSession gets its answer from here: the SM-DP+ would
burn the activation code. A device that reports undefinedError for the trigger does not end the order by it either.
What is final has ended the order before the device gets its code.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence

from microipa.asn1.tlv import Tlv, TlvError, integer, parse, tlv
from microipa.crypto.certificates import CertificateInvalid, issuer_among, verify_smdpp_certificate
from microipa.crypto.revocation import Issuer
from microipa.eim import clients, compact, confirmation, esipa, features, questions, signed, sources, store, words
from microipa.eim.orders import Orders
from microipa.eim.packages import SIGNATURE, euicc_info1
from microipa.eim.relayed import AUTHENTICATE, CANCEL, GET_PACKAGE, INITIATE, Function, RelayFailed
from microipa.eim.sources import ActivationCode
from microipa.eim.store import Device, DownloadSession, Order, RelayedAnswer, Store
from microipa.net.rsp_client import Answer, RspClient, RspRefused, RspUnavailable, b64
from microipa.storage.database import StoreBusy
from microipa.storage.unit_of_work import Work
from microipa.trace import Trace

INVALID_DP_ADDRESS, SMDP_ADDRESS_MISMATCH, SMDP_OID_MISMATCH, INVALID_EIM_TRANSACTION = 1, 50, 51, 52
PPR_NOT_ALLOWED, METADATA_MISMATCH = 50, 50  # of AuthenticateClient, of GetBoundProfilePackage
MOST_ANSWERS = 64  # kept for devices whose connection broke before theirs was there
ONCE = (AUTHENTICATE.tag, GET_PACKAGE.tag)  # what an SM-DP+ answers once in a session
NO_SESSION = ("8.10.1", "3.9")  # the device can begin again
TRANSPORT_ERRORS = ("5.1", "5.2", "5.4")  # reasons: inaccessible, timeout, delivered with no response (SGP.02 5.1.6.5)
POSTPONED, TIMEOUT = 1, 2  # CancelSessionReasons after which an SM-DP+ keeps its order (SGP.22 5.6.5)
REPEATS_S = (0.5, 2.0)  # before an SM-DP+ that did not answer is asked the same once more
PATIENCE_S = 10.0  # after which it is not: the device waits as well


class Relay:
    """The relay functions of one eIM."""

    def __init__(
        self,
        store_: Store,
        es9: RspClient,
        orders: Orders,
        cis: Sequence[Issuer],
        trace: Trace | None,
    ) -> None:
        self._store = store_
        self._es9 = es9
        self._orders = orders
        self._ci, self._cis = cis[0], cis  # the first is that of the cards
        self._trace = trace
        self._answers: OrderedDict[bytes, asyncio.Task[bytes]] = OrderedDict()

    async def handle(self, message: Tlv) -> bytes:
        """One of BF39, BF3B, BF3A, BF41. Raises TlvError for a message that cannot be read.

        A request that comes once more, byte for byte, has lost its answer: it gets the same one, and the SM-DP+
        is not asked again. While the SM-DP+ works on it this process knows that; afterwards each does.
        """
        task = self._answers.get(message.raw)
        if task is None:
            task = self._answers[message.raw] = asyncio.create_task(self._answer_once(message))
            task.add_done_callback(lambda done: self._forget(message.raw, done))
            while len(self._answers) > MOST_ANSWERS:
                self._answers.popitem(last=False)
        return await asyncio.shield(task)

    def _forget(self, request: bytes, done: asyncio.Task[bytes]) -> None:
        """What failed may succeed the next time."""
        if done.cancelled() or done.exception() or not _has_succeeded(done.result()):
            self._answers.pop(request, None)

    async def _answer_once(self, message: Tlv) -> bytes:
        if message.tag not in ONCE:
            return await self._answer(message)
        digest = hashlib.sha256(message.raw).hexdigest()
        with self._store.work() as db:
            known = db.get(RelayedAnswer, digest)
        if known:
            return known.answer
        answer = await self._answer(message)
        if _has_succeeded(answer):
            with contextlib.suppress(StoreBusy), self._store.work() as db:  # the device can do without
                db.put(RelayedAnswer(request=digest, answer=answer))
        return answer

    async def _answer(self, message: Tlv) -> bytes:
        function, carry = {
            INITIATE.tag: (INITIATE, self._initiate),
            AUTHENTICATE.tag: (AUTHENTICATE, self._authenticate),
            GET_PACKAGE.tag: (GET_PACKAGE, self._get_package),
            CANCEL.tag: (CANCEL, self._cancel),
        }[message.tag]
        try:
            return tlv(function.tag, await carry(message))
        except RelayFailed as failure:
            if self._trace:
                self._trace.record("eim", "relay", function=function.name, code=failure.code, reason=str(failure))
            return tlv(function.tag, integer(function.error_tag, failure.code))

    async def _initiate(self, message: Tlv) -> bytes:
        challenge = message[0x81].value
        order, code, info1 = self._open_download(message)
        fields = {
            "euiccChallenge": b64(challenge),
            "euiccInfo1": b64(info1),
            "smdpAddress": code.smdp_address,
        }
        with self._outcome_of(order.id):
            proven = signed.info1(order.device, info1)
            answer = await self._call(INITIATE, order, code.smdp_address, fields, proven, message)
            server_id = bytes.fromhex(answer.text("transactionId"))
            server_signed = answer.tlv("serverSigned1", 0x30)
            certificate = answer.tlv("serverCertificate", 0x30).raw
            self._check_server(server_signed, certificate, challenge, server_id, code)
            parts = (
                server_signed.raw,
                answer.tlv("serverSignature1", SIGNATURE).raw,
                answer.tlv("euiccCiPKIdToBeUsed", 0x04).raw,
            )
        session = DownloadSession(
            transaction_id=server_id.hex(),
            server_transaction_id=answer.text("transactionId"),
            smdp_address=code.smdp_address,
            order_id=order.id,
            server_signed_1=server_signed.raw,
            server_certificate=certificate,
            ctx_params_1=self._ctx_params_1(order, code),
        )
        with self._store.work() as db:
            if not questions.open_session(db, session):
                raise RelayFailed(esipa.UNDEFINED, f"{code.smdp_address} names the transaction of another download")
        context = b""
        if session.ctx_params_1:
            context = tlv(0xA2, session.ctx_params_1)
        elif features.has(order.device, features.DOWNLOAD_DATA) and code.matching_id:
            context = tlv(0x0C, code.matching_id.encode())
        own = _transaction_id(order.device, tlv(0x80, server_id))
        return tlv(0xA0, own, *parts, certificate, context)

    def _ctx_params_1(self, order: Order, code: ActivationCode) -> bytes | None:
        if not features.has(order.device, features.CTX_PARAMS_1):
            return None
        return features.ctx_params_1(order.device, code.matching_id)

    def _open_download(self, message: Tlv) -> tuple[Order, ActivationCode, bytes]:
        """The order this request is for: by eimTransactionId or, when that is left out, by the address."""
        transaction_id, address = message.get(0x82), message.get(0x83)
        asked = address.value.decode(errors="replace") if address else None
        with self._store.work() as db:
            order = _delivered_download(db, transaction_id.value if transaction_id else None, asked)
            if order is None:
                unknown = INVALID_EIM_TRANSACTION if transaction_id else INVALID_DP_ADDRESS
                raise RelayFailed(unknown, "no open download order for this request")
            clients.check(order.eid)
            code = _smdp(order)
            if code is None:
                raise RelayFailed(INVALID_DP_ADDRESS, f"this eIM has no SM-DP+ for order {order.id}: {order.summary}")
            if asked is not None and asked.lower() != code.smdp_address.lower():
                raise RelayFailed(INVALID_DP_ADDRESS, f"order {order.id} is for {code.smdp_address}, not {asked}")
            given = message.get(0xBF20)
            if given is None and order.device.euicc_info2 is None:
                raise RelayFailed(esipa.UNDEFINED, "neither euiccInfo1 nor an EUICCInfo2 to cut it from")
            info1 = given.raw if given else euicc_info1(order.device.euicc_info2 or b"")
            return order, code, info1

    def _check_server(
        self, signed: Tlv, certificate: bytes, challenge: bytes, server_id: bytes, code: ActivationCode
    ) -> None:
        """What the eIM checks of serverSigned1 (SGP.32 3.2.3.2 step 4); the card checks the signature."""
        if signed[0x83].value.decode(errors="replace").lower() != code.smdp_address.lower():
            raise RelayFailed(SMDP_ADDRESS_MISMATCH, "serverSigned1 names another SM-DP+")
        if signed[0x80].value != server_id:
            raise RelayFailed(INVALID_EIM_TRANSACTION, "serverSigned1 names another transaction")
        if signed[0x81].value != challenge:
            raise RelayFailed(esipa.UNDEFINED, "serverSigned1 answers another challenge")
        try:
            _, oid = verify_smdpp_certificate(certificate, "auth", issuer_among(self._cis, "smdpp", certificate))
        except CertificateInvalid as invalid:
            raise RelayFailed(SMDP_OID_MISMATCH, str(invalid)) from invalid
        if code.smdp_oid and code.smdp_oid != oid:
            raise RelayFailed(SMDP_OID_MISMATCH, f"the activation code requires {code.smdp_oid}, this is {oid}")

    async def _authenticate(self, message: Tlv) -> bytes:
        session, response = self._session(message, 10), message[0xBF38]
        device = session.order.device
        if compact.is_compact(response):
            response = self._rebuilt(5, session, lambda: compact.authenticate_server(response, session, self._ci))
        with self._store.work() as db:
            proven = signed.learn(db, session, response, self._ci)
        fields = {"authenticateServerResponse": b64(response.raw)}
        with self._outcome_of(session.order_id):
            answer = await self._in_session(AUTHENTICATE, session, fields, proven, message)
            metadata = answer.tlv_if_any("profileMetadata", 0xBF25)
            smdp_signed = answer.tlv("smdpSigned2", 0x30)
            signature = answer.tlv("smdpSignature2", SIGNATURE).raw
            certificate = answer.tlv("smdpCertificate", 0x30).raw
        with self._store.work() as db:
            kept = db.get_one(DownloadSession, session.transaction_id)
            kept.profile_metadata = metadata or None
            kept.smdp_signed_2, kept.smdp_signature_2 = smdp_signed.raw, signature
        if features.has(device, features.METADATA):
            with self._outcome_of(session.order_id):
                _check_metadata(metadata)
            metadata = b""
        own, hash_cc = _transaction_id(device, message[0x80].raw), confirmation.hash_cc(session, smdp_signed)
        return tlv(0xA0, own, metadata, smdp_signed.raw, signature, certificate, hash_cc)

    def _rebuilt(self, code: int, session: DownloadSession, rebuild: Callable[[], bytes]) -> Tlv:
        """A card's answer in its plain form. Otherwise the device is asked for it, by the code of a bad signature."""
        device = session.order.device
        try:
            if device.compact_failed:
                raise compact.NotRebuilt(f"compact messages of {device.eid} need a complete one first")
            return parse(rebuild())
        except compact.NotRebuilt as error:
            with self._store.work() as db:
                db.get_one(Device, device.eid).compact_failed = True
            raise RelayFailed(code, str(error)) from error

    async def _get_package(self, message: Tlv) -> bytes:
        session, response = self._session(message, 95), message[0xBF21]
        if compact.is_compact(response):
            response = self._rebuilt(1, session, lambda: compact.prepare_download(response, session))
        fields, proven = {"prepareDownloadResponse": b64(response.raw)}, signed.prepared(session, response)
        with self._outcome_of(session.order_id):
            answer = await self._in_session(GET_PACKAGE, session, fields, proven, message)
            package = answer.tlv("boundProfilePackage", 0xBF36)
            if features.has(session.order.device, features.METADATA):
                try:
                    features.check_package(package, session.profile_metadata or b"")
                except features.MetadataMismatch as mismatch:
                    raise RelayFailed(METADATA_MISMATCH, str(mismatch)) from mismatch
        return tlv(0xA0, _transaction_id(session.order.device, message[0x80].raw), package.raw)

    async def _cancel(self, message: Tlv) -> bytes:
        """CancelSession; ``A1`` holds the card's answer without its BF41, or with it (interop)."""
        session, answered = self._session(message, 1), message[0xA1]
        inner = answered.children()
        response = inner[0] if inner and inner[0].tag == 0xBF41 else parse(tlv(0xBF41, answered.value))
        if compact.is_compact(response):
            response = self._rebuilt(2, session, lambda: compact.cancel_session(response, session))
        if session.order.due is not None or session.order.state not in store.OPEN:
            return tlv(0xA0)  # our own answer made the device cancel
        reason = signed.cancel_reason(response)
        text = f"the device cancelled: {_reason_words(reason)}"
        fields = {"transactionId": session.server_transaction_id, "cancelSessionResponse": b64(response.raw)}
        try:
            await self._ask(CANCEL, session.smdp_address, fields)
        except (RspUnavailable, RspRefused) as error:
            self._cancelled(session, response, reason, f"{text}; the SM-DP+ did not accept it: {error}")
            codes = (error.subject, error.reason) if isinstance(error, RspRefused) else ("", "")
            raise RelayFailed(CANCEL.codes.get(codes, esipa.UNDEFINED), str(error)) from error
        self._cancelled(session, response, reason, text)
        return tlv(0xA0)

    def _cancelled(self, session: DownloadSession, response: Tlv, reason: int | None, text: str) -> None:
        with self._store.work() as db:
            order = db.get_one(Order, session.order_id)
            if order.state not in store.OPEN:
                return
            if reason in (POSTPONED, TIMEOUT):
                self._orders.interrupt(db, order, text)
                return
            if order.confirmation_hash is None and confirmation.wanted(parse(session.smdp_signed_2 or b"\x30\x00")):
                text += "; the SM-DP+ wants a confirmation code, and the order has none"
            if not signed.cancelled(session, response):
                self._orders.doubt(db, order, text, response.raw)
                return
            if order.result and reason == esipa.UNDEFINED:
                text += f"; {order.result}"
            self._orders.settle(db, order, store.FAILED, text)

    def _session(self, message: Tlv, unknown: int) -> DownloadSession:
        with self._store.work() as db:
            session = db.get(DownloadSession, message[0x80].value.hex())
        if session is None or session.is_direct:
            raise RelayFailed(unknown, "no session with this transactionId")
        clients.check(session.order.eid)
        return session

    async def _in_session(
        self, function: Function, session: DownloadSession, fields: dict[str, str], proven: bool, message: Tlv
    ) -> Answer:
        fields = {"transactionId": session.server_transaction_id, **fields}
        return await self._call(function, session.order, session.smdp_address, fields, proven, message)

    @contextlib.contextmanager
    def _outcome_of(self, order_id: int) -> Iterator[None]:
        """Note why a function came to nothing. Raises RelayFailed, also for what is no answer of an SM-DP+."""
        try:
            yield
        except (RspUnavailable, TlvError, ValueError) as error:
            with self._store.work() as db:
                wait = error.retry_after if isinstance(error, RspUnavailable) else None
                self._orders.interrupt(db, db.get_one(Order, order_id), str(error), wait)
            raise RelayFailed(esipa.UNDEFINED, str(error)) from error
        except RelayFailed as failure:
            with self._store.work() as db:
                order = db.get_one(Order, order_id)
                if order.state in store.OPEN and order.due is None:
                    order.result = str(failure)
            raise

    def _doubt(self, order_id: int, text: str, message: Tlv) -> None:
        with self._store.work() as db:
            order = db.get_one(Order, order_id)
            if order.state == store.DELIVERED and order.due is None:
                self._orders.doubt(db, order, text, message.raw)

    async def _call(
        self, function: Function, order: Order, address: str, fields: dict[str, str], proven: bool, message: Tlv
    ) -> Answer:
        """Ask the SM-DP+. Its refusal of what the card signed (``proven``) ends the order where nothing the device
        does can mend it; a refusal of anything else may be the work of a stranger."""
        try:
            answer = await self._ask(function, address, fields)
        except RspRefused as refusal:
            codes = (refusal.subject, refusal.reason)
            code = function.codes.get(codes, esipa.UNDEFINED)
            text = f"{words.name(function.errors, code)}: {refusal}" if codes in function.codes else str(refusal)
            with self._store.work() as db:
                kept = db.get_one(Order, order.id)
                if codes == NO_SESSION or refusal.reason in TRANSPORT_ERRORS:
                    self._orders.interrupt(db, kept, str(refusal))
                elif kept.state in store.OPEN and proven:
                    self._orders.settle(db, kept, store.FAILED, text)
            if not proven and codes != NO_SESSION and refusal.reason not in TRANSPORT_ERRORS:
                self._doubt(order.id, text, message)
            raise RelayFailed(code, str(refusal)) from refusal
        if order.due is not None:  # the device repeated what had failed, and goes on
            with self._store.work() as db:
                db.get_one(Order, order.id).due = None
        return answer

    async def _ask(self, function: Function, address: str, fields: dict[str, str]) -> Answer:
        """One function; once more after a moment where that cannot do it twice. Raises RspUnavailable, RspRefused."""
        begun = time.monotonic()
        for pause in REPEATS_S:
            try:
                return await self._es9.call(address, function.name, fields)
            except RspUnavailable as error:
                again = error.untouched or function.tag not in ONCE
                if not again or (error.retry_after or 0) > pause or time.monotonic() - begun > PATIENCE_S:
                    raise
            await asyncio.sleep(pause)
        return await self._es9.call(address, function.name, fields)


def _has_succeeded(answer: bytes) -> bool:
    return parse(answer).children()[0].tag == 0xA0


def _check_metadata(metadata: bytes) -> None:
    try:
        features.check_metadata(metadata)
    except features.PprNotAllowed as refusal:
        raise RelayFailed(PPR_NOT_ALLOWED, str(refusal)) from refusal
    except features.MetadataMismatch as refusal:
        raise RelayFailed(esipa.UNDEFINED, str(refusal)) from refusal


def _transaction_id(device: Device, own: bytes) -> bytes:
    """The transactionId of an answer, which an IPA that counts bytes does without (SGP.32 5.14)."""
    return b"" if features.has(device, features.MINIMIZE) else own


def _delivered_download(db: Work, transaction_id: bytes | None, address: str | None) -> Order | None:
    if transaction_id is not None:
        order = questions.order_of_transaction(db, transaction_id)
        return order if order and order.kind == store.DOWNLOAD and order.state == store.DELIVERED else None
    if address is None:
        return None
    fitting = [
        order
        for order in questions.delivered_downloads(db)
        if (code := _smdp(order)) and code.smdp_address.lower() == address.lower()
    ]
    return fitting[0] if len(fitting) == 1 else None


def _smdp(order: Order) -> ActivationCode | None:
    """Where the profile of this order waits; None where only the device can tell."""
    return sources.read(order.content.decode()).at(order.device.default_smdp)


def _reason_words(reason: int | None) -> str:
    return "the eUICC knew no session" if reason is None else words.name("CancelSessionReason", reason)
