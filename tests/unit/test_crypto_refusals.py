"""What certificate checks and BSP refuse that no honest peer sends: keys, hashes and lengths of other kinds."""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec as curves
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.name import _ASN1Type
from cryptography.x509.oid import NameOID
from microipa.asn1.tlv import parse, tlv
from microipa.crypto.bsp import MAC_BYTES, MAX_PLAIN, Bsp, BspError
from microipa.crypto.certificates import CertificateInvalid, verify_euicc_chain, verify_smdpp_certificate
from microipa.crypto.pki import Pki, PkiError, check_eid
from microipa.crypto.revocation import CrlInvalid, read_crl
from odd_certificates import NOW, crl

EID = "89049032123451234512345678901235"


@pytest.fixture(scope="module")
def pki(tmp_path_factory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


def again(
    old: x509.Certificate, signer, *, key=None, digest=None, subject: x509.Name | None = None, drop=(), replace=()
) -> bytes:  # fmt: skip
    """The same certificate, signed by ``signer``, with another key, hash, subject or without extensions."""
    builder = x509.CertificateBuilder(
        old.issuer, subject or old.subject, key or old.public_key(), old.serial_number, old.not_valid_before_utc,
        old.not_valid_after_utc,
        [one for one in old.extensions if not isinstance(one.value, (*drop, *map(type, replace)))],
    )  # fmt: skip
    for value in replace:
        builder = builder.add_extension(value, True)
    return builder.sign(signer, digest or SHA256()).public_bytes(Encoding.DER)


def refusal(call, *arguments) -> tuple[str, str]:
    with pytest.raises(CertificateInvalid) as error:
        call(*arguments)
    return error.value.subject, error.value.check


def chain(pki: Pki, *, euicc: bytes | None = None, eum: bytes | None = None, moment: datetime | None = None):
    return verify_euicc_chain(
        euicc or pki.euicc(EID).der, eum or pki.eum.der, pki.ci.certificate, *([moment] if moment else [])
    )


@pytest.mark.parametrize(
    "key", [rsa.generate_private_key(65537, 2048), curves.generate_private_key(curves.SECP384R1())]
)
def test_sgp14_a_key_on_another_curve_or_none_is_no_key_of_a_card_or_a_server(pki: Pki, key) -> None:
    card, ci = pki.euicc(EID), pki.ci.private_key
    wrong = again(card.certificate, pki.eum.private_key, key=key.public_key())
    assert refusal(lambda: chain(pki, euicc=wrong)) == ("euicc", "chain")
    wrong = again(pki.smdpp_pb.certificate, ci, key=key.public_key())
    assert refusal(verify_smdpp_certificate, wrong, "pb", ci.public_key()) == ("smdpp", "chain")


def test_sgp14_a_key_that_is_no_point_of_its_curve_is_no_key(pki: Pki) -> None:
    old = pki.smdpp_pb.certificate
    good = old.public_key().public_numbers()
    point = b"\4" + good.x.to_bytes(32, "big") + good.y.to_bytes(32, "big")
    signed = old.tbs_certificate_bytes.replace(point, point[:-1] + bytes([point[-1] ^ 1]))
    signature = pki.ci.private_key.sign(signed, curves.ECDSA(SHA256()))
    algorithm = parse(pki.smdpp_pb.der).children()[1].raw
    wrong = tlv(0x30, signed, algorithm, tlv(0x03, b"\0", signature))
    assert refusal(verify_smdpp_certificate, wrong, "pb", pki.ci.private_key.public_key()) == ("smdpp", "chain")


def test_a_certificate_has_one_encoding(pki: Pki) -> None:
    """Unused bits of the signature's BIT STRING are not signed."""
    der = pki.smdpp_pb.der
    while der[-1] & 1:  # a last bit of 0 may be called unused without a break of DER
        der = again(pki.smdpp_pb.certificate, pki.ci.private_key)
    signature = parse(der).children()[2].value
    assert signature[0] == 0
    place = len(der) - len(signature)
    assert verify_smdpp_certificate(der, "pb", pki.ci.private_key.public_key())
    wrong = der[:place] + b"\1" + der[place + 1 :]
    with pytest.raises(CertificateInvalid, match="whole byte"):
        verify_smdpp_certificate(wrong, "pb", pki.ci.private_key.public_key())


def test_sgp14_a_right_signature_over_another_hash_is_refused(pki: Pki) -> None:
    ci = pki.ci.private_key
    wrong = again(pki.smdpp_pb.certificate, ci, digest=SHA384())
    assert refusal(verify_smdpp_certificate, wrong, "pb", ci.public_key()) == ("smdpp", "signature")


@pytest.mark.parametrize(
    ("drop", "replace"),
    [
        ([x509.BasicConstraints], []),
        ([x509.KeyUsage], []),
        ([], [x509.BasicConstraints(False, None)]),
        ([], [x509.KeyUsage(True, False, False, False, False, False, True, False, False)]),
    ],
    ids=["no basicConstraints", "no keyUsage", "no CA", "no keyCertSign"],
)
def test_sgp22_4_5_2_an_eum_needs_each_of_what_lets_it_sign_certificates(pki: Pki, drop, replace) -> None:
    eum = again(pki.eum.certificate, pki.ci.private_key, drop=drop, replace=replace)
    assert refusal(lambda: chain(pki, eum=eum)) == ("eum", "usage")


@pytest.mark.parametrize("serial", [None, EID[:31], EID + "0", EID[:31] + "a", EID[:31] + "٣"])
def test_sgp22_4_5_2_an_eid_of_a_certificate_has_32_digits(pki: Pki, serial: str | None) -> None:
    attributes = [x509.NameAttribute(NameOID.ORGANIZATION_NAME, "microipa")]
    attributes += [x509.NameAttribute(NameOID.SERIAL_NUMBER, serial, _ASN1Type.UTF8String)] if serial else []
    card = pki.euicc(EID)
    wrong = again(card.certificate, pki.eum.private_key, subject=x509.Name(attributes))
    with pytest.raises(CertificateInvalid, match="has no 32-digit EID"):
        chain(pki, euicc=wrong)


def test_a_certificate_is_valid_from_its_first_to_its_last_second(pki: Pki) -> None:
    card = pki.euicc(EID).certificate
    start, end = card.not_valid_before_utc, card.not_valid_after_utc
    inside = [max(start, pki.eum.certificate.not_valid_before_utc, pki.ci.certificate.not_valid_before_utc)]
    inside += [min(end, pki.eum.certificate.not_valid_after_utc, pki.ci.certificate.not_valid_after_utc)]
    assert [chain(pki, moment=moment)[0] for moment in inside] == [EID, EID]


@pytest.mark.parametrize("eid", [EID[:31] + "٥", EID[:31] + "x"])
def test_an_eid_has_digits_of_ascii_alone(eid: str) -> None:
    with pytest.raises(PkiError, match="32 digits"):
        check_eid(eid)


def test_a_key_of_another_kind_in_the_folder_is_named(tmp_path: Path) -> None:
    Pki.open(tmp_path)
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "eum.key").write_bytes(pem)
    with pytest.raises(PkiError, match="eum.key is not an elliptic curve key"):
        Pki.open(tmp_path)


