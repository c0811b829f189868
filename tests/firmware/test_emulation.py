"""ipa.card.emulation under MicroPython: a consumer card that is made to obey eIMs (SGP.32 2.11, 3.4, 3.5, 5.9.1)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from board_run import Run
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from microipa.asn1 import sgp32
from microipa.asn1.tlv import integer, parse, tlv
from microipa.crypto.pki import Pki
from microipa.eim import packages
from microipa.eim.packages import PackageResult

EID = bytes.fromhex("89049032123451234512345678901235")
TX = b"transact"
A, B = bytes.fromhex("98001032547698103214"), bytes.fromhex("98001032547698103225")
OTHER = bytes.fromhex("98001032547698103236")

# A consumer card: two profiles, of which A is enabled; after enable or disable with refresh it waits for a reset.
SCRIPT = """
import json, os, sys
from ipa import tlv
from ipa.card.channel import Channel
from ipa.card.emulation import Emulation
from ipa.journal import Journal
from ipa.modem import ModemError
from rooms import Carrier, Stream, failing, run

states = json.load(open("card.json")) if "card.json" in os.listdir() else {states}
refuse = {refuse}
waiting = False

def card(command):
    global waiting
    tag = command[0] << 8 | command[1]
    said = command.hex()
    if tag == 0xBF3E:
        return bytes.fromhex("bf3e125a10{eid}")
    if waiting:
        return 0x6985
    print("card", said)
    if tag == 0xBF2D:
        if "9f26" in said:
            return bytes.fromhex("bf2d03810101")
        parts = [bytes.fromhex("e3105a0a%s9f70010%d" % one) for one in sorted(states.items())]
        return tlv.encode(0xBF2D, tlv.encode(0xA0, *parts))
    if tag in (0xBF31, 0xBF32, 0xBF33):
        iccid = said[-26:-6] if tag != 0xBF33 else said[-20:]
        code = refuse if refuse else 0 if iccid in states else 1
        if code < 0:
            return 0x6A80
        if not code and tag == 0xBF33:
            code = 2 if states[iccid] else 0
            if not code:
                del states[iccid]
        elif not code:
            waiting = True
            for one in states:
                states[one] = 1 if tag == 0xBF31 and one == iccid else 0
        with open("card.json", "w") as file:
            json.dump(states, file)
        if {cut} == tag:
            sys.exit()
        if {silent} == tag:
            raise ModemError("the card is silent")
        return tlv.encode(tag, tlv.encode_integer(0x80, code))
    if tag == 0xBF3F:
        return bytes.fromhex("bf3f03800100")
    if tag == 0xBF43:
        return 0x6F00 if {cut} == tag else bytes.fromhex("bf430ea00c300a80020640a10082020780")
    return 0x6A88

async def main():
    channel = Channel(Carrier(card))
    await channel.open()
    es10 = Emulation(channel, Journal("state"), "state")
    es10.roots = "roots.der"
    await es10.begin()
    for call in ({calls}):
        value = await call()
        if value is not None:
            print(bytes(value).hex() if isinstance(value, (bytes, bytearray, memoryview)) else value)
