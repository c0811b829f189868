"""Every refusal of ES9+: what an eUICC, an IPA or an order must do for each pair of codes (SGP.22 clause 5.6).

The table is that of the standard as far as this server has reasons to refuse. Each row is reached over the JSON
binding by a peer that errs in one thing only; then the order is in the state the row says.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from microipa import saip
from microipa.asn1.tlv import parse, tlv
from microipa.crypto.pki import Pki
from microipa.smdpp import OrderState, Smdpp
from microipa.smdpp.es9 import MAX_ATTEMPTS
from smdpp_peer import EID, OTHER_EID, Es9, Peer, Refusal, asgi_client, reissue

PAST = timedelta(minutes=1)


@dataclass
class Bench:
    smdpp: Smdpp
    es9: Es9
    peer: Peer
    pki: Pki
    profile: bytes
    folder: Path

    def order(self, **options: object) -> str:
        return self.smdpp.add_profile(self.profile, **options)

    async def authenticate(self, matching_id: str | None = None, **wrong: object) -> dict[str, object]:
        return await self.es9.authenticate(self.peer, matching_id or self.order(), **wrong)

    def expired(self) -> datetime:
        return datetime.now(UTC) - PAST

    def foreign(self) -> Pki:
        return Pki.open(self.folder / "foreign")

    async def flipped(self, function: str, name: str, response: bytes, transaction_id: str) -> None:
        """The last bit of a signed response, which is its signature's, the other way round."""
        damaged = response[:-1] + bytes([response[-1] ^ 1])
        await self.es9.call(function, transactionId=transaction_id, **{name: damaged})


Scenario = Callable[[Bench], Awaitable[object]]
TABLE: list[tuple[str, str, OrderState | None, Scenario]] = []


def refused(function: str, codes: str, left: OrderState | None = OrderState.RELEASED) -> Callable[[Scenario], Scenario]:
    """A row: ``function`` ends with ``codes`` and leaves the order in the state ``left``, None where there is none."""

    def row(scenario: Scenario) -> Scenario:
        TABLE.append((function, codes, left, scenario))
        return scenario

    return row


# InitiateAuthentication, clause 5.6.1


@refused("initiateAuthentication", "8.8.1/3.8", None)
async def the_address_is_another_servers(bench):
    await bench.es9.initiate(bench.peer, smdpAddress="smdpp.example.com")


@refused("initiateAuthentication", "8.8.4/3.7", None)
async def the_eUICC_does_not_trust_our_ci(bench):
    await bench.es9.initiate(bench.peer, euiccInfo1=bench.peer.info1(verify=bytes(20)))


@refused("initiateAuthentication", "8.8.2/3.1", None)
async def the_eUICC_has_no_certificate_under_our_ci(bench):
    await bench.es9.initiate(bench.peer, euiccInfo1=bench.peer.info1(sign=bytes(20)))


@refused("initiateAuthentication", "8.8.2/3.1", None)
async def the_eUICC_knows_nothing_of_our_ci(bench):
    await bench.es9.initiate(bench.peer, euiccInfo1=bench.peer.info1(verify=bytes(20), sign=bytes(20)))


@refused("initiateAuthentication", "8.8.3/3.1", None)
async def the_eUICC_is_of_another_major_version(bench):
    await bench.es9.initiate(bench.peer, euiccInfo1=bench.peer.info1(svn=b"\x01\x01\x00"))


# AuthenticateClient, clause 5.6.3


@refused("authenticateClient", "8.10.1/3.9", None)
async def the_transaction_is_unknown(bench):
    proof = bench.peer.authenticate_server(await bench.es9.initiate(bench.peer), "X")
    await bench.es9.call("authenticateClient", transactionId="AB", authenticateServerResponse=proof)


@refused("authenticateClient", "8.10.1/3.9")
async def another_transaction_is_signed(bench):
    await bench.authenticate(transaction_id=bytes(16))


@refused("authenticateClient", "8.11.1/3.9")
async def the_eum_is_under_another_ci(bench):
    bench.peer.eum = bench.foreign().eum.der
    await bench.authenticate()


@refused("authenticateClient", "8.1.2/6.1")
async def the_ci_did_not_sign_the_eum(bench):
    bench.peer.eum = bench.peer.eum[:-1] + bytes([bench.peer.eum[-1] ^ 1])
    await bench.authenticate()


@refused("authenticateClient", "8.1.2/6.3")
async def the_eum_certificate_is_over(bench):
    bench.peer.eum = reissue(bench.pki.eum.certificate, bench.pki.ci, not_after=bench.expired())
    await bench.authenticate()


