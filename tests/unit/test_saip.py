"""Profile packages: TS.48 as the yardstick, our own builder, and input that is not what it claims to be."""

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from microipa.asn1 import rsp
from microipa.asn1.tlv import parse
from microipa.saip import (
    ProfilePackage,
    SaipError,
    build,
    iccid_from_bytes,
    iccid_to_bytes,
    luhn_digit,
    metadata,
)
from microipa.saip.values import imsi_from_bytes, imsi_to_bytes
from saip_packages import SPEC, TS48_NAMES, built, edited, findings, ts48_package

BYTE = st.integers(0, 255)


@pytest.fixture(params=TS48_NAMES)
def ts48(request) -> bytes:
    return ts48_package(request.param)


class TestTs48:
    """GSMA's generic test profile: 30 elements that somebody else encoded."""

    def test_survives_decode_and_encode_byte_for_byte(self, ts48):
        package = ProfilePackage.parse(ts48)
        assert package.encode() == ts48
        assert b"".join(element.raw for element in package.elements) == ts48

    def test_subscriber(self, ts48):
        package = ProfilePackage.parse(ts48)
        assert package.iccid == "89000123456789012341"
        assert package.imsi == "001010123456789"
        assert package.aka.algorithm == "usim-test-algorithm"
        assert package.aka.k == bytes(range(16))

    def test_files(self, ts48):
        files = ProfilePackage.parse(ts48).files()
        assert iccid_from_bytes(files["3F00/2FE2"].content) == "89000123456789012341"
        usim = files["3F00/7FD0"]
        assert (usim.name, usim.structure, usim.aid.hex()) == ("ADF.USIM", "df", "a0000000871002ff49ff0589")
        directory = files["3F00/2F00"]
        assert directory.record_length == 33
        assert [b"USIM" in record for record in directory.records] == [True, False, False, False]
        assert files["3F00/7FD0/6F46"].content == b"\x01GSMA\x11TEST".ljust(17, b"\xff")  # fill pattern
        assert files["3F00/7FD0/5FC0/4F01"].content[-7:].hex() == "42f61800000001"  # after an offset
        assert files["3F00/7F10/6F44"].structure == "cyclic"  # PE-GenericFileManagement
        assert files["3F00/7F66/5F40/4F41"].content[:6].hex() == "06013c1e3c1e"

    def test_what_stands_against_it(self, ts48):
        assert findings(ts48) == {"missing-service", "test-algorithm"}

    def test_tree_names_everything_and_tells_no_key(self, ts48):
        text = ProfilePackage.parse(ts48).tree()
        for word in ("89000123456789012341", "001010123456789", "ADF.ISIM", "access class 0", "PIN 1"):
            assert word in text
        assert "000102030405060708090a0b0c0d0e0f" not in text
        assert "K: 16 bytes (hidden)" in text
        assert "000102030405060708090a0b0c0d0e0f" in ProfilePackage.parse(ts48).tree(show_keys=True)


