"""The templates of the builder, files by name or path, and the IoT Minimal Profile."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from microipa.asn1 import saip
from microipa.saip import ProfilePackage, SaipError, build, iccid_to_bytes
from microipa.saip.files import file_name
from microipa.saip.templates import TEMPLATES
from saip_packages import SPEC, built, elements

MINIMAL = replace(SPEC, template="iot-minimal")


def parsed(spec=SPEC, **files: bytes) -> ProfilePackage:
    """Built with files by name; _ stands for a dot."""
    return ProfilePackage.parse(build(replace(spec, files={name.replace("_", "."): v for name, v in files.items()})))


def names(package: ProfilePackage) -> list[str]:
    return [element.name for element in package.elements]


@pytest.mark.parametrize("template", ["iot", "iot-minimal", "ts48-like"])
def test_each_template_makes_the_same_subscriber_and_survives_decode_and_encode(template):
    package = ProfilePackage.parse(built(template))
    assert package.encode() == package.der
    assert (package.iccid, package.imsi) == (SPEC.iccid, SPEC.imsi)
    assert (package.aka.algorithm, package.aka.k, package.aka.opc) == ("milenage", SPEC.k, SPEC.opc)
    assert package.file("EF.ACC").content.hex() == "0020"
    assert package.file("ADF.USIM").aid.hex() == "a0000000871002ffffffff89"
    text = package.tree()
    assert SPEC.k.hex() not in text
    assert SPEC.opc.hex() not in text


def test_an_unknown_template_is_refused():
    with pytest.raises(SaipError, match="template: 'phone' is none of iot, iot-minimal, ts48-like"):
        build(replace(SPEC, template="phone"))


def test_ts48_like_has_the_elements_and_the_size_of_ts48():
    package = ProfilePackage.parse(built("ts48-like"))
    assert 11_500 < len(package.der) < 12_500
    assert {"telecom", "usim", "opt-usim", "gsm-access", "df-5gs", "isim", "opt-isim", "rfm"} <= set(names(package))
    assert names(package).count("pinCodes") == 4
    assert b"sip:901700000000015@ims.mnc070.mcc901.3gppnetwork.org" in package.file("EF.IMPU").content


class TestIotMinimalProfile:
    """TCA 3.3 clause 7.5: PE-IoT in place of PE-MF and PE-USIM, what it leaves out is the card's."""

    def test_elements(self):
        package = ProfilePackage.parse(built("iot-minimal"))
        assert names(package) == ["header", "iot", "akaParameter", "securityDomain", "end"]
        assert elements(built("iot-minimal"))["iot"].startswith(b"\xbf\x20")  # [32]
        assert package.header["iotOptions"] == {"pix": bytes.fromhex("1002FFFFFFFF89")}
        assert (package.header["major-version"], package.header["minor-version"]) == (3, 3)

    def test_it_is_a_third_of_the_full_profile(self):
        assert len(built("iot-minimal")) * 100 < len(built("iot")) * 35

    def test_8_2_1_iccid_and_pix_of_the_header_make_files(self):
        files = ProfilePackage.parse(built("iot-minimal")).files()
        assert files["3F00/2FE2"].content == iccid_to_bytes(SPEC.iccid)
        assert files["3F00/2F00"].records == [bytes.fromhex("610e4f0ca0000000871002ffffffff89")]
        assert files["3F00/7FF0/6F7E"].content.hex() == "ffffffffffffff0000ff01"  # EF.LOCI of the template

    def test_what_the_element_says_itself_goes_before_the_header(self):
        package = ProfilePackage.parse(built("iot-minimal"))
        _, value = saip.decode("ProfileElement", elements(package.der)["iot"])
        value["ef-iccid"] = [("fillFileContent", bytes(10))]
        value["adf-usim"] = [("fileDescriptor", {"fileID": b"\x7f\xf5", "dfName": b"12345"})]
        changed = package.der.replace(elements(package.der)["iot"], saip.encode("ProfileElement", ("iot", value)))
        files = ProfilePackage.parse(changed).files()
        assert files["3F00/2FE2"].content == bytes(10)
        assert files["3F00/7FF5"].aid == b"12345"

    def test_opt_iot_is_there_when_its_files_are_asked_for(self):
        package = parsed(MINIMAL, EF_SPN=b"\x01meter", EF_EPSLOCI=b"", EF_5GS3GPPLOCI=b"")
        assert names(package)[:3] == ["header", "iot", "opt-iot"]
        assert elements(package.der)["opt-iot"].startswith(b"\xbf\x21")  # [33]
        assert package.header["eUICC-Mandatory-GFSTEList"] == ["2.23.143.1.2.17", "2.23.143.1.2.18"]
        assert package.file("EF.SPN").content == b"\x01meter".ljust(17, b"\xff")
        assert package.file("EF.EPSLOCI").content[-3:] == b"\x00\x00\x01"
        assert package.file("EF.5GS3GPPLOCI").path == "3F00/7FF0/5FC0/4F01"
        assert package.checks() == []
        text = package.tree()
        assert "opt-iot #2" in text
        assert "EF.SPN  transparent 17  'meter'" in text

    def test_31_102_4_2_8_the_service_table_says_which_files_there_are(self):
        def service(package: ProfilePackage, number: int) -> bool:
            table = package.file("EF.UST").content
            return len(table) * 8 >= number and bool(table[(number - 1) // 8] >> (number - 1) % 8 & 1)

        plain, richer = parsed(MINIMAL), parsed(MINIMAL, EF_EPSLOCI=b"", EF_5GS3GPPLOCI=b"")
        assert [service(plain, n) for n in (33, 85, 122)] == [True, False, False]
        assert [service(richer, n) for n in (33, 85, 122)] == [True, True, True]

    def test_a_third_digit_of_the_mnc_is_the_only_reason_for_an_ef_ad(self):
        assert b"ef-ad" not in elements(build(MINIMAL))
        assert ProfilePackage.parse(build(replace(MINIMAL, mnc_digits=3))).file("EF.AD").content == b"\x00\x00\x00\x03"


class TestFilesByNameOrPath:
    @pytest.mark.parametrize("wish", ["EF.SPN", "spn", "6F46", "7FF0/6F46", "3F00/7FF0/6F46", "7FFF/6F46"])
    def test_a_file_has_many_names(self, wish):
        package = ProfilePackage.parse(build(replace(SPEC, files={wish: b"\x02Grid"})))
        assert package.file("EF.SPN").content == b"\x02Grid".ljust(17, b"\xff")
        assert package.checks() == []

    def test_no_bytes_make_the_file_as_the_standard_has_it(self):
        assert parsed(EF_SMSS=b"").file("EF.SMSS").content == b"\xff\xff"  # the template leaves it out else
        assert parsed(EF_SPN=b"").file("EF.SPN").content == b"\xff" * 17

    def test_content_larger_than_the_template_makes_a_larger_file(self):
        plmns = bytes(range(50)) * 5
        assert parsed(EF_FPLMN=plmns).file("EF.FPLMN").content == plmns

    def test_records_are_as_long_as_the_template_says(self):
        assert parsed(EF_ECC=b"\x11\xf2\xff\x00" * 3).file("EF.ECC").records == [b"\x11\xf2\xff\x00"] * 3
        with pytest.raises(SaipError, match="EF.ECC: has records of 4 bytes, 5 bytes are no number of them"):
            parsed(EF_ECC=bytes(5))

    def test_an_element_that_is_not_there_is_added_with_its_directory(self):
        package = parsed(EF_KC=b"", EF_SUME=b"\x85\x01x" + b"\xff" * 20)
        assert names(package)[1:7] == ["mf", "pukCodes", "pinCodes", "telecom", "usim", "opt-usim"]
        assert package.file("EF.KC").path == "3F00/7FF0/5F3B/4F20"
        assert package.file("EF.SUME").path == "3F00/7F10/6F54"
        assert package.checks() == []

    @pytest.mark.parametrize("spec", [SPEC, MINIMAL])
    def test_a_path_in_no_template_is_made_by_generic_file_management(self, spec):
        package = ProfilePackage.parse(build(replace(spec, files={"7FF0/6FAA": b"own", "3F00/2FAA": b"mf"})))
        files = package.files()
        assert (files["3F00/7FF0/6FAA"].content, files["3F00/2FAA"].content) == (b"own", b"mf")
        assert package.checks() == []

    def test_ef_ust_as_given_stays(self):
        assert parsed(EF_UST=bytes(14)).file("EF.UST").content == bytes(14)

    @pytest.mark.parametrize(
        ("wish", "content", "sentence"),
        [
            ("EF.NONSENSE", b"x", "EF.NONSENSE: is not a file this template knows"),
            ("EF.ARR", b"x", r"EF.ARR: is more than one file: say 3F00/2F06 \(mf\) or 3F00/7FF0/6F06 \(usim\)"),
            ("6FAA", b"x", "6FAA: is in no template: say in which directory"),
            ("7FF0/6FAA", b"", "7FF0/6FAA: is in no template and so has no content of its own"),
            ("7FF0/5F99/6FAA", b"x", "filePath 7FF05F99 is not a file made before"),
            ("EF.MMSUP", b"", "EF.MMSUP: has no content of its own in the standard"),
            ("EF.IMSCONFIGDATA", b"x", "EF.IMSCONFIGDATA: is no transparent or record file"),
            ("EF.FPLMN", bytes(70_000), "EF.FPLMN: has 70000 bytes, 65535 is the limit"),
            ("EF.MBI", bytes(5 * 255), "EF.MBI of 255 records, 254 is the limit"),
        ],
    )
    def test_a_wish_that_makes_no_sense_is_named(self, wish, content, sentence):
        with pytest.raises(SaipError, match=sentence):
            build(replace(SPEC, files={wish: content}))

    @settings(max_examples=60, deadline=None)
    @given(
        st.sampled_from(["iot", "iot-minimal"]),
        st.dictionaries(
            st.sampled_from(["EF.SPN", "EF.FPLMN", "EF.EPSLOCI", "EF.OPLMNWACT", "EF.EHPLMN", "7FF0/6FAA", "2FAB"]),
            st.binary(max_size=300),
            max_size=4,
        ),
    )
    def test_whatever_is_given_comes_out_or_is_named(self, template, files):
        try:
            package = ProfilePackage.parse(build(replace(SPEC, template=template, files=files)))
        except SaipError as error:
            assert error.element in files
            return
        assert package.encode() == package.der
        assert package.checks() == []
        by_path = package.files()
        for wish, content in files.items():
            file = by_path[f"3F00/{wish}"] if "/" in wish else package.file(wish)
            assert file.content.startswith(content)


@pytest.mark.parametrize("name", TEMPLATES)
def test_the_files_of_a_template_are_fields_of_its_element(name):
    kind = next(member.kind for member in saip.kind("ProfileElement").members if member.name == name)
    assert set(TEMPLATES[name].files) <= {member.name for member in kind.members}


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(TEMPLATES["opt-iot"].files)), st.binary(max_size=200), max_size=8))
def test_pe_opt_iot_survives_encode_and_decode_with_any_of_its_files(files):
    """TCA 3.3.1: every field is optional, each has its own tag."""
    value = {name: [("fillFileContent", content)] for name, content in files.items()}
    value |= {"optiot-header": {"identification": 2}, "templateID": "2.23.143.1.2.18"}
    der = saip.encode("ProfileElement", ("opt-iot", value))
    assert der.startswith(b"\xbf\x21")
    assert saip.decode("ProfileElement", der) == ("opt-iot", value)
    assert ProfilePackage.parse(der).encode() == der


ANY_FILE = sorted({file_name(field, "") for template in TEMPLATES.values() for field in template.files})


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(["iot", "iot-minimal", "ts48-like"]),
    st.dictionaries(
        st.one_of(st.sampled_from(ANY_FILE), st.from_regex("(3F00/|7FF0/)?[0-9A-F]{4}", fullmatch=True)),
        st.binary(max_size=60),
        max_size=3,
    ),
)
def test_no_wish_ends_in_anything_but_a_package_or_a_sentence(template, files):
    try:
        package = ProfilePackage.parse(build(replace(SPEC, template=template, files=files)))
    except SaipError as error:
        assert error.reason
        return
    assert package.encode() == package.der
    package.files()
