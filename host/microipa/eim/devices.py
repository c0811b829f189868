"""What an eIM knows of a device: kept true by its results, shown as a view."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key
from sqlalchemy import delete, select

from microipa.asn1.tlv import parse
from microipa.common.errors import MicroipaError
from microipa.crypto.certificates import UNREADABLE
from microipa.eim import answers, store, words
from microipa.eim.packages import Operation, public_key_of
from microipa.eim.store import Alarm, Device, DeviceKey, DownloadSession, Order
from microipa.eim.words import Outcome
from microipa.saip import iccid_from_bytes
from microipa.storage.unit_of_work import Work

Profile = dict[str, Any]


class OrdersOpen(MicroipaError):
    """A device that still has something to do."""


class BadDeviceKey(MicroipaError):
    """A key that no device signs results with."""


@dataclass(frozen=True)
class DeviceView:
    """A device as people and programs see it; None is what it has not told yet.

    ``label`` and ``maker`` are the operator's own words.

    ``profiles`` have iccid and state (enabled, disabled), with a whole list also name, class and more;
    ``profiles_known`` says when the card last sent one; without, ``profiles`` are those that this eIM downloaded.
    ``eims`` are eimIds. ``counter`` is the newest package's counterValue, ``highest_sequence`` the newest result's
    seqNumber. ``default_smdp_address`` is empty when the card has none. ``euicc_info2`` is hex when it cannot be read.
    ``certificates`` (euicc, eum) have subject and valid_until. ``device_key`` is the key (hex of its SHA-256) that
    signs results where no eUICC does. ``state_change`` is the cause of the newest change the IPA notified, ``rplmn``
    the network (MCC-MNC) it named last. ``trouble`` is the newest the firmware of this project said of a restart or of
    settings that do not hold; anybody who knows the EID could say it, so nothing is decided by it.
    """

    eid: str
    label: str | None
    maker: str | None
    profiles: list[Profile] | None
    profiles_known: datetime | None
    eims: list[str] | None
    association_token: int | None
    counter: int
    highest_sequence: int
    default_smdp_address: str | None
    ipa_capabilities: dict[str, list[str]]
    euicc_info2: dict[str, Any] | str | None
    certificates: dict[str, dict[str, str]]
    device_key: str | None
    state_change: str | None
    state_changed: datetime | None
    trouble: str | None
    trouble_told: datetime | None
    last_poll: datetime | None
    rplmn: str | None
    open_orders: list[int]
    alarms: list[str]

    @classmethod
    def of(cls, db: Work, device: Device) -> DeviceView:
        waiting = select(Order.id).where(Order.eid == device.eid, Order.state.in_(store.OPEN))
        alarms = select(Alarm.text).where(Alarm.eid == device.eid)
        capabilities = parse(device.ipa_capabilities) if device.ipa_capabilities else None
        info = device.euicc_info2
        return cls(
            eid=device.eid,
            label=device.label,
            maker=device.maker,
            profiles=device.profiles,
            profiles_known=store.moment(device.profiles_known),
            eims=device.eims,
            association_token=device.token,
            counter=device.counter,
            highest_sequence=device.highest_sequence,
            default_smdp_address=device.default_smdp,
            ipa_capabilities=answers.capabilities(capabilities),
            euicc_info2=words.as_json(info, "EUICCInfo2") if info else None,
            certificates=_certificates(device),
            device_key=hashlib.sha256(device.enrolled.spki).hexdigest() if device.enrolled else None,
            state_change=device.state_change,
            state_changed=store.moment(device.state_changed),
            trouble=device.trouble,
            trouble_told=store.moment(device.trouble_told),
            last_poll=store.moment(device.last_poll),
            rplmn=device.rplmn,
            open_orders=list(db.scalars(waiting.order_by(Order.id))),
            alarms=list(db.scalars(alarms.order_by(Alarm.id))),
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-able; moments as ISO 8601."""
        return store.plain(asdict(self))


def _certificates(device: Device) -> dict[str, dict[str, str]]:
    found = {}
    for name, der in (("euicc", device.euicc_certificate), ("eum", device.eum_certificate)):
        if der:
            certificate = x509.load_der_x509_certificate(der)
            found[name] = {
                "subject": certificate.subject.rfc4514_string(),
                "valid_until": certificate.not_valid_after_utc.isoformat(),
            }
    return found


