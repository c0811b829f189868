"""Quirks of SM-DP+ and eIM (field.md 2 to 4): at the level of HTTP and ESipa messages."""

from __future__ import annotations

import asyncio
import base64
import json
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from microipa import saip
from microipa.asn1.tlv import parse, tlv
from microipa.common.errors import Busy
from microipa.crypto.pki import Pki
from microipa.eim import Eim
from microipa.eim.behaviour import Behaviour
from microipa.eim.esipa import EsipaRefused
from microipa.eim.odd_answers import OddAnswers
from microipa.smdpp import Smdpp
from microipa.smdpp.identity import Identity
from smdpp_peer import ADDRESS, Es9, Peer, https_client

SOON = 0.15  # seconds a quirk lasts here
PROFILE = saip.build(saip.ProfileSpec(iccid="8949000000000000000", imsi="901700000000001", k=bytes(16), opc=bytes(16)))
EMPTY = b"{}"  # a request that is no use: what answers it 4xx has looked at it


async def post(client: httpx.AsyncClient, function: str, content: bytes = EMPTY) -> httpx.Response:
    return await client.post(f"/gsma/rsp2/es9plus/{function}", content=content, extensions={"sni_hostname": ADDRESS})


async def statuses(folder: Path, pki: Pki, quirk: str, function: str) -> list[int]:
    """How the first three requests for a function end."""
    async with Smdpp(pki, folder, quirks=[quirk]).serve() as port, https_client(pki, port) as client:
        return [(await post(client, function)).status_code for _ in range(3)]


@pytest.mark.parametrize(("quirk", "function", "status"), [
    ("smdpp-503-initiate", "initiateAuthentication", 503), ("smdpp-503-authenticate", "authenticateClient", 503),
    ("smdpp-503-package", "getBoundProfilePackage", 503), ("smdpp-503-notification", "handleNotification", 503),
    ("smdpp-429-package", "getBoundProfilePackage", 429), ("smdpp-429-notification", "handleNotification", 429),
])
async def test_the_first_requests_for_a_function_fail(
        tmp_path: Path, pki: Pki, quirk: str, function: str, status: int) -> None:
    told = await statuses(tmp_path, pki, f"{quirk}:2", function)
    assert told[:2] == [status, status]
    assert told[2] not in (status, 500)


@pytest.mark.parametrize(("quirk", "broken"), [
    ("smdpp-closes-authenticate", "authenticateClient"), ("smdpp-closes-package", "getBoundProfilePackage"),
])
async def test_an_answer_breaks_off_in_the_middle_once(tmp_path: Path, pki: Pki, quirk: str, broken: str) -> None:
    async with Smdpp(pki, tmp_path, quirks=[quirk]).serve() as port, https_client(pki, port) as client:
        for function in ("authenticateClient", "getBoundProfilePackage"):
            if function == broken:
                with pytest.raises(httpx.RemoteProtocolError):
                    await post(client, function)
            assert (await post(client, function)).status_code == 400


async def test_a_slow_server_is_slow_once_for_each(tmp_path: Path, pki: Pki) -> None:
    async with Smdpp(pki, tmp_path, quirks=[f"smdpp-slow:{SOON}"]).serve() as port, https_client(pki, port) as client:
        for waits in (True, False):
            begun = asyncio.get_running_loop().time()
            await post(client, "authenticateClient")
            assert (asyncio.get_running_loop().time() - begun >= SOON) is waits


async def test_a_restart_closes_connections_and_forgets_sessions(tmp_path: Path, pki: Pki) -> None:
    smdpp = Smdpp(pki, tmp_path, quirks=[f"smdpp-restart:{SOON}"])
    matching_id = smdpp.add_profile(PROFILE)
    async with smdpp.serve() as port, https_client(pki, port) as client:
        es9, peer = Es9(client), Peer(pki)
        with pytest.raises(httpx.RemoteProtocolError):
            await es9.download(peer, matching_id)
        with pytest.raises(httpx.RemoteProtocolError):
            await post(client, "initiateAuthentication")
        await asyncio.sleep(SOON)
        again = Peer(pki)
        assert again.open_package(await es9.download(again, matching_id))[2] == PROFILE


async def first_answer(folder: Path, pki: Pki, quirk: str) -> bytes:
    async with Smdpp(pki, folder, quirks=[quirk]).serve() as port, https_client(pki, port) as client:
        request = {"transactionId": "00" * 16, "authenticateServerResponse": "vwA="}
        return (await post(client, "authenticateClient", json.dumps(request).encode())).content


async def test_members_that_say_nothing_are_null(tmp_path: Path, pki: Pki) -> None:
    fields = json.loads(await first_answer(tmp_path, pki, "smdpp-nulls"))
    assert fields["message"] is None


