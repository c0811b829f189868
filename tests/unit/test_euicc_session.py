"""AuthenticateServer, PrepareDownload, CancelSession: whom the card believes (SGP.22 5.7.5, 5.7.13, 5.7.14)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec as curves
from cryptography.hazmat.primitives.hashes import SHA256
from euicc_peer import EID, Dp
from microipa.asn1 import rsp, sgp32
from microipa.asn1.tlv import Tlv, integer, parse, tlv
from microipa.crypto import ec
from microipa.crypto.pki import Credential, Pki, subject_key_identifier, verify_euicc_chain


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    """Somebody else's CI with an SM-DP+ below it."""
    return Pki.open(tmp_path_factory.mktemp("foreign"))


def reissued(pki: Pki, like: Credential, *, curve: curves.EllipticCurve | None = None, age: int = 0,
             oids: tuple[str, ...] = ()) -> Credential:  # fmt: skip
    """The same certificate with one thing another: key on ``curve``, ``age`` days over, SM-DP+ ``oids``."""
    key = curves.generate_private_key(curve or curves.SECP256R1())
    now = datetime.now(UTC) - timedelta(days=age)
    builder = x509.CertificateBuilder(
        like.certificate.issuer, like.certificate.subject, key.public_key(), x509.random_serial_number(),
        now - timedelta(days=1), now + timedelta(minutes=1),
    )  # fmt: skip
    for extension in like.certificate.extensions:
        value = extension.value
        if oids and isinstance(value, x509.SubjectAlternativeName):
            names = [x509.RegisteredID(x509.ObjectIdentifier(oid)) for oid in oids]
            value = x509.SubjectAlternativeName(names)
        builder = builder.add_extension(value, extension.critical)
    return Credential(key, builder.sign(pki.ci.private_key, SHA256()))


def refusal(answer: Tlv) -> str:
    """The name of the error, after a look at the transaction it echoes."""
    error = answer[0xA1]
    assert error[0x80].value == b"\x01\x02\x03\x04"
    kind = "AuthenticateErrorCode" if answer.tag == 0xBF38 else "DownloadErrorCode"
    return rsp.kind(kind).names[error[0x02].value[0]]


# ---- AuthenticateServer


@pytest.mark.covers("es10b.authenticateServer.ok", "es10b.getEUICCChallenge.ok")
def test_5_7_13_the_card_proves_itself_over_what_the_server_sent(dp, pki):
    answer = dp.authenticate()
    signed, signature, euicc, eum = answer[0xA0].children()
    ec.verify(pki.euicc(EID).certificate.public_key(), signature.value, signed.raw)
    assert verify_euicc_chain(euicc.raw, eum.raw, pki.ci.certificate)[0] == EID
    assert signed[0x80].value == dp.transaction_id
    assert signed[0x84].value == bytes(16)
    assert signed[0xBF22].raw == dp.terminal.es10("BF2200")
    assert signed[0xA0][0x80].value == b"MATCH"
    assert sgp32.decode("AuthenticateServerResponse", answer.raw)[0] == "authenticateResponseOk"


@pytest.mark.covers("es10b.authenticateServer.invalidCertificate")
@pytest.mark.parametrize("whose", ["foreign", "binding", "expired", "future"])
def test_5_7_13_certificate_of_another_ci_role_or_time_is_invalidCertificate(dp, pki, foreign, whose):
    dp.auth = {
        "foreign": lambda: foreign.smdpp_auth,
        "binding": lambda: pki.smdpp_pb,
        "expired": lambda: reissued(pki, pki.smdpp_auth, age=1),
        "future": lambda: reissued(pki, pki.smdpp_auth, age=-9),
    }[whose]()
    assert refusal(dp.authenticate()) == "invalidCertificate"


@pytest.mark.covers("es10b.authenticateServer.invalidOid")
def test_5_7_13_a_server_without_one_oid_is_invalidOid(dp, pki):
    dp.auth = reissued(pki, pki.smdpp_auth, oids=("2.999.10", "2.999.11"))
    assert refusal(dp.authenticate()) == "invalidOid"


@pytest.mark.covers("es10b.authenticateServer.invalidSignature")
def test_5_7_13_signature_by_another_key_is_invalidSignature(dp, pki):
    dp.auth = Credential(pki.smdpp_pb.private_key, pki.smdpp_auth.certificate)
    assert refusal(dp.authenticate()) == "invalidSignature"


@pytest.mark.covers("es10b.authenticateServer.unsupportedCurve")
def test_5_7_13_key_on_another_curve_is_unsupportedCurve(dp, pki):
    dp.auth = reissued(pki, pki.smdpp_auth, curve=curves.BrainpoolP256R1())
    assert refusal(dp.authenticate()) == "unsupportedCurve"


@pytest.mark.covers("es10b.authenticateServer.euiccChallengeMismatch")
def test_5_7_13_an_old_challenge_is_euiccChallengeMismatch(dp):
    dp.challenge = bytes(16)
    assert refusal(dp.authenticate()) == "euiccChallengeMismatch"


@pytest.mark.covers("es10b.authenticateServer.ciPKUnknown")
def test_5_7_13_another_ci_is_ciPKUnknown(dp, foreign):
    dp.ci_key_id = subject_key_identifier(foreign.ci.certificate)
    assert refusal(dp.authenticate()) == "ciPKUnknown"


