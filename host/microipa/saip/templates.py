"""File system templates of the TCA profile package, annex A: what a card creates without being told.

One line a file: field name in the profile element, file identifier, kind, size, short file identifier (hex),
default content (hex; a last byte followed by * is repeated to the end). Kinds: D1 directory under the MF,
D2 directory below the current D1, T transparent, L linear fixed, C cyclic (records x length), B BER-TLV.
A ? stands for what only the profile can say. File identifiers are those of TS 102 221, TS 31.102/31.103 and
3GPP2 C.S0065.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

_MF = """
ef-pl       2F05 T 2 05 FF*
ef-iccid    2FE2 T 10
ef-dir      2F00 L ? 1E
ef-arr      2F06 L ?
ef-umpc     2F08 T 5 08 00*
"""

_USIM_CORE = """
ef-imsi     6F07 T 9 07
ef-arr      6F06 L ? 17
ef-keys     6F08 T 33 08 07FF*
ef-keysPS   6F09 T 33 09 07FF*
ef-hpplmn   6F31 T 1 12 0A
ef-ust      6F38 T 14 04
"""

_USIM_REST = """
ef-start-hfn 6F5B T 6 0F F00000F00000
ef-threshold 6F5C T 3 10 FF*
ef-psloci   6F73 T 14 0C FFFFFFFFFFFFFFFFFFFF0000FF01
ef-acc      6F78 T 2 06
ef-fplmn    6F7B T 12 0D FF*
ef-loci     6F7E T 11 0B FFFFFFFFFFFFFF0000FF01
ef-ad       6FAD T 4 03 00000002
ef-ecc      6FB7 L 1x4 01
ef-netpar   6FC4 T 128 - FF*
"""

_USIM = """
adf-usim    ? D1
""" + _USIM_CORE + """
ef-fdn      6F3B L 20x26
ef-sms      6F3C L 10x176 - 00FF*
ef-smsp     6F42 L 1x38
ef-smss     6F43 T 2
ef-spn      6F46 T 17
ef-est      6F56 T 1 05
""" + _USIM_REST + """
ef-epsloci  6FE3 T 18 1E FFFFFFFFFFFFFFFFFFFFFFFFFFFFFF000001
ef-epsnsc   6FE4 L 1x80 18
"""

_OPT_USIM = """
ef-li       6F05 T 6 02
ef-acmax    6F37 T 3 - 00*
ef-acm      6F39 C 1x3 - 00*
ef-gid1     6F3E T 8
ef-gid2     6F3F T 8
ef-msisdn   6F40 L 1x24
ef-puct     6F41 T 5 - FFFFFF0000
ef-cbmi     6F45 T 10
ef-cbmid    6F48 T 10 0E
ef-sdn      6F49 L 10x24
ef-ext2     6F4B L 10x13 - 00FF*
ef-ext3     6F4C L 10x13 - 00FF*
ef-cbmir    6F50 T 20
ef-plmnwact 6F60 T 40 0A
ef-oplmnwact 6F61 T 40 11
ef-hplmnwact 6F62 T 5 13 FFFFFF0000
ef-dck      6F2C T 16
ef-cnl      6F32 T 30
ef-smsr     6F47 L 10x30 - 00FF*
ef-bdn      6F4D L 10x25
ef-ext5     6F4E L 10x13 - 00FF*
ef-ccp2     6F4F L 5x15 16
ef-ext4     6F55 L 10x13 - 00FF*
ef-acl      6F57 T 101 - 00FF*
ef-cmi      6F58 L 10x11
ef-ici      6F80 C 20x38 14
ef-oci      6F81 C 20x37 15
ef-ict      6F82 C 1x3 - 00*
ef-oct      6F83 C 1x3 - 00*
ef-vgcs     6FB1 T 20
ef-vgcss    6FB2 T 7
ef-vbs      6FB3 T 20
ef-vbss     6FB4 T 7
ef-emlpp    6FB5 T 2
ef-aaem     6FB6 T 1 - 00
ef-hiddenkey 6FC3 T 4
ef-pnn      6FC5 L 10x16 19
ef-opl      6FC6 L 5x8 1A
ef-mbdn     6FC7 L 3x24
ef-ext6     6FC8 L 10x13 - 00FF*
ef-mbi      6FC9 L 10x5
ef-mwis     6FCA L 10x6 - 00*
ef-cfis     6FCB L 10x16 - 0100FF*
ef-ext7     6FCC L 10x13 - 00FF*
ef-spdi     6FCD T 17 1B
ef-mmsn     6FCE L 10x6 - 000000FF*
ef-ext8     6FCF L 10x13 - 00FF*
ef-mmsicp   6FD0 T 100
ef-mmsup    6FD1 L ?
ef-mmsucp   6FD2 T 100
ef-nia      6FD3 L 5x11
ef-vgcsca   6FD4 T ? - 00*
ef-vbsca    6FD5 T ? - 00*
ef-gbabp    6FD6 T ?
ef-msk      6FD7 L ?
ef-muk      6FD8 L ?
ef-ehplmn   6FD9 T 15 1D
ef-gbanl    6FDA L ?
ef-ehplmnpi 6FDB T 1 - 00
ef-lrplmnsi 6FDC T 1 - 00
ef-nafkca   6FDD L ?
ef-spni     6FDE T ? - 00FF*
ef-pnni     6FDF L ? - 00FF*
ef-ncp-ip   6FE2 L ?
ef-ufc      6FE6 T 30 - 801E60C01E900080040000000000000000F0000000004000000000000080
ef-nasconfig 6FE8 T 18
ef-uicciari 6FE7 L ?
ef-pws      6FEC T ?
ef-fdnuri   6FED L ?
ef-bdnuri   6FEE L ?
ef-sdnuri   6FEF L ?
ef-ial      6FF0 L ?
ef-ips      6FF1 C ?
ef-ipd      6FF2 L ?
ef-epdgid   6FF3 T ?
ef-epdgselection 6FF4 T ?
ef-epdgidem 6FF5 T ?
ef-epdgselectionem 6FF6 T ?
ef-frompreferred 6FF7 T 1 - 00
ef-imsconfigdata 6FF8 B ?
ef-3gpppsdataoff 6FF9 T 4
ef-3gpppsdataoffservicelist 6FFA L ?
ef-xcapconfigdata 6FFC B ?
ef-earfcnlist 6FFD T ?
ef-mudmidconfigdata 6FFE B ?
"""

_GSM_ACCESS = """
df-gsm-access 5F3B D2
ef-kc       4F20 T 9 01 FFFFFFFFFFFFFFFF07
ef-kcgprs   4F52 T 9 02 FFFFFFFFFFFFFFFF07
ef-cpbcch   4F63 T 10
ef-invscan  4F64 T 1 - 00
"""

_5GS_OF_IOT = """
df-df-5gs   5FC0 D2
ef-5gs3gpploci  4F01 T 20 01 FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000001
ef-5gsn3gpploci 4F02 T 20 02 FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF00000001
ef-5gs3gppnsc   4F03 L 1x57 03
ef-5gsn3gppnsc  4F04 L 1x57 04
ef-5gauthkeys   4F05 T 110 05
ef-uac-aic      4F06 T 4 06
ef-suci-calc-info 4F07 T ? 07
ef-opl5g        4F08 L ? 08
ef-supi-nai     4F09 T ? 09
ef-routing-indicator 4F0A T 4 0A F0FFFFFF
ef-ursp         4F0B B ?
ef-tn3gppsnn    4F0C T 1 0C 00
"""

_5GS = _5GS_OF_IOT.replace("ef-supi-nai", "ef-supinai") + """
ef-cag          4F0D T ? 0D
ef-sor-cmci     4F0E T ? 0E
ef-dri          4F0F T 7 0F
ef-5gsedrx      4F10 T 2 10
ef-5gnswo-conf  4F11 T 1 11
ef-mchpplmn     4F15 T 1 15
ef-kausf-derivation 4F16 T 1 16
"""

_SAIP = """
df-df-saip  5FD0 D2
ef-suci-calc-info-usim 4F01 T ?
"""

_ISIM = """
adf-isim    ? D1
ef-impi     6F02 T ? 02
ef-impu     6F04 L ? 04
ef-domain   6F03 T ? 05
ef-ist      6F07 T 14 07
ef-ad       6FAD T 3 03 000000
ef-arr      6F06 L ? 06
"""

_CSIM = """
adf-csim    ? D1
ef-arr      6F06 L ?
ef-call-count 6F21 C 15x2 - 00*
ef-imsi-m   6F22 T 10
ef-imsi-t   6F23 T 10
ef-tmsi     6F24 T 16
ef-ah       6F25 T 2
ef-aop      6F26 T 1
ef-aloc     6F27 T 7
ef-cdmahome 6F28 L ?
ef-znregi   6F29 L ?
ef-snregi   6F2A T 7
ef-distregi 6F2B T 8
ef-accolc   6F2C T 1
ef-term     6F2D T 1
ef-acp      6F2F T 7
ef-prl      6F30 T ?
ef-ruimid   6F31 T 8
ef-csim-st  6F32 T ?
ef-spc      6F33 T 3 - 00*
ef-otapaspc 6F34 T 1
ef-namlock  6F35 T 1
ef-ota      6F36 T ?
ef-sp       6F37 T 1
ef-esn-meid-me 6F38 T 8 - 00*
ef-li       6F3A T ?
ef-usgind   6F42 T 1
ef-ad       6F43 T 3 - 00*
ef-max-prl  6F45 T 4
ef-spcs     6F46 T 1
ef-mecrp    6F55 T 3
ef-home-tag 6F70 T ?
ef-group-tag 6F71 T ?
ef-specific-tag 6F72 T ?
ef-call-prompt 6F73 T ?
"""

_OPT_ISIM = """
ef-pcscf    6F09 L ?
ef-sms      6F3C L 10x176 - 00FF*
ef-smsp     6F42 L ?
ef-smss     6F43 T 2
ef-smsr     6F47 L 10x30 - 00FF*
ef-gbabp    6FD5 T ?
ef-gbanl    6FD7 L ?
ef-nafkca   6FDD L ?
ef-uicciari 6FE7 L ?
ef-frompreferred 6FF7 T 1 - 00
ef-imsconfigdata 6FF8 B ?
ef-xcapconfigdata 6FFC B ?
ef-webrtcuri 6FFA L ?
ef-mudmidconfigdata 6FFE B ?
"""

_TELECOM = """
df-telecom  7F10 D1
ef-arr      6F06 L ?
ef-rma      6F53 L ?
ef-sume     6F54 T 22
ef-ice-dn   6FE0 L 50x24
ef-ice-ff   6FE1 L ?
ef-psismsc  6FE5 L ?
df-graphics 5F50 D2
ef-img      4F20 L ? - 00FF*
ef-iidf     ? T ?
ef-ice-graphics 4F21 B ?
ef-launch-scws 4F01 T ?
ef-icon     ? T ?
df-phonebook 5F3A D2
ef-pbr      4F30 L ?
ef-psc      4F22 T 4 - 00*
ef-cc       4F23 T 2 - 00*
ef-puid     4F24 T 2 - 00*
df-multimedia 5F3B D2
ef-mml      4F47 B ?
ef-mmdf     4F48 B ?
df-mmss     5F3C D2
ef-mlpl     4F20 T ? 01
ef-mspl     4F21 T ? 02
ef-mmssmode 4F22 T 1 03
"""

_OPT_IOT = """
ef-fdn      6F3B L 20x26
ef-sms      6F3C L 10x176 - 00FF*
ef-smsp     6F42 L 1x38
ef-smss     6F43 T 2
ef-spn      6F46 T 17
ef-est      6F56 T 1 05
ef-oplmnwact 6F61 T 40 11
ef-hplmnwact 6F62 T 5 13 FFFFFF0000
ef-ehplmn   6FD9 T 15 1D
ef-epsloci  6FE3 T 18 1E FFFFFFFFFFFFFFFFFFFFFFFFFFFFFF000001
ef-epsnsc   6FE4 L 1x80 18
""" + _5GS_OF_IOT + _SAIP

# What of annex A.10 is not public is ours: the temporary identifier of the ADF, and an EF.UST with service 33 only.
_IOT = (
    "mf 3F00 D1"
    + _MF
    + "adf-usim 7FF0 D1"
    + _USIM_CORE.replace("ef-arr ", "ef-arr-usim ").replace("T 14 04", "T 14 04 000000000100*")
    + _USIM_REST
)


@dataclass(frozen=True)
class FileTemplate:
    """What annex A says of one file. None: the profile must say it."""

    field: str
    fid: str | None
    kind: str
    records: int | None = None
    size: int | None = None  # of the file, or of one record
    sfi: int | None = None
    fill: bytes = b"\xff"  # the last byte goes on to the end

    @property
    def is_directory(self) -> bool:
        return self.kind in ("D1", "D2")


@dataclass(frozen=True)
class Template:
    """The files of one profile element.

    ``oid`` names the template (annex B), ``application`` is the element whose ADF the files belong to;
    ``complete``: files that the element leaves out are created as well. A template without a table leaves no
    files here.
    """

    oid: str
    versions: int  # of the template that annex B knows: oid itself, oid.2, …
    application: str = ""
    complete: bool = False
    table: str = ""

    @property
    def files(self) -> dict[str, FileTemplate]:
        return _parse(self.table)

    @property
    def oids(self) -> frozenset[str]:
        """Every version that is known."""
        return frozenset([self.oid, *(f"{self.oid}.{number}" for number in range(2, self.versions + 1))])


_OID = "2.23.143.1.2."
TEMPLATES = {
    "mf": Template(_OID + "1", 1, "", True, "mf 3F00 D1" + _MF),
    "cd": Template(_OID + "2", 1, table="df-cd 7F11 D1\nef-launchpad 6F01 T ?\nef-icon ? T ?"),
    "telecom": Template(_OID + "3", 2, table=_TELECOM),
    "usim": Template(_OID + "4", 2, "usim", True, _USIM),
    "opt-usim": Template(_OID + "5", 3, "usim", table=_OPT_USIM),
    "phonebook": Template(_OID + "6", 1),
    "gsm-access": Template(_OID + "7", 1, "usim", table=_GSM_ACCESS),
    "isim": Template(_OID + "8", 1, "isim", True, _ISIM),
    "opt-isim": Template(_OID + "9", 2, "isim", table=_OPT_ISIM),
    "csim": Template(_OID + "10", 2, "csim", table=_CSIM),
    "opt-csim": Template(_OID + "11", 2),
    "eap": Template(_OID + "12", 1),
    "df-5gs": Template(_OID + "13", 4, "usim", table=_5GS),
    "df-saip": Template(_OID + "14", 1, "usim", table=_SAIP),
    "df-snpn": Template(_OID + "15", 1),
    "df-5gprose": Template(_OID + "16", 1),
    "iot": Template(_OID + "17", 1, "usim", True, _IOT),
    "opt-iot": Template(_OID + "18", 1, "usim", table=_OPT_IOT),
}


@cache
def _parse(table: str) -> dict[str, FileTemplate]:
    return {line.split()[0]: _line(line.split()) for line in table.splitlines() if line}


def _line(words: list[str]) -> FileTemplate:
    field, fid, kind, *rest = words
    length, sfi, fill = [*rest, *("?", "-", "FF*")[len(rest) :]]
    records, _, size = length.rpartition("x")
    return FileTemplate(
        field=field,
        fid=None if fid == "?" else fid,
        kind=kind,
        records=int(records) if records else None,
        size=None if size == "?" else int(size),
        sfi=None if sfi == "-" else int(sfi, 16),
        fill=bytes.fromhex(fill.rstrip("*")),
    )
