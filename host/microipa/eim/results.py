"""What comes back from a device, and what it does to its order (SGP.32 5.14.6, 5.14.7).

An order is settled by what the card signed. SGP.32 authenticates no IPA, so what nobody signed proves nothing: an
end of that kind must name the eimTransactionId, raises an alarm, and lets the order be offered again until that has
happened MAX_REFUSALS times. What does not verify is refused: the order stays as it was. Evidence is kept in alarms.
"""

from __future__ import annotations

from typing import Any

from microipa.asn1.tlv import Tlv, TlvError, number, parse
from microipa.crypto.certificates import CertificateInvalid, verify_euicc_chain
from microipa.crypto.ec import SignatureInvalid
from microipa.crypto.revocation import Issuer
from microipa.eim import clients, devices, esipa, features, packages, questions, reasons, sources, store, words
from microipa.eim.answers import INCORRECT_TAG_LIST, UNDEFINED, DataAnswer, DeviceUnproven
from microipa.eim.esipa import ResultRefused
from microipa.eim.notices import Notices
from microipa.eim.orders import ABOUT_EUICC, ABOUT_EUICC_LEAST, MAX_REFUSALS, STORED_RESULTS, Orders, device_of
from microipa.eim.store import Device, DownloadSession, Order
from microipa.storage.unit_of_work import Work

DOWNLOAD_ERROR = (
    "ProfileDownloadTriggerResult.profileDownloadTriggerResultData.profileDownloadError.profileDownloadErrorReason"
)
TRANSACTION_ID_TAGS = {esipa.DOWNLOAD_TRIGGER: 0x82, 0xA0: 0x80}


