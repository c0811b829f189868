"""Every kind of profile package in the card: installed, enabled, authenticating; or refused with its PEStatus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from euicc_peer import USIM, Dp, Eim, Terminal, enable, failure, make_card, spec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from microipa.asn1 import saip
from microipa.asn1.tlv import Tlv, parse, tlv
from microipa.crypto.milenage import Milenage
from microipa.euicc.nvm import Profile, State
from microipa.euicc.personalisation import personality
from microipa.euicc.profile_elements import ElementRefused, Interpreter, PeStatus
from microipa.saip import ProfilePackage, build, iccid_to_bytes, metadata
from microipa.saip.services import has
from saip_packages import TS48_NAMES, built, edited, elements, ts48_package

RAND, SQN, AMF = bytes(range(16)), bytes.fromhex("000000000020"), b"\x80\x00"


def xor(a: bytes, b: bytes) -> bytes:
    return bytes(x ^ y for x, y in zip(a, b, strict=True))


def package(template: str = "iot", number: int = 2, **changes: Any) -> bytes:
    return build(replace(spec(number, **changes), template=template))


def xor_algorithm(k: bytes) -> tuple[bytes, bytes]:
    """(AUTN, what the card answers) by the XOR algorithm of TS 34.108 clause 8.1.2."""
    out = xor(k, RAND)
    autn = xor(SQN, out[3:9]) + AMF + xor(out[:8], SQN + AMF)
    return autn, b"\xdb\x10" + out + b"\x10" + out[1:] + out[:1] + b"\x10" + out[2:] + out[:2]


def milenage(k: bytes, opc: bytes) -> tuple[bytes, bytes]:
    aka = Milenage(k, opc)
    autn = xor(SQN, aka.f5(RAND)) + AMF + aka.f1(RAND, SQN, AMF)
    return autn, b"\xdb\x08" + aka.f2(RAND) + b"\x10" + aka.f3(RAND) + b"\x10" + aka.f4(RAND)


@pytest.mark.parametrize("name", ["iot", "iot-minimal", "ts48-like", *TS48_NAMES])
def test_31_102_7_1_usim_authenticates_from_every_kind_of_profile(dp: Dp, eim: Eim, terminal: Terminal, name: str):
    der = ts48_package(name) if name in TS48_NAMES else package(name)
    profile = ProfilePackage.parse(der)
    autn, answer = xor_algorithm(profile.aka.k) if name in TS48_NAMES else milenage(spec(2).k, spec(2).opc)
    assert statuses(dp.download(der)) == ["ok"]
    terminal.es10(eim.package(enable(iccid_to_bytes(profile.iccid))))
    terminal.refresh()
    assert terminal.send("00A40004022FE2")
    assert terminal.send("00B000000A") == iccid_to_bytes(profile.iccid)
    assert terminal.send(b"\x00\xa4\x04\x04\x07" + USIM)
    assert terminal.send(b"\x00\x88\x00\x81\x22\x10" + RAND + b"\x10" + autn + b"\x00") == answer


# ---- the minimal profile and versions, card by card


@pytest.fixture
def other(tmp_path, pki) -> Callable[..., Dp]:
    """The SM-DP+ of a card that is made otherwise."""

    def make(**variant: Any) -> Dp:
        return Dp(pki, Terminal(make_card(tmp_path, pki, **variant)).start())

    return make


def told(dp: Dp) -> tuple[str, bool]:
    """Version and IoT Minimal Profile, as EUICCInfo2 has them."""
    info = parse(dp.terminal.es10("BF2200"))
    return ".".join(map(str, info[0x81].value)), has(info[0x85].value, "iotminimal")


@pytest.mark.parametrize(
    ("variant", "version", "minimal"),
    [
        ({}, "3.3.1", True),
        ({"iot_minimal": False}, "3.3.1", False),
        ({"profile_version": (2, 3, 1)}, "2.3.1", False),
        ({"kind": "consumer"}, "3.3.1", False),
    ],
)
def test_sgp22_4_3_euicc_info_2_tells_version_and_minimal_profile(other, variant, version, minimal):
    assert told(other(**variant)) == (version, minimal)


def test_saip_8_2_1_a_card_without_the_minimal_profile_refuses_it_at_the_header(other):
    dp = other(iot_minimal=False)
    assert refusal(dp, package("iot-minimal")) == ("feature-not-supported", None)
    assert statuses(dp.download(package("iot"))) == ["ok"]


def test_saip_8_2_1_a_card_of_version_2_refuses_a_package_of_version_3(other):
    dp = other(profile_version=(2, 3, 1))
    assert refusal(dp, package("iot-minimal")) == ("unsupported-profile-version", None)
    assert statuses(dp.download(package("iot"))) == ["ok"]


# ---- PEStatus (TCA clause 8.11)


def statuses(result: Tlv) -> list[str]:
    """The PEStatus names in a ProfileInstallationResult, with the identification of the element."""
    outcome = result[0xBF27][0xA2]
    field = outcome[0xA0][0x04] if 0xA0 in outcome else outcome[0xA1][0x82]
    response = saip.decode("EUICCResponse", field.value)
    assert ("profileInstallationAborted" in response) == (0xA1 in outcome)
    names = saip.kind("PEStatus").members[0].kind.names
    return [
        names[status["status"]] + (f" {status['identification']}" if "identification" in status else "")
        for status in response["peStatus"]
    ]


def refusal(dp: Dp, der: bytes) -> tuple[str, int | None]:
    """(PEStatus, identification) with which ``der`` is refused, under the metadata of profile 2."""
    before = dp.terminal.card.profiles()
    result = dp.download(der, metadata(spec(2)))
    assert failure(result)[0] == "loadProfileElements"
    assert dp.terminal.card.profiles() == before
    [status] = statuses(result)
    name, _, number = status.partition(" ")
    return name, int(number) if number else None


def header(**fields: Any) -> bytes:
    return edited("header", lambda value: value | fields, package())


def asking(*services: str) -> bytes:
    return header(**{"eUICC-Mandatory-services": dict.fromkeys(services)})


def changed(element: str, **fields: Any) -> bytes:
    return edited(element, lambda value: value | fields, package())


def aka(**fields: Any) -> bytes:
    def change(value: dict[str, Any]) -> dict[str, Any]:
        return value | {"algoConfiguration": ("algoParameter", value["algoConfiguration"][1] | fields)}

    return edited("akaParameter", change, package())


def inserted(raw: bytes) -> bytes:
    """The package with one more element before its end."""
    end = elements(package())["end"]
    return package().removesuffix(end) + raw + end


def element(name: str, mandated: bool = True, **fields: Any) -> bytes:
    head = next(m.kind for m in saip.kind("ProfileElement").members if m.name == name).members[0].name
    return saip.encode("ProfileElement", (name, {head: pe_header(mandated), **fields}))


def pe_header(mandated: bool) -> dict[str, Any]:
    return {"identification": 99} | ({"mandated": None} if mandated else {})


def unknown(mandated: bool) -> bytes:
    return tlv(0xBF7F, tlv(0xA0, b"\x80\x00" if mandated else b"", b"\x81\x01\x63"), tlv(0x81, b"new"))


def later(mandated: bool) -> bytes:
    """PE-GenericFileManagement with a component that the standard may have one day."""
    raw = element("rfm", mandated, instanceAID=bytes(9), minimumSecurityLevel=b"\x16", uiccAccessDomain=b"\x00",
                  uiccAdminAccessDomain=b"\x00")  # fmt: skip
    return tlv(raw[0], raw[2:], tlv(0x9F44, b"\x01"))


def phonebook(mandated: bool) -> bytes:
    folder = [("fileDescriptor", {"fileID": b"\x5f\x3a"})]
    return element("phonebook", mandated, templateID="2.23.143.1.2.6", **{"df-phonebook": folder})


def applet(mandated: bool) -> bytes:
    block = {"loadPackageAID": bytes(6), "loadBlockObject": b"\xc4"}
    return element("application", mandated, loadBlock=block)


def tuak(mandated: bool) -> bytes:
    algorithm = {"algorithmID": 2, "algorithmOptions": b"\x01", "key": bytes(16), "opc": bytes(32)}
    return element("akaParameter", mandated, algoConfiguration=("algoParameter", algorithm))


ADF = [("fileDescriptor", {"fileID": b"\x7f\xf0", "dfName": bytes(12), "pinStatusTemplateDO": b"\x82"})]
REFUSED = {
    "pe-not-supported": lambda: inserted(unknown(True)),
    "bad-values": lambda: changed("usim", **{"ef-acc": [("fillFileContent", bytes(3))]}),
    "not-enough-memory": lambda: package(filler=499_000),
    "invalid-request-format": lambda: package().removesuffix(elements(package())["end"]) + b"\xaa\x02\x05\x00",
    "invalid-parameter": lambda: inserted(later(True)),
    "runtime-not-supported": lambda: inserted(applet(True)),
    "lib-not-supported": lambda: header(**{"eUICC-Mandatory-AIDs": [{"aid": bytes(7), "version": b"\x01\x00"}]}),
    "template-not-supported": lambda: inserted(phonebook(True)),
    "feature-not-supported": lambda: inserted(tuak(True)),
    "pin-code-missing": lambda: changed("usim", **{"adf-usim": ADF}),
    "unsupported-profile-version": lambda: header(**{"major-version": 4}),
}


def test_every_status_the_card_knows_has_its_case():
    names = [status.name.lower().replace("_", "-") for status in PeStatus]
    assert ["ok", *REFUSED] == names


@pytest.mark.covers("pir.installFailedDueToPEProcessingError", "pir.installFailedDueToInsufficientMemoryForProfile")
@pytest.mark.parametrize("status", REFUSED)
def test_saip_8_11_a_package_is_refused_with_the_status_that_says_why(dp: Dp, status: str):
    assert refusal(dp, REFUSED[status]())[0] == status


@pytest.mark.parametrize(
    ("spoilt", "status", "identification"),
    [
        (lambda: changed("usim", **{"ef-acc": [("fillFileContent", bytes(3))]}), "bad-values", 4),
        (lambda: aka(key=bytes(15)), "bad-values", 6),
        (lambda: aka(rotationConstants=bytes(5)), "feature-not-supported", 6),
        (lambda: inserted(unknown(True)), "pe-not-supported", 99),
        (lambda: changed("usim", templateID="2.23.143.1.2.99"), "template-not-supported", 4),
        (lambda: changed("usim", **{"adf-usim": ADF}), "pin-code-missing", 4),
        (lambda: changed("mf", **{"ef-iccid": [("doNotCreate", None)]}), "bad-values", None),
        (lambda: asking("usim", "cat-tp"), "feature-not-supported", None),
        (lambda: asking("usim", "javacard"), "runtime-not-supported", None),
        (lambda: header(**{"eUICC-Mandatory-GFSTEList": ["2.23.143.1.2.6"]}), "template-not-supported", None),
        (lambda: inserted(elements(package("iot-minimal"))["iot"]), "bad-values", 1),  # no iotOptions
        (lambda: package().replace(b"\xa5\x04\x81\x00\x84\x00", b"\xa5\x04\x81\x00\x9e\x00"),
         "feature-not-supported", None),  # a service that has no name yet
    ],
)  # fmt: skip
def test_saip_8_11_the_status_names_the_element(dp: Dp, spoilt, status, identification):
    assert refusal(dp, spoilt()) == (status, identification)


@pytest.mark.parametrize(
    ("extra", "status"),
    [
        (lambda: unknown(False), "pe-not-supported"),
        (lambda: later(False), "invalid-parameter"),
        (lambda: applet(False), "runtime-not-supported"),
        (lambda: phonebook(False), "template-not-supported"),
        (lambda: tuak(False), "feature-not-supported"),
    ],
)
def test_saip_7_2_what_is_not_mandated_is_a_warning_and_left_out(dp: Dp, extra, status):
    result = dp.download(inserted(extra()), metadata(spec(2)))
    assert statuses(result) == [f"{status} 99", "ok"]
    assert dp.terminal.card.profiles()[1].state == "disabled"


def test_saip_8_11_a_warning_is_told_also_when_the_package_fails_later(dp: Dp):
    der = inserted(unknown(False) + unknown(True))
    assert statuses(dp.download(der, metadata(spec(2)))) == ["pe-not-supported 99"] * 2


def test_more_warnings_than_a_result_can_carry_end_the_installation(dp: Dp):
    result = dp.download(inserted(unknown(False) * 33), metadata(spec(2)))
    assert failure(result)[1] == "installFailedDueToPEProcessingError"
    assert statuses(result) == ["pe-not-supported 99"] * 33


def test_saip_8_11_an_installation_given_up_says_where_in_the_element(dp: Dp):
    result = dp.download(REFUSED["invalid-request-format"](), metadata(spec(2)))
    [status] = saip.decode("EUICCResponse", result[0xBF27][0xA2][0xA1][0x82].value)["peStatus"]
    assert status["offset"] == 2


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["iot", "iot-minimal"]),
    st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), min_size=1, max_size=4),
    st.lists(st.integers(0, 20), max_size=3),
)
def test_any_package_is_taken_or_refused_with_a_status(template, bytes_changed, elements_moved):
    raws = [one.raw for one in ProfilePackage.parse(built(template)).elements]
    for number in elements_moved:
        raws.append(raws.pop(number % len(raws)))
    for place, value in bytes_changed:
        spoilt = bytearray(raws[place % len(raws)])
        spoilt[place % len(spoilt)] = value
        raws[place % len(raws)] = bytes(spoilt)
    interpreter = Interpreter(State("", "iot", b"", b"", b"", b"", root_ds=""))
    try:
        for raw in raws:
            interpreter.take(raw)
        package = interpreter.finish()
    except ElementRefused as refused:
        assert refused.status.code in PeStatus
        return
    personality(Profile(b"", b"", b"", package.der))  # what was taken makes a card
