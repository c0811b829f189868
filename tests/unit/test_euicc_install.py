"""Loading a bound profile package: every check of SGP.22 clauses 2.5, 5.5 and 5.7.6, and what is left."""

import pytest
from euicc_peer import USIM, enable, failure, iccid, spec
from microipa.asn1.tlv import integer, parse, tlv
from microipa.saip import ProfilePackage, build, metadata
from saip_packages import TS48_NAMES, ts48_package

# Pieces of a package with profile protection keys.
CHANNEL, ISDP, METADATA_HEAD, METADATA, KEYS, ELEMENTS_HEAD, ELEMENTS = range(7)
NAMES = tlv(0x91, b"provider"), tlv(0x92, b"name")


def pieces(dp, number: int = 2, **changes) -> list[bytes]:
    """Authenticated, prepared, bound: the package as it would be sent."""
    dp.authenticate()
    dp.prepare()
    profile = spec(number, **changes)
    return dp.segments(build(profile), metadata(profile))


def installed(dp) -> list[str]:
    return [profile.iccid for profile in dp.terminal.card.profiles()]


def refused(dp, package: list[bytes]) -> tuple[str, str]:
    """The reason for which the card does not install, after a look at what it must not have kept."""
    before = installed(dp)
    result = dp.verified(dp.load(package))
    assert installed(dp) == before
    assert parse(dp.terminal.es10("BF2B00"))[0xA0].children()[-1].raw == result.raw
    return failure(result)


@pytest.mark.covers("pir.successResult")
@pytest.mark.parametrize("ppk", [False, True])
@pytest.mark.parametrize("segment", [100, 1007, 1020])
@pytest.mark.parametrize("filler", [0, 20_000])
def test_5_7_6_installs_disabled_and_answers_with_the_aid(dp, monkeypatch, ppk, segment, filler):
    monkeypatch.setattr("microipa.crypto.bsp.MAX_PLAIN", max(segment, 1007))  # some servers send larger ones
    dp.ppk, dp.segment = ppk, segment
    result = dp.download(spec(2, filler=filler))
    about = result[0xBF27]
    assert about[0xBF2F][0x5A].value == iccid(2)
    assert about[0xBF2F][0x0C].value == b"smdpp.microipa.example"
    profile = dp.terminal.card.profiles()[1]
    assert about[0xA2][0xA0][0x4F].value == profile.aid
    assert (profile.iccid, profile.state, profile.name) == (spec(2).iccid, "disabled", "Profile 2")


@pytest.mark.parametrize("name", TS48_NAMES)
def test_5_7_6_installs_the_test_profiles_of_gsma_ts48(dp, name):
    assert 0xA0 in dp.download(ts48_package(name))[0xBF27][0xA2]
    assert dp.terminal.card.profiles()[1].iccid == "89000123456789012341"


def test_3_1_3_result_is_followed_by_install_notifications_for_other_servers_only(dp):
    assert 0xA0 in dp.download(spec(2))[0xBF27][0xA2]
    other = spec(3, notification_address="other.example")
    assert 0xA0 in dp.download(other)[0xBF27][0xA2]
    listed = parse(dp.terminal.es10("BF2800"))[0xA0]
    assert [(item[0x80].value[0], item[0x0C].value) for item in listed] == [
        (1, b"smdpp.microipa.example"),
        (2, b"smdpp.microipa.example"),
        (3, b"other.example"),
    ]


# ---- what is protected


@pytest.mark.covers("pir.scp03tSecurityError", "pir.invalidSignature")
@pytest.mark.parametrize(
    ("piece", "reason"),
    [
        (CHANNEL, ("initialiseSecureChannel", "invalidSignature")),
        (ISDP, ("configureISDP", "scp03tSecurityError")),
        (METADATA, ("storeMetadata", "scp03tSecurityError")),
        (KEYS, ("replaceSessionKeys", "scp03tSecurityError")),
        (ELEMENTS, ("loadProfileElements", "scp03tSecurityError")),
    ],
)
def test_2_6_4_a_flipped_bit_in_any_part_is_found(dp, piece, reason):
    dp.ppk = True
    package = pieces(dp)
    package[piece] = package[piece][:-1] + bytes([package[piece][-1] ^ 1])
    assert refused(dp, package) == reason


@pytest.mark.covers("pir.scp03tSecurityError")
def test_2_6_4_segments_cannot_change_places_or_be_left_out_or_come_twice(dp):
    for spoil in (
        lambda p: [*p[:-2], p[-1], p[-2]],
        lambda p: [*p[:-3], p[-2], p[-1]],
        lambda p: [*p[:-2], p[-3], p[-1]],
    ):
        package = spoil(pieces(dp, filler=3000))
        assert refused(dp, package) == ("loadProfileElements", "scp03tSecurityError")