run(main())
"""


@dataclass
class Bench:
    """An emulation whose state is kept from call to call; `said` is what the card was told the last time."""

    micropython: Run
    folder: Path
    pki: Pki
    first: tuple[str, ...] = ()  # calls that go before the next ones
    said: list[str] | None = None
    counter: int = 0

    async def call(self, *calls: str, refuse: int = 0, cut: int = 0, silent: int = 0) -> list[str]:
        values = {"states": repr({A.hex(): 1, B.hex(): 0}), "refuse": str(refuse), "eid": EID.hex(), "cut": str(cut),
                  "silent": str(silent), "calls": "".join(f"lambda: {call}, " for call in self.first + calls)}
        self.first = ()
        script = SCRIPT
        for name, value in values.items():
            script = script.replace("{" + name + "}", value)
        lines = (await self.micropython(script, heapsize="288K")).splitlines()
        self.said = [line[5:] for line in lines if line.startswith("card ")]
        return [line for line in lines if not line.startswith(("card ", "I (", "E ("))]

    def package(self, *operations: tuple[str, Mapping[str, Any]], counter: int | None = None, token: int = 1,
                eid: bytes = EID, eim_id: str = "eim.example", raw: bytes | None = None, signer: Any = None) -> bytes:
        if counter is None:
            self.counter += 1
        return packages.euicc_package(
            signer or self.pki.eim_signing, eim_id=eim_id, eid=eid.hex(),
            counter=self.counter if counter is None else counter, transaction_id=TX, token=token,
            content=packages.encode_operations(operations) if raw is None else raw)

    async def execute(self, *operations: tuple[str, Mapping[str, Any]], **how: Any) -> list[tuple[str, bool, str]]:
        """The outcomes of a package, of a result whose signature the device's key verifies."""
        result = await self.result(self.package(*operations), **how)
        return [(one.operation, one.ok, one.words) for one in result.outcomes]

    async def result(self, package: bytes, *, token: int = 1, **how: Any) -> PackageResult:
        [answer] = await self.call(load(package), **how)
        return self.verified(bytes.fromhex(answer), token)

    def verified(self, message: bytes, token: int = 1) -> PackageResult:
        sgp32.decode("EuiccPackageResult", message)  # to the letter of the schema
        result = PackageResult.read(parse(message))
        if result.data is not None:
            result.verify(self.key(), token)
        return result

    def key(self) -> EllipticCurvePublicKey:
        key = load_der_public_key((self.folder / "state.pub").read_bytes())
        assert isinstance(key, EllipticCurvePublicKey)
        return key


def load(package: bytes) -> str:
    return f"es10.load_euicc_package(bytes.fromhex('{parse(package).value.hex()}'))"


def configuration(pki: Pki, eim_id: str = "eim.example", **fields: Any) -> dict[str, Any]:
    spki = sgp32.decode("EimConfigurationData", tlv(0x30, tlv(0x80, b"x"), tlv(
        0xA5, tlv(0xA0, parse(pki.eim_signing.spki).value))))["eimPublicKeyData"]
    whole = {"eimId": eim_id, "eimFqdn": "eim.example", "counterValue": 0, "associationToken": -1,
             "eimPublicKeyData": spki} | fields
    return {name: value for name, value in whole.items() if value is not None}


