"""The lab's certificates have the shapes of SGP.14, and each broken rule is named."""

import stat
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from microipa.crypto import ec, pki
from microipa.crypto.certificates import POLICY, CertificateInvalid
from microipa.crypto.pki import Pki, PkiError, verify_euicc_chain, verify_smdpp_certificate

EID = "89049032123451234512345678901235"
ROLES = (
    "ci", "eum", "smdpp_auth", "smdpp_pb", "smdpp_tls", "smds_auth", "smds_tls", "operators", "operator_tls",
    "eim_signing", "eim_tls",
)  # fmt: skip


@pytest.fixture(scope="module")
def lab(tmp_path_factory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="module")
def card(lab):
    return lab.euicc(EID)


def policies(certificate):
    extension = certificate.extensions.get_extension_for_class(x509.CertificatePolicies).value
    return [policy.policy_identifier.dotted_string for policy in extension]


def names(certificate, kind):
    extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return extension.get_values_for_type(kind)


def reissue(credential, issuer, *, subject=None, replace=(), drop=()):
    """A certificate like ``credential``'s with some extensions replaced or dropped, signed by ``issuer``."""
    old = credential.certificate
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject or old.subject)
        .issuer_name(issuer.certificate.subject)
        .public_key(old.public_key())
        .serial_number(7)
        .not_valid_before(old.not_valid_before_utc)
        .not_valid_after(old.not_valid_after_utc)
    )
    for extension in old.extensions:
        if not isinstance(extension.value, (*drop, *(type(value) for value in replace))):
            builder = builder.add_extension(extension.value, extension.critical)
    for value in replace:
        builder = builder.add_extension(value, critical=True)
    from cryptography.hazmat.primitives.hashes import SHA256

    return pki.Credential(credential.private_key, builder.sign(issuer.private_key, SHA256()))


class TestShapes:
    def test_policies_of_sgp14(self, lab, card):
        for credential, role in (
            (lab.ci, "ci"), (lab.eum, "eum"), (card, "euicc"),
            (lab.smdpp_tls, "tls"), (lab.smdpp_auth, "auth"), (lab.smdpp_pb, "pb"),
            (lab.smds_tls, "ds_tls"), (lab.smds_auth, "ds_auth"),
        ):
            assert policies(credential.certificate) == [POLICY[role].dotted_string]

    def test_subject_alternative_names(self, lab):
        for credential in (lab.smdpp_auth, lab.smdpp_pb, lab.smdpp_tls):
            oid = x509.ObjectIdentifier(lab.smdpp_oid)
            assert names(credential.certificate, x509.RegisteredID) == [oid]
        assert names(lab.smdpp_tls.certificate, x509.DNSName) == [lab.smdpp_address]
        assert names(lab.eim_tls.certificate, x509.DNSName) == [lab.eim_fqdn]
        assert len(names(lab.eim_tls.certificate, x509.RegisteredID)) == 1
        with pytest.raises(x509.ExtensionNotFound):
            names(lab.eim_signing.certificate, x509.DNSName)

    def test_eim_tls_certificate_is_small(self, lab):
        assert len(lab.eim_tls.der) < 420

    def test_eum_signs_only_cards_of_its_iin(self, lab):
        extensions = lab.eum.certificate.extensions
        assert extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0
        limits = extensions.get_extension_for_class(x509.NameConstraints)
        subtree = limits.value.permitted_subtrees[0].value
        assert subtree.get_attributes_for_oid(NameOID.SERIAL_NUMBER)[0].value == "89049032"

    def test_openssl_accepts_the_tls_certificates_in_its_strict_mode(self, lab):
        from OpenSSL import crypto

        store = crypto.X509Store()
        store.add_cert(crypto.X509.from_cryptography(lab.ci.certificate))
        store.set_flags(crypto.X509StoreFlags.X509_STRICT)
        for credential in (lab.smdpp_tls, lab.eim_tls, lab.eum):
            certificate = crypto.X509.from_cryptography(credential.certificate)
            crypto.X509StoreContext(store, certificate).verify_certificate()


