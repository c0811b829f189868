"""What a certificate is for: who may call ES2+ and ES12, and which servers clients believe (SGP.22 clause 4.5.2)."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from microipa.asn1.tlv import parse, tlv
from microipa.crypto.key_folder import KeysInvalid
from microipa.crypto.pki import Credential, Pki
from microipa.crypto.revocation import CrlInvalid, Issuer, read_crl
from microipa.crypto.tls import server_context
from microipa.eim import Eim
from microipa.eim.esipa import EsipaRefused
from microipa.eim.identity import EimIdentity
from microipa.eim.packages import PackageInvalid
from microipa.net.rsp_client import RspClient, RspUnavailable
from microipa.smdpp import Smdpp
from microipa.smdpp.identity import Identity
from microipa.smds import Smds
from odd_certificates import HOST, NOW, OID, Shown, crl, forged, issued, pem
from rsp_servers import Caller, Refusal
from smdpp_peer import EID, Es9, Peer, asgi_client
from smdpp_peer import Refusal as Es9Refusal


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


def from_eum(pki: Pki, role: str | None) -> Shown:
    return Shown(issued(pki.eum, role), (pem(pki.eum.certificate).encode(),))


WRONG: dict[str, Callable[[Pki], Shown]] = {
    "no role under the CI": lambda pki: Shown(issued(pki.ci, None)),
    "CERT.DPauth": lambda pki: Shown(issued(pki.ci, "auth")),
    "CERT.DPpb": lambda pki: Shown(issued(pki.ci, "pb")),
    "CERT.DS.TLS": lambda pki: Shown(issued(pki.ci, "ds_tls")),
    "an eUICC's role": lambda pki: Shown(issued(pki.ci, "euicc")),
    "issued by an EUM": lambda pki: from_eum(pki, "tls"),
    "issued by an EUM without a role": lambda pki: from_eum(pki, None),
}


# who may call


@asynccontextmanager
async def calling(
    pki: Pki, port: int, interface: str, server: str, shown: Shown, folder: Path
) -> AsyncIterator[Caller]:
    tls = shown.context(folder, ssl.PROTOCOL_TLS_CLIENT, pki.ci.certificate)
    async with httpx.AsyncClient(verify=tls, base_url=f"https://127.0.0.1:{port}", trust_env=False) as client:
        yield Caller(client, interface, OID, server)


async def order(smdpp: Smdpp, pki: Pki, shown: Shown, folder: Path) -> str:
    """The codes with which DownloadOrder of a profile that is not there is refused: 8.2.1/3.9 means it was heard."""
    async with (
        smdpp.serve_operators() as port,
        calling(pki, port, "es2plus", smdpp.address, shown, folder) as caller,
    ):
        with pytest.raises(Refusal) as refusal:
            await caller.call("downloadOrder", iccid="8988211000000000008")
        return refusal.value.codes


HEARD, NOBODY = "8.2.1/3.9", "1.1/1.1"


@pytest.mark.parametrize("kind", WRONG)
async def test_5_3_es2_is_not_for_those_whom_a_ci_made_something_else(pki, tmp_path, kind):
    smdpp = Smdpp(pki, tmp_path)
    smdpp.add_operator(OID)
    assert await order(smdpp, pki, WRONG[kind](pki), tmp_path) == NOBODY


async def test_5_3_es2_is_for_operators_of_their_own_issuer_and_for_other_sm_dp(pki, tmp_path):
    smdpp = Smdpp(pki, tmp_path)
    smdpp.add_operator(OID)
    assert await order(smdpp, pki, Shown(issued(pki.operators, None)), tmp_path) == HEARD
    assert await order(smdpp, pki, Shown(issued(pki.ci, "tls")), tmp_path) == HEARD


async def test_5_3_an_operator_whose_certificate_names_no_oid_is_known_by_the_certificate_itself(pki, tmp_path):
    smdpp = Smdpp(pki, tmp_path)
    public, other = issued(pki.operators, None, oid=None), issued(pki.operators, None, oid=None)
    smdpp.add_operator(OID, certificate=public.certificate)
    assert await order(smdpp, pki, Shown(public), tmp_path) == HEARD
    assert await order(smdpp, pki, Shown(other), tmp_path) == NOBODY


async def test_5_3_a_setting_does_not_make_an_operator_of_a_certificate_without_a_role_under_a_ci(pki, tmp_path):
    smdpp = Smdpp(pki, tmp_path)
    roleless = issued(pki.ci, None, oid=None)
    smdpp.add_operator(OID, certificate=roleless.certificate)
    assert await order(smdpp, pki, Shown(roleless), tmp_path) == NOBODY


async def test_4_5_2_a_revoked_sm_dp_does_not_order(pki, tmp_path):
    revoked, other = issued(pki.ci, "tls"), issued(pki.ci, "tls")
    found = read_crl(crl(pki.ci, revoked.certificate), pki.ci.certificate)
    own = Identity.of(pki)
    smdpp = Smdpp([Identity(own.ci, own.auth, own.tls, own.oid, own.address, own.pb, crl=found)], tmp_path)
    smdpp.add_operator(OID)
    assert await order(smdpp, pki, Shown(revoked), tmp_path) == NOBODY
    assert await order(smdpp, pki, Shown(other), tmp_path) == HEARD


@pytest.mark.parametrize("kind", WRONG)
async def test_5_9_es12_is_not_for_those_whom_a_ci_made_something_else(pki, tmp_path, kind):
    smds = Smds(pki, tmp_path)
    async with (
        smds.serve_servers() as port,
        calling(pki, port, "es12", smds.address, WRONG[kind](pki), tmp_path) as caller,
    ):
        with pytest.raises(Refusal, match=r"1\.1/1\.1"):
            await caller.call("deleteEvent", eid=EID, eventId="X")


async def test_5_9_es12_gives_an_issuer_besides_the_ci_no_right_to_leave_the_role_out(pki, tmp_path):
    smds = Smds(pki, tmp_path, servers=[pki.operators.certificate])
    for role, codes in ((None, NOBODY), ("tls", "8.9.5/3.9")):
        async with (
            smds.serve_servers() as port,
            calling(pki, port, "es12", smds.address, Shown(issued(pki.operators, role)), tmp_path) as caller,
        ):
            with pytest.raises(Refusal) as refusal:
                await caller.call("deleteEvent", eid=EID, eventId="X")
            assert refusal.value.codes == codes


# which servers are believed


async def asked(trust: list[x509.Certificate | Issuer], shown: Shown, folder: Path, anchor: x509.Certificate) -> str:
    """Why ES9+' of the eIM does not ask the server that shows this; "asked" when it does."""
    heard = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.read(1):
            heard.set()
        writer.close()

    tls = shown.context(folder, ssl.PROTOCOL_TLS_SERVER, anchor)
    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls) as server:
        client = RspClient("eim", trust, {HOST: server.sockets[0].getsockname()[:2]}, None)
        with pytest.raises(RspUnavailable) as failed:
            await client.call(HOST, "initiateAuthentication", {})
    assert heard.is_set() != failed.value.untouched
    return "asked" if heard.is_set() else str(failed.value)