@refused("authenticateClient", "8.1.3/6.1")
async def the_euicc_certificate_has_not_the_policy_of_one(bench):
    own = bench.peer.credential.certificate
    await bench.authenticate(certificate=reissue(own, bench.pki.eum, without=x509.CertificatePolicies))


@refused("authenticateClient", "8.1.3/6.1")
async def the_eid_is_not_the_eums_to_give(bench):
    own = bench.peer.credential.certificate
    serial = x509.NameOID.SERIAL_NUMBER
    attributes = [
        x509.NameAttribute(one.oid, "99" + EID[2:] if one.oid == serial else one.value) for one in own.subject
    ]
    await bench.authenticate(certificate=reissue(own, bench.pki.eum, subject=x509.Name(attributes)))


@refused("authenticateClient", "8.1.3/6.3")
async def the_euicc_certificate_is_over(bench):
    own = bench.peer.credential.certificate
    await bench.authenticate(certificate=reissue(own, bench.pki.eum, not_after=bench.expired()))


@refused("authenticateClient", "8.1/6.1")
async def what_the_euicc_signed_was_changed(bench):
    answer = await bench.es9.initiate(bench.peer)
    proof = bytearray(bench.peer.authenticate_server(answer, bench.order()))
    proof[proof.index(bytes.fromhex("35290611"))] ^= 1  # TAC, in ctxParams1
    await bench.es9.call(
        "authenticateClient", transactionId=answer["transactionId"], authenticateServerResponse=bytes(proof)
    )


@refused("authenticateClient", "8.1/6.1")
async def another_challenge_is_signed(bench):
    await bench.authenticate(challenge=bytes(16))


@refused("authenticateClient", "8.1/6.1")
async def another_server_is_signed(bench):
    await bench.authenticate(address="smdpp.example.com")


@refused("authenticateClient", "8.2.6/3.8", None)
async def nobody_ordered_this(bench):
    await bench.authenticate("NO-SUCH-ORDER")


@refused("authenticateClient", "8.1.1/3.8")
async def without_a_matching_id_the_order_must_be_for_this_eid(bench):
    bench.order()
    await bench.es9.authenticate(bench.peer, "")


@refused("authenticateClient", "8.1.1/3.8", None)
async def nothing_is_ordered_for_an_eid_that_names_no_matching_id(bench):
    await bench.es9.authenticate(bench.peer, None)


@refused("authenticateClient", "8.1.1/3.8")
async def the_order_is_for_another_eid(bench):
    await bench.authenticate(bench.order(eid=OTHER_EID))


@refused("authenticateClient", "8.8.5/4.10", OrderState.ERROR)
async def the_order_is_past_its_time(bench):
    await bench.authenticate(bench.order(expires=bench.expired()))


@refused("authenticateClient", "8.8.5/6.4", OrderState.ERROR)
async def the_order_was_attempted_too_often(bench):
    matching_id = bench.order()
    for _ in range(MAX_ATTEMPTS):
        await bench.authenticate(matching_id)
    await bench.authenticate(matching_id)


@refused("authenticateClient", "8.2/1.2", OrderState.INSTALLED)
async def the_profile_is_installed(bench):
    matching_id = bench.order()
    await bench.es9.download(bench.peer, matching_id)
    await bench.es9.notify(bench.peer.installation_result())
    await bench.authenticate(matching_id)


@refused("authenticateClient", "8.2/1.2", OrderState.UNAVAILABLE)
async def the_order_was_cancelled(bench):
    matching_id = bench.order()
    bench.smdpp.cancel(matching_id)
    await bench.authenticate(matching_id)


@refused("authenticateClient", "8.2.5/4.3")
async def the_euicc_forbids_a_policy_rule_of_the_profile(bench):
    own = parse(saip.metadata(saip.ProfilePackage.parse(bench.profile)))
    rules = tlv(0xBF25, own.value, tlv(0x99, b"\x05\x20"))  # PPR2: not to be deleted
    matching_id = bench.order(metadata=rules)
    assert await bench.authenticate(matching_id, info2=Peer.info2(forbidden=b"\x06\x40"))  # it forbids PPR1 only
    await bench.authenticate(matching_id, info2=Peer.info2(forbidden=b"\x05\x20"))


@refused("authenticateClient", "8.2.5/4.3")
async def the_euicc_cannot_read_the_package(bench):
    await bench.authenticate(info2=Peer.info2(version=b"\x01\x00\x00"))


@refused("authenticateClient", "8.1/4.8")
async def the_euicc_has_no_room(bench):
    await bench.authenticate(info2=Peer.info2(free=100))