def add_initial(pki: Pki, **fields: Any) -> str:
    der = sgp32.encode("EimConfigurationData", configuration(pki, **fields))
    return f"es10.add_initial_eim(bytes.fromhex('{der.hex()}'))"


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki.open(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def bench(micropython: Run, tmp_path: Path, pki: Pki) -> Bench:
    """An emulated card with one eIM, whose token is 1."""
    return Bench(micropython, tmp_path, pki, (add_initial(pki),))


# ---- whose certificate


def certified(pki: Pki, certificate: bytes, **fields: Any) -> dict[str, Any]:
    """A configuration with this certificate of a signing key."""
    held = sgp32.decode("EimConfigurationData", tlv(0x30, tlv(0x80, b"x"), tlv(
        0xA5, tlv(0xA1, parse(certificate).value))))["eimPublicKeyData"]
    return configuration(pki, eimPublicKeyData=held, **fields)


def forged(pki: Pki) -> bytes:
    """The certificate of the signing key with a signature that its CI did not make."""
    certificate = bytearray(pki.eim_signing.der)
    certificate[-1] ^= 1
    return bytes(certificate)


async def test_2_11_1_1_a_signing_certificate_of_a_known_ca_is_verified(bench: Bench) -> None:
    (bench.folder / "roots.der").write_bytes(bench.pki.eum.der + bench.pki.ci.der)
    add = [("addEim", certified(bench.pki, der, eim_id=f"eim{number}.example"))
           for number, der in enumerate((bench.pki.eim_signing.der, forged(bench.pki)))]
    assert await bench.execute(*add) == [("addEim", True, "token 2"), ("addEim", False, "commandError")]
    update = ("updateEim", certified(bench.pki, forged(bench.pki), counterValue=None, associationToken=None))
    assert await bench.execute(update) == [("updateEim", False, "commandError")]


async def test_2_11_1_1_of_a_known_ca_only_a_signature_with_sha256_is_genuine(bench: Bench) -> None:
    """ecdsa-with-SHA384 (RFC 5758 3.2): what the device cannot check it does not take."""
    (bench.folder / "roots.der").write_bytes(bench.pki.ci.der)
    signed, _, signature = (one.raw for one in parse(bench.pki.eim_signing.der))
    sha384 = bytes.fromhex("300a06082a8648ce3d040303")
    add = ("addEim", certified(bench.pki, tlv(0x30, signed, sha384, signature), eim_id="other.example"))
    assert await bench.execute(add) == [("addEim", False, "commandError")]


async def test_2_11_1_1_a_certificate_with_a_key_on_another_curve_is_refused(bench: Bench) -> None:
    p256 = bytes.fromhex("2a8648ce3d030107")
    other = bench.pki.eim_signing.der.replace(p256, p256[:-1] + b"\x06")
    add = ("addEim", certified(bench.pki, other, eim_id="other.example"))
    assert await bench.execute(add) == [("addEim", False, "commandError")]


async def test_2_11_1_1_a_signature_with_a_number_of_33_octets_is_refused(bench: Bench) -> None:
    (bench.folder / "roots.der").write_bytes(bench.pki.ci.der)
    signed, algorithm, _ = (one.raw for one in parse(bench.pki.eim_signing.der))
    signature = tlv(0x03, b"\0" + tlv(0x30, tlv(0x02, b"\1" * 33), tlv(0x02, b"\1")))
    add = ("addEim", certified(bench.pki, tlv(0x30, signed, algorithm, signature), eim_id="other.example"))
    assert await bench.execute(add) == [("addEim", False, "commandError")]


async def test_2_11_1_1_a_first_eim_with_a_forged_certificate_is_refused(bench: Bench) -> None:
    (bench.folder / "roots.der").write_bytes(bench.pki.ci.der)
    bench.first = ()
    der = sgp32.encode("EimConfigurationData", certified(bench.pki, forged(bench.pki)))
    [refused] = await bench.call(f"failing(es10.add_initial_eim(bytes.fromhex('{der.hex()}')))")
    assert refused == "CardRefused AddInitialEim: the card refused with 7"


async def test_2_11_1_1_of_a_certificate_of_an_unknown_ca_nothing_is_known(bench: Bench) -> None:
    add = ("addEim", certified(bench.pki, forged(bench.pki), eim_id="other.example"))
    assert (await bench.execute(add))[0][1]
    (bench.folder / "roots.der").write_bytes(bench.pki.eum.der)
    add = ("addEim", certified(bench.pki, forged(bench.pki), eim_id="third.example"))
    assert (await bench.execute(add))[0][1]


# ---- who may order what


@pytest.mark.parametrize(("eim_id", "taken"), [
    (b"", False), (b"e", True), (b"e" * 128, True), (b"e" * 129, False), (b"\xff", False)])
async def test_2_11_1_an_eim_id_is_a_text_of_1_to_128_characters(bench: Bench, eim_id: bytes, taken: bool) -> None:
    bench.first = ()
    whole = parse(sgp32.encode("EimConfigurationData", configuration(bench.pki)))
    der = tlv(0x30, tlv(0x80, eim_id), *(field.raw for field in whole if field.tag != 0x80))
    [told] = await bench.call(f"failing(es10.add_initial_eim(bytes.fromhex('{der.hex()}')))")
    assert told == ("no error but None" if taken else "CardRefused AddInitialEim: the card refused with 7")


@pytest.mark.parametrize("key", [
    None, tlv(0xA5), tlv(0xA5, tlv(0xA0)), tlv(0xA5, b"\xa0\x05\x30"), tlv(0xA5, b"\xa1\x05\x30"),
    tlv(0xA5, tlv(0xA0, b"\x30\x59\x30")), tlv(0xA5, tlv(0xA1, b"\x30\x82")), b"\xa5\x05\xa0"])
async def test_2_11_1_an_eim_has_a_key_on_p256(bench: Bench, key: bytes | None) -> None:
    bench.first = ()
    whole = parse(sgp32.encode("EimConfigurationData", configuration(bench.pki)))
    der = tlv(0x30, *(field.raw for field in whole if field.tag != 0xA5), key or b"")
    [told] = await bench.call(f"failing(es10.add_initial_eim(bytes.fromhex('{der.hex()}')))")
    assert told == "CardRefused AddInitialEim: the card refused with 7"


@pytest.mark.parametrize("empty", [0x83, 0x84])
async def test_2_11_1_an_eim_has_a_counter_and_a_token_of_at_least_a_byte(bench: Bench, empty: int) -> None:
    bench.first = ()
    whole = parse(sgp32.encode("EimConfigurationData", configuration(bench.pki)))
    der = tlv(0x30, *(tlv(empty) if field.tag == empty else field.raw for field in whole))
    [told] = await bench.call(f"failing(es10.add_initial_eim(bytes.fromhex('{der.hex()}')))")
    assert told == "CardRefused AddInitialEim: the card refused with 7"


async def test_5_9_4_and_5_9_18_an_initial_eim_is_kept_and_told_with_token_and_without_counter(bench: Bench) -> None:
    [found, none] = await bench.call("es10.find_eim(b'eim.example')", "failing(es10.find_eim(b'another'))")
    told = sgp32.decode("EimConfigurationData", tlv(0x30, bytes.fromhex(found)))
    assert (told["eimId"], told["associationToken"], "counterValue" in told) == ("eim.example", 1, False)
    assert none == "no error but None"
    for name in ("eim.example", "another"):
        [refused] = await bench.call(f"failing({add_initial(bench.pki, eimId=name)})")
        assert refused == "CardRefused AddInitialEim: the card refused with 2"


async def test_5_9_1_unknown_eim_and_wrong_signature_get_an_unsigned_error(bench: Bench) -> None:
    [unknown] = await bench.call(load(bench.package(("listEim", {}), eim_id="another")))
    assert sgp32.decode("EuiccPackageResult", bytes.fromhex(unknown)) == (
        "euiccPackageErrorUnsigned", {"eimId": "another", "eimTransactionId": TX})
    for wrong in (bench.package(("listEim", {}), token=2), bench.package(("listEim", {}), signer=bench.pki.ci)):
        [answer] = await bench.call(load(wrong))
        assert sgp32.decode("EuiccPackageResult", bytes.fromhex(answer)) == (
            "euiccPackageErrorUnsigned", {"eimId": "eim.example", "eimTransactionId": TX, "associationToken": 1})
    assert bench.said == []


async def test_5_9_1_eid_and_counter_are_checked_and_nothing_is_executed(bench: Bench) -> None:
    assert (await bench.execute(("listEim", {})))[0][1]
    delete = ("delete", {"iccid": B})
    for package, code in ((bench.package(delete, eid=bytes(16), counter=9), 3), (bench.package(delete, counter=1), 4),
                          (bench.package(delete, counter=0x80000000), 6)):
        assert (await bench.result(package)).error == code
        assert bench.said == []


async def test_5_9_1_a_counter_is_taken_once_and_a_result_is_kept_until_it_is_removed(bench: Bench) -> None:
    first = await bench.result(bench.package(("listEim", {})))
    second = await bench.result(bench.package(("listEim", {})))
    assert (first.counter, second.counter) == (1, 2)
    assert first.sequence is not None
    assert second.sequence == first.sequence + 1
    [both] = await bench.call("es10.retrieve_results()")
    kept = [bench.verified(one.raw) for one in parse(tlv(0xA2, bytes.fromhex(both)))]
    assert [one.sequence for one in kept] == [first.sequence, second.sequence]
    [left] = await bench.call(f"es10.remove_notification({first.sequence})", "es10.retrieve_results()")
    assert [bench.verified(one.raw).sequence for one in parse(tlv(0xA2, bytes.fromhex(left)))] == [second.sequence]
    assert sorted(path.name for path in bench.folder.glob("state*")) == ["state", "state.1", "state.3", "state.pub"]


# ---- how much


def streamed(size: int, sent: int) -> str:
    """A call with a package of ``size`` bytes of an unknown eIM, of which ``sent`` come through the stream."""
    head = (tlv(0x30, tlv(0x80, b"another"), tlv(0x04, bytes(size - 4 - 9 - 4))))[:17]
    assert len(head) + size - 17 == size
    return (f"failing(es10.load_euicc_package(bytes.fromhex('{head.hex()}'), "
            f"stream=Stream(bytes({sent})), length={size - 17}))")


async def test_a_package_of_4096_bytes_is_read_and_one_of_4097_refused(bench: Bench) -> None:
    bench.first = ()
    taken, refused = await bench.call(streamed(4096, 4079), streamed(4097, 4080))
    assert taken.startswith("no error but b'\\xbfQ")
    assert refused == "CommandTooLong an eUICC package of more than 4096 bytes"


async def test_a_package_whose_stream_ends_early_is_refused(bench: Bench) -> None:
    bench.first = ()
    [told] = await bench.call(streamed(1000, 982))
    assert told == "CommandTooLong an eUICC package that ends early"


# ---- profiles


async def test_3_4_1_enable_comes_last_and_with_a_refresh(bench: Bench) -> None:
    got = await bench.execute(("listProfileInfo", {}), ("enable", {"iccid": B}))
    assert [one[:2] for one in got] == [("listProfileInfo", True), ("enable", True)]
    assert bench.said is not None
    assert bench.said[-1] == "bf3111a00c5a0a" + B.hex() + "8101ff"
    [state] = [json.loads((bench.folder / "card.json").read_text())]
    assert state == {A.hex(): 0, B.hex(): 1}


@pytest.mark.parametrize(("operations", "words"), [
    ([("enable", {"iccid": OTHER})], ["iccidOrAidNotFound"]),
    ([("enable", {"iccid": A})], ["profileNotInDisabledState"]),
    ([("enable", {"iccid": B, "rollbackFlag": None})], ["rollbackNotAvailable"]),
    ([("enable", {"iccid": B}), ("enable", {"iccid": A})], ["ok", "undefinedError"]),
    ([("enable", {"iccid": B}), ("disable", {"iccid": A})], ["ok", "undefinedError"]),
    ([("disable", {"iccid": A}), ("enable", {"iccid": B})], ["ok", "ok"]),
    ([("disable", {"iccid": B})], ["profileNotInEnabledState"]),
    ([("disable", {"iccid": OTHER})], ["iccidOrAidNotFound"]),
    ([("delete", {"iccid": A})], ["profileNotInDisabledState"]),
    ([("delete", {"iccid": OTHER})], ["iccidOrAidNotFound"]),
    ([("enable", {"iccid": B}), ("delete", {"iccid": B})], ["ok", "profileNotInDisabledState"]),
    ([("delete", {"iccid": B}), ("setDefaultDpAddress", {"defaultDpAddress": "dp.example"})], ["ok", "ok"]),
    ([("configureImmediateEnable", {})], ["commandError"]),
    ([("setFallbackAttribute", {"iccid": B})], ["fallbackNotAllowed"]),
    ([("setFallbackAttribute", {"iccid": OTHER})], ["iccidOrAidNotFound"]),
    ([("unsetFallbackAttribute", {})], ["noFallbackAttribute"]),
    ([("enable", {"iccid": B}), ("listProfileInfo", {})], ["ok", "profileChangeOngoing"]),
])
async def test_3_4_each_psmo_has_the_result_an_iot_card_would_give(
        bench: Bench, operations: list[Any], words: list[str]) -> None:
    assert [one[2] for one in await bench.execute(*operations)] == words


async def test_3_4_what_the_card_refuses_in_the_end_is_what_the_eim_hears(bench: Bench) -> None:
    assert await bench.execute(("enable", {"iccid": B}), refuse=5) == [("enable", False, "catBusy")]
    assert await bench.execute(("enable", {"iccid": B}), refuse=3) == [("enable", False, "disallowedByPolicy")]
    assert await bench.execute(("disable", {"iccid": A}), refuse=6) == [("disable", False, "undefinedError")]
    assert await bench.execute(("disable", {"iccid": A}), refuse=99) == [("disable", False, "undefinedError")]


async def test_3_4_a_status_word_instead_of_an_answer_is_undefinedError(bench: Bench) -> None:
    delete = ("delete", {"iccid": B})
    assert await bench.execute(delete, refuse=-1) == [("delete", False, "undefinedError")]


async def test_3_4_1_the_rules_authorisation_table_is_told_as_the_card_has_it(bench: Bench) -> None:
    [answer] = await bench.call(load(bench.package(("getRAT", {}))))
    bench.verified(bytes.fromhex(answer))
    assert "a60c300a80020640a10082020780" in answer


async def test_3_4_1_delete_names_the_profile_to_the_card(bench: Bench) -> None:
    assert await bench.execute(("delete", {"iccid": B})) == [("delete", True, "ok")]
    assert bench.said == ["bf330c5a0a" + B.hex()]


async def test_listing_asks_again_without_what_a_consumer_card_does_not_know(bench: Bench) -> None:
    got = await bench.execute(("listProfileInfo", {"tagList": bytes.fromhex("5A9F709F269F67")}))
    assert [one[1] for one in got] == [True]
    assert bench.said is not None
    assert bench.said[0] == "bf2d055c035a9f70"


async def test_5_9_1_an_unknown_operation_ends_the_package_and_what_was_done_before_it_is_told(bench: Bench) -> None:
    list_raw, delete_raw = tlv(0xAB), tlv(0xA9, tlv(0x80, b"eim.example"))
    result = await bench.result(bench.package(raw=tlv(0xA1, list_raw, tlv(0xAC), delete_raw)))
    assert [(one.operation, one.words) for one in result.outcomes][1:] == [
        ("processingTerminated", "unknownOrDamagedCommand")]
    assert (await bench.execute(("listEim", {})))[0][2] == "eim.example"


async def test_5_9_1_a_damaged_operation_and_a_card_that_fails_end_the_package_with_a_result(bench: Bench) -> None:
    delete, damaged = tlv(0xA5, tlv(0x5A, B)), b"\xa3\x05\x01"
    result = await bench.result(bench.package(raw=tlv(0xA0, delete + damaged)))
    assert [one.words for one in result.outcomes] == ["ok", "unknownOrDamagedCommand"]
    result = await bench.result(bench.package(raw=tlv(0xA0, delete, tlv(0xA3, b"\x5a\x7f"))))
    assert [one.words for one in result.outcomes] == ["iccidOrAidNotFound", "unknownOrDamagedCommand"]
    got = await bench.execute(("delete", {"iccid": OTHER}), ("getRAT", {}), refuse=1, cut=0xBF43)
    assert [one[2] for one in got] == ["iccidOrAidNotFound", "undefinedError"]


# ---- eIMs


async def test_3_5_1_eims_are_added_updated_listed_and_deleted(bench: Bench) -> None:
    new = configuration(bench.pki, "new.example", eimIdType=2)
    assert [one[2] for one in await bench.execute(
        ("addEim", new), ("listEim", {}), ("updateEim", {"eimId": "new.example", "eimFqdn": "new.example"}),
        ("addEim", configuration(bench.pki, "third.example", associationToken=None)))] == [
            "token 2", "eim.example, new.example", "ok", "ok"]
    [found] = await bench.call("es10.find_eim(None, [b'eim.example'])")
    assert parse(tlv(0x30, bytes.fromhex(found)))[0x81].value == b"new.example"
    theirs = bench.package(("deleteEim", {"eimId": "eim.example"}), eim_id="new.example", token=2, counter=1)
    assert [one.words for one in (await bench.result(theirs, token=2)).outcomes] == ["ok"]
    last = bench.package(("deleteEim", {"eimId": "third.example"}), ("deleteEim", {"eimId": "new.example"}),
                         eim_id="third.example", token=0, counter=1)
    result = await bench.result(last, token=0)  # it deletes itself, and gets its result all the same
    assert [one.words for one in result.outcomes] == ["ok", "lastEimDeleted"]
    assert await bench.call("failing(es10.find_eim())") == ["no error but None"]
    assert await bench.call(add_initial(bench.pki)) == []


@pytest.mark.parametrize(("operation", "words"), [
    (lambda pki: ("addEim", configuration(pki)), "associatedEimAlreadyExists"),
    (lambda pki: ("addEim", configuration(pki, "new", associationToken=7)), "invalidAssociationToken"),
    (lambda pki: ("addEim", configuration(pki, "new", counterValue=None)), "commandError"),
    (lambda pki: ("addEim", configuration(pki, "new", eimPublicKeyData=None)), "commandError"),
    (lambda pki: ("addEim", configuration(pki, "new", counterValue=1 << 31)), "counterValueOutOfRange"),
    (lambda pki: ("updateEim", {"eimId": "unknown"}), "eimNotFound"),
    (lambda pki: ("updateEim", {"eimId": "eim.example", "counterValue": 0}), "counterValueOutOfRange"),
    (lambda pki: ("updateEim", {"eimId": "eim.example", "counterValue": 0,
                                "eimPublicKeyData": configuration(pki)["eimPublicKeyData"]}), "counterValueOutOfRange"),
    (lambda pki: ("deleteEim", {"eimId": "unknown"}), "eimNotFound"),
])
async def test_3_5_1_what_an_eco_must_not_do_it_does_not(bench: Bench, operation: Any, words: str) -> None:
    [(_, ok, said)] = await bench.execute(operation(bench.pki))
    assert (ok, said) == (False, words)


@pytest.mark.parametrize(("counter", "words"), [
    (-1, "counterValueOutOfRange"), (0, "token 2"), ((1 << 31) - 1, "token 2"), (1 << 31, "counterValueOutOfRange")])
async def test_3_5_1_1_a_counter_of_an_added_eim_has_31_bits(bench: Bench, counter: int, words: str) -> None:
    raw = sgp32.encode("EimConfigurationData", configuration(bench.pki, "new.example"))
    fields = [field.raw for field in parse(raw) if field.tag != 0x83]
    result = await bench.result(bench.package(raw=tlv(0xA1, tlv(0xA8, *fields, integer(0x83, counter)))))
    assert [one.words for one in result.outcomes] == [words]


async def test_3_5_1_4_an_eim_is_listed_with_the_type_of_its_name(bench: Bench) -> None:
    await bench.execute(("addEim", configuration(bench.pki, "new.example", eimIdType=2)))
    [answer] = await bench.call(load(bench.package(("listEim", {}))))
    assert tlv(0x30, tlv(0x80, b"new.example"), integer(0x82, 2)).hex() in answer


async def test_3_5_1_2_an_eim_without_a_name_is_not_deleted_and_the_result_is_that_of_delete(bench: Bench) -> None:
    result = await bench.result(bench.package(raw=tlv(0xA1, tlv(0xA9, tlv(0x80)))))
    assert [(one.operation, one.words) for one in result.outcomes] == [("deleteEim", "commandError")]


async def test_3_5_1_3_a_counter_is_lowered_along_with_another_key(bench: Bench, tmp_path: Path) -> None:
    """Nothing that was signed before is signed with that key."""
    other = configuration(Pki.open(tmp_path / "other"))["eimPublicKeyData"]
    await bench.execute(("listEim", {}))
    update = ("updateEim", {"eimId": "eim.example", "counterValue": 0, "eimPublicKeyData": other})
    assert await bench.execute(update) == [("updateEim", True, "ok")]


async def test_3_5_1_1_there_is_room_for_four_eims(bench: Bench) -> None:
    adds = [("addEim", configuration(bench.pki, f"{number}.example")) for number in range(4)]
    assert [words for _, _, words in await bench.execute(*adds)][3] == "insufficientMemory"


async def test_2_2_a_counter_may_be_the_largest_that_the_card_counts_and_none_beyond(bench: Bench) -> None:
    beyond = await bench.result(bench.package(("listEim", {}), counter=1 << 31))
    assert beyond.error == 6  # counterValueOutOfRange
    largest = await bench.result(bench.package(("listEim", {}), counter=(1 << 31) - 1))
    assert largest.error is None


# ---- power cuts


async def test_a_switch_that_the_power_cut_overtook_is_told_as_the_card_shows_it(bench: Bench) -> None:
    assert await bench.call(load(bench.package(("enable", {"iccid": B}))), cut=0xBF31) == []
    [kept] = await bench.call("es10.retrieve_results()")
    assert [one.words for one in bench.verified(bytes.fromhex(kept)).outcomes] == ["ok"]
    replayed = bench.package(("enable", {"iccid": B}), counter=1)
    assert (await bench.result(replayed)).error == 4


async def test_5_9_1_a_package_that_the_power_cut_interrupted_says_so(bench: Bench) -> None:
    package = bench.package(("setDefaultDpAddress", {"defaultDpAddress": "a"}), ("delete", {"iccid": B}))
    assert await bench.call(load(package), cut=0xBF33) == []
    [kept] = await bench.call("es10.retrieve_results()")
    outcomes = bench.verified(bytes.fromhex(kept)).outcomes
    assert [(one.operation, one.words) for one in outcomes] == [
        ("setDefaultDpAddress", "ok"), ("processingTerminated", "interruption")]


async def test_5_9_1_a_package_in_whose_middle_the_card_fell_silent_says_so_without_a_restart(bench: Bench) -> None:
    package = bench.package(("setDefaultDpAddress", {"defaultDpAddress": "a"}), ("delete", {"iccid": B}))
    error, kept = await bench.call(f"failing({load(package)})", "es10.retrieve_results()", silent=0xBF33)
    assert error == "ModemError the card is silent"
    outcomes = bench.verified(bytes.fromhex(kept)).outcomes
    assert [(one.operation, one.words) for one in outcomes] == [
        ("setDefaultDpAddress", "ok"), ("processingTerminated", "interruption")]
    assert (await bench.result(bench.package(("listEim", {}), counter=1))).error == 4


async def test_results_of_one_eim_do_not_push_out_those_of_another(bench: Bench, pki: Pki) -> None:
    await bench.execute(("addEim", configuration(pki, "eim.b")))
    other = bench.package(("listEim", {}), counter=1, token=2, eim_id="eim.b")
    sent = [bench.package(("listEim", {})) for _ in range(10)]
    kept = (await bench.call(load(other), *[load(one) for one in sent], "es10.retrieve_results()"))[-1]
    names = [parse(one.raw)[0xA0][0x30][0x80].value for one in parse(tlv(0xA2, bytes.fromhex(kept)))]
    assert names == [b"eim.b"] + [b"eim.example"] * 7


async def test_results_beyond_eight_push_out_the_oldest(bench: Bench) -> None:
    sent = [bench.package(("listEim", {})) for _ in range(10)]
    await bench.call(*(load(one) for one in sent))
    [kept] = await bench.call("es10.retrieve_results()")
    assert [bench.verified(one.raw).counter for one in parse(tlv(0xA2, bytes.fromhex(kept)))] == list(range(3, 11))


PARTICULAR = """
from ipa import tlv
from ipa.card.channel import Channel
from ipa.card.es10 import Es10
from ipa.card.es10c import Psmos
from rooms import Carrier, run

takes, lies = {takes}, {lies}
enabled = False

def card(command):
    global enabled
    if command[:2] == b"\\xbf\\x2d":
        profile = bytes.fromhex("4f10a0000005591010ffffffff89000011005a0a{iccid}9f7001") + bytes((enabled,))
        return tlv.encode(0xBF2D, tlv.encode(0xA0, tlv.encode(0xE3, profile)))
    form = ("aid" if command[5] == 0x4F else "iccid", command[-1] == 0xFF)
    print(*form)
    taken, before = form == takes, enabled
    enabled = enabled or taken
    code = 0 if taken and not lies else 127
    if {mute}:  # says 9000 to the command, and when it comes again that it is done
        code = b"" if taken and not before else tlv.encode_integer(0x80, 2)
        return code and tlv.encode(0xBF31, code)
    return tlv.encode(command[0] << 8 | command[1], tlv.encode_integer(0x80, code))

class Contacts(Carrier):
    async def transmit(self, apdu):
        if apdu[1] == 0xC0 and not self._left:
            return b"\\x69\\x85"
        return await super().transmit(apdu[: 5 + apdu[4]] if apdu[1] == 0xE2 else apdu)

async def main():
    psmos = Psmos(Es10(Channel(Contacts(card))))
    psmos.switch = [0xBF31, "{iccid}"]
    print(await psmos.commit())
run(main())
"""
FORMS = [("iccid", True), ("aid", True), ("iccid", False), ("aid", False)]


@pytest.mark.parametrize("lies", [False, True])
@pytest.mark.parametrize("takes", FORMS)
async def test_a_card_that_is_particular_about_the_form_of_enable_gets_the_one_it_takes(
        micropython: Run, takes: tuple[str, bool], lies: bool) -> None:
    """SimAdmin #31, lpac #13; one that has done what it refuses is not told again."""
    values = {"takes": repr(takes), "lies": str(lies), "iccid": A.hex(), "mute": "False"}
    script = PARTICULAR
    for name, value in values.items():
        script = script.replace("{" + name + "}", value)
    *told, code = (await micropython(script)).splitlines()
    assert told == [f"{name} {refresh}" for name, refresh in FORMS[: FORMS.index(takes) + 1]]
    assert code == "0"


async def test_a_card_that_takes_no_form_of_enable_is_undefinedError(micropython: Run) -> None:
    script = PARTICULAR.replace("{takes}", "None").replace("{lies}", "False").replace("{iccid}", A.hex())
    script = script.replace("{mute}", "False")
    assert (await micropython(script)).splitlines() == [f"{name} {refresh}" for name, refresh in FORMS] + ["127"]


async def test_a_switch_that_is_done_and_not_answered_is_looked_up(micropython: Run) -> None:
    """The command comes again with an expected length, and finds the profile enabled."""
    script = PARTICULAR.replace("{takes}", "('iccid', True)").replace("{lies}", "False").replace("{mute}", "True")
    *told, code = (await micropython(script.replace("{iccid}", A.hex()))).splitlines()
    assert code == "0"
