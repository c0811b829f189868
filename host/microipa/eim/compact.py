"""The compact forms of ESipa (minimizeEsipaBytes, SGP.32 5.14): rebuilt to the very bytes that the card signed.

An IPA leaves out what its eIM knows: certificates, most of EUICCInfo2, what the SM-DP+ had sent before. Each form
put together here is believed only when the card's signature verifies over it.
"""

from __future__ import annotations

from collections.abc import Callable

from microipa.asn1.tlv import Tlv, TlvError, parse, tlv
from microipa.common.errors import MicroipaError
from microipa.crypto import ec
from microipa.crypto.certificates import CertificateInvalid, verify_euicc_chain
from microipa.crypto.revocation import Issuer
from microipa.eim import packages
from microipa.eim.packages import SIGNATURE
from microipa.eim.store import DownloadSession

ISD_P = bytes.fromhex("A0000005591010FFFFFFFF890000")  # what all AIDs of profiles begin with (SGP.22 annex H)
INSTALLED = bytes.fromhex("0780")  # NotificationEvent
EXT_CARD_RESOURCE = 0x84
ONE_TIME_KEY = 0x5F49
SUBJECT_ALTERNATIVE_NAME = bytes.fromhex("551D11")


class NotRebuilt(MicroipaError):
    """What was left out is not known here, or not as the card knows it: the plain form must be sent."""


def is_compact(response: Tlv) -> bool:
    """Whether a BF38, BF21 or BF41 of a card came in its compact form."""
    return 0xA2 in response


def _rebuilding(rebuild: Callable[..., bytes]) -> Callable[..., bytes]:
    """Whatever keeps a form from being put together, it is not rebuilt."""

    def named(*arguments: object) -> bytes:
        try:
            return rebuild(*arguments)
        except (TlvError, CertificateInvalid, ec.SignatureInvalid) as error:
            raise NotRebuilt(f"what the card signed cannot be reconstructed from the compact form: {error}") from error

    return named


@_rebuilding
def authenticate_server(response: Tlv, session: DownloadSession, ci: Issuer) -> bytes:
    """BF38{A2} → BF38{A0}. Raises NotRebuilt."""
    short, device = response[0xA2], session.order.device
    signed, *rest = short.children()
    given = {field.tag: tlv(0x30, field.value) for field in rest if field.tag in (0xA1, 0xA2)}
    euicc, eum = given.get(0xA1, device.euicc_certificate), given.get(0xA2, device.eum_certificate)
    if euicc is None or eum is None:
        raise NotRebuilt(f"the certificates of {device.eid} are not known")
    _, key = verify_euicc_chain(euicc, eum, ci)
    full = signed.raw if signed.tag == 0x30 else _signed_1(signed, session)
    signature = short[SIGNATURE]
    ec.verify(key, signature.value, full)
    return tlv(0xBF38, tlv(0xA0, full, signature.raw, euicc, eum))


def _signed_1(short: Tlv, session: DownloadSession) -> bytes:
    server, info2 = session.server_signed_1, session.order.device.euicc_info2
    context = short.get(0xA2)
    ctx_params_1 = context.value if context else session.ctx_params_1
    if server is None or info2 is None or ctx_params_1 is None:
        raise NotRebuilt("EUICCInfo2, ctxParams1 or what the SM-DP+ signed is not known")
    resource = short[EXT_CARD_RESOURCE].raw
    # Everything else in EUICCInfo2 stays as it is, known or not.
    fields = [resource if field.tag == EXT_CARD_RESOURCE else field.raw for field in parse(info2)]
    asked = parse(server)
    parts = (asked[0x80].raw, asked[0x83].raw, asked[0x84].raw, tlv(0xBF22, *fields), ctx_params_1)
    return tlv(0x30, *parts)


@_rebuilding
def prepare_download(response: Tlv, session: DownloadSession) -> bytes:
    """BF21{A2} → BF21{A0}. Raises NotRebuilt."""
    short = response[0xA2]
    if session.smdp_signed_2 is None or session.smdp_signature_2 is None:
        raise NotRebuilt("what the SM-DP+ signed is not known")
    offered = parse(session.smdp_signed_2)
    key = short[0x30].get(ONE_TIME_KEY) or offered[ONE_TIME_KEY]  # left out, it is the one of an earlier try
    hash_cc = short[0x30].get(0x04)
    signed = tlv(0x30, offered[0x80].raw, key.raw, hash_cc.raw if hash_cc else b"")
    _verify(session, short[SIGNATURE], signed + session.smdp_signature_2)
    return tlv(0xBF21, tlv(0xA0, signed, short[SIGNATURE].raw))


@_rebuilding
def cancel_session(response: Tlv, session: DownloadSession) -> bytes:
    """BF41{A2} → BF41{A0}. Raises NotRebuilt."""
    short = response[0xA2]
    reason = short[0x30].get(0x80)
    parts = (tlv(0x80, _transaction(session)), tlv(0x81, _oid(session)))
    signed = tlv(0x30, *parts, tlv(0x82, reason.value) if reason else b"")
    _verify(session, short[SIGNATURE], signed)
    return tlv(0xBF41, tlv(0xA0, signed, short[SIGNATURE].raw))


@_rebuilding
def installation_result(pending: Tlv, session: DownloadSession) -> bytes:
    """A0, compactProfileInstallationResult → BF37. Raises NotRebuilt."""
    short = pending[0xA0]
    with_iccid = short.get(0x01)
    iccid = b""
    if with_iccid is None or any(with_iccid.value):
        if session.profile_metadata is None:
            raise NotRebuilt("the metadata of the profile is not known")
        iccid = parse(session.profile_metadata)[0x5A].raw
    about = (
        tlv(0x80, short[0x02].value),
        tlv(0x81, INSTALLED),
        tlv(0x0C, _server_signed_1(session)[0x83].value),
        iccid,
    )
    data = tlv(
        0xBF27,
        short[0x80].raw,
        tlv(0xBF2F, *about),
        tlv(0x06, _oid(session)),
        tlv(0xA2, _final_result(short[0xA2])),
    )
    _verify(session, pending[SIGNATURE], data)
    return tlv(0xBF37, data, pending[SIGNATURE].raw)


def _final_result(short: Tlv) -> bytes:
    success = short.get(0xA0)
    if success is None:
        return short[0xA1].raw
    sima = success.get(0x04)
    return tlv(0xA0, tlv(0x4F, ISD_P + success[0x4F].value), sima.raw if sima else b"")


def _verify(session: DownloadSession, signature: Tlv, signed: bytes) -> None:
    certificate = session.order.device.euicc_certificate
    if certificate is None:
        raise NotRebuilt(f"the certificate of {session.order.eid} is not known")
    ec.verify(packages.public_key_of(certificate), signature.value, signed)


def _server_signed_1(session: DownloadSession) -> Tlv:
    if session.server_signed_1 is None:
        raise NotRebuilt("what the SM-DP+ signed is not known")
    return parse(session.server_signed_1)


def _transaction(session: DownloadSession) -> bytes:
    return bytes.fromhex(session.transaction_id)


def _oid(session: DownloadSession) -> bytes:
    """The registeredID in CERT.DPauth, as the card took it from there."""
    if session.server_certificate is None:
        raise NotRebuilt("the certificate of the SM-DP+ is not known")
    for extension in parse(session.server_certificate)[0x30][0xA3][0x30]:
        if extension[0x06].value == SUBJECT_ALTERNATIVE_NAME:
            return parse(extension[0x04].value)[0x88].value
    raise NotRebuilt("the certificate of the SM-DP+ has no OID")