@pytest.mark.covers("pir.scp03tStructureError")
@pytest.mark.parametrize(
    ("order", "command"),
    [
        ((CHANNEL, METADATA_HEAD), "initialiseSecureChannel"),
        ((CHANNEL, ISDP, ISDP), "configureISDP"),
        ((CHANNEL, ISDP, ELEMENTS_HEAD), "configureISDP"),
        ((CHANNEL, ISDP, METADATA_HEAD, ELEMENTS), "storeMetadata"),
        ((CHANNEL, ISDP, METADATA_HEAD, KEYS), "storeMetadata"),
        ((CHANNEL, ISDP, METADATA_HEAD, METADATA, METADATA), "storeMetadata"),
        ((CHANNEL, ISDP, METADATA_HEAD, METADATA, KEYS, KEYS), "replaceSessionKeys"),
        ((CHANNEL, ISDP, METADATA_HEAD, METADATA, KEYS, ELEMENTS_HEAD, METADATA), "loadProfileElements"),
    ],
)
def test_2_5_5_parts_come_in_their_order(dp, order, command):
    dp.ppk = True
    package = pieces(dp)
    assert refused(dp, [package[number] for number in order]) == (command, "scp03tStructureError")


@pytest.mark.covers("pir.scp03tStructureError")
def test_2_5_5_a_length_that_lies_ends_the_load(dp):
    package = pieces(dp)
    head = parse(b"\xbf\x36\x02\x00\x00").raw[:2] + b"\x82\x01\x00"  # 256 bytes for what has thousands
    inside = package[0][package[0].index(b"\xbf\x23") :]
    reasons = refused(dp, [head + inside, *package[1:]])
    assert reasons[1] == "scp03tStructureError"


def test_5_7_6_a_package_is_for_one_session_only(dp):
    terminal = dp.terminal
    package = pieces(dp)
    assert terminal.es10(package[0]) == b""
    assert 0xA0 in dp.load(package)[0xBF27][0xA2]  # from the beginning again, as after a lost connection
    terminal.es10(package[0])
    assert terminal.sw == 0x6985  # the session ended with the result


def test_5_7_6_segments_without_a_package_are_out_of_place(terminal):
    for piece in ("A000", "A10A", "8601AA", "BF3600"):
        terminal.es10(piece)
        assert terminal.sw == 0x6985


# ---- InitialiseSecureChannel


@pytest.mark.covers(
    "pir.invalidTransactionId", "pir.unsupportedCrtValues", "pir.unsupportedRemoteOperationType"
)
@pytest.mark.parametrize(
    ("attribute", "value", "reason"),
    [
        ("bpp_transaction_id", b"\x09", "invalidTransactionId"),
        ("key_type", 0x80, "unsupportedCrtValues"),
        ("key_length", 0x20, "unsupportedCrtValues"),
        ("operation", 2, "unsupportedRemoteOperationType"),
    ],
)
def test_5_5_1_secure_channel_fits_session_and_card(dp, attribute, value, reason):
    setattr(dp, attribute, value)
    assert refused(dp, pieces(dp)) == ("initialiseSecureChannel", reason)


@pytest.mark.covers("pir.invalidSignature")
def test_5_5_1_a_package_bound_to_an_older_one_time_key_is_refused(dp):
    old = pieces(dp)
    pieces(dp)
    assert refused(dp, old) == ("initialiseSecureChannel", "invalidSignature")


@pytest.mark.covers("pir.invalidSignature")
def test_5_5_1_only_the_key_of_the_binding_certificate_signs(dp, pki):
    dp.authenticate()
    dp.prepare()
    dp.pb = pki.smdpp_auth
    package = dp.segments(build(spec(2)), metadata(spec(2)))
    assert refused(dp, package) == ("initialiseSecureChannel", "invalidSignature")


@pytest.mark.covers("pir.incorrectInputValues")
def test_5_5_1_a_one_time_key_that_is_no_point_is_refused(dp, pki):
    pieces(dp)
    body = (
        integer(0x82, 1) + tlv(0x80, dp.transaction_id)
        + tlv(0xA6, tlv(0x80, b"\x88"), tlv(0x81, b"\x10"), tlv(0x84, b"12345678"))
        + tlv(0x5F49, b"\x04" + bytes(64))
    )  # fmt: skip
    signature = pki.smdpp_pb.sign(body + tlv(0x5F49, dp.otpk))
    package = tlv(0xBF36, tlv(0xBF23, body, tlv(0x5F37, signature)))
    assert refused(dp, [package]) == ("initialiseSecureChannel", "incorrectInputValues")


# ---- metadata and elements


@pytest.mark.covers("pir.installFailedDueToIccidAlreadyExistsOnEuicc")
def test_5_5_3_an_iccid_is_installed_once(dp):
    assert refused(dp, pieces(dp, 1)) == ("storeMetadata", "installFailedDueToIccidAlreadyExistsOnEuicc")