class TestFolder:
    def test_reopening_reuses_everything(self, lab, card):
        again = Pki.open(lab._folder)
        assert [getattr(again, role).der for role in ROLES] == [getattr(lab, role).der for role in ROLES]
        assert again.euicc(EID).der == card.der
        assert again.ci.sign(b"x") != b""

    def test_keys_are_private(self, lab, card):
        keys = list(lab._folder.rglob("*.key"))
        assert len(keys) == len(ROLES) + 1
        assert {stat.S_IMODE(key.stat().st_mode) for key in keys} == {0o600}

    def test_a_new_ci_key_reissues_all_certificates(self, tmp_path):
        first = Pki.open(tmp_path)
        old_card = first.euicc(EID)
        (tmp_path / "ci.key").unlink()
        second = Pki.open(tmp_path)
        assert second.smdpp_auth.spki == first.smdpp_auth.spki
        verify_smdpp_certificate(second.smdpp_auth.der, "auth", second.ci.private_key.public_key())
        verify_euicc_chain(second.euicc(EID).der, second.eum.der, second.ci.certificate)
        assert second.euicc(EID).spki == old_card.spki

    def test_damaged_files_are_named(self, tmp_path):
        Pki.open(tmp_path)
        (tmp_path / "eum.pem").write_text("junk")
        with pytest.raises(PkiError, match="eum.pem is no PEM certificate"):
            Pki.open(tmp_path)
        (tmp_path / "eum.key").write_text("junk")
        with pytest.raises(PkiError, match="eum.key is not a PEM private key"):
            Pki.open(tmp_path)

    @pytest.mark.parametrize(
        ("eid", "reason"),
        [("8904", "32 digits"), ("89033023123451234512345678901234", "begin with 89049032"),
         (EID[:-1] + "6", "last two should be 35")],
    )
    def test_wrong_eid(self, lab, eid, reason):
        with pytest.raises(PkiError, match=reason):
            lab.euicc(eid)


def refusal(call, *arguments):
    with pytest.raises(CertificateInvalid) as error:
        call(*arguments)
    return error.value.subject, error.value.check