@pytest.mark.covers("es10b.authenticateServer.noSessionContext")
def test_5_7_13_a_challenge_serves_once(dp, terminal, monkeypatch):
    assert 0xA0 in dp.authenticate()
    sent: list[bytes] = []
    monkeypatch.setattr(terminal, "es10", recording(terminal.es10, sent))
    dp.authenticate()
    assert refusal(parse(terminal.es10(sent[-1]))) == "noSessionContext"
    terminal.reset()
    assert refusal(parse(terminal.es10(sent[-1]))) == "noSessionContext"


def recording(function, sent: list[bytes]):
    """``function`` that also notes what it was called with."""

    def call(command):
        sent.append(command)
        return function(command)

    return call


def test_5_7_13_challenges_are_never_the_same(terminal):
    assert len({terminal.es10("BF2E00") for _ in range(20)}) == 20


# ---- PrepareDownload


@pytest.mark.covers("es10b.prepareDownload.ok")
def test_5_7_5_the_card_answers_with_a_signed_one_time_key(dp, pki):
    dp.authenticate()
    answer = dp.prepare(cc=bytes(32), cc_required=True)
    signed = answer[0xA0][0x30]
    assert signed[0x80].value == dp.transaction_id
    assert len(signed[0x5F49].value) == 65
    assert signed[0x04].value == bytes(32)
    assert sgp32.decode("PrepareDownloadResponse", answer.raw)[0] == "downloadResponseOk"


@pytest.mark.covers("es10b.prepareDownload.invalidCertificate")
@pytest.mark.parametrize("whose", ["foreign", "authenticating", "another server"])
def test_5_7_5_certificate_of_another_server_or_role_is_invalidCertificate(dp, pki, foreign, whose):
    dp.authenticate()
    dp.pb = {
        "foreign": lambda: foreign.smdpp_pb,
        "authenticating": lambda: pki.smdpp_auth,
        "another server": lambda: reissued(pki, pki.smdpp_pb, oids=("2.999.11",)),
    }[whose]()
    assert refusal(dp.prepare()) == "invalidCertificate"


@pytest.mark.covers("es10b.prepareDownload.invalidSignature")
def test_5_7_5_signature_must_cover_what_the_card_signed_before(dp):
    dp.authenticate()
    dp.signature_1 = tlv(0x5F37, bytes(64))
    assert refusal(dp.prepare()) == "invalidSignature"


@pytest.mark.covers("es10b.prepareDownload.unsupportedCurve")
def test_5_7_5_key_on_another_curve_is_unsupportedCurve(dp, pki):
    dp.authenticate()
    dp.pb = reissued(pki, pki.smdpp_pb, curve=curves.BrainpoolP256R1())
    assert refusal(dp.prepare()) == "unsupportedCurve"


@pytest.mark.covers("es10b.prepareDownload.noSessionContext")
def test_5_7_5_without_authentication_is_noSessionContext(dp, terminal):
    assert refusal(dp.prepare()) == "noSessionContext"
    dp.authenticate()
    terminal.reset()
    assert refusal(dp.prepare()) == "noSessionContext"


@pytest.mark.covers("es10b.prepareDownload.invalidTransactionId")
def test_5_7_5_another_transaction_is_invalidTransactionId(dp):
    dp.transaction_id = b"\x09"
    dp.authenticate()
    dp.transaction_id = b"\x01\x02\x03\x04"
    assert refusal(dp.prepare()) == "invalidTransactionId"


@pytest.mark.covers("es10b.prepareDownload.undefinedError")
def test_5_7_5_a_confirmation_code_that_is_missing_is_undefinedError(dp):
    dp.authenticate()
    assert refusal(dp.prepare(cc_required=True)) == "undefinedError"
    assert 0xA0 in dp.prepare(cc_required=True, cc=bytes(32))


# ---- CancelSession


def cancel(dp: Dp, reason: int, transaction_id: bytes = b"\x01\x02\x03\x04") -> Tlv:
    answer = dp.terminal.es10(tlv(0xBF41, tlv(0x80, transaction_id), integer(0x81, reason)))
    assert rsp.decode("CancelSessionResponse", answer)
    return parse(answer)


@pytest.mark.covers("es10b.cancelSession.ok")
@pytest.mark.parametrize("reason", [0, 1, 2, 3, 4, 5, 127])
def test_5_7_14_cancelling_is_signed_with_reason_and_server(dp, pki, reason):
    dp.authenticate()
    signed, signature = cancel(dp, reason)[0xA0].children()[:2]
    ec.verify(pki.euicc(EID).certificate.public_key(), signature.value, signed.raw)
    assert [item.value for item in signed] == [dp.transaction_id, bytes.fromhex("88370A"), bytes([reason])]


@pytest.mark.covers("es10b.cancelSession.undefinedError")
def test_5_7_14_a_reason_nobody_knows_is_undefinedError_and_cancels_nothing(dp):
    dp.authenticate()
    assert cancel(dp, 9)[0x81].value == b"\x7f"
    assert 0xA0 in cancel(dp, 2)


@pytest.mark.covers("es10b.cancelSession.invalidTransactionId")
def test_5_7_14_only_the_running_session_is_cancelled_and_once(dp):
    assert cancel(dp, 2)[0x81].value == b"\x05"
    dp.authenticate()
    assert cancel(dp, 2, b"\x09")[0x81].value == b"\x05"
    assert 0xA0 in cancel(dp, 2)
    assert cancel(dp, 2)[0x81].value == b"\x05"
    assert refusal(dp.prepare()) == "noSessionContext"
