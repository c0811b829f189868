"""Client certificates in DTLS and TLS, where an eIM asks its devices for them (Eim(..., clients=ca))."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from eim_bindings import ASN1_TYPE, HEADERS
from eim_client import DtlsClient
from eim_coap import Bare
from eim_ipa import OTHER_EID
from euicc_peer import EID
from microipa.asn1.tlv import parse, tlv
from microipa.crypto import ec
from microipa.crypto.pki import Credential, Pki
from microipa.crypto.tls import client_context
from microipa.eim import Eim
from microipa.eim.config import BadConfig, Config
from OpenSSL import SSL

NOW = datetime.now(UTC)


def issue(issuer: Credential | None, serial: str | None, *, ca: bool = False) -> Credential:
    """A certificate whose subject has this serialNumber, under ``issuer`` or itself."""
    key = ec.generate_key()
    attributes = [x509.NameAttribute(NameOID.COMMON_NAME, "maker" if ca else "device")]
    if serial:
        attributes.append(x509.NameAttribute(NameOID.SERIAL_NUMBER, serial))
    subject = x509.Name(attributes)
    certificate = (
        x509.CertificateBuilder().subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject).public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - timedelta(days=1)).not_valid_after(NOW + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca, None), critical=True)
        .sign(issuer.private_key if issuer else key, SHA256()))
    return Credential(key, certificate)


@pytest.fixture(scope="module")
def maker() -> Credential:
    return issue(None, None, ca=True)


@pytest.fixture
def asked(pki: Pki, tmp_path, maker) -> Eim:
    """An eIM that asks for client certificates, with two devices."""
    desk = Eim(pki, tmp_path, es9_routes={}, clients=[maker.certificate])
    desk.add_device(EID)
    desk.add_device(OTHER_EID)
    return desk


def poll(eid: str) -> bytes:
    return tlv(0xBF4F, tlv(0x5A, bytes.fromhex(eid)))


@asynccontextmanager
async def over_coap(desk: Eim, pki: Pki, credential: Credential | None) -> AsyncIterator[Bare]:
    async with desk.serve() as port:
        client = await DtlsClient(port, pki.ci.certificate, credential=credential).connect(3)
        try:
            yield Bare(client)
        finally:
            await client.close()


async def coap_answer(desk: Eim, pki: Pki, credential: Credential | None, message: bytes) -> tuple[str, bytes]:
    async with over_coap(desk, pki, credential) as coap:
        answer = await coap.exchange(message, uri_path=("gsma", "rsp2", "asn1"))
    return str(answer.code), bytes(answer.payload)


async def https_answer(desk: Eim, pki: Pki, credential: Credential | None, message: bytes) -> tuple[int, bytes]:
    context = client_context([pki.ci.certificate], credential)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    async with desk.serve_https() as port, httpx.AsyncClient(verify=context, trust_env=False, headers=HEADERS) as http:
        url = f"https://127.0.0.1:{port}/gsma/rsp2/asn1"
        answer = await http.post(url, content=message, headers={"Content-Type": ASN1_TYPE})
    return answer.status_code, answer.content


async def test_a_device_with_its_certificate_is_served_over_dtls(asked, pki, maker):
    code, answer = await coap_answer(asked, pki, issue(maker, EID), poll(EID))
    assert code == "2.04 Changed"
    assert parse(answer)[0x02].value == b"\x01"  # noEimPackageAvailable


async def test_a_device_with_its_certificate_is_served_over_https(asked, pki, maker):
    status, answer = await https_answer(asked, pki, issue(maker, EID), poll(EID))
    assert (status, parse(answer)[0x02].value) == (200, b"\x01")


@pytest.mark.parametrize("own", ["none", "of another issuer"])
async def test_who_has_no_certificate_of_the_issuer_gets_no_association(asked, pki, own):
    credential = None if own == "none" else issue(None, EID)
    # A client of DTLS 1.2 finishes only when the server does.
    with pytest.raises((SSL.Error, TimeoutError)):
        await coap_answer(asked, pki, credential, poll(EID))


@pytest.mark.parametrize("own", ["none", "of another issuer"])
async def test_who_has_no_certificate_of_the_issuer_gets_no_answer_over_https(asked, pki, own):
    with pytest.raises(httpx.HTTPError):
        await https_answer(asked, pki, None if own == "none" else issue(None, EID), poll(EID))


async def test_a_certificate_of_a_device_speaks_for_no_other(asked, pki, maker):
    code, answer = await coap_answer(asked, pki, issue(maker, EID), poll(OTHER_EID))
    assert code == "4.00 Bad Request"
    assert answer == f"the client certificate is for {EID}, the message for another eUICC".encode()
    status, _ = await https_answer(asked, pki, issue(maker, EID), poll(OTHER_EID))
    assert status == 400


async def test_a_certificate_of_a_batch_speaks_for_every_device(asked, pki, maker):
    batch = issue(maker, "BATCH-7")
    for eid in (EID, OTHER_EID):
        assert (await coap_answer(asked, pki, batch, poll(eid)))[0] == "2.04 Changed"


async def test_two_clients_at_the_same_moment_are_not_taken_for_each_other(asked, pki, maker):
    for eid in (EID, OTHER_EID):
        asked.order_data(eid, ["deviceInfo"])
    async with asked.serve() as port:
        clients = {
            eid: await DtlsClient(port, pki.ci.certificate, credential=issue(maker, eid)).connect(3)
            for eid in (EID, OTHER_EID)
        }
        path = ("gsma", "rsp2", "asn1")
        answers = await asyncio.gather(
            *(Bare(client).exchange(poll(eid), uri_path=path) for eid, client in clients.items())
        )
        for client in clients.values():
            await client.close()
    assert [str(answer.code) for answer in answers] == ["2.04 Changed"] * 2


def test_issuers_of_client_certificates_are_read_from_the_servers_configuration(tmp_path, maker):
    (tmp_path / "maker.pem").write_bytes(maker.certificate.public_bytes(Encoding.PEM))
    (tmp_path / "eim.toml").write_text('keys = "k"\ndatabase = "e"\nclients = ["maker.pem"]\n')
    assert Config.read(tmp_path / "eim.toml").issuers() == [maker.certificate]
    (tmp_path / "eim.toml").write_text('keys = "k"\ndatabase = "e"\nclients = "maker.pem"\n')
    with pytest.raises(BadConfig, match="clients is a list of paths"):
        Config.read(tmp_path / "eim.toml")