@pytest.mark.parametrize("kind", WRONG)
async def test_6_1_a_server_with_another_role_is_no_sm_dp(pki, tmp_path, kind):
    reason = await asked([pki.ci.certificate], WRONG[kind](pki), tmp_path, pki.ci.certificate)
    assert "the TLS certificate" in reason


async def test_6_1_a_server_with_the_role_and_the_name_is_one(pki, tmp_path):
    assert await asked([pki.ci.certificate], Shown(issued(pki.ci, "tls")), tmp_path, pki.ci.certificate) == "asked"


@pytest.mark.parametrize("host", ["other.example", None])
async def test_6_1_the_name_is_in_the_alternative_names(pki, tmp_path, host):
    shown = Shown(issued(pki.ci, "tls", host=host, common=HOST))
    assert "certificate is not valid for" in await asked([pki.ci.certificate], shown, tmp_path, pki.ci.certificate)


async def test_6_1_an_issuer_of_the_public_gives_no_roles_but_none_of_another_kind_either(pki, tmp_path):
    trust, anchor = [pki.ci.certificate, pki.operators.certificate], pki.operators.certificate
    assert await asked(trust, Shown(issued(pki.operators, None)), tmp_path, anchor) == "asked"
    assert "lacks the policy" in await asked(trust, Shown(issued(pki.operators, "auth")), tmp_path, anchor)