class TestBuild:
    def test_round_trip(self):
        package = ProfilePackage.parse(built())
        assert package.encode() == built() == build(SPEC)
        assert [element.name for element in package.elements] == [
            "header", "mf", "pukCodes", "pinCodes", "usim", "opt-usim",
            "akaParameter", "securityDomain", "end",
        ]  # fmt: skip
        assert package.checks() == []

    def test_it_is_the_subscription_asked_for(self):
        package = ProfilePackage.parse(built())
        assert (package.iccid, package.imsi) == (SPEC.iccid, SPEC.imsi)
        assert (package.aka.algorithm, package.aka.k, package.aka.opc) == ("milenage", SPEC.k, SPEC.opc)
        assert package.aka.sqn_delta == package.aka.sqn_age_limit == 0x10000000
        assert package.header["profileType"] == "Meter 7"

    def test_files_that_an_attach_reads(self):
        files = {file.name: file for file in ProfilePackage.parse(built()).files().values()}
        assert files["EF.ICCID"].content == iccid_to_bytes(SPEC.iccid)
        assert files["EF.IMSI"].content.hex() == "089910070000000051"
        assert files["EF.ACC"].content.hex() == "0020"  # class 5, the last digit of the IMSI
        assert files["EF.AD"].content.hex() == "00000002"
        assert files["EF.HPLMNWACT"].content.hex() == "09f1074000"
        assert files["EF.DIR"].records[0][4:16] == files["ADF.USIM"].aid
        assert files["EF.UST"].content[10] == 0x10  # service 85, EPS mobility management information

    def test_files_that_come_from_the_template_alone(self):
        files = {file.name: file for file in ProfilePackage.parse(built()).files().values()}
        assert files["EF.LOCI"].content.hex() == "ffffffffffffff0000ff01"
        assert files["EF.PSLOCI"].content.hex() == "ffffffffffffffffffff0000ff01"
        assert files["EF.FPLMN"].content == b"\xff" * 12
        assert files["EF.KEYS"].content == b"\x07" + b"\xff" * 32
        assert "EF.SMS" not in files  # doNotCreate

    def test_access_class_can_be_chosen(self):
        package = ProfilePackage.parse(build(replace(SPEC, acc=12)))
        assert package.file("EF.ACC").content.hex() == "1000"

    @pytest.mark.parametrize("filler", [1, 8000, 8001, 58_000, 500_000])
    def test_filler_makes_it_larger_by_about_that_much(self, filler):
        larger = build(replace(SPEC, filler=filler))
        assert filler < len(larger) - len(built()) < filler * 1.01 + 120
        package = ProfilePackage.parse(larger)
        assert package.checks() == []
        content = [f.content for f in package.files().values() if f.path.startswith("3F00/7F4A/")]
        assert sum(map(len, content)) == filler

    def test_secrets_stay_out_of_text(self):
        text = ProfilePackage.parse(built()).tree() + repr(SPEC) + repr(ProfilePackage.parse(built()).aka)
        assert SPEC.k.hex() not in text
        assert SPEC.opc.hex() not in text
        assert repr(SPEC.k)[2:-1] not in text

    @pytest.mark.parametrize(
        ("change", "element", "reason"),
        [
            ({"iccid": "8990170000000000001"}, "iccid", "check digit 1, it should be 8990170000000000008"),
            ({"iccid": "89901700000"}, "iccid", "has 11 digits, an ICCID has 18 to 20"),
            ({"iccid": "89901700000000x0008"}, "iccid", "no digits"),
            ({"iccid": "1234567890123456789"}, "iccid", "begins with 89"),
            ({"imsi": "90170"}, "imsi", "6 to 15 digits"),
            ({"imsi": "9017000000000150"}, "imsi", "6 to 15 digits"),
            ({"imsi": "90170000000001x"}, "imsi", "'90170000000001x' is not"),
            ({"k": bytes(15)}, "k", "has 15 bytes"),
            ({"opc": bytes(17)}, "opc", "has 17 bytes"),
            ({"acc": 16}, "acc", "16 is no access control class"),
            ({"mnc_digits": 4}, "mnc_digits", "2 or 3"),
            ({"name": ""}, "name", "1 to 64"),
            ({"service_provider": "a provider of long names"}, "service_provider", "does not fit"),
            ({"filler": -1}, "filler", "0 to 500000"),
        ],
    )
    def test_bad_input_is_named(self, change, element, reason):
        with pytest.raises(SaipError, match=reason) as error:
            build(replace(SPEC, **change))
        assert error.value.element == element
        assert error.value.offset is None


class TestDigits:
    @pytest.mark.parametrize(
        ("given", "stored"),
        [
            ("8990170000000000008", "980971000000000000f8"),
            ("8990170000000000008F", "980971000000000000f8"),
            ("980971000000000000F8", "980971000000000000f8"),  # copied from an EF.ICCID
            ("8990 1700 0000 0000 008", "980971000000000000f8"),
            ("89000123456789012341", "98001032547698103214"),
            ("899017000000000000", "980971000000000000ff"),
        ],
    )
    def test_iccid_is_accepted_in_every_shape(self, given, stored):
        assert iccid_to_bytes(given).hex() == stored
        assert iccid_to_bytes(iccid_from_bytes(bytes.fromhex(stored))).hex() == stored

    def test_twenty_digits_have_no_check_digit(self):
        assert ProfilePackage.parse(build(replace(SPEC, iccid="89000123456789012341"))).checks() == []

    def test_check_digit_of_itu_t_e118(self):
        assert luhn_digit("7992739871") == "3"

    @given(st.from_regex("[0-9]{6,15}", fullmatch=True))
    def test_imsi_round_trip(self, imsi):
        assert len(imsi_to_bytes(imsi)) == 9
        assert imsi_from_bytes(imsi_to_bytes(imsi)) == imsi