@refused("authenticateClient", "8.1/4.2", None)
async def the_euicc_tells_an_error_of_its_own(bench):
    answer = await bench.es9.initiate(bench.peer)
    error = tlv(0xBF38, tlv(0xA1, tlv(0x80, b"\x01"), tlv(0x02, b"\x06")))
    await bench.es9.call(
        "authenticateClient", transactionId=answer["transactionId"], authenticateServerResponse=error
    )


# GetBoundProfilePackage, clause 5.6.2


@refused("getBoundProfilePackage", "8.10.1/3.9", None)
async def no_euicc_is_authenticated(bench):
    answer = await bench.es9.initiate(bench.peer)
    fields = tlv(0x30, tlv(0x80, b"\x01"), tlv(0x5F49, bytes(65))), tlv(0x5F37, bytes(64))
    await bench.es9.call(
        "getBoundProfilePackage",
        transactionId=answer["transactionId"],
        prepareDownloadResponse=tlv(0xBF21, tlv(0xA0, *fields)),
    )


@refused("getBoundProfilePackage", "8.10.1/3.9")
async def another_transaction_is_signed_again(bench):
    await bench.es9.package(bench.peer, await bench.authenticate(), transaction_id=bytes(16))


@refused("getBoundProfilePackage", "8.1/6.1")
async def the_second_signature_is_wrong(bench):
    answer = await bench.authenticate()
    ready = bench.peer.prepare_download(answer)
    await bench.flipped("getBoundProfilePackage", "prepareDownloadResponse", ready, answer["transactionId"])


@refused("getBoundProfilePackage", "8.1/6.1")
async def the_one_time_key_is_no_point_of_the_curve(bench):
    await bench.es9.package(bench.peer, await bench.authenticate(), otpk=b"\x04" + bytes(64))


@refused("getBoundProfilePackage", "8.2.7/2.2")
async def the_confirmation_code_is_missing(bench):
    await bench.es9.package(bench.peer, await bench.authenticate(bench.order(confirmation_code="4711")))


@refused("getBoundProfilePackage", "8.2.7/3.8")
async def the_confirmation_code_is_wrong(bench):
    await bench.es9.package(bench.peer, await bench.authenticate(bench.order(confirmation_code="4711")), "0815")


@refused("getBoundProfilePackage", "8.2.7/6.4", OrderState.ERROR)
async def the_confirmation_code_is_wrong_for_the_third_time(bench):
    matching_id = bench.order(confirmation_code="4711")
    for number in range(2):  # the counter outlives the session
        with pytest.raises(Refusal, match=r"8\.2\.7/3\.8"):
            await bench.es9.package(bench.peer, await bench.authenticate(matching_id), str(number))
    await bench.es9.package(bench.peer, await bench.authenticate(matching_id), "2")


@refused("getBoundProfilePackage", "8.2/1.2", OrderState.UNAVAILABLE)
async def the_order_was_cancelled_meanwhile_by_another_process(bench):
    matching_id = bench.order()
    answer = await bench.authenticate(matching_id)
    Smdpp(bench.pki, bench.folder).cancel(matching_id)
    await bench.es9.package(bench.peer, answer)


@refused("getBoundProfilePackage", "8.1/4.2")
async def the_euicc_tells_that_it_is_not_ready(bench):
    answer = await bench.authenticate()
    error = tlv(0xBF21, tlv(0xA1, tlv(0x80, b"\x01"), tlv(0x02, b"\x02")))
    await bench.es9.call(
        "getBoundProfilePackage", transactionId=answer["transactionId"], prepareDownloadResponse=error
    )


# HandleNotification, clause 5.6.4


@refused("handleNotification", "8.1/6.1", OrderState.DOWNLOADED)
async def the_result_has_a_wrong_signature(bench):
    await bench.es9.download(bench.peer, bench.order())
    result = bench.peer.installation_result()
    await bench.es9.notify(result[:-1] + bytes([result[-1] ^ 1]))


@refused("handleNotification", "8.1/6.1", OrderState.DOWNLOADED)
async def the_result_is_signed_by_another_euicc(bench):
    await bench.es9.download(bench.peer, bench.order())
    other = Peer(bench.pki, OTHER_EID)
    await bench.es9.notify(other.installation_result(transaction_id=bench.peer.transaction_id))


@refused("handleNotification", "8.8/3.10", OrderState.DOWNLOADED)
async def the_result_is_for_another_server(bench):
    await bench.es9.download(bench.peer, bench.order())
    await bench.es9.notify(bench.peer.installation_result(oid="2.999.99"))


@refused("handleNotification", "8.11.1/3.9", None)
async def the_notification_is_from_a_card_of_another_ci(bench):
    await bench.es9.notify(Peer(bench.foreign()).notification(b"\x06\x40"))