async def test_4_5_2_a_revoked_server_is_not_asked(pki, tmp_path):
    revoked = issued(pki.ci, "tls")
    issuer = Issuer(pki.ci.certificate, read_crl(crl(pki.ci, revoked.certificate), pki.ci.certificate))
    assert "is in the CRL of its issuer" in await asked([issuer], Shown(revoked), tmp_path, pki.ci.certificate)
    assert await asked([issuer], Shown(issued(pki.ci, "tls")), tmp_path, pki.ci.certificate) == "asked"


async def test_6_1_the_client_says_goodbye(pki):
    """close_notify: without it, OpenSSL 3 tells its server of a stream that was cut off."""

    def serve(listener: socket.socket) -> bytes:
        connection, _ = listener.accept()
        tls = server_context(issued(pki.ci, "tls"))
        with tls.wrap_socket(connection, server_side=True, suppress_ragged_eofs=False) as channel:
            channel.settimeout(10)
            while not channel.recv(1 << 14).endswith(b"{}"):
                pass
            channel.sendall(b"HTTP/1.1 204 No Content\r\n\r\n")
            return channel.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        served = asyncio.create_task(asyncio.to_thread(serve, listener))
        client = RspClient("eim", [pki.ci.certificate], {HOST: listener.getsockname()[:2]}, None)
        await client.call(HOST, "handleNotification", {})
        assert await served == b""


# revoked EUMs


async def test_4_5_2_a_card_of_a_revoked_eum_gets_nothing(pki, tmp_path):
    (tmp_path / "pki").mkdir()
    for file in pki._folder.glob("*.*"):
        (tmp_path / "pki" / file.name).write_bytes(file.read_bytes())
    (tmp_path / "pki" / "crl.der").write_bytes(crl(pki.ci, pki.eum.certificate))
    smdpp = Smdpp(Pki.open(tmp_path / "pki"), tmp_path)
    async with asgi_client(smdpp.app) as client:
        with pytest.raises(Es9Refusal, match=r"8\.1\.2/6\.1"):
            await Es9(client).authenticate(Peer(pki), "ANY")


async def test_4_5_2_an_eim_takes_no_notification_of_a_card_of_a_revoked_eum(pki, tmp_path):
    notification = tlv(0xBF3D, tlv(0xA0, Peer(pki).notification(b"\x06\x40")))
    for number, revoked in enumerate(([], [pki.eum.certificate])):
        found = read_crl(crl(pki.ci, *revoked), pki.ci.certificate)
        (tmp_path / str(number)).mkdir()
        desk = Eim(replace(EimIdentity.of(pki), crl=found), tmp_path / str(number), es9_routes={})
        desk.add_device(EID)
        if revoked:
            with pytest.raises(EsipaRefused, match="is in the CRL of its issuer"):
                await desk.handle(notification)
        else:
            assert await desk.handle(notification) == b""


def test_4_5_2_an_eim_hears_of_its_cards_ci_beside_its_certificate(pki, tmp_path):
    for name, credential in (("signing", pki.eim_signing), ("tls", pki.eim_tls)):
        key = credential.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / f"{name}.key").write_bytes(key)
        (tmp_path / f"{name}.pem").write_text(pem(credential.certificate))
    (tmp_path / "ci.pem").write_text(pem(pki.ci.certificate))
    (tmp_path / "crl.pem").write_bytes(x509.load_der_x509_crl(crl(pki.ci)).public_bytes(Encoding.PEM))
    from microipa.eim.config import Config

    (tmp_path / "eim.toml").write_text('keys = "."\ndatabase = "eim.sqlite"\n')
    identity = Config.read(tmp_path / "eim.toml").identity()
    assert identity.crl is not None
    assert isinstance(Eim(identity, tmp_path, es9_routes={}), Eim)
    (tmp_path / "crl.pem").write_bytes(crl(pki.operators))
    with pytest.raises(KeysInvalid, match=r"the CRL in .*crl.pem is of 'CN=microipa test operators,"):
        Config.read(tmp_path / "eim.toml").identity()
    assert EimIdentity.of(pki).crl is None