class TestEuiccChain:
    """SGP.22 clause 4.5.2."""

    def test_good_chain_gives_eid_and_key(self, lab, card):
        eid, key = verify_euicc_chain(card.der, lab.eum.der, lab.ci.certificate)
        assert eid == EID
        ec.verify(key, card.sign(b"x"), b"x")

    def test_other_issuers_are_refused(self, lab, card, tmp_path):
        other = Pki.open(tmp_path)
        for eum, ci, culprit in (
            (lab.eum, other.ci, "eum"), (other.eum, other.ci, "euicc"), (card, lab.ci, "eum"),
        ):
            assert refusal(verify_euicc_chain, card.der, eum.der, ci.certificate) == (culprit, "chain")

    def test_every_flipped_byte_is_refused(self, lab, card):
        for position in range(len(card.der)):
            broken = card.der[:position] + bytes([card.der[position] ^ 1]) + card.der[position + 1 :]
            with pytest.raises(CertificateInvalid):
                verify_euicc_chain(broken, lab.eum.der, lab.ci.certificate)
        for position in range(len(lab.eum.der)):
            broken = lab.eum.der[:position] + bytes([lab.eum.der[position] ^ 1]) + lab.eum.der[position + 1 :]
            with pytest.raises(CertificateInvalid):
                verify_euicc_chain(card.der, broken, lab.ci.certificate)

    def test_dates(self, lab, card):
        chain = (card.der, lab.eum.der, lab.ci.certificate)
        for moment in (datetime.now(UTC) - timedelta(days=3), datetime.now(UTC) + timedelta(days=9999)):
            assert refusal(verify_euicc_chain, *chain, moment) == ("ci", "expired")

    def test_policy(self, lab, card):
        wrong = reissue(card, lab.eum, replace=[pki._policy("auth")])
        assert refusal(verify_euicc_chain, wrong.der, lab.eum.der, lab.ci.certificate) == ("euicc", "policy")

    def test_eum_must_be_a_ca_and_the_card_must_not(self, lab, card):
        ca = x509.BasicConstraints(ca=True, path_length=None)
        not_ca = x509.BasicConstraints(ca=False, path_length=None)
        eum = reissue(lab.eum, lab.ci, replace=[not_ca])
        assert refusal(verify_euicc_chain, card.der, eum.der, lab.ci.certificate) == ("eum", "usage")
        wrong = reissue(card, lab.eum, replace=[ca])
        assert refusal(verify_euicc_chain, wrong.der, lab.eum.der, lab.ci.certificate) == ("euicc", "usage")

    @pytest.mark.parametrize("length", [None, 1])
    def test_an_eum_may_have_no_ca_below_it(self, lab, card, length):
        eum = reissue(lab.eum, lab.ci, replace=[x509.BasicConstraints(ca=True, path_length=length)])
        assert refusal(verify_euicc_chain, card.der, eum.der, lab.ci.certificate) == ("eum", "usage")

    def test_a_ci_of_path_length_0_has_no_eum(self, lab, card):
        ci = reissue(lab.ci, lab.ci, replace=[x509.BasicConstraints(ca=True, path_length=0)])
        assert refusal(verify_euicc_chain, card.der, lab.eum.der, ci.certificate) == ("ci", "usage")

    @pytest.mark.parametrize(
        "name",
        [
            {NameOID.SERIAL_NUMBER: EID},
            {NameOID.SERIAL_NUMBER: EID[:10]},
            {NameOID.ORGANIZATION_NAME: "microipa"},
            {NameOID.ORGANIZATION_NAME: "microipa", NameOID.SERIAL_NUMBER: EID[:20]},
            {NameOID.COMMON_NAME: "microipa test eUICC"},
            {NameOID.ORGANIZATION_NAME: "MicroIPA"},
            {NameOID.ORGANIZATION_NAME: " microipa "},
            {},
        ],
    )
    def test_an_eum_may_not_issue_what_is_excluded(self, lab, card, name):
        excluded = x509.Name([x509.NameAttribute(oid, value) for oid, value in name.items()])
        assert refusal(verify_euicc_chain, card.der, self._limited(lab, excluded), lab.ci.certificate) == (
            "euicc", "eid",
        )  # fmt: skip

    @pytest.mark.parametrize(
        "name",
        [
            {NameOID.SERIAL_NUMBER: EID[:31] + "0"},
            {NameOID.ORGANIZATION_NAME: "other"},
            {NameOID.ORGANIZATION_NAME: "other", NameOID.SERIAL_NUMBER: EID},
            {NameOID.COUNTRY_NAME: "ES"},
        ],
    )
    def test_what_is_excluded_for_others_is_not_for_this_card(self, lab, card, name):
        excluded = x509.Name([x509.NameAttribute(oid, value) for oid, value in name.items()])
        assert verify_euicc_chain(card.der, self._limited(lab, excluded), lab.ci.certificate)[0] == EID

    def test_every_attribute_of_a_permitted_name_is_the_cards(self, lab, card):
        attributes = [(NameOID.COUNTRY_NAME, "ES"), (NameOID.ORGANIZATION_NAME, "microipa"),
                      (NameOID.SERIAL_NUMBER, EID[:8])]  # fmt: skip
        permitted = x509.Name([x509.NameAttribute(oid, value) for oid, value in attributes])
        constraints = x509.NameConstraints([x509.DirectoryName(permitted)], None)
        eum = reissue(lab.eum, lab.ci, replace=[constraints])
        assert refusal(verify_euicc_chain, card.der, eum.der, lab.ci.certificate) == ("euicc", "eid")

    @staticmethod
    def _limited(lab, excluded):
        """The EUM's certificate (DER) with another name that it must not give."""
        permitted = lab.eum.certificate.extensions.get_extension_for_class(x509.NameConstraints).value
        both = x509.NameConstraints(permitted.permitted_subtrees, [x509.DirectoryName(excluded)])
        return reissue(lab.eum, lab.ci, replace=[both]).der

    def test_iin_and_organisation(self, lab, card):
        for organisation, serial in (("microipa", "8903" + EID[4:]), ("other", EID), ("microipa", "8904")):
            subject = pki._name("card", organisation=organisation, serial=serial)
            wrong = reissue(card, lab.eum, subject=subject)
            assert refusal(verify_euicc_chain, wrong.der, lab.eum.der, lab.ci.certificate) == ("euicc", "eid")

    def test_names_of_a_genuine_card_are_in_another_order(self, lab, card):
        """RFC 5280 subtrees would refuse it: country first, then the common name (SGP.26)."""
        subject = x509.Name(
            [
                x509.NameAttribute(oid, value)
                for oid, value in (
                    (NameOID.COUNTRY_NAME, "ES"), (NameOID.ORGANIZATION_NAME, "microipa"),
                    (NameOID.SERIAL_NUMBER, EID), (NameOID.COMMON_NAME, "Test eUICC"),
                )
            ]
        )
        assert verify_euicc_chain(
            reissue(card, lab.eum, subject=subject).der, lab.eum.der, lab.ci.certificate
        )[0] == EID

    def test_eum_without_limits_may_issue_nothing(self, lab, card):
        eum = reissue(lab.eum, lab.ci, drop=[x509.NameConstraints])
        assert refusal(verify_euicc_chain, card.der, eum.der, lab.ci.certificate) == ("euicc", "eid")

    def test_unknown_critical_extension(self, lab, card):
        strange = x509.UnrecognizedExtension(x509.ObjectIdentifier("2.999.99"), b"\x05\x00")
        wrong = reissue(card, lab.eum, replace=[strange])
        assert refusal(verify_euicc_chain, wrong.der, lab.eum.der, lab.ci.certificate) == ("euicc", "chain")