def enrol(db: Work, device: Device, spki: bytes) -> None:
    """Let a device sign results with this key (SubjectPublicKeyInfo DER) in place of its card. Raises BadDeviceKey."""
    check_device_key(spki)
    db.put(DeviceKey(eid=device.eid, spki=spki))


def remove(db: Work, device: Device) -> None:
    """Forget a device and its orders. What it sent for others, notifications, still goes there. Raises OrdersOpen."""
    orders = select(Order.id).where(Order.eid == device.eid)
    if waiting := db.scalars(orders.where(Order.state.in_(store.OPEN)).order_by(Order.id)):
        numbers = ", ".join(map(str, waiting))
        raise OrdersOpen(f"{device.eid} has open orders, {numbers}: cancel them with `microipa order cancel`, or wait")
    db.execute(delete(DownloadSession).where(DownloadSession.order_id.in_(orders)))
    for kind in (Order, Alarm, DeviceKey, Device):
        db.execute(delete(kind).where(kind.eid == device.eid))


def check_device_key(spki: bytes) -> None:
    """Raises BadDeviceKey."""
    try:
        key = load_der_public_key(spki)
    except UNREADABLE as error:
        raise BadDeviceKey(f"the device key is not a SubjectPublicKeyInfo in DER: {error}") from error
    if not isinstance(key, EllipticCurvePublicKey) or not isinstance(key.curve, SECP256R1):
        raise BadDeviceKey("the device key is not on P-256: enrol the .pub file that the device has written")


def result_key(device: Device) -> EllipticCurvePublicKey:
    """The key that an eUICC package result must be signed with, of a device that is proven."""
    if device.enrolled:
        key = load_der_public_key(device.enrolled.spki)
        assert isinstance(key, EllipticCurvePublicKey)
        return key
    assert device.euicc_certificate
    return public_key_of(device.euicc_certificate)


def apply(device: Device, operations: Sequence[Operation], outcomes: Sequence[Outcome]) -> None:
    """Note what a package changed on the card; ``outcomes`` are in the order of ``operations``.

    After a rollback the profiles are those of the package's own list, and not known without one.
    """
    rolled_back = any(outcome.operation == "rollback" for outcome in outcomes)
    if rolled_back:
        device.profiles = device.profiles_known = None
    for (name, fields), outcome in zip(operations, outcomes, strict=False):
        if outcome.operation == name and outcome.ok and not (rolled_back and name in ("enable", "disable")):
            _apply(device, name, fields, outcome.value)


def _apply(device: Device, name: str, fields: Mapping[str, Any], value: Any) -> None:
    match name:
        case "listProfileInfo":
            if not fields:  # else it is a part of the list
                device.profiles, device.profiles_known = value, time.time()
        case "setDefaultDpAddress":
            device.default_smdp, device.default_signed = fields["defaultDpAddress"], True
        case "listEim":
            device.eims = value
        case "addEim" if device.eims is not None:
            device.eims = [*device.eims, fields["eimId"]]
        case "deleteEim" if device.eims is not None:
            device.eims = [eim_id for eim_id in device.eims if eim_id != fields["eimId"]]
        case _ if device.profiles is not None:
            iccid = iccid_from_bytes(fields["iccid"]) if "iccid" in fields else None
            device.profiles = _changed(device.profiles, name, iccid)


def _changed(profiles: list[Profile], name: str, iccid: str | None) -> list[Profile]:
    """The list after a PSMO succeeded on the profile ``iccid``."""
    match name:
        case "enable":
            return [p | {"state": "enabled" if p.get("iccid") == iccid else "disabled"} for p in profiles]
        case "disable":
            return [p | {"state": "disabled"} if p.get("iccid") == iccid else p for p in profiles]
        case "delete":
            return [p for p in profiles if p.get("iccid") != iccid]
        case "setFallbackAttribute" | "unsetFallbackAttribute":
            return [p | {"fallback": iccid is not None and p.get("iccid") == iccid} for p in profiles]
    return profiles


def add_profile(device: Device, iccid: str) -> None:
    """A profile was installed, which leaves it disabled. Where the card has sent no list, it is a part of one."""
    others = [profile for profile in device.profiles or () if profile.get("iccid") != iccid]
    device.profiles = [*others, {"iccid": iccid, "state": "disabled"}]
