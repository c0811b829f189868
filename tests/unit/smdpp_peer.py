"""An eUICC as the SM-DP+ sees it, honest unless told to lie, and an HTTP client of ES9+."""

from __future__ import annotations

import base64
import json
import secrets
import ssl
from datetime import datetime
from hashlib import sha256
from typing import Any

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from microipa.asn1.tlv import Tlv, integer, parse, tlv
from microipa.crypto import ec
from microipa.crypto.bsp import Bsp
from microipa.crypto.pki import Credential, Pki, subject_key_identifier, verify_smdpp_certificate
from starlette.applications import Starlette

EID = "89049032123451234512345678901235"
OTHER_EID = "89049032000000000000000000000163"
ADDRESS = "smdpp.microipa.example"
ISDP_AID = bytes.fromhex("A0000005591010FFFFFFFF8900001100")


class Peer:
    """The eUICC side of one download."""

    def __init__(self, pki: Pki, eid: str = EID) -> None:
        self.pki = pki
        self.eid = eid
        self.credential: Credential = pki.euicc(eid)
        self.eum = pki.eum.der
        self.challenge = secrets.token_bytes(16)
        self.transaction_id = b""
        self.smdp_signature2 = b""
        self.otsk = ec.generate_key()

    def info1(
        self, svn: bytes = b"\x02\x05\x00", verify: bytes | None = None, sign: bytes | None = None
    ) -> bytes:
        key_id = subject_key_identifier(self.pki.ci.certificate)
        return tlv(
            0xBF20,
            tlv(0x82, svn),
            tlv(0xA9, tlv(0x04, key_id if verify is None else verify)),
            tlv(0xAA, tlv(0x04, key_id if sign is None else sign)),
        )

    @staticmethod
    def info2(*, version: bytes = b"\x03\x01\x00", free: int = 500_000, forbidden: bytes = b"") -> bytes:
        resource = tlv(0x81, b"\x00") + tlv(0x82, free.to_bytes(4, "big")) + tlv(0x83, b"\x40\x00")
        return tlv(
            0xBF22,
            tlv(0x81, version),
            tlv(0x82, b"\x02\x05\x00"),
            tlv(0x84, resource),
            tlv(0x99, forbidden) if forbidden else b"",
        )

    def authenticate_server(
        self,
        answer: dict[str, Any],
        matching_id: str | None,
        *,
        info2: bytes | None = None,
        transaction_id: bytes | None = None,
        address: str = ADDRESS,
        challenge: bytes | None = None,
        certificate: bytes | None = None,
        wrap: bool = False,
    ) -> bytes:
        """Check the server as a card does, then answer BF38. The named arguments are lies."""
        signed1 = parse(unbase64(answer["serverSigned1"]))
        ci_key = self.pki.ci.certificate.public_key()
        key, oid = verify_smdpp_certificate(unbase64(answer["serverCertificate"]), "auth", ci_key)
        assert oid == self.pki.smdpp_oid
        ec.verify(key, parse(unbase64(answer["serverSignature1"])).value, signed1.raw)
        assert signed1[0x81].value == self.challenge
        assert signed1[0x83].value == ADDRESS.encode()
        assert unbase64(answer["euiccCiPKIdToBeUsed"])[:2] == b"\x04\x14"
        self.transaction_id = signed1[0x80].value
        assert answer["transactionId"] == self.transaction_id.hex().upper()
        device = tlv(0xA1, tlv(0x80, b"\x35\x29\x06\x11"), tlv(0xA1, tlv(0x85, b"\x0e\x00\x00")))
        ctx = tlv(0xA0, tlv(0x80, matching_id.encode()) if matching_id is not None else b"", device)
        signed = tlv(
            0x30,
            tlv(0x80, transaction_id or self.transaction_id),
            tlv(0x83, address.encode()),
            tlv(0x84, challenge or signed1[0x84].value),
            info2 or self.info2(),
            ctx,
        )
        signature = tlv(0x5F37, self.credential.sign(signed))
        self.euicc_signature1 = signature
        sent = tlv(0x5F37, signature) if wrap else signature
        return tlv(0xBF38, tlv(0xA0, signed, sent, certificate or self.credential.der, self.eum))

    def prepare_download(
        self,
        answer: dict[str, Any],
        code: str | None = None,
        *,
        transaction_id: bytes | None = None,
        otpk: bytes | None = None,
    ) -> bytes:
        """Check smdpSigned2 as a card does, then answer BF21."""
        signed2 = unbase64(answer["smdpSigned2"])
        ci_key = self.pki.ci.certificate.public_key()
        self.dppb_key, _ = verify_smdpp_certificate(unbase64(answer["smdpCertificate"]), "pb", ci_key)
        signature2 = parse(unbase64(answer["smdpSignature2"]))
        ec.verify(self.dppb_key, signature2.value, signed2 + self.euicc_signature1)
        assert parse(signed2)[0x80].value == self.transaction_id
        self.smdp_signature2 = signature2.raw
        otpk = otpk or ec.point(self.otsk.public_key())
        hash_cc = b""
        if code is not None:
            hash_cc = tlv(0x04, sha256(sha256(code.encode()).digest() + self.transaction_id).digest())
        signed = tlv(0x30, tlv(0x80, transaction_id or self.transaction_id), tlv(0x5F49, otpk), hash_cc)
        signature = self.credential.sign(signed + self.smdp_signature2)
        return tlv(0xBF21, tlv(0xA0, signed, tlv(0x5F37, signature)))

    def open_package(self, der: bytes) -> tuple[bytes, bytes, bytes]:
        """ConfigureISDP, StoreMetadata and profile package of BF36, every check made."""
        package = parse(der)
        channel = package[0xBF23]
        otpk = ec.point(self.otsk.public_key())
        fields = [child.raw for child in channel if child.tag != 0x5F37]
        ec.verify(self.dppb_key, channel[0x5F37].value, b"".join(fields) + tlv(0x5F49, otpk))
        assert channel[0x82].value == b"\x01"
        assert channel[0x80].value == self.transaction_id
        template = channel[0xA6]
        assert (template[0x80].value, template[0x81].value) == (b"\x88", b"\x10")
        secret = ec.ecdh(self.otsk, channel[0x5F49].value)
        bsp = Bsp.from_secret(secret, template[0x84].value, bytes.fromhex(self.eid))
        configure = b"".join(bsp.open_encrypted(s.raw) for s in _segments(package[0xA0], 0x87))
        metadata = b"".join(bsp.open_mac(s.raw) for s in _segments(package[0xA1], 0x88))
        if 0xA2 in package:
            keys = parse(b"".join(bsp.open_encrypted(s.raw) for s in _segments(package[0xA2], 0x87)))
            assert keys.tag == 0xBF26
            bsp = Bsp(keys[0x80].value, keys[0x81].value, keys[0x82].value)
        profile = b"".join(bsp.open_encrypted(s.raw) for s in _segments(package[0xA3], 0x86))
        return configure, metadata, profile

    def metadata(self, event: bytes, seq: int = 1) -> bytes:
        return tlv(
            0xBF2F,
            integer(0x80, seq),
            tlv(0x81, event),
            tlv(0x0C, ADDRESS.encode()),
            tlv(0x5A, bytes.fromhex("98100000000000000010")),
        )

    def installation_result(
        self,
        error: tuple[int, int, bytes] | None = None,
        *,
        oid: str | None = None,
        transaction_id: bytes | None = None,
    ) -> bytes:
        """BF37. ``error``: bppCommandId, errorReason, simaResponse."""
        if error is None:
            final = tlv(0xA0, tlv(0x4F, ISDP_AID), tlv(0x04, bytes.fromhex("3007A0053003800100")))
        else:
            command, reason, sima = error
            final = tlv(0xA1, integer(0x80, command), integer(0x81, reason), tlv(0x82, sima) if sima else b"")
        data = tlv(
            0xBF27,
            tlv(0x80, transaction_id or self.transaction_id),
            self.metadata(b"\x07\x80"),
            oid_tlv(oid or self.pki.smdpp_oid),
            tlv(0xA2, final),
        )
        return tlv(0xBF37, data, tlv(0x5F37, self.credential.sign(data)))

    def notification(self, event: bytes, seq: int = 7) -> bytes:
        data = self.metadata(event, seq)
        return tlv(0x30, data, tlv(0x5F37, self.credential.sign(data)), self.credential.der, self.eum)

    def cancel_session(
        self, reason: int, *, oid: str | None = None, transaction_id: bytes | None = None
    ) -> bytes:
        signed = tlv(
            0x30,
            tlv(0x80, transaction_id or self.transaction_id),
            tlv(0x81, parse(oid_tlv(oid or self.pki.smdpp_oid)).value),
            integer(0x82, reason),
        )
        return tlv(0xBF41, tlv(0xA0, signed, tlv(0x5F37, self.credential.sign(signed))))


