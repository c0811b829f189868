"""The SM-DP+ over its JSON binding: whole and interrupted downloads, codes, results (SGP.22 clause 5.6)."""

from __future__ import annotations

import pytest
from microipa import saip
from microipa.asn1 import rsp
from microipa.asn1.tlv import parse
from microipa.crypto import ec
from microipa.crypto.bsp import BspError
from microipa.crypto.pki import Pki
from microipa.smdpp import OrderState, Smdpp
from microipa.smdpp.results import INTERRUPTED
from microipa.trace import Trace
from smdpp_peer import ADDRESS, EID, OTHER_EID, Es9, Peer, Refusal, asgi_client, unbase64

POSTPONED, PPR_NOT_ALLOWED, LOAD_BPP_ERROR = 1, 3, 5


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def profile() -> bytes:
    return saip.build(
        saip.ProfileSpec(iccid="8949000000000000000", imsi="901700000000001", k=bytes(16), opc=bytes(16))
    )


@pytest.fixture
def trace() -> list:
    return []


@pytest.fixture
def smdpp(pki, tmp_path, trace) -> Smdpp:
    recorder = Trace()
    recorder.listen(trace.append)
    return Smdpp(pki, tmp_path, trace=recorder)


@pytest.fixture
def peer(pki) -> Peer:
    return Peer(pki)


@pytest.fixture
async def es9(smdpp):
    async with asgi_client(smdpp.app) as client:
        yield Es9(client)


def state(smdpp: Smdpp) -> OrderState:
    return smdpp.orders()[0].state


# a download that succeeds


@pytest.mark.parametrize("ppk", [False, True], ids=["session keys", "profile protection keys"])
@pytest.mark.parametrize("filler", [0, 20_000])
async def test_2_5_4_the_card_opens_the_profile_byte_for_byte(pki, tmp_path, peer, ppk, filler):
    profile = saip.build(
        saip.ProfileSpec(
            iccid="8949000000000000000", imsi="901700000000001", k=bytes(16), opc=bytes(16), filler=filler
        )
    )
    smdpp = Smdpp(pki, tmp_path, ppk=ppk)
    matching_id = smdpp.add_profile(profile)
    async with asgi_client(smdpp.app) as client:
        package = await Es9(client).download(peer, matching_id)
    configure, metadata, opened = peer.open_package(package)
    assert configure == bytes.fromhex("bf2400")
    assert parse(metadata).tag == 0xBF25
    assert opened == profile
    assert (0xA2 in parse(package)) == ppk


async def test_5_6_the_answers_are_what_the_asn1_module_says(smdpp, es9, peer, profile):
    matching_id = smdpp.add_profile(profile)
    answer = await es9.authenticate(peer, matching_id)
    assert rsp.decode("StoreMetadataRequest", unbase64(answer["profileMetadata"]))
    assert not rsp.decode("SmdpSigned2", unbase64(answer["smdpSigned2"]))["ccRequiredFlag"]
    package = unbase64((await es9.package(peer, answer))["boundProfilePackage"])
    assert rsp.decode("BoundProfilePackage", package)


async def test_3_1_6_an_order_goes_from_released_to_downloaded_to_installed(smdpp, es9, peer, profile):
    matching_id = smdpp.add_profile(profile)
    assert state(smdpp) == OrderState.RELEASED
    await es9.download(peer, matching_id)
    assert state(smdpp) == OrderState.DOWNLOADED
    await es9.notify(peer.installation_result())
    order = smdpp.orders()[0]
    assert (order.state, order.eid, order.result) == (OrderState.INSTALLED, EID, "installed")


async def test_3_1_6_an_order_linked_to_an_eid_needs_no_matching_id(smdpp, es9, peer, profile):
    smdpp.add_profile(profile, eid=EID)
    assert peer.open_package(await es9.download(peer, None))[2] == profile
    assert peer.open_package(await es9.download(peer, ""))[2] == profile