async def test_answers_begin_with_a_byte_order_mark(tmp_path: Path, pki: Pki) -> None:
    content = await first_answer(tmp_path, pki, "smdpp-byte-order-mark")
    assert content.startswith(b"\xef\xbb\xbf{")


def test_the_policy_of_the_tls_certificate_is_critical(tmp_path: Path, pki: Pki) -> None:
    tls = Identity.of(pki, ["smdpp-critical-policy"]).tls.certificate
    assert tls.extensions.get_extension_for_class(x509.CertificatePolicies).critical
    assert not pki.smdpp_tls.certificate.extensions.get_extension_for_class(x509.CertificatePolicies).critical


async def test_the_metadata_shown_has_another_name(tmp_path: Path, pki: Pki) -> None:
    names = []
    for quirks in ([], ["smdpp-other-metadata"]):
        folder = tmp_path / str(len(quirks))
        folder.mkdir()
        smdpp = Smdpp(pki, folder, quirks=quirks)
        matching_id = smdpp.add_profile(PROFILE)
        async with smdpp.serve() as port, https_client(pki, port) as client:
            answer = await Es9(client).authenticate(Peer(pki), matching_id)
            names.append(parse(base64.b64decode(answer["profileMetadata"]))[0x92].value)
    assert names[1] == b"Something else" != names[0]


# eIM

POLL = tlv(0xBF4F, tlv(0x5A, bytes.fromhex("89049032123451234512345678901235")))
NOTIFICATION = tlv(0xBF3D, tlv(0xA0, b"\x30\x00"))


def desk(folder: Path, pki: Pki, quirk: str, part: str = "eim") -> Eim:
    eim = Eim(pki, folder, es9_routes={}, part=part, quirks=[quirk])
    eim.add_device("89049032123451234512345678901235")
    return eim


async def test_the_eim_refuses_the_first_notifications(tmp_path: Path, pki: Pki) -> None:
    eim = desk(tmp_path, pki, "notification-4xx:1")
    with pytest.raises(EsipaRefused, match="not wanted"):
        await eim.handle(NOTIFICATION)
    with pytest.raises(EsipaRefused, match="(?!not wanted)"):
        await eim.handle(NOTIFICATION)


async def test_the_eim_is_busy_at_first(tmp_path: Path, pki: Pki) -> None:
    eim = desk(tmp_path, pki, "eim-busy:1")
    with pytest.raises(Busy):
        await eim.handle(POLL)
    assert await eim.handle(POLL)


async def test_the_eim_is_slow(tmp_path: Path, pki: Pki) -> None:
    eim = desk(tmp_path, pki, f"eim-slow:{SOON}")
    begun = asyncio.get_running_loop().time()
    await eim.handle(POLL)
    assert asyncio.get_running_loop().time() - begun >= SOON


async def test_the_eim_never_answers_one_message(tmp_path: Path, pki: Pki) -> None:
    eim = desk(tmp_path, pki, "eim-silent:1")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(eim.handle(POLL), SOON)
    assert await eim.handle(POLL)


async def test_one_answer_is_cut_in_half(tmp_path: Path, pki: Pki) -> None:
    eim = desk(tmp_path, pki, "eim-garbled:1")
    half, whole = await eim.handle(POLL), await eim.handle(POLL)
    assert len(half) < len(whole)


async def test_a_foreign_eim_acknowledges_everything_and_the_first_does_not(tmp_path: Path, pki: Pki) -> None:
    result = tlv(0xBF50, tlv(0x5A, bytes.fromhex("89" * 16)), tlv(0xBF51))  # of a device it does not know
    answers = []
    for part in ("eim", "eim2"):
        folder = tmp_path / part
        folder.mkdir()
        answers.append(await desk(folder, pki, "foreign-ack", part).handle(result))
    assert len(parse(answers[1])[0xBF53].children()) == 63
    assert b"\xbf\x53" not in answers[0]


def test_the_configuration_has_no_anchor(tmp_path: Path, pki: Pki) -> None:
    assert 0xA6 not in parse(desk(tmp_path, pki, "eim-no-anchor").configuration())
    assert 0xA6 in parse(desk(tmp_path, pki, "eim-slow").configuration())


async def test_the_key_identifier_is_told_by_its_beginning() -> None:
    whole = tlv(0xBF39, tlv(0xA0, tlv(0x80, bytes(16)), tlv(0x04, bytes(range(20))), tlv(0x30, b"")))

    async def answer(_: bytes) -> bytes:
        return whole

    short = parse(await OddAnswers(answer, Behaviour(short_key_id=True))(POLL))[0xA0]
    assert short[0x04].value == bytes(range(4))
    assert [field.tag for field in short] == [0x80, 0x04, 0x30]
