"""What a modem does where modems differ. The quirks that change it: ``microipa.quirks.modem``."""

from __future__ import annotations

from dataclasses import dataclass

from microipa.modem.commands import CME_SIM_BUSY


@dataclass(frozen=True)
class Behaviour:
    """The defaults are those of the book. Seconds are those of the board's clock unless they are the true modem's,
    which the link's speedup divides."""

    ccho_prefix: bool = True
    """+CCHO: before the session, as TS 27.007 8.45 has it; some send the bare number."""
    long_sessions: bool = False
    """Session ids of 16 hexadecimal digits instead of the channel number."""
    upper_hex: bool = True
    """Hexadecimal digits in responses are upper case."""
    echo_sticks: bool = False
    """ATE0 answers OK and changes nothing."""
    urc_inside_response: str | None = None
    """This unsolicited line comes between every information response and its OK."""
    cgla_limit: int = 261
    """Longest APDU in bytes that AT+CGLA takes; longer ones end in ERROR."""
    cgla_fails_at: float = 0
    """The how-manieth STORE DATA by AT+CGLA ends in ERROR, once. 0: none."""
    cgla_fails_after_card: bool = False
    """Whether the card has carried out the command that ends in ERROR."""
    card_delay_s: float = 0.0
    """What the card takes for every command, in seconds of the true modem."""
    endless_line_at: float = 0
    """The how-manieth command line is answered with 64 kB without a line end first, once. 0: none."""
    csim_only: bool = False
    """No AT+CCHO, AT+CGLA and AT+CCHC: ERROR."""
    channels_forbidden: bool = False
    """AT+CCHO is there and not allowed: CME ERROR 3."""
    wants_upper_hex: bool = False
    """Digits in lower case are refused with ERROR."""
    gets_response: bool = False
    """The modem fetches what a bare 61xx announces and gives it as the answer; more than that is left to the board."""
    lost_data_urcs: bool = False
    """The URC for received data is never sent."""
    outcome_before_ok: bool = False
    """The line that tells of an opened connection comes before OK, in families where it comes after."""
    bare_line_feeds: bool = False
    """Lines begin and end with a line feed, without a carriage return."""
    restart_s: float = 0.0
    """What the card takes to come back after REFRESH, in seconds of the true modem."""
    granted_psm: tuple[str, str] | None = None
    """T3412 extended and T3324 as the network grants them, whatever was asked for."""
    power_saving: bool = True
    """Whether the network grants PSM and eDRX at all."""
    release_assistance: bool = True
    """Whether its firmware has release assistance."""
    card_off_in_psm: bool = False
    """The card has no power in PSM, and begins anew after it."""
    obeys_refresh: bool = True
    """Whether the modem fetches proactive commands; without, it keeps the old identity until AT+CFUN."""
    card_busy_s: float = 0.0
    """So long after AT+CFUN=1 commands for the card answer ``card_busy_error``."""
    card_busy_error: int = CME_SIM_BUSY
    busy_after_refresh_s: float = 0.0
    """The same after a REFRESH."""
    busy_after_boot_s: float = 0.0
    """So long after a boot every command answers ``card_busy_error``."""
    boots_without_card: float = 0
    """So many boots find no card."""
    boot_delay_s: float = 0.0
    """So much longer a boot takes."""
    boots_silent: bool = False
    """A boot ends with AT+CFUN: 0."""
    keeps_contexts: bool = False
    """The APNs of contexts outlive a power cut."""
    slow_cfun_s: float = 0.0
    """What AT+CFUN=1 takes."""
    slow_after_cfun_s: float = 0.0
    """So long after AT+CFUN=1 a command waits for its answer."""
    refuses_cfun: float = 0
    """So many times AT+CFUN=1 ends in ERROR."""
    deregistered: bool = False
    """After AT+CFUN=1 the modem is off the network until AT+COPS=0."""
    locks_operator: bool = False
    """Who lets it on first is the only operator from then on, over power cuts, until AT+COPS=0."""
    registered_by: frozenset[str] = frozenset(("+CREG", "+CGREG", "+CEREG"))
    """The reports that tell of a registration."""
    otherwise_registered: int = 0
    """What the other reports tell then: <stat> of TS 27.007."""
    registration_urcs: bool = True
    """Whether a change of the registration is told unasked."""
    lost_after_s: float = 0.0
    """So long after the first attach the modem falls off the network, and stays off until AT+CFUN. 0: never."""
    clock: str = ""
    """What AT+CCLK? does: error, local (hours of the zone that stands beside them), gmt (hours of Greenwich), dst (a
    third field), no-zone, impossible (a date that no calendar has)."""
    stray_lines: tuple[str, ...] = ()
    """Unsolicited lines that come before every information response."""
    nuls: bool = False
    """NULs come before a line, spaces after it and behind its colon."""
    verbose_errors: bool = False
    """Errors come in words, whatever AT+CMEE is."""
    loses_final_at: float = 0
    """The final result of every nth command is lost."""
    hole_every: float = 0
    """Six bytes of every so many on the line to the board are lost."""
    restarts_at: float = 0
    """At its so many-th command the modem restarts, once."""
    mute_at: float = 0
    """At its so many-th command the modem falls silent until its power key is pressed, once."""
    cts_high_s: float = 0
    """At its 60th command the modem takes no byte for so long, and then all of them, once."""
    closed_in_read_at: float = 0
    """Before the data of the so many-th read the line comes that tells of the end of its connection, once."""
    open_hangs_at: float = 0
    """Nothing is ever told of the so many-th connection that is opened."""