async def test_5_6_4_a_result_that_arrives_twice_changes_nothing(smdpp, es9, peer, profile):
    await es9.download(peer, smdpp.add_profile(profile))
    await es9.notify(peer.installation_result())
    await es9.notify(peer.installation_result((5, 12, b"")))
    assert state(smdpp) == OrderState.INSTALLED


async def test_a_result_is_taken_after_the_server_was_restarted(smdpp, es9, peer, profile, pki, tmp_path):
    await es9.download(peer, smdpp.add_profile(profile))
    restarted = Smdpp(pki, tmp_path)
    async with asgi_client(restarted.app) as client:
        await Es9(client).notify(peer.installation_result())
    assert state(smdpp) == OrderState.INSTALLED


async def test_orders_of_another_process_are_seen_at_the_next_request(
    smdpp, es9, peer, profile, pki, tmp_path
):
    matching_id = Smdpp(pki, tmp_path).add_profile(profile)
    assert await es9.download(peer, matching_id)


async def test_a_lost_answer_is_given_again_to_the_same_request(smdpp, es9, peer, profile):
    answer = await es9.authenticate(peer, smdpp.add_profile(profile))
    request = peer.prepare_download(answer)
    fields = {"transactionId": answer["transactionId"], "prepareDownloadResponse": request}
    first = await es9.call("getBoundProfilePackage", **fields)
    assert await es9.call("getBoundProfilePackage", **fields) == first
    with pytest.raises(Refusal, match=r"8\.10\.1/3\.9"):
        await es9.package(peer, answer)


async def test_transaction_ids_compare_without_regard_to_case(smdpp, es9, peer, profile):
    matching_id = smdpp.add_profile(profile)
    answer = await es9.initiate(peer)
    response = peer.authenticate_server(answer, matching_id)
    transaction_id = answer["transactionId"].lower()
    assert await es9.call(
        "authenticateClient", transactionId=transaction_id, authenticateServerResponse=response
    )


async def test_a_signature_wrapped_twice_is_unwrapped(smdpp, es9, peer, profile):
    answer = await es9.authenticate(peer, smdpp.add_profile(profile), wrap=True)
    assert peer.open_package(unbase64((await es9.package(peer, answer))["boundProfilePackage"]))[2] == profile


async def test_the_trace_tells_functions_and_orders_and_no_keys(smdpp, es9, peer, profile, trace):
    await es9.download(peer, smdpp.add_profile(profile))
    await es9.notify(peer.installation_result())
    functions = [e.fields for e in trace if e.kind == "es9"]
    assert [f["function"] for f in functions] == [
        "initiateAuthentication",
        "authenticateClient",
        "getBoundProfilePackage",
        "handleNotification",
    ]
    assert {f["outcome"] for f in functions} == {"ok"}
    assert {f["transaction_id"] for f in functions[:3]} == {peer.transaction_id.hex()}
    assert [e.fields["text"] for e in trace if e.kind == "order"][-1] == "installed, the order is installed"


# interrupted downloads


async def test_3_1_3_an_interrupted_download_goes_on_under_the_same_keys(smdpp, es9, peer, profile):
    matching_id = smdpp.add_profile(profile)
    first = await es9.download(peer, matching_id)
    answer = await es9.authenticate(peer, matching_id)
    own = ec.point(peer.otsk.public_key())
    assert parse(unbase64(answer["smdpSigned2"]))[0x5F49].value == own
    second = unbase64((await es9.package(peer, answer))["boundProfilePackage"])
    assert peer.open_package(second)[2] == profile
    assert parse(first)[0xA3].raw == parse(second)[0xA3].raw
    assert parse(first)[0xBF23][0x80].raw != parse(second)[0xBF23][0x80].raw
    assert smdpp.orders()[0].attempts == 2