@refused("handleNotification", "8.1/6.1", None)
async def the_notification_was_changed(bench):
    message = parse(bench.peer.notification(b"\x06\x40")).children()
    signature = message[1].value[:-1] + bytes([message[1].value[-1] ^ 1])
    await bench.es9.notify(tlv(0x30, message[0].raw, tlv(0x5F37, signature), message[2].raw, message[3].raw))


# CancelSession, clause 5.6.5


@refused("cancelSession", "8.10.1/3.9", None)
async def the_transaction_to_cancel_is_unknown(bench):
    bench.peer.transaction_id = b"\xab"
    await bench.es9.cancel(bench.peer, bench.peer.cancel_session(1))


@refused("cancelSession", "8.10.1/3.9")
async def another_transaction_is_cancelled(bench):
    await bench.authenticate()
    await bench.es9.cancel(bench.peer, bench.peer.cancel_session(3, transaction_id=bytes(16)))


@refused("cancelSession", "8.1/6.1")
async def the_cancellation_has_a_wrong_signature(bench):
    answer = await bench.authenticate()
    response = bench.peer.cancel_session(3)
    await bench.flipped("cancelSession", "cancelSessionResponse", response, answer["transactionId"])


@refused("cancelSession", "8.8/3.10")
async def another_server_is_cancelled(bench):
    await bench.authenticate()
    await bench.es9.cancel(bench.peer, bench.peer.cancel_session(3, oid="2.999.99"))


@refused("cancelSession", "8.1/4.2")
async def the_euicc_tells_that_it_has_no_such_session(bench):
    await bench.authenticate()
    await bench.es9.cancel(bench.peer, tlv(0xBF41, tlv(0x81, b"\x05")))


# The table

STANDARD = {
    "initiateAuthentication": "8.8.1/3.8 8.8.4/3.7 8.8.2/3.1 8.8.3/3.1",
    "authenticateClient": "8.10.1/3.9 8.1.2/6.1 8.1.2/6.3 8.1.3/6.1 8.1.3/6.3 8.1/6.1 8.2.6/3.8 8.1.1/3.8 8.8.5/4.10 "
    "8.8.5/6.4 8.2/1.2 8.2.5/4.3 8.1/4.8 8.11.1/3.9",
    "getBoundProfilePackage": "8.10.1/3.9 8.1/6.1 8.2.7/2.2 8.2.7/3.8 8.2.7/6.4 8.2/1.2",
    "handleNotification": "8.1/6.1 8.8/3.10 8.11.1/3.9",
    "cancelSession": "8.10.1/3.9 8.1/6.1 8.8/3.10",
}
ITS_OWN = "8.1/4.2"  # for an error the eUICC tells: Execution Error of the eUICC


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def profile() -> bytes:
    return saip.build(
        saip.ProfileSpec(iccid="8949000000000000000", imsi="901700000000001", k=bytes(16), opc=bytes(16))
    )


@pytest.fixture
async def bench(pki, profile, tmp_path) -> AsyncIterator[Bench]:
    smdpp = Smdpp(pki, tmp_path)
    async with asgi_client(smdpp.app) as client:
        yield Bench(smdpp, Es9(client), Peer(pki), pki, profile, tmp_path)


def test_5_6_every_pair_of_codes_has_its_row():
    reached = {(function, codes) for function, codes, _, _ in TABLE if codes != ITS_OWN}
    assert reached == {(function, codes) for function, every in STANDARD.items() for codes in every.split()}


@pytest.mark.parametrize(
    ("function", "codes", "left", "scenario"),
    [pytest.param(*row, id=f"{row[0]} {row[1]} {row[3].__name__}") for row in TABLE],
)
async def test_5_6_it_is_refused_and_the_order_is_as_it_should_be(bench, function, codes, left, scenario):
    called: list[str] = []
    call = bench.es9.call

    async def noting(name: str, **fields: object) -> dict[str, object]:
        called.append(name)
        return await call(name, **fields)

    bench.es9.call = noting
    with pytest.raises(Refusal) as refusal:
        await scenario(bench)
    assert (called[-1], refusal.value.codes) == (function, codes)
    orders = bench.smdpp.orders()
    assert [order.state for order in orders] == ([] if left is None else [left])


# In words


@pytest.mark.parametrize(
    ("scenario", "words"),
    [
        (the_euicc_tells_an_error_of_its_own, "euiccChallengeMismatch"),
        (the_euicc_tells_that_it_is_not_ready, "invalidSignature"),
        (the_euicc_tells_that_it_has_no_such_session, "invalidTransactionId"),
    ],
)
async def test_5_6_an_error_of_the_euicc_is_told_in_words(bench, scenario, words):
    with pytest.raises(Refusal, match=words):
        await scenario(bench)
