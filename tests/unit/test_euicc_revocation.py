"""ES10b.LoadCRL: what the CI has revoked (SGP.22 clause 5.7.12)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from euicc_peer import Dp, Terminal, make_card
from microipa.asn1 import rsp
from microipa.asn1.tlv import parse, tlv
from microipa.crypto.pki import Pki
from microipa.saip.services import has
from odd_certificates import NOW, crl
from test_euicc_session import refusal

LOADED = bytes.fromhex("BF3502A000")


def load(terminal: Terminal, der: bytes) -> str:
    """The name of the result."""
    answer = terminal.es10(tlv(0xBF35, der))
    choice, value = rsp.decode("LoadCRLResponse", answer)
    if choice == "loadCRLResponseOk":
        assert answer == LOADED
        return "ok"
    return rsp.kind("LoadCRLResponseError").names[value]


def odd(pki: Pki, *extensions: tuple[x509.ExtensionType, bool], days: int = 0) -> bytes:
    """A CRL with these extensions, made ``days`` from now."""
    builder = x509.CertificateRevocationListBuilder().issuer_name(pki.ci.certificate.subject)
    builder = builder.last_update(NOW + timedelta(days=days)).next_update(NOW + timedelta(days=days + 1))
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical)
    return builder.sign(pki.ci.private_key, SHA256()).public_bytes(Encoding.DER)


@pytest.mark.covers("es10b.loadCRL.ok")
def test_5_7_12_a_revoked_server_is_not_authenticated_any_more(dp, pki):
    assert 0xA0 in dp.authenticate()
    assert load(dp.terminal, crl(pki.ci, pki.smdpp_auth.certificate)) == "ok"
    assert refusal(dp.authenticate()) == "invalidCertificate"
    dp.terminal.reset()
    assert refusal(dp.authenticate()) == "invalidCertificate"


def test_5_7_12_a_revoked_binding_certificate_ends_a_download(dp, pki):
    load(dp.terminal, crl(pki.ci, pki.smdpp_pb.certificate))
    dp.authenticate()
    assert refusal(dp.prepare()) == "invalidCertificate"


def test_5_7_12_who_is_in_no_crl_goes_on(dp, pki):
    assert load(dp.terminal, crl(pki.ci, pki.eum.certificate)) == "ok"
    dp.install(2)


def test_5_7_12_a_consumer_card_takes_one_too(tmp_path, pki):
    terminal = Terminal(make_card(tmp_path, pki, kind="consumer")).start()
    dp = Dp(pki, terminal)
    assert load(terminal, crl(pki.ci, pki.smdpp_auth.certificate)) == "ok"
    assert refusal(dp.authenticate()) == "invalidCertificate"


@pytest.mark.covers("es10b.loadCRL.invalidSignature")
def test_5_7_12_a_crl_that_was_changed_is_invalidSignature(terminal, pki):
    der = crl(pki.ci)
    assert load(terminal, der[:-1] + bytes([der[-1] ^ 1])) == "invalidSignature"


@pytest.mark.covers("es10b.loadCRL.invalidCRLFormat")
def test_5_7_12_what_is_no_crl_or_a_partial_one_is_invalidCRLFormat(terminal, pki):
    point = x509.IssuingDistributionPoint(None, None, True, False, None, False, False)
    for der in (pki.ci.der, tlv(0x30), odd(pki, (point, True))):
        assert load(terminal, der) == "invalidCRLFormat"


@pytest.mark.covers("es10b.loadCRL.notEnoughMemorySpace")
def test_5_7_12_a_crl_too_long_for_the_card_is_notEnoughMemorySpace(terminal, pki):
    long = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.999.1"), bytes(33_000))
    assert load(terminal, odd(pki, (long, False))) == "notEnoughMemorySpace"


@pytest.mark.covers("es10b.loadCRL.verificationKeyNotFound")
def test_5_7_12_a_crl_of_another_ci_or_key_is_verificationKeyNotFound(terminal, pki, tmp_path):
    assert load(terminal, crl(pki.operators)) == "verificationKeyNotFound"
    other = x509.AuthorityKeyIdentifier(bytes(20), None, None)
    assert load(terminal, odd(pki, (other, False))) == "verificationKeyNotFound"


@pytest.mark.covers("es10b.loadCRL.fresherCrlAlreadyLoaded")
def test_5_7_12_an_older_crl_does_not_undo_a_revocation(dp, pki):
    assert load(dp.terminal, crl(pki.ci, number=1)) == "ok"
    assert load(dp.terminal, crl(pki.ci, pki.smdpp_auth.certificate, number=3)) == "ok"
    assert load(dp.terminal, crl(pki.ci, number=2)) == "fresherCrlAlreadyLoaded"
    assert refusal(dp.authenticate()) == "invalidCertificate"
    assert load(dp.terminal, crl(pki.ci, number=4)) == "ok"
    assert 0xA0 in dp.authenticate()


@pytest.mark.covers("es10b.loadCRL.baseCrlMissing")
def test_5_7_12_a_delta_is_baseCrlMissing(terminal, pki):
    assert load(terminal, odd(pki, (x509.DeltaCRLIndicator(1), True))) == "baseCrlMissing"


@pytest.mark.covers("es10b.loadCRL.undefinedError")
def test_5_7_12_a_crl_of_the_future_is_undefinedError(terminal, pki):
    assert load(terminal, odd(pki, days=3)) == "undefinedError"


def test_5_7_12_without_a_crl_it_is_wrong_data(terminal):
    assert terminal.es10("BF3500") == b""
    assert terminal.sw == 0x6A80


def test_5_7_12_euiccInfo2_says_that_the_card_takes_crls(terminal):
    info = parse(terminal.es10("BF2200"))
    assert info[0x88].value == bytes([6, 0xC0])  # additionalProfile, crlSupport and nothing else
    assert has(info[0x85].value, "milenage")
    assert not has(info[0x85].value, "cave")  # which no command of this card computes
