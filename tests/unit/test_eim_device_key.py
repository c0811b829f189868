"""A device that signs in place of its consumer card: whose word the eIM takes, and how it shows that."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from cli_runner import Microipa
from eim_ipa import Ipa, Refusal, alarms, order
from euicc_peer import EID
from microipa.asn1.tlv import Tlv, integer, parse, tlv
from microipa.crypto import ec
from microipa.crypto.pki import Credential, Pki
from microipa.eim import Eim
from microipa.eim.devices import BadDeviceKey
from microipa.eim.orders import MAX_REFUSALS
from microipa.lab import LabFolder
from microipa.trace import Event

SEQ = 0x1000000


@pytest.fixture(scope="module")
def device(pki: Pki) -> Credential:
    """The key of a device; the certificate that goes with it plays no part."""
    return Credential(ec.generate_key(), pki.ci.certificate)


def result(package: Tlv, signer: Credential, token: int = 3) -> bytes:
    """What the device says of a package with one listEim."""
    echo = [package[0x30][tag].raw for tag in (0x80, 0x81, 0x82)]
    data = tlv(0x30, *echo, integer(0x83, SEQ), tlv(0x30, tlv(0xAB, tlv(0xA0))))
    return tlv(0xBF51, tlv(0xA0, data, tlv(0x5F37, signer.sign(data + integer(0x84, token)))))


async def delivered(desk: Eim, ipa: Ipa) -> tuple[int, Tlv]:
    """An order whose package the device has; it told its token, and no certificate, when it was asked."""
    number = desk.order_package(EID, [("listEim", {})])
    question = await ipa.get()
    assert question.tag == 0xBF52
    await ipa.provide(tlv(0xBF52, tlv(0xA0, integer(0x84, 3), tlv(0x87, question[0x83].value))))
    return number, await ipa.get()


async def test_2_11_2_a_result_is_verified_with_the_enrolled_key(desk: Eim, ipa: Ipa, device: Credential) -> None:
    desk.add_device(EID, device_key=device.spki)
    number, package = await delivered(desk, ipa)
    answer = parse(await ipa.ask(tlv(0xBF50, ipa.eid, result(package, device))))
    assert answer[0xBF53][0x80].value == SEQ.to_bytes(4, "big")
    assert order(desk, number).state == "done"
    view = desk.device(EID)
    assert (view.device_key, view.certificates) == (hashlib.sha256(device.spki).hexdigest(), {})


async def test_2_11_2_neither_another_key_nor_that_of_a_card_will_do(
        desk: Eim, ipa: Ipa, device: Credential, pki: Pki, events: list[Event]) -> None:
    desk.add_device(EID, device_key=ec_spki())
    desk.add_device(EID, device_key=device.spki)  # the newest counts
    number, package = await delivered(desk, ipa)
    for signer in (Credential(ec.generate_key(), pki.ci.certificate), pki.euicc(EID)):
        with pytest.raises(Refusal):
            await ipa.provide(result(package, signer))
    assert order(desk, number).state == "delivered"
    assert len(alarms(events)) == 2


async def test_without_a_key_an_answer_without_certificates_proves_nothing(desk: Eim, ipa: Ipa) -> None:
    number = desk.order_package(EID, [("listEim", {})])
    for _ in range(MAX_REFUSALS):
        question = await ipa.get()
        await ipa.provide(tlv(0xBF52, tlv(0xA0, integer(0x84, 3), tlv(0x87, question[0x83].value))))
    assert order(desk, number).state == "failed"


def ec_spki() -> bytes:
    return Credential(ec.generate_key(), None).spki  # type: ignore[arg-type]


def test_only_a_key_on_p_256_is_enrolled(desk: Eim, pki: Pki) -> None:
    for wrong in (b"", pki.ci.der, bytes.fromhex("302a300506032b6570032100") + bytes(32)):
        with pytest.raises(BadDeviceKey):
            desk.add_device(EID, device_key=wrong)
    assert desk.device(EID).device_key is None


def test_enrol_on_the_command_line_and_the_devices_that_shows_it(tmp_path: Path, microipa: Microipa) -> None:
    lab, key = tmp_path / "lab", tmp_path / "key.pub"
    eid = LabFolder(lab, create=True).eid
    spki = ec_spki()
    key.write_bytes(spki)
    assert microipa("enrol", eid, "--device-key", key, "--lab", lab).status == 0
    [view] = [json.loads(line) for line in microipa("devices", "--json", "--lab", lab).out.splitlines()]
    assert view["device_key"] == hashlib.sha256(spki).hexdigest()
    assert "signed by a key of the device" in microipa("devices", eid, "--lab", lab).out
    key.write_bytes(b"no key")
    status, _, err = microipa("enrol", eid, "--device-key", key, "--lab", lab)
    assert status == 1
    assert err.startswith("microipa: the device key is not a SubjectPublicKeyInfo in DER")