@pytest.mark.parametrize(("reason", "counted"), [(1, 0), (2, 0), (5, 1)])
async def test_3_1_3_a_download_that_is_put_off_is_no_attempt(smdpp, es9, peer, profile, reason, counted):
    matching_id = smdpp.add_profile(profile)
    await es9.authenticate(peer, matching_id)
    await es9.cancel(peer, peer.cancel_session(reason))
    assert smdpp.orders()[0].attempts == counted


async def test_5_6_1_sessions_that_others_begin_and_leave_do_not_end_a_download(smdpp, es9, peer, profile, pki):
    matching_id, stranger = smdpp.add_profile(profile), Peer(pki)
    answer = await es9.initiate(peer)
    for _ in range(70):
        await es9.initiate(stranger)
    proof = peer.authenticate_server(answer, matching_id)
    names = {"transactionId": answer["transactionId"]}
    offer = await es9.call("authenticateClient", **names, authenticateServerResponse=proof)
    for _ in range(70):
        await es9.initiate(stranger)
    package = unbase64((await es9.package(peer, offer))["boundProfilePackage"])
    assert peer.open_package(package)[2] == profile


async def test_3_1_3_an_euicc_that_lost_its_one_time_key_gets_a_new_binding(smdpp, es9, peer, profile):
    matching_id = smdpp.add_profile(profile)
    first = await es9.download(peer, matching_id)
    peer.otsk = ec.generate_key()
    second = await es9.download(peer, matching_id)
    assert peer.open_package(second)[2] == profile
    assert parse(first)[0xA3].raw != parse(second)[0xA3].raw


async def test_3_1_3_after_a_result_nothing_is_reused(smdpp, es9, peer, profile):
    matching_id = smdpp.add_profile(profile)
    await es9.download(peer, matching_id)
    await es9.notify(peer.installation_result((5, INTERRUPTED, b"")))
    answer = await es9.authenticate(peer, matching_id)
    assert 0x5F49 not in parse(unbase64(answer["smdpSigned2"]))


async def test_3_1_3_reuse_outlives_a_restart_of_the_server(smdpp, es9, peer, profile, pki, tmp_path):
    matching_id = smdpp.add_profile(profile)
    first = await es9.download(peer, matching_id)
    async with asgi_client(Smdpp(pki, tmp_path).app) as client:
        second = await Es9(client).download(peer, matching_id)
    assert parse(first)[0xA3].raw == parse(second)[0xA3].raw


async def test_3_1_3_a_downloaded_profile_is_not_given_to_another_eUICC(smdpp, es9, peer, profile, pki):
    matching_id = smdpp.add_profile(profile)
    await es9.download(peer, matching_id)
    with pytest.raises(Refusal, match=r"8\.1\.1/3\.8"):
        await es9.authenticate(Peer(pki, OTHER_EID), matching_id)


async def test_a_new_attempt_ends_the_session_of_the_one_before(smdpp, es9, peer, profile, pki):
    matching_id = smdpp.add_profile(profile)
    first = await es9.authenticate(peer, matching_id)
    stale = peer.prepare_download(first)
    await es9.authenticate(Peer(pki, OTHER_EID), matching_id)
    with pytest.raises(Refusal, match=r"8\.10\.1/3\.9"):
        await es9.call(
            "getBoundProfilePackage", transactionId=first["transactionId"], prepareDownloadResponse=stale
        )


async def test_the_late_failure_of_an_earlier_attempt_does_not_touch_the_new_one(smdpp, es9, peer, profile):
    matching_id = smdpp.add_profile(profile)
    await es9.download(peer, matching_id)
    late = peer.installation_result((5, 12, b""))
    await es9.download(peer, matching_id)
    await es9.notify(late)
    assert state(smdpp) == OrderState.DOWNLOADED


async def test_the_late_success_of_an_earlier_attempt_counts(smdpp, es9, peer, profile):
    matching_id = smdpp.add_profile(profile)
    await es9.download(peer, matching_id)
    late = peer.installation_result()
    await es9.authenticate(peer, matching_id)
    await es9.notify(late)
    assert state(smdpp) == OrderState.INSTALLED