class TestMetadata:
    """SGP.22 clause 5.5.3."""

    def test_store_metadata_request(self):
        value = rsp.decode("StoreMetadataRequest", metadata(SPEC))
        assert value["iccid"] == iccid_to_bytes(SPEC.iccid)
        assert (value["serviceProviderName"], value["profileName"]) == ("microipa", "Meter 7")
        events = [item["profileManagementOperation"] for item in value["notificationConfigurationInfo"]]
        assert events == [(b"\x80", 1), (b"\x40", 2), (b"\x20", 3), (b"\x10", 4)]
        addresses = {item["notificationAddress"] for item in value["notificationConfigurationInfo"]}
        assert addresses == {"smdpp.microipa.example"}

    def test_a_package_gives_the_same_as_the_spec_it_came_from(self):
        package = ProfilePackage.parse(built())
        assert metadata(package, notification_address="smdpp.microipa.example") == metadata(SPEC)
        assert 0xB6 not in parse(metadata(package))

    def test_operational_is_the_default_and_left_out(self):
        assert 0x95 not in parse(metadata(SPEC))
        assert parse(metadata(SPEC, profile_class="test"))[0x95].value == b"\x00"

    def test_bad_input_is_named(self):
        with pytest.raises(SaipError, match="profile_class: 'x' is none of"):
            metadata(SPEC, profile_class="x")
        with pytest.raises(SaipError, match="name: .* 65 characters"):
            metadata(SPEC, name="x" * 65)


class TestLimits:
    def test_content_larger_than_its_file(self):
        def overflow(value):
            return {**value, "ef-acc": [("fillFileContent", bytes(3))]}

        with pytest.raises(SaipError, match="content up to byte 3 for EF.ACC of 2 bytes") as error:
            ProfilePackage.parse(edited("usim", overflow)).files()
        assert error.value.element == "usim"
        assert error.value.offset == ProfilePackage.parse(built()).first("usim").offset

    def test_a_size_field_makes_no_gigabytes(self):
        def huge(value):
            return {**value, "ef-acc": [("fileDescriptor", {"efFileSize": b"\xff\xff\xff\xff"})]}

        with pytest.raises(SaipError, match="65535 is the limit"):
            ProfilePackage.parse(edited("usim", huge)).files()

        def many(value):
            return {"fileManagementCMD": [[("createFCP", fcp(n)) for n in range(200)]], **header(value)}

        def fcp(number):
            return {"fileID": bytes([0x6F, number]), "efFileSize": b"\xff\xff", "fileDescriptor": b"\x41\x21"}

        def header(value):
            return {"gfm-header": value["gfm-header"]}

        larger = edited("genericFileManagement", many, package=build(replace(SPEC, filler=1)))
        with pytest.raises(SaipError, match="1048576 bytes altogether"):
            ProfilePackage.parse(larger).files()

    def test_constants_that_the_lab_cannot_compute(self):
        def rotate(value):
            parameters = {**value["algoConfiguration"][1], "rotationConstants": bytes(5)}
            return {**value, "algoConfiguration": ("algoParameter", parameters)}

        with pytest.raises(SaipError, match="rotation constants"):
            _ = ProfilePackage.parse(edited("akaParameter", rotate)).aka


class TestBadInput:
    def test_empty(self):
        with pytest.raises(SaipError, match="profile package at byte 0: is empty"):
            ProfilePackage.parse(b"")

    def test_cut_short(self):
        with pytest.raises(SaipError) as error:
            ProfilePackage.parse(built()[:-1])
        assert error.value.offset is not None

    def test_unknown_element(self):
        with pytest.raises(SaipError, match="BF2A"):
            ProfilePackage.parse(built() + b"\xbf\x2a\x00")

    def test_sizes_that_the_standard_forbids_name_element_and_place(self):
        iccid = parse(ProfilePackage.parse(built()).elements[0].raw)[0x83]
        shorter = built()[:1] + bytes([built()[1] - 1]) + built()[2 : iccid.offset]
        shorter += b"\x83\x09" + iccid.value[:9] + built()[iccid.offset + 12 :]
        with pytest.raises(SaipError, match="profile element A0 at byte") as error:
            ProfilePackage.parse(shorter)
        assert "iccid" in error.value.reason

    @given(st.binary(max_size=200))
    def test_random_bytes_raise_nothing_else(self, junk):
        self.read(junk)

    @settings(max_examples=200, suppress_health_check=[HealthCheck.too_slow])
    @given(
        st.sampled_from(["iot", "iot-minimal"]),
        st.lists(st.tuples(st.integers(0, 10_000), BYTE), min_size=1, max_size=4),
        st.booleans(),
    )
    def test_mutated_packages_raise_nothing_else(self, template, changes, cut):
        package = bytearray(built(template))
        for place, value in changes:
            package[place % len(package)] = value
        self.read(bytes(package[: changes[0][0] % len(package)] if cut else package))

    @staticmethod
    def read(data: bytes) -> None:
        """All that can be asked of a package; only SaipError may come out."""
        try:
            package = ProfilePackage.parse(data)
        except SaipError:
            return
        package.checks()
        package.tree()
        for question in (lambda: package.iccid, lambda: package.imsi, lambda: package.aka, package.files):
            try:
                question()
            except SaipError as error:
                assert error.reason  # noqa: PT017  (any SaipError is an answer)
        try:
            metadata(package)
        except SaipError as error:
            assert error.element  # noqa: PT017
