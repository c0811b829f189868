"""Chapter 3 of SGP.32, one module a procedure; what they share."""

from ipa import tlv

# What a BG95-class modem can do, as the SM-DP+ wants to know it: EPC over E-UTRAN of release 14 (SGP.22 4.2).
_DEVICE_CAPABILITIES = b"\x85\x03\x0e\x00\x00"


class Session:
    """One conversation with one eIM: the card on one side, the wire on the other."""

    # For downloads without the eIM, where this device does them:
    tcp = None  # `async (host, port) -> stream`
    roots_file = ""  # certificates under which SM-DP+ servers are trusted, DER, one behind the other
    trust = ("pin", b"")  # in the eIM's own server, as Trust takes it

    def __init__(self, eid, eim_id, es10, esipa, device_info, journal):
        self.eid = eid
        self.eim_id = eim_id
        self.es10 = es10
        self.esipa = esipa
        self.device_info = device_info  # value of a DeviceInfo, see below
        self.journal = journal


class InvalidPackage(Exception):
    """An eIM package of a known kind that is incomplete or contradicts itself (invalidPackageFormat)."""

    def __init__(self, reason, transaction=None):
        super().__init__(reason)
        self.transaction = transaction  # its eimTransactionId, when it has one


def device_info(imei):
    """The value of a DeviceInfo (SGP.22 4.2): tac, deviceCapabilities, imei. `imei`: 15 digits as text."""
    packed = bytearray(8)
    for i in range(7):  # telephony BCD: the first digit of a pair in the low nibble
        packed[i] = int(imei[2 * i]) | int(imei[2 * i + 1]) << 4
    packed[7] = int(imei[14]) << 4 | 0x0F  # the check digit alone sits high, above a filler
    out = bytearray(tlv.encode(0x80, packed[:4]))
    out.extend(tlv.encode(0xA1, _DEVICE_CAPABILITIES))
    out.extend(tlv.encode(0x82, packed))
    return bytes(out)


def digits(packed):
    """An ICCID as people write it: nibbles swapped, fillers gone."""
    text = "".join("{:x}{:x}".format(octet & 15, octet >> 4) for octet in packed)
    return text.rstrip("f")