@pytest.mark.parametrize(
    ("reason", "expected"), [(11, OrderState.RELEASED), (9, OrderState.ERROR), (12, OrderState.ERROR)]
)
async def test_5_6_4_an_interruption_leaves_the_order_open_other_failures_end_it(
    smdpp, es9, peer, profile, reason, expected
):
    await es9.download(peer, smdpp.add_profile(profile))
    await es9.notify(peer.installation_result((5, reason, b"")))
    assert state(smdpp) == expected


# clause 5.6.2, GetBoundProfilePackage


async def test_5_6_2_the_right_confirmation_code_is_accepted(smdpp, es9, peer, profile):
    matching_id = smdpp.add_profile(profile, confirmation_code="4711")
    assert smdpp.activation_code(matching_id) == f"LPA:1${ADDRESS}${matching_id}$$1"
    answer = await es9.authenticate(peer, matching_id)
    assert parse(unbase64(answer["smdpSigned2"]))[0x01].value == b"\xff"
    package = unbase64((await es9.package(peer, answer, "4711"))["boundProfilePackage"])
    assert peer.open_package(package)[2] == profile


async def test_5_6_2_a_confirmation_code_is_wanted_right_and_soon(smdpp, es9, peer, profile):
    answer = await es9.authenticate(peer, smdpp.add_profile(profile, confirmation_code="4711"))
    codes = []
    for code in (None, "0", "1", "2"):
        with pytest.raises(Refusal) as refusal:
            await es9.package(peer, answer, code)
        codes.append(refusal.value.codes)
    assert codes == ["8.2.7/2.2", "8.2.7/3.8", "8.2.7/3.8", "8.2.7/6.4"]
    assert state(smdpp) == OrderState.ERROR
    with pytest.raises(Refusal, match=r"8\.2/1\.2"):
        await es9.package(peer, answer, "4711")


async def test_2_5_4_a_flipped_bit_anywhere_in_a_segment_is_noticed(smdpp, es9, peer, profile):
    package = await es9.download(peer, smdpp.add_profile(profile))
    first_segment = parse(package)[0xA3].offset + 100
    flipped = bytearray(package)
    flipped[first_segment] ^= 0x10
    with pytest.raises(BspError):
        peer.open_package(bytes(flipped))


# clause 5.6.4, HandleNotification


async def test_5_6_4_a_result_nobody_waits_for_is_acknowledged_so_that_the_card_forgets_it(es9, peer, trace):
    await es9.notify(peer.installation_result(transaction_id=b"\x01"))
    assert "unknown transaction 01" in trace[0].fields["text"]


@pytest.mark.parametrize(
    ("bits", "event"), [("0640", "enable"), ("0520", "disable"), ("0410", "delete"), ("0000010000", "enable")]
)
async def test_5_6_4_other_signed_notifications_are_noted(es9, peer, trace, bits, event):
    notification = peer.notification(bytes.fromhex(bits))
    await es9.notify(notification)
    await es9.notify(notification)
    assert trace[0].fields["text"] == f"eUICC {EID}: {event} of profile 89010000000000000001"


# clause 5.6.5, CancelSession


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (POSTPONED, OrderState.RELEASED),
        (LOAD_BPP_ERROR, OrderState.RELEASED),
        (PPR_NOT_ALLOWED, OrderState.ERROR),
    ],
)
@pytest.mark.parametrize("downloaded", [False, True])
async def test_5_6_5_the_order_stays_open_or_ends_by_the_reason(
    smdpp, es9, peer, profile, reason, expected, downloaded
):
    answer = await es9.authenticate(peer, smdpp.add_profile(profile))
    if downloaded:
        await es9.package(peer, answer)
    response = peer.cancel_session(reason)
    await es9.cancel(peer, response)
    await es9.cancel(peer, response)  # the answer was lost
    assert state(smdpp) == expected
    with pytest.raises(Refusal, match=r"8\.10\.1/3\.9"):
        await es9.cancel(peer, peer.cancel_session(0))
