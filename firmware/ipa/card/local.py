"""The functions of ES10b that no eIM asks for: what the device does with its card on its own (SGP.32 5.9).

They are the companions of Es10, in a module of their own because few devices need them and fewer at once:
`from ipa.card import local` where they are called. `refresh` is the refreshFlag: with it the card changes the
profile by a REFRESH, without it the caller resets the card. Each raises CardRefused with the code of its
function, and StatusError where the card does not have it.
"""

from ipa import tlv
from ipa.card.es10 import CardRefused, UnexpectedAnswer
from ipa.compat import const

_GET_RAT = const(0xBF43)
_IPAE_ACTIVATION = const(0xBF42)
_PROFILE_ROLLBACK = const(0xBF58)
_CONFIGURE_IMMEDIATE_ENABLE = const(0xBF59)
_IMMEDIATE_ENABLE = const(0xBF5A)
_ENABLE_EMERGENCY_PROFILE = const(0xBF5B)
_DISABLE_EMERGENCY_PROFILE = const(0xBF5C)
_EXECUTE_FALLBACK = const(0xBF5D)
_RETURN_FROM_FALLBACK = const(0xBF5E)
_GET_CONNECTIVITY_PARAMETERS = const(0xBF5F)
_EUICC_MEMORY_RESET = const(0xBF64)
_SET_DEFAULT_DP_ADDRESS = const(0xBF65)


async def _do(es10, name, tag, *parts, result=0x80):
    """Call a function whose answer is one result; returns the view of the answer when that is 0."""
    answer = await es10.call(tag, *parts)
    code = tlv.find(answer, tag, result)
    if code is None:
        raise UnexpectedAnswer("{} without a result".format(name))
    if tlv.integer(code):
        raise CardRefused(name, tlv.integer(code))
    return answer


def _flag(refresh):
    return b"\x80\x01\xff" if refresh else b"\x80\x01\x00"


async def profile_rollback(es10, refresh=True):
    """5.9.16: back to the profile before the last enable. -> view of the new EuiccPackageResult, or None."""
    answer = await _do(es10, "ProfileRollback", _PROFILE_ROLLBACK, _flag(refresh), result=0x02)
    return tlv.find_raw(answer, _PROFILE_ROLLBACK, 0xBF51)


async def immediate_enable(es10, refresh=True):
    """5.9.15: enable the profile that was installed just now."""
    await _do(es10, "ImmediateEnable", _IMMEDIATE_ENABLE, _flag(refresh))


async def execute_fallback_mechanism(es10, refresh=True):
    """5.9.20"""
    await _do(es10, "ExecuteFallbackMechanism", _EXECUTE_FALLBACK, _flag(refresh))


async def return_from_fallback(es10, refresh=True):
    """5.9.21"""
    await _do(es10, "ReturnFromFallback", _RETURN_FROM_FALLBACK, _flag(refresh))


async def enable_emergency_profile(es10, refresh=True):
    """5.9.22"""
    await _do(es10, "EnableEmergencyProfile", _ENABLE_EMERGENCY_PROFILE, _flag(refresh))


async def disable_emergency_profile(es10, refresh=True):
    """5.9.23"""
    await _do(es10, "DisableEmergencyProfile", _DISABLE_EMERGENCY_PROFILE, _flag(refresh))


async def configure_immediate_profile_enabling(es10, enabled, oid=None, address=None):
    """5.9.17, only while the card knows no eIM. `oid`: contents octets of the only OID it holds for."""
    await _do(
        es10,
        "ConfigureImmediateProfileEnabling",
        _CONFIGURE_IMMEDIATE_ENABLE,
        b"\x80\x00" if enabled else b"",
        b"" if oid is None else tlv.encode(0x81, oid),
        b"" if address is None else tlv.encode(0x82, address.encode()),
    )


async def set_default_dp_address(es10, address):
    """5.9.25"""
    await _do(es10, "SetDefaultDpAddress", _SET_DEFAULT_DP_ADDRESS, tlv.encode(0x80, address.encode()))


async def ipae_activation(es10):
    """3.8: hand the card over to the IPA inside it."""
    await _do(es10, "IpaeActivation", _IPAE_ACTIVATION, b"\x80\x02\x07\x80")


async def euicc_memory_reset(es10, *options):
    """Delete for good what the numbers in `options` stand for: 0 operational profiles, 1 field-loaded
    test profiles, 2 default SM-DP+ address, 3 pre-loaded test profiles, 4 provisioning profiles, 5 eIM
    configuration, 6 immediate enable configuration.

    Returns {tag: code} of what went: 0x80 profiles and address, 0x81 eIMs, 0x82 immediate enable; 0 is good.
    """
    bits = 0
    for option in options:
        bits |= 0x80 >> option
    command = bytes((0x82, 2, _unused(bits), bits))
    answer = await es10.call(_EUICC_MEMORY_RESET, command)
    return {tag: tlv.integer(value) for tag, value, _ in tlv.items(tlv.find(answer, _EUICC_MEMORY_RESET))}


def _unused(bits):
    """Bits that do not count at the end of a BIT STRING of one octet (X.690 11.2.2)."""
    unused = 0
    while unused < 7 and not bits >> unused & 1:
        unused += 1
    return unused


async def get_rat(es10):
    """5.9.13 -> view of BF43{A0{30 ...}}, the rules authorisation table."""
    return await es10.ask(_GET_RAT)


async def get_connectivity_parameters(es10):
    """5.9.24 -> view of the httpParams of the enabled profile, None when there are none in it."""
    answer = await es10.ask(_GET_CONNECTIVITY_PARAMETERS)
    error = tlv.find(answer, _GET_CONNECTIVITY_PARAMETERS, 0x81)
    if error is not None:
        raise CardRefused("GetConnectivityParameters", tlv.integer(error))
    return tlv.find(answer, _GET_CONNECTIVITY_PARAMETERS, 0xA0, 0x81)