@pytest.mark.covers("pir.incorrectInputValues", "pir.unsupportedProfileClass", "pir.pprNotAllowed")
@pytest.mark.parametrize(
    ("about", "reason"),
    [
        (tlv(0xBF25, tlv(0x5A, iccid(2)), *NAMES, b"\x95\x01\x03"), "unsupportedProfileClass"),
        (tlv(0xBF25, tlv(0x5A, iccid(2)), tlv(0x92, b"b")), "incorrectInputValues"),
        (tlv(0xBF25, tlv(0x5A, b"\x98"), *NAMES), "incorrectInputValues"),
        (tlv(0xBF25, tlv(0x5A, iccid(2)), *NAMES, b"\xb6\x02\x30\x00"), "incorrectInputValues"),
        (tlv(0xBF2A, tlv(0x5A, iccid(2)), *NAMES), "incorrectInputValues"),
        (tlv(0xBF25, tlv(0x5A, iccid(2)), *NAMES, bytes.fromhex("99020780")), "pprNotAllowed"),  # in no RAT
        (b"\xbf\x25\x7f", "incorrectInputValues"),
    ],
)  # fmt: skip
def test_5_5_3_metadata_is_checked(dp, about, reason):
    dp.authenticate()
    dp.prepare()
    assert refused(dp, dp.segments(build(spec(2)), about)) == ("storeMetadata", reason)


@pytest.mark.covers("pir.installFailedDueToDataMismatch")
def test_5_5_3_metadata_and_profile_header_name_one_iccid(dp):
    dp.authenticate()
    dp.prepare()
    package = dp.segments(build(spec(2)), metadata(spec(3)))
    assert refused(dp, package) == ("loadProfileElements", "installFailedDueToDataMismatch")


def elements(number: int = 2) -> list[bytes]:
    return [element.raw for element in ProfilePackage.parse(build(spec(number))).elements]


@pytest.mark.covers("pir.installFailedDueToPEProcessingError")
@pytest.mark.parametrize(
    ("spoil", "status"),
    [
        (lambda e: [*e[:-1], b"\xbf\x7f\x00", e[-1]], 1),  # an element this card does not know
        (lambda e: e[:-1], 3),  # without its end
        (lambda e: [*e, e[-1]], 3),
        (lambda e: e[1:], 3),  # without its header
        (lambda e: [e[0], e[0], *e[1:]], 3),
        (lambda e: [*e[:-1], e[-1][:-1]], 5),  # cut short
        (lambda e: [b"\x30\x80"], 5),  # no DER
        (lambda e: [e[0], e[-1]], 3),  # no files at all
    ],
)
def test_saip_elements_must_make_a_card(dp, spoil, status):
    dp.authenticate()
    dp.prepare()
    package = dp.segments(b"".join(spoil(elements())), metadata(spec(2)))
    result = dp.verified(dp.load(package))
    assert failure(result) == ("loadProfileElements", "installFailedDueToPEProcessingError")
    response = parse(result[0xBF27][0xA2][0xA1][0x82].value)
    assert response[0xA0][0x30][0x80].value[0] == status


@pytest.mark.covers("pir.installFailedDueToInsufficientMemoryForProfile")
def test_a_profile_for_which_there_is_no_room_is_refused_while_it_comes(dp):
    reason = ("loadProfileElements", "installFailedDueToInsufficientMemoryForProfile")
    assert refused(dp, pieces(dp, filler=499_000)) == reason


# ---- the one-time key


def test_5_7_5_an_unfinished_download_can_be_bound_to_the_same_key_again(dp):
    pieces(dp)
    first = dp.otpk
    dp.terminal.reset()
    dp.authenticate()
    dp.prepare(bound_to=first)
    assert dp.otpk == first
    assert 0xA0 in dp.load(dp.segments(build(spec(2)), metadata(spec(2))))[0xBF27][0xA2]
    dp.authenticate()
    dp.prepare(bound_to=first)
    assert dp.otpk != first  # spent


def test_5_7_5_a_key_the_card_has_not_is_replaced_by_a_new_one(dp):
    pieces(dp)
    foreign = dp.otpk[:-1] + bytes([dp.otpk[-1] ^ 1])
    dp.authenticate()
    dp.prepare(bound_to=foreign)
    assert dp.otpk != foreign


def test_an_installed_profile_shows_its_files_when_enabled(dp, eim, terminal):
    dp.download(spec(2))
    terminal.es10(eim.package(enable(iccid(2))))
    terminal.refresh()
    terminal.send(b"\x00\xa4\x04\x04\x07" + USIM)
    terminal.send("00A4000C026F07")
    assert terminal.send("00B0000009").hex() == "08" + "9910070000000020"