class Results:
    """The incoming half of the order book."""

    def __init__(self, orders: Orders, notices: Notices, ci: Issuer, eim_id: str) -> None:
        self._orders = orders
        self._notices = notices
        self._ci = ci
        self._eim_id = eim_id

    def take(self, db: Work, message: Tlv) -> list[int]:
        """Act on a ProvideEimPackageResult. Returns the card's seqNumbers to acknowledge.

        Raises EidRefused, ResultRefused, EsipaRefused, TlvError.
        """
        result = next((child for child in message if child.tag != esipa.EID), None)
        if result is None:
            raise esipa.EsipaRefused("ProvideEimPackageResult without a result")
        device = self._sender(db, message.get(esipa.EID), result)
        if result.tag == esipa.EUICC_PACKAGE:
            return self._take_package_result(db, device, result)
        if result.tag == 0x30:
            acknowledged = self._take_package_result(db, device, result[esipa.EUICC_PACKAGE])
            return acknowledged + self._notices.accept_list(db, result.get(0xA0), device)
        if result.tag == esipa.IPA_EUICC_DATA:
            return self._take_data(db, device, result)
        if result.tag == esipa.DOWNLOAD_TRIGGER:
            return self._take_download(db, device, result)
        if result.tag == 0xA0:
            reason = words.name("EimPackageResultErrorCode", number(result[0x02]))
            text = f"the IPA could not handle the package: {reason}"
            self._end_unsigned(db, device, _transaction_id(result), text, result.raw)
            return []
        raise esipa.EsipaRefused(f"{result.tag:02X} is not an eIM package result")

    # eUICC package results ----------------------------------------------------------------------------------

    def _take_package_result(self, db: Work, device: Device, message: Tlv) -> list[int]:
        result = packages.PackageResult.read(message)
        order = questions.find_order(db, device.eid, (store.PACKAGE,), result.transaction_id)
        if result.data is None:
            self._refused_unsigned(db, device, order, result, message)
            return []
        self._verify(device, result)
        device.counter = max(device.counter, result.counter or 0)
        if order is None or order.counter != result.counter:
            return self._take_stray(db, device, result, message)
        if result.sequence is None:
            if order.state == store.DELIVERED:
                self._refused_signed(db, device, order, result)
            return []
        if result.sequence != order.sequence:  # else our acknowledgement was lost
            self._settle_package(db, device, order, result)
        return [result.sequence]

    def _verify(self, device: Device, result: packages.PackageResult) -> None:
        if result.eim_id != self._eim_id:
            raise ResultRefused(device.eid, f"a result for the eIM {result.eim_id[:128]}, not for this one")
        if not device.is_proven:
            raise ResultRefused(device.eid, f"a result of {device.eid}, whose certificate this eIM does not have")
        key = devices.result_key(device)
        tokens = [device.token or 0]
        if device.proven_token not in (None, tokens[0]):  # what an answer claimed since may not be so
            tokens.append(device.proven_token)
        for token in tokens:
            try:
                result.verify(key, token)
            except SignatureInvalid as invalid:
                reason = str(invalid)
            else:
                device.token = device.proven_token = token
                return
        raise ResultRefused(device.eid, f"an eUICC package result of {device.eid}: {reason}")

    def _settle_package(self, db: Work, device: Device, order: Order, result: packages.PackageResult) -> None:
        """The result of ``order``, or a newer one: after a rollback the card signs again.

        An older one is a replay (SGP.32 5.14.6). The first is none, even when another order's overtook it.
        """
        assert result.sequence is not None
        if order.sequence is not None and result.sequence < order.sequence:
            text = f"replay: result {result.sequence} for order {order.id}, which has result {order.sequence}"
            raise ResultRefused(device.eid, text)
        order.sequence = result.sequence
        device.highest_sequence = max(device.highest_sequence, result.sequence)
        devices.apply(device, packages.operations(order.content), result.outcomes)
        state = store.DONE if result.ok else store.FAILED
        self._orders.settle(db, order, state, result.text(), result.details())

    def _take_stray(self, db: Work, device: Device, result: packages.PackageResult, message: Tlv) -> list[int]:
        """Genuine, but of no order we know: an alarm keeps it, so that the card need not for ever."""
        if result.sequence is None:
            return []
        if result.sequence > device.highest_sequence:
            device.highest_sequence = result.sequence
            text = f"result {result.sequence} belongs to no order: {result.text()}"
            self._orders.alarm(db, device.eid, text, message.raw)
        return [result.sequence]

    def _refused_unsigned(
        self, db: Work, device: Device, order: Order | None, result: packages.PackageResult, message: Tlv
    ) -> None:
        """The card knows neither our key nor our token, or someone says so: learn the token, sign again."""
        text = "the eUICC does not accept this eIM: it has another eimId, key or token for it"
        if result.error is not None:
            name = words.name("EuiccPackageErrorUnsigned.euiccPackageUnsignedErrorCode", result.error)
            text = f"the eUICC could not process the package: {name}"
        ended = self._end_unsigned(db, device, result.transaction_id, text, message.raw)
        told = result.transaction_id is not None
        if told and order and order.state == store.DELIVERED and not ended and result.error is None:
            device.token = None
            self._orders.sign_again(order)

    def _refused_signed(self, db: Work, device: Device, order: Order, result: packages.PackageResult) -> None:
        if result.error != packages.REPLAY_ERROR:
            self._orders.settle(db, order, store.FAILED, result.text(), result.details())
        elif not questions.has_open_question(db, device.eid):  # else this is a repeat
            order.refusals += 1
            self._orders.ask(db, device, STORED_RESULTS)

    def _replayed_without_result(self, db: Work, order: Order) -> None:
        """Stored results are fetched, and none was this order's.

        Refused each time it was delivered, the package cannot have been executed: our counter is behind the
        card's. Otherwise its result is lost, and only a person can say whether to order it again.
        """
        if order.refusals < order.deliveries:
            text = "replayError, and the eUICC has no result: it is not known whether it executed the package"
            self._orders.settle(db, order, store.FAILED, text)
        elif order.refusals <= MAX_REFUSALS:
            self._orders.catch_up(order)
        else:
            text = f"replayError: the eUICC has seen higher counters than {order.counter}"
            self._orders.settle(db, order, store.FAILED, text)

    # IPA eUICC data -----------------------------------------------------------------------------------------

    def _take_data(self, db: Work, device: Device, message: Tlv) -> list[int]:
        answer = DataAnswer.read(message)
        order = questions.find_order(db, device.eid, (store.DATA, store.QUERY), answer.transaction_id)
        if order is None:
            raise ResultRefused(device.eid, f"{device.eid} answers a question this eIM did not ask")
        if answer.transaction_id is None and not answer.has_certificates:  # which v1.0 sends without a transaction
            raise ResultRefused(device.eid, f"{device.eid} answers without eimTransactionId, nor certificates")
        acknowledged = self._take_kept(db, device, answer.results)
        acknowledged += self._notices.accept_list(db, answer.notifications, device)
        if order.state in store.OPEN:
            self._settle_data(db, device, order, answer, message)
        return acknowledged

    def _take_kept(self, db: Work, device: Device, kept: list[Tlv]) -> list[int]:
        """Stored results. One that proves nothing stays on the card and spoils no other.

        Those of other eIMs are theirs to acknowledge.
        """
        acknowledged = []
        for message in kept:
            try:
                if packages.PackageResult.read(message).eim_id == self._eim_id:
                    acknowledged += self._take_package_result(db, device, message)
            except (ResultRefused, TlvError) as refusal:
                self._orders.alarm(db, device.eid, str(refusal), message.raw)
        return acknowledged

    def _settle_data(self, db: Work, device: Device, order: Order, answer: DataAnswer, message: Tlv) -> None:
        reason = words.name("IpaEuiccDataErrorCode", answer.error or 0)
        if answer.error in (INCORRECT_TAG_LIST, UNDEFINED) and order.content == ABOUT_EUICC:
            # Not known to an older IPA, or too much for a small one.
            self._orders.ask(db, device, ABOUT_EUICC_LEAST)
            self._orders.settle(db, order, store.FAILED, f"the IPA cannot send so much: {reason}")
        elif answer.error is not None:
            text = f"the IPA does not answer: {reason}"
            self._end_unsigned(db, device, answer.transaction_id, text, message.raw)
        elif order.kind == store.DATA and order.content == STORED_RESULTS:
            self._orders.settle(db, order, store.DONE, f"{len(answer.results)} results kept")
            replayed = questions.find_order(db, device.eid, (store.PACKAGE,), None)
            if replayed:
                self._replayed_without_result(db, replayed)
        else:
            try:
                if order.kind == store.DATA:
                    answer.require_certificates(device)
                text, details = answer.teach(device, self._ci, order.content)
            except (CertificateInvalid, DeviceUnproven) as unproven:
                self._end_unsigned(db, device, order.transaction_id, str(unproven), message.raw)
            else:
                if order.kind == store.QUERY:
                    text = text or f"{len(answer.fields)} fields"
                    details["ipaEuiccData"] = answer.as_json()
                self._orders.settle(db, order, store.DONE, text, details)

    # Downloads ----------------------------------------------------------------------------------------------

    def _take_download(self, db: Work, device: Device, message: Tlv) -> list[int]:
        """ProfileDownloadTriggerResult. Its PIR is passed on for sessions of ours only (SGP.32 5.7.4)."""
        transaction_id = _transaction_id(message)
        pending = message.get(esipa.PROFILE_INSTALLATION_RESULT)
        if pending:
            order = self._open_order(db, device, transaction_id)
            sequence = self._notices.accept(db, pending, device, order)
            return [] if sequence is None else [sequence]
        error = message[0x30]
        code, answer = error.get(0x80), error.get(0x04)
        why = [words.name(DOWNLOAD_ERROR, number(code)) if code else "no reason given"]
        why += [text for text in (reasons.said(answer.value) if answer else "",) if text]
        details = {"errorResponse": answer.value.hex()} if answer else None
        text = f"the device gave up the download: {'; '.join(why)}"
        self._end_unsigned(db, device, transaction_id, text, message.raw, details)
        return []

    # What nobody signed -------------------------------------------------------------------------------------

    def _end_unsigned(
        self,
        db: Work,
        device: Device,
        transaction_id: bytes | None,
        text: str,
        evidence: bytes,
        details: dict[str, Any] | None = None,
    ) -> bool:
        """Somebody says that an order came to nothing. True when it has ended by that."""
        order = questions.order_of_transaction(db, transaction_id) if transaction_id else None
        if order is None or order.eid != device.eid:
            self._orders.alarm(db, device.eid, f"{text}; of a transaction that this eIM did not start", evidence)
            return False
        if order.state != store.DELIVERED or order.due is not None:
            return False  # a repeat, or the end of an attempt that will be made again
        return self._orders.doubt(db, order, text + _doubt(order), evidence, details)

    def unreadable(self, db: Work, message: bytes, reason: str) -> None:
        """An answer that nobody can read: an alarm keeps it, and it blocks the queue of its device no longer."""
        eid = esipa.claimed_eid(message)
        device = db.get(Device, eid) if eid else None
        order = questions.next_order(db, device.eid) if device else None
        if device and order and order.state == store.DELIVERED and order.message:
            told = packages.transaction_id(parse(order.message))
            self._end_unsigned(db, device, told, f"the device's answer cannot be read: {reason}", message)
        else:
            self._orders.alarm(db, device.eid if device else None, f"an unreadable answer: {reason}", message)

    # Who and what -------------------------------------------------------------------------------------------

    def _sender(self, db: Work, field: Tlv | None, result: Tlv) -> Device:
        """The device a result is from. Without eidValue the eimTransactionId, the session or the certificate
        tells (interop)."""
        if field is None:
            transaction_id = _transaction_id(result)
            order = questions.order_of_transaction(db, transaction_id) if transaction_id else None
            device = order.device if order else self._signer(db, result)
            if device:
                clients.check(device.eid)
                return device
        return device_of(db, esipa.eid_of(field))

    def _signer(self, db: Work, result: Tlv) -> Device | None:
        """Whose a result is by what it holds."""
        if result.tag == esipa.DOWNLOAD_TRIGGER and (installed := result.get(esipa.PROFILE_INSTALLATION_RESULT)):
            session = db.get(DownloadSession, installed[0xBF27][0x80].value.hex())
            return session.order.device if session else None
        if result.tag == esipa.IPA_EUICC_DATA:
            fields = DataAnswer.read(result).fields
            if 0xA5 not in fields or 0xA6 not in fields:
                return None
            try:
                certificates = packages.certificate(fields[0xA6]), packages.certificate(fields[0xA5])
                eid, _ = verify_euicc_chain(*certificates, self._ci)
            except CertificateInvalid:
                return None
            return db.get(Device, eid)
        return None

    def _open_order(self, db: Work, device: Device, transaction_id: bytes | None) -> Order | None:
        """The unsettled order an unsigned answer speaks of; without transaction the one delivered now."""
        if transaction_id is None:
            order = questions.next_order(db, device.eid)
        else:
            order = questions.order_of_transaction(db, transaction_id)
        return order if order and order.eid == device.eid and order.state == store.DELIVERED else None


def _doubt(order: Order) -> str:
    """What an order asks of a device that may be why it fails."""
    source = sources.read(order.content.decode()) if order.kind == store.DOWNLOAD else None
    if isinstance(source, sources.Smds) and not features.has(order.device, features.DIRECT):
        return "; only a device with direct download asks an SM-DS, and this one does not report direct download"
    if isinstance(source, sources.DefaultSmdp) and not order.device.default_smdp:
        return "; the card had no default SM-DP+ when it was asked"
    return ""


def _transaction_id(result: Tlv) -> bytes | None:
    """The eimTransactionId of any eIM package result, wherever that form keeps it."""
    if result.tag == 0x30:
        result = result[esipa.EUICC_PACKAGE]
    if result.tag == esipa.EUICC_PACKAGE:
        return packages.PackageResult.read(result).transaction_id
    if result.tag == esipa.IPA_EUICC_DATA:
        return DataAnswer.read(result).transaction_id
    field = result.get(TRANSACTION_ID_TAGS.get(result.tag, 0x82))
    return field.value if field else None
