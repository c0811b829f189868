"""Parses a trigger, and checks whether the profile may be installed. Loaded before a download, then unloaded."""

from ipa import tlv
from ipa.compat import INFO, const, log
from ipa.steps import InvalidPackage, digits

# ProfileDownloadData
_ACTIVATION_CODE = const(0x80)
_CONTACT_DEFAULT_SMDP = const(0x81)
_CONTACT_SMDS = const(0xA2)

# CancelSessionReason
_PPR_NOT_ALLOWED = const(3)
_METADATA_MISMATCH = const(4)

_LONGEST_CODE = const(512)  # 255 characters, and what surrounds them
_PPR_1_AND_2 = const(0x60)


def read(body):
    """ProfileDownloadTriggerRequest -> (eimTransactionId, tag of its data, their value, source); None if absent.

    source is (address, matchingId, OID or "") of the SM-DP+, as far as the trigger contains them. Without data
    (eimDownloadDataHandling) the eIM knows the SM-DP+ itself. Raises InvalidPackage.
    """
    transaction = tlv.find(body, 0x82)
    transaction = None if transaction is None else bytes(transaction)
    data = tlv.find(body, 0xA0)
    source = (None, None, "")
    if data is None:
        if transaction is None:
            raise InvalidPackage("a trigger with neither data nor eimTransactionId")
        return transaction, None, None, source
    ways = [
        (tag, value)
        for tag, value, _ in tlv.items(data)
        if tag in (_ACTIVATION_CODE, _CONTACT_DEFAULT_SMDP, _CONTACT_SMDS)
    ]
    if len(ways) != 1:
        raise InvalidPackage("a trigger that names {} sources of a profile".format(len(ways)), transaction)
    kind, value = ways[0]
    if kind == _ACTIVATION_CODE:
        source = _source(value, transaction)
    return transaction, kind, value, source


def _source(value, transaction):
    """`LPA:1$address$matchingId$oid...` (SGP.22 4.1).

    Blanks that people add when they copy a code, and fields of later versions, are ignored.
    """
    try:
        text = str(value, "utf-8")
    except UnicodeError:
        raise InvalidPackage("an activation code that is no text", transaction) from None
    fields = "".join(text.split()).split("$")
    if fields[0].upper() not in ("LPA:1", "1") or len(fields) < 3 or not fields[1] or len(text) > _LONGEST_CODE:
        raise InvalidPackage("a bad activation code", transaction)
    return fields[1], fields[2], fields[3] if len(fields) > 3 else ""


def unfit(metadata):
    """SGP.22 3.1.3 steps 7 and 8 without a user: refuse rules that need a user's consent.

    None if the profile may be installed, else the reason and the CancelSessionReason.
    """
    iccid = tlv.find(metadata, 0x5A)
    name = tlv.find(metadata, 0x92)
    if iccid is None or len(iccid) != 10 or name is None or tlv.find(metadata, 0x91) is None:
        return "metadata without ICCID or names", _METADATA_MISMATCH
    rules = tlv.find(metadata, 0x99)
    if rules is not None and len(rules) > 1 and rules[1] & _PPR_1_AND_2:
        return "the profile has policy rules that nobody here can consent to", _PPR_NOT_ALLOWED
    log(INFO, "download: profile", digits(iccid), str(name, "utf-8"))
    return None