@pytest.mark.parametrize("server", ["smdpp_tls", "smds_tls", "eim_tls", "eim2_tls", "operator_tls"])
def test_2_6_a_tls_key_on_brainpool_in_the_folder_is_named(tmp_path: Path, server: str) -> None:
    Pki.open(tmp_path).second_eim()
    key = curves.generate_private_key(curves.BrainpoolP256R1())
    (tmp_path / f"{server}.key").write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(PkiError, match=f"{server}.key is on brainpoolP256r1, a TLS server here needs one on secp256r1"):
        Pki.open(tmp_path).second_eim()


def test_a_crl_counts_from_the_second_of_its_date(pki: Pki) -> None:
    made = NOW - timedelta(days=60)
    assert read_crl(crl(pki.ci), pki.ci.certificate, made).last_update_utc == made
    with pytest.raises(CrlInvalid, match="still to come"):
        read_crl(crl(pki.ci), pki.ci.certificate, made - timedelta(seconds=1))


# BSP (SGP.22 2.5.4)


def session() -> Bsp:
    return Bsp(bytes(16), bytes(16), bytes(16))


@pytest.mark.parametrize("wrong", [0, 1, 2])
def test_a_bsp_key_has_16_bytes(wrong: int) -> None:
    keys = [bytes(16)] * 3
    keys[wrong] = bytes(15)
    with pytest.raises(BspError, match="has 15 bytes, BSP wants 16"):
        Bsp(*keys)


def test_a_clear_segment_has_a_limit_as_an_enciphered_one() -> None:
    assert session().open_mac(session().mac(0x88, bytes(MAX_PLAIN))) == bytes(MAX_PLAIN)
    with pytest.raises(BspError, match="do not fit in one segment"):
        session().mac(0x88, bytes(MAX_PLAIN + 1))


def test_a_segment_shorter_than_its_mac_is_refused_by_that_name() -> None:
    with pytest.raises(BspError, match="too few for a MAC"):
        session().open_mac(bytes([0x88, MAC_BYTES - 1]) + bytes(MAC_BYTES - 1))
    assert session().open_mac(session().mac(0x88, b"")) == b""


def test_padding_is_never_a_whole_block() -> None:
    """80 and fifteen zeros belong to a whole block of data before them; sixteen zeros behind an 80 are no padding."""
    sender = session()
    blocks = sender._cbc().encryptor()  # what an honest sender never pads so
    forged = sender._protect(0x86, blocks.update(b"\x80" + bytes(31)) + blocks.finalize())
    with pytest.raises(BspError, match="padding"):
        session().open_encrypted(forged)
    sender = session()
    blocks = sender._cbc().encryptor()
    forged = sender._protect(0x86, blocks.update(bytes(15) + b"\x80" + bytes(16)) + blocks.finalize())
    with pytest.raises(BspError, match="padding"):
        session().open_encrypted(forged)
