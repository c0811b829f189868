"""Chooses the access point name: that of the profile, else the one in the settings. Loaded only for this."""

from ipa import tlv
from ipa.card.channel import CardError
from ipa.compat import INFO, const, log
from ipa.modem import SocketError, fit

_GET_CONNECTIVITY_PARAMETERS = const(0xBF5F)
_NETWORK_ACCESS_NAME = const(0x47)  # TS 102 223 8.70; the high bit: comprehension required
_ICCID = "iccid:"
_PLMN = "plmn:"


async def choose(es10, settings, iccid, imsi):
    """The APN for the enabled profile; "" leaves it to the network.

    `iccid` and `imsi` are digits of that profile; MCC and MNC of the imsi are sufficient; "" if unknown. Raises
    ModemError and the exceptions of the channel; a card without such parameters is not an error.
    """
    apn = await _of_profile(es10)
    whose = "the profile's"
    if apn is None:
        whose = "by ipa.json"
        apn = _of_settings(settings["apn"], iccid, imsi)
    log(INFO, "modem: APN '%s'," % apn, whose)
    return apn


def check(setting):
    """Check the `apn` of the settings. Raises ValueError with the reason."""
    if isinstance(setting, str):
        _check_name("", setting)
        return
    if not isinstance(setting, dict):
        raise ValueError("is %r, not text or a table" % (setting,))
    for key, name in setting.items():
        digits = key[key.find(":") + 1 :]
        known = key == "default" or key.startswith(_ICCID) and len(digits) <= 20
        known = known or key.startswith(_PLMN) and len(digits) in (5, 6)
        if not known or not (key == "default" or digits.isdigit()):
            raise ValueError("has the key %s, allowed are default, iccid:<1 to 20 digits>, plmn:<5 or 6 digits>" % key)
        _check_name(" of " + key, name)


def _check_name(where, name):
    if not isinstance(name, str):
        raise ValueError("%s is %r, not text" % (where, name))
    try:
        fit(name)
    except SocketError:
        raise ValueError("%s is %r, allowed are letters, digits, - . _" % (where, name)) from None


def _of_settings(setting, iccid, imsi):
    if isinstance(setting, str):
        return setting
    for kind, digits in ((_ICCID, iccid), (_PLMN, imsi)):
        best = ""
        for key in setting:
            if key.startswith(kind) and digits.startswith(key[len(kind) :]) and len(key) > len(best):
                best = key
        if best:
            return setting[best]
    return setting.get("default", "")


async def _of_profile(es10):
    """The network access name in its httpParams (SGP.32 5.9.24), None if there is no valid one."""
    try:
        answer = await es10.ask(_GET_CONNECTIVITY_PARAMETERS)
        name = _access_name(tlv.find(answer, _GET_CONNECTIVITY_PARAMETERS, 0xA0, 0x81) or b"")
        return None if name is None else fit(name)
    except (CardError, tlv.TlvError, SocketError, UnicodeError) as error:
        log(INFO, "card: no APN of the profile's:", error)
        return None


def _access_name(parts):
    for tag, value, _ in tlv.items(parts):
        if tag & 0x7F == _NETWORK_ACCESS_NAME:
            return _joined(value)
        if tag & 0xE0 == 0xA0:  # some cards wrap them
            name = _access_name(value)
            if name is not None:
                return name
    return None


def _joined(value):
    """Labels with their length before each (TS 23.003 9.1), or by mistake the name as text."""
    labels = []
    pos = 0
    while pos < len(value):
        end = pos + 1 + value[pos]
        if end > len(value):
            return str(value, "ascii")
        labels.append(str(value[pos + 1 : end], "ascii"))
        pos = end
    return ".".join(labels)