class Refusal(Exception):
    """A function that ended Failed: its codes, "8.1/6.1"."""

    def __init__(self, data: dict[str, str]) -> None:
        super().__init__(f"{data['subjectCode']}/{data['reasonCode']}", data["message"])
        self.codes = f"{data['subjectCode']}/{data['reasonCode']}"


class Es9:
    """ES9+ by the JSON binding."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def call(self, function: str, **fields: str | bytes) -> dict[str, Any]:
        body = {k: v if isinstance(v, str) else base64.b64encode(v).decode() for k, v in fields.items()}
        response = await self.client.post(
            f"/gsma/rsp2/es9plus/{function}",
            content=json.dumps(body),  # in ASCII, so that any string can be sent
            headers={"X-Admin-Protocol": "gsma/rsp/v2.1.0", "User-Agent": "gsma-rsp-ipad"},
            extensions={"sni_hostname": ADDRESS},
        )
        assert response.headers["X-Admin-Protocol"] == "gsma/rsp/v2.1.0"
        if response.status_code == 204:
            assert not response.content
            return {}
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        status = answer.pop("header")["functionExecutionStatus"]
        if status["status"] != "Executed-Success":
            assert not answer
            raise Refusal(status["statusCodeData"])
        return answer

    async def initiate(self, peer: Peer, **wrong: Any) -> dict[str, Any]:
        fields = {"euiccChallenge": peer.challenge, "euiccInfo1": peer.info1(), "smdpAddress": ADDRESS}
        return await self.call("initiateAuthentication", **(fields | wrong))

    async def authenticate(self, peer: Peer, matching_id: str | None, **wrong: Any) -> dict[str, Any]:
        answer = await self.initiate(peer)
        response = peer.authenticate_server(answer, matching_id, **wrong)
        return await self.call(
            "authenticateClient", transactionId=answer["transactionId"], authenticateServerResponse=response
        )

    async def package(
        self, peer: Peer, answer: dict[str, Any], code: str | None = None, **wrong: Any
    ) -> dict[str, Any]:
        response = peer.prepare_download(answer, code, **wrong)
        return await self.call(
            "getBoundProfilePackage", transactionId=answer["transactionId"], prepareDownloadResponse=response
        )

    async def download(self, peer: Peer, matching_id: str | None, code: str | None = None) -> bytes:
        answer = await self.authenticate(peer, matching_id)
        return unbase64((await self.package(peer, answer, code))["boundProfilePackage"])

    async def notify(self, notification: bytes) -> None:
        await self.call("handleNotification", pendingNotification=notification)

    async def cancel(self, peer: Peer, response: bytes) -> None:
        answer = await self.call(
            "cancelSession", transactionId=peer.transaction_id.hex(), cancelSessionResponse=response
        )
        assert answer == {}


def asgi_client(app: Starlette) -> httpx.AsyncClient:
    """Speaks to the application itself; an exception in it is an exception here."""
    return httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url=f"https://{ADDRESS}", trust_env=False
    )


def https_client(pki: Pki, port: int) -> httpx.AsyncClient:
    """Trusts the lab's CI and nobody else; checks the server's name though it connects to loopback."""
    trust = ssl.create_default_context(cadata=pki.ci.certificate.public_bytes(Encoding.PEM).decode())
    return httpx.AsyncClient(verify=trust, base_url=f"https://127.0.0.1:{port}", trust_env=False)


def reissue(
    certificate: x509.Certificate,
    issuer: Credential,
    *,
    subject: x509.Name | None = None,
    not_after: datetime | None = None,
    without: type[x509.ExtensionType] | None = None,
) -> bytes:
    """The same certificate from ``issuer``, with another subject or end, or one extension less."""
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject or certificate.subject)
        .issuer_name(issuer.certificate.subject)
        .public_key(certificate.public_key())
        .serial_number(certificate.serial_number + 1)
        .not_valid_before(certificate.not_valid_before_utc)
        .not_valid_after(not_after or certificate.not_valid_after_utc)
    )
    for extension in certificate.extensions:
        if without is None or not isinstance(extension.value, without):
            builder = builder.add_extension(extension.value, extension.critical)
    return builder.sign(issuer.private_key, SHA256()).public_bytes(Encoding.DER)


def oid_tlv(dotted: str) -> bytes:
    first, second, *rest = map(int, dotted.split("."))
    octets = b""
    for arc in (40 * first + second, *rest):
        groups = [arc & 0x7F]
        while arc := arc >> 7:
            groups.insert(0, arc & 0x7F | 0x80)
        octets += bytes(groups)
    return tlv(0x06, octets)


def unbase64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def _segments(group: Tlv, tag: int) -> list[Tlv]:
    segments = group.children()
    assert {segment.tag for segment in segments} == {tag}
    assert all(len(segment.raw) <= 1020 for segment in segments)
    return segments