@pytest.mark.parametrize(
    ("damage", "check"),
    [
        (lambda pki, der: b"junk", "format"),
        (lambda pki, der: der[:-1] + bytes([der[-1] ^ 1]), "signature"),
        (lambda pki, der: crl(pki.operators), "issuer"),
        (lambda pki, der: der[:20], "format"),
    ],
)
def test_4_5_2_a_crl_that_says_nothing_of_this_ci_is_refused(pki, damage, check):
    with pytest.raises(CrlInvalid) as invalid:
        read_crl(damage(pki, crl(pki.ci)), pki.ci.certificate)
    assert invalid.value.check == check


def test_4_5_2_a_crl_that_is_only_a_part_is_refused(pki):
    builder = x509.CertificateRevocationListBuilder().issuer_name(pki.ci.certificate.subject)
    builder = builder.last_update(NOW).next_update(NOW).add_extension(x509.DeltaCRLIndicator(1), True)
    with pytest.raises(CrlInvalid, match="not a whole one"):
        read_crl(builder.sign(pki.ci.private_key, SHA256()).public_bytes(Encoding.DER), pki.ci.certificate)


def test_4_5_2_an_empty_crl_revokes_nothing(pki):
    assert not Issuer(pki.ci.certificate, read_crl(crl(pki.ci), pki.ci.certificate)).has_revoked(pki.eum.certificate)


def test_4_5_2_what_an_old_crl_revoked_stays_revoked(pki, caplog):
    old = read_crl(crl(pki.ci, pki.eum.certificate, end=timedelta(days=-1)), pki.ci.certificate)
    assert Issuer(pki.ci.certificate, old).has_revoked(pki.eum.certificate)
    assert "should have been replaced" in caplog.text


# eIMs


def test_2_11_1_an_eim_orders_no_eim_whose_certificate_its_ci_did_not_make(pki, tmp_path):
    desk, genuine = Eim(pki, tmp_path, es9_routes={}), issued(pki.ci, None)
    desk.add_device(EID)

    def order_eim(credential: Credential) -> int:
        fields = parse(credential.der).children()
        key = {"tbsCertificate": fields[0].raw, "signatureAlgorithm": fields[1].raw,
               "signature": (credential.certificate.signature, len(credential.certificate.signature) * 8)}  # fmt: skip
        operation = {"eimId": "other.example", "counterValue": 0, "eimPublicKeyData": ("eimCertificate", key)}
        return desk.order_package(EID, [("addEim", operation)])

    assert order_eim(genuine)
    assert order_eim(issued(pki.operators, None))  # whose issuer nobody here knows
    with pytest.raises(PackageInvalid, match="eimPublicKeyData: the eIM certificate bears a signature"):
        order_eim(forged(genuine, pki.operators))


def test_2_11_1_an_eim_does_not_start_with_a_signing_certificate_that_its_ci_did_not_make(pki, tmp_path):
    own = issued(pki.ci, None)
    for name, credential in (("signing", forged(own, pki.operators)), ("tls", pki.eim_tls)):
        key = credential.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        (tmp_path / f"{name}.key").write_bytes(key)
        (tmp_path / f"{name}.pem").write_text(pem(credential.certificate))
    (tmp_path / "ci.pem").write_text(pem(pki.ci.certificate))
    with pytest.raises(KeysInvalid, match="signing in .*: the eIM certificate bears a signature"):
        EimIdentity.read(tmp_path, pki.ci.certificate)
