"""EuiccMemoryReset: BF64 of SGP.32 and its smaller brother BF34 of SGP.22. No rule holds it back."""

from __future__ import annotations

from dataclasses import dataclass

from microipa.asn1.tlv import Tlv, integer, tlv
from microipa.euicc import profiles
from microipa.euicc.chip import Chip, Handler
from microipa.euicc.nvm import ImmediateEnable, Profile

OK, NOTHING_TO_DELETE, CAT_BUSY, ECALL_ACTIVE = 0, 1, 5, 104
TEST, PROVISIONING, OPERATIONAL = 0, 1, 2
RESET_OPTIONS, EIM_RESULT, IMMEDIATE_RESULT = 0x82, 0x81, 0x82


@dataclass(frozen=True)
class Options:
    """The bits of resetOptions in their order."""

    operational: bool
    field_loaded_test: bool
    default_dp: bool
    pre_loaded_test: bool
    provisioning: bool
    eim_data: bool
    immediate_enable: bool

    @classmethod
    def parse(cls, command: Tlv) -> Options:
        """Raises ValueError when nothing is to be reset."""
        bits = command[RESET_OPTIONS].value[1:2].ljust(1, b"\x00")[0]
        chosen = [bool(bits & 0x80 >> bit) for bit in range(7)]
        if not any(chosen):
            raise ValueError("a memory reset without anything to reset")
        return cls(*chosen)

    def deletes(self, profile: Profile) -> bool:
        return {
            OPERATIONAL: self.operational,
            TEST: self.field_loaded_test or self.pre_loaded_test,
            PROVISIONING: self.provisioning,
        }[profile.profile_class]


def memory_reset(chip: Chip, command: Tlv) -> bytes:
    """BF64{82 bits}. eIMs and immediate enable have results of their own."""
    options = Options.parse(command)
    code = _forget(chip, options)
    if code not in (OK, NOTHING_TO_DELETE):
        return tlv(0xBF64, integer(0x80, code))
    more = b""
    if options.eim_data:
        more = integer(EIM_RESULT, OK if chip.state.eims else NOTHING_TO_DELETE)
        chip.state.eims = []
    if options.immediate_enable:
        more += integer(IMMEDIATE_RESULT, OK)
        chip.state.immediate_enable = ImmediateEnable()
    return tlv(0xBF64, integer(0x80, code), more)


def memory_reset_consumer(chip: Chip, command: Tlv) -> bytes:
    """BF34{82 bits} of SGP.22 clause 5.7.19: profiles and default SM-DP+ address."""
    return tlv(0xBF34, integer(0x80, _forget(chip, Options.parse(command))))


def _forget(chip: Chip, options: Options) -> int:
    """Delete profiles, the enabled one too, and the default SM-DP+ address. Returns resetResult."""
    if chip.state.emergency:
        return ECALL_ACTIVE
    found = [profile for profile in chip.state.profiles if options.deletes(profile)]
    events = []
    if chip.state.enabled() in found:
        if chip.cat_busy:
            return CAT_BUSY
        events += profiles.switch(chip, None)
        chip.state.rollback, chip.state.fallback_from = None, None
        chip.change_profile(refresh=True)
    profiles.announce(chip, events + [profiles.delete(chip, profile) for profile in found])
    forgotten = bool(found)
    if options.default_dp:
        forgotten = forgotten or chip.state.default_dp is not None
        chip.state.default_dp = None
    return OK if forgotten else NOTHING_TO_DELETE


COMMANDS: dict[int, Handler] = {0xBF64: memory_reset}