class TestSmdppCertificate:
    @pytest.mark.parametrize("role", ["auth", "pb", "tls"])
    def test_good(self, lab, role):
        credential = getattr(lab, f"smdpp_{role}")
        key, oid = verify_smdpp_certificate(credential.der, role, lab.ci.private_key.public_key())
        assert oid == lab.smdpp_oid
        ec.verify(key, credential.sign(b"x"), b"x")

    def test_auth_is_not_pb(self, lab):
        ci = lab.ci.private_key.public_key()
        assert refusal(verify_smdpp_certificate, lab.smdpp_auth.der, "pb", ci) == ("smdpp", "policy")
        assert refusal(verify_smdpp_certificate, lab.smdpp_tls.der, "auth", ci) == ("smdpp", "policy")

    def test_every_flipped_byte_is_refused(self, lab):
        der, ci = lab.smdpp_pb.der, lab.ci.private_key.public_key()
        for position in range(len(der)):
            with pytest.raises(CertificateInvalid):
                verify_smdpp_certificate(
                    der[:position] + bytes([der[position] ^ 1]) + der[position + 1 :], "pb", ci
                )

    def test_oid_is_required(self, lab):
        wrong = reissue(lab.smdpp_pb, lab.ci, drop=[x509.SubjectAlternativeName])
        ci = lab.ci.private_key.public_key()
        assert refusal(verify_smdpp_certificate, wrong.der, "pb", ci) == ("smdpp", "oid")

    def test_junk(self, lab):
        ci = lab.ci.private_key.public_key()
        for junk in (b"", b"\x30\x00", bytes(100), lab.smdpp_pb.der[:-1]):
            assert refusal(verify_smdpp_certificate, junk, "pb", ci) == ("smdpp", "chain")
