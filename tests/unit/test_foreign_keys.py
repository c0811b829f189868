"""SM-DP+, eIM and card with keys and certificates from files, on both curves (SGP.22 clause 2.6, SGP.26)."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from cli_runner import Microipa
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec as curves
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from eim_ipa import Ipa, order
from euicc_peer import Terminal, iccid, make_card, spec
from microipa.asn1.tlv import parse, tlv
from microipa.crypto.key_folder import KeysInvalid
from microipa.crypto.pki import verify_euicc_chain
from microipa.eim import Eim
from microipa.eim.identity import EimIdentity
from microipa.euicc import Euicc
from microipa.euicc.keys import CardKeys
from microipa.lab import Lab, LabFolder
from microipa.lab.demo import first_light
from microipa.lab.keys import LabKeys
from microipa.saip import build
from microipa.smdpp import OrderState, Smdpp
from microipa.smdpp.identity import Identity
from microipa.smds.identity import SmdsIdentity
from microipa.trace import Trace
from sgp26_like import (
    BRAINPOOL,
    EID,
    EIM_FQDN,
    NIST,
    SMDPP_ADDRESS,
    SMDPP_OID,
    SMDS_ADDRESS,
    TestSet,
    issue,
    name,
    tls_server,
)
from smdpp_peer import Es9, Refusal, asgi_client
from test_smdpp_card import bound_package, load


@pytest.fixture(scope="module")
def sets() -> dict[str, TestSet]:
    nist = TestSet.make(NIST)
    return {"P-256": nist, "brainpoolP256r1": TestSet.make(BRAINPOOL, nist.web)}


@pytest.fixture(scope="module")
def folders(sets, tmp_path_factory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("sets")
    return {curve: one.write(root / curve) for curve, one in sets.items()}


@pytest.fixture(params=["P-256", "brainpoolP256r1"])
def folder(folders, request) -> Path:
    return folders[request.param]


@pytest.fixture
def own(folder, tmp_path) -> Path:
    """A copy that a test may damage."""
    return shutil.copytree(folder, tmp_path / "own")


def card_of(folder: Path, path: Path) -> Terminal:
    keys = CardKeys.read(folder / "card")
    card = Euicc.create(
        path / "card.nvm", eid=keys.eid, credential=keys.euicc, eum_der=keys.eum_der, ci=keys.ci,
        bootstrap=build(spec(1)),
    )  # fmt: skip
    return Terminal(card).start()


# what is odd about such a set


def test_sgp_26_the_set_is_as_odd_as_the_real_one(sets):
    for one in sets.values():
        for member in (one.eum, one.euicc, one.auth, one.pb):
            assert member.certificate.not_valid_after_utc.year > 7000
            assert len(parse(member.certificate.tbs_certificate_bytes).children()[1].value) == 9


def test_4_5_2_a_card_that_rfc_5280_refuses_for_its_name_is_accepted(sets):
    nist = sets["P-256"]
    policy = PolicyBuilder().store(Store([nist.ci.certificate])).build_client_verifier()
    with pytest.raises(VerificationError):
        policy.verify(nist.euicc.certificate, [nist.eum.certificate])
    der = [member.certificate.public_bytes(Encoding.DER) for member in (nist.euicc, nist.eum)]
    assert verify_euicc_chain(*der, nist.ci.certificate)[0] == EID


# each in its place, then all together


async def test_2_6_card_and_sm_dp_from_files_download_a_profile(folder, tmp_path):
    smdpp, card = Smdpp([Identity.read(folder / "smdpp")], tmp_path), card_of(folder, tmp_path)
    assert smdpp.address == SMDPP_ADDRESS
    matching_id = smdpp.add_profile(build(spec(2)))
    async with asgi_client(smdpp.app) as client:
        es9 = Es9(client)
        _, package = await bound_package(es9, card, matching_id, SMDPP_ADDRESS)
        card.reset()  # the one-time key is kept on either curve
        _, package = await bound_package(es9, card, matching_id, SMDPP_ADDRESS)
        await es9.notify(load(card, package).raw)
    assert [profile.iccid for profile in card.card.profiles()] == [spec(1).iccid, spec(2).iccid]
    assert smdpp.orders()[0].state == OrderState.INSTALLED


async def test_2_6_one_sm_dp_serves_cards_of_three_cis(folders, pki, tmp_path):
    identities = [Identity.of(pki), *(Identity.read(folder / "smdpp") for folder in folders.values())]
    smdpp = Smdpp(identities, tmp_path)
    async with asgi_client(smdpp.app) as client:
        for number, path in enumerate([None, *folders.values()], 2):
            place = tmp_path / str(number)
            place.mkdir()
            card = card_of(path, place) if path else Terminal(make_card(place, pki)).start()
            _, package = await bound_package(Es9(client), card, smdpp.add_profile(build(spec(number))), smdpp.address)
            await Es9(client).notify(load(card, package).raw)
    assert [order.state for order in smdpp.orders()] == [OrderState.INSTALLED] * 3


async def test_5_6_1_a_card_of_another_curve_is_a_card_of_another_ci(folders, tmp_path):
    smdpp = Smdpp([Identity.read(folders["P-256"] / "smdpp")], tmp_path)
    card = card_of(folders["brainpoolP256r1"], tmp_path)
    async with asgi_client(smdpp.app) as client:
        with pytest.raises(Refusal, match=r"8\.8\.2/3\.1"):
            await bound_package(Es9(client), card, "X", SMDPP_ADDRESS)


async def test_3_2_3_2_an_eim_from_files_carries_the_download_and_signs_the_switch(folder, tmp_path):
    smdpp, card = Smdpp([Identity.read(folder / "smdpp")], tmp_path), card_of(folder, tmp_path)
    ci = CardKeys.read(folder / "card").ci
    identity = EimIdentity.read(folder / "eim", ci)
    async with smdpp.serve() as port:
        trust = [Identity.read(folder / "smdpp").tls.certificate]  # whatever CI it is under
        desk = Eim(identity, tmp_path, es9_routes={SMDPP_ADDRESS: ("127.0.0.1", port)}, es9_trust=trust)
        assert desk.fqdn == EIM_FQDN
        desk.add_device(EID)
        assert card.es10(tlv(0xBF57, tlv(0xA0, desk.configuration())))[:3] == b"\xbf\x57\x05"
        download = desk.order_download(EID, smdpp.activation_code(smdpp.add_profile(build(spec(2)))), needs_proof=False)
        switch = desk.order_package(EID, [("enable", {"iccid": iccid(2)})])
        await Ipa(desk.handle, card).work()
    assert [order(desk, number).state for number in (download, switch)] == ["done", "done"]
    assert [profile.state for profile in card.card.profiles()] == ["disabled", "enabled"]


async def test_a_lab_with_three_folders_of_foreign_keys_comes_to_first_light(folders, tmp_path):
    folder = folders["brainpoolP256r1"]
    keys = LabKeys((folder / "smdpp",), folder / "eim", folder / "card")
    config = {"stop_when_idle": True, "backoff_s": 1, "backoff_max_s": 2}
    async with Lab(tmp_path / "lab", radio="none", board_config=config, keys=keys, trace=Trace()) as lab:
        assert (await first_light(lab)).succeeded


# what is wrong with a folder is one sentence


@pytest.mark.parametrize(
    ("whose", "file", "content", "words"),
    [
        ("smdpp", "auth.der", None, r"smdpp has no auth.pem or auth.der or auth.crt$"),
        ("smds", "auth.der", None, r"smds has no auth.pem or auth.der or auth.crt$"),
        ("smdpp", "pb.key", None, r"has no pb.key or pb.key.pem or pb.key.der$"),
        ("smdpp", "ci.pem", b"-----BEGIN CERTIFICATE-----\n", r"ci.pem is no certificate in PEM or DER"),
        ("eim", "signing.der", b"\x30\x00", r"signing.der is no certificate in PEM or DER"),
        ("eim", "tls.key", b"\x30\x00", r"tls.key is no private key in PEM or DER without a password$"),
        ("card", "euicc.key", b"", r"euicc.key is no private key"),
    ],
)
def test_a_file_that_is_missing_or_unreadable_is_named(own, whose, file, content, words):
    if content is None:
        (own / whose / file).unlink()
    else:
        (own / whose / file).write_bytes(content)
    with pytest.raises(KeysInvalid, match=words):
        read(own, whose)


def read(folder: Path, whose: str) -> object:
    if whose == "eim":
        return EimIdentity.read(folder / whose, CardKeys.read(folder / "card").ci)
    return {"smdpp": Identity, "smds": SmdsIdentity, "card": CardKeys}[whose].read(folder / whose)


def put(path: Path, certificate: x509.Certificate, key: object = None) -> None:
    path.with_suffix(".pem").unlink(missing_ok=True)
    path.with_suffix(".der").write_bytes(certificate.public_bytes(Encoding.DER))
    if key is not None:
        der = key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
        path.with_suffix(".key").write_bytes(der)


def test_files_that_do_not_belong_together_are_named(own, sets):
    one = sets["brainpoolP256r1" if is_brainpool(own) else "P-256"]
    stranger = issue(None, NIST, name(COMMON_NAME="Stranger"), "0", ca=True)
    shutil.copy(own / "smdpp" / "pb.key", own / "smdpp" / "auth.key")
    with pytest.raises(KeysInvalid, match="auth.key is not the key of the certificate auth beside it"):
        read(own, "smdpp")
    put(own / "smdpp" / "auth", one.pb.certificate, one.pb.key)
    with pytest.raises(KeysInvalid, match=r"auth in .*: the smdpp certificate lacks the policy 2\.23\.146\.1\.2\.1\.4"):
        read(own, "smdpp")
    put(own / "smds" / "auth", one.auth.certificate, one.auth.key)
    with pytest.raises(KeysInvalid, match=r"auth in .*lacks the policy 2\.23\.146\.1\.2\.1\.7 of the role ds_auth"):
        read(own, "smds")
    put(own / "eim" / "ci", stranger.certificate)
    with pytest.raises(KeysInvalid, match="was not issued by the ci beside it"):
        read(own, "eim")
    put(own / "card" / "ci", stranger.certificate)
    with pytest.raises(KeysInvalid, match="the eum certificate was issued by"):
        read(own, "card")


def is_brainpool(folder: Path) -> bool:
    return isinstance(CardKeys.read(folder / "card").euicc.private_key.curve, curves.BrainpoolP256R1)


def test_two_sm_dp_in_one_folder_and_a_server_without_a_name_are_named(own, sets):
    one = sets["brainpoolP256r1" if is_brainpool(own) else "P-256"]
    curve = one.ci.key.curve
    other = x509.SubjectAlternativeName([x509.RegisteredID(x509.ObjectIdentifier("2.999.111"))]), False
    pb = issue(one.ci, curve, name(COMMON_NAME="Other"), "5", other)
    put(own / "smdpp" / "pb", pb.certificate, pb.key)
    with pytest.raises(KeysInvalid, match=rf"name different SM-DP\+: {SMDPP_OID} and 2\.999\.111"):
        read(own, "smdpp")
    nameless = issue(one.web, NIST, name(COMMON_NAME="eIM"), None)
    put(own / "eim" / "tls", nameless.certificate, nameless.key)
    with pytest.raises(KeysInvalid, match="names no host"):
        read(own, "eim")


def test_a_key_on_another_curve_or_none_is_refused(own):
    for curve, words in ((curves.SECP384R1(), "secp384r1"), (None, "no elliptic curve")):
        certificate = self_signed(curve)
        put(own / "card" / "ci", certificate)
        with pytest.raises(KeysInvalid, match=f"has a key on {words}, not on secp256r1 or brainpoolP256r1"):
            read(own, "card")


@pytest.mark.parametrize("role", ["smdpp", "smds", "eim"])
def test_2_6_a_tls_key_on_brainpool_is_refused_at_start_with_a_reason(sets, own, role):
    tls = tls_server(sets["P-256"].web, BRAINPOOL)
    put(own / role / "tls", tls.certificate, tls.key)
    with pytest.raises(KeysInvalid, match="has a key on brainpoolP256r1, a TLS server here needs one on secp256r1"):
        read(own, role)


def self_signed(curve: curves.EllipticCurve | None) -> x509.Certificate:
    from cryptography.hazmat.primitives.hashes import SHA256
    from sgp26_like import END, START

    key = curves.generate_private_key(curve) if curve else rsa.generate_private_key(65537, 2048)
    who = name(COMMON_NAME="x")
    builder = x509.CertificateBuilder().subject_name(who).issuer_name(who).public_key(key.public_key())
    return builder.serial_number(1).not_valid_before(START).not_valid_after(END).sign(key, SHA256())


# the lab


def test_a_lab_notes_whose_keys_it_has_and_takes_a_card_with_other_keys_for_no_card_of_its_own(folders, tmp_path):
    nist, brainpool = folders.values()
    keys = LabKeys((brainpool / "smdpp", nist / "smdpp"), nist / "eim", brainpool / "card", (nist / "smds",))
    lab = LabFolder(tmp_path / "lab", create=True, keys=keys)
    lab.card()
    again = LabFolder(tmp_path / "lab")  # as another process opens it
    servers = (again.smdpp.address, again.smds.address, again.eim.fqdn)
    assert (again.eid, *servers) == (EID, SMDPP_ADDRESS, SMDS_ADDRESS, EIM_FQDN)
    assert again.offer().startswith(f"LPA:1${SMDPP_ADDRESS}$")
    assert again.card().certificate == CardKeys.read(brainpool / "card").euicc.der
    other = LabFolder(tmp_path / "lab", keys=LabKeys(card=nist / "card").over(LabKeys.of(tmp_path / "lab")))
    with pytest.raises(KeysInvalid, match="card.nvm was created with other keys"):
        other.card()


async def test_3_6_1_the_labs_sm_ds_takes_events_of_an_sm_dp_with_foreign_keys_for_the_labs_card(folders, tmp_path):
    keys = LabKeys(smdpp=(folders["P-256"] / "smdpp",))
    async with Lab(tmp_path / "lab", radio="none", keys=keys, trace=Trace()) as lab:
        lab.smdpp.add_profile(build(spec(2)), eid=lab.eid, smds_address=lab.pki.smds_address)
        await lab.smdpp.deliver()
        assert [event.rsp_server_address for event in lab.smds.events(lab.eid)] == [SMDPP_ADDRESS]


@pytest.mark.parametrize("option", ["--smdpp-keys", "--smds-keys", "--eim-keys", "--card-keys"])
def test_lab_up_with_a_folder_that_is_none_is_one_sentence(microipa: Microipa, tmp_path, option):
    status, out, err = microipa("lab", "up", "--lab", tmp_path / "lab", option, tmp_path / "nowhere")
    assert (status, out) == (1, "")
    assert err == f"microipa: {tmp_path / 'nowhere'} is not a folder of keys and certificates\n"


def test_keys_json_that_is_none_is_one_sentence(microipa: Microipa, tmp_path):
    LabFolder(tmp_path, create=True)
    (tmp_path / "keys.json").write_text("{}")
    assert microipa("orders", "--lab", tmp_path).err.startswith(f"microipa: {tmp_path / 'keys.json'} does not name")
