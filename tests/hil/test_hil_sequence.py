"""Events become rows: messages decoded, what carries them counted, what repeats once."""

from __future__ import annotations

from typing import Any

import pytest
from microipa.hil.sequence import BOARD, CARD, EIM, LANES, LIMIT, MODEM, SMDPP, TEXT_LIMIT, Row, lanes, rows
from microipa.trace import Event


def event(part: str, kind: str, seconds: float = 1.0, **fields: Any) -> Event:
    return Event(seconds, part, kind, fields)


def log(text: str, seconds: float = 1.0) -> Event:
    return event("board", "log", seconds, text=text)


def apdu(command: str, response: str = "9000") -> Event:
    return event("card", "apdu", command=command, response=response)


def datagram(direction: str, size: int, lost: bool = False, part: str = "radio") -> Event:
    return event(part, "datagram", direction=direction, bytes=size, lost=lost, begins="")


def told(found: list[Row]) -> list[tuple[str, str, str, str]]:
    return [(row.tag, row.source, row.target, row.text) for row in found]


def test_esipa_goes_between_board_and_eim_both_ways() -> None:
    message = "bf4f025a00"
    asked = event("eim", "esipa", direction="in", message="bf4f125a1089049032123451234512345678901235")
    answered = event("eim", "esipa", direction="out", message="bf4f03020101")
    assert told(rows([asked, answered])) == [
        ("ESipa", BOARD, EIM, "GetEimPackageRequest: EID 89049032123451234512345678901235"),
        ("ESipa", EIM, BOARD, "GetEimPackageResponse: noEimPackageAvailable"),
    ]
    [odd] = rows([event("eim", "esipa", direction="in", message=message)])
    assert odd.text.startswith(message)  # what nobody understands is shown as it is


def test_an_es10_function_is_one_row_with_its_answer_however_many_apdus_it_took() -> None:
    asked = apdu("81e2910006bf3e035c015a", "6115")
    [row] = rows([asked, apdu("01c0000015", "bf3e125a10890490321234512345123456789012359000")])
    assert (row.source, row.target, row.answered) == (BOARD, CARD, True)
    assert row.text == "GetEuiccDataRequest: tags 5A → GetEuiccDataResponse: EID 89049032123451234512345678901235"


def test_pieces_of_a_bound_profile_package_are_one_row_with_their_sum_sgp22_2_5_5() -> None:
    piece = "8604" + "00" * 4
    found = rows([apdu(f"81e29100{len(piece) // 2:02x}{piece}")] * 7 + [datagram("down", 500)] + [
        apdu(f"81e29100{len(piece) // 2:02x}{piece}")
    ])  # fmt: skip
    assert told(found) == [("ES10", BOARD, CARD, "BoundProfilePackage, profile elements, protected → ok")]
    assert (found[0].count, found[0].octets) == (8, 48)


def test_other_apdus_are_the_modems_and_counted_by_name() -> None:
    found = rows([apdu("00a4000c023f00"), apdu("00a4000c022fe2"), apdu("00b0000000"), log("I (1) boot: up")])
    assert told(found) == [("APDU", MODEM, CARD, "SELECT ×2, READ BINARY"), ("log", BOARD, "", "boot: up")]


def test_at_commands_are_named_without_their_values_which_may_be_secret() -> None:
    lines = ["ATE0", 'AT+CPIN="1234"', "AT+CEREG?", "AT+CEREG=2", 'AT+CGLA=1,10,"00C0000005"', "AT+QISEND=0,3"]
    events = [event("modem", "at", direction="in", text=text) for text in lines]
    events.append(event("modem", "at", direction="out", text="OK"))
    events.append(event("modem", "at", direction="in", text="AT-secret", data="41"))
    assert told(rows(events)) == [("AT", BOARD, MODEM, "ATE0, AT+CPIN, AT+CEREG ×2")]


def test_a_call_between_servers_that_both_tell_is_one_row() -> None:
    server = event("smdpp", "es9", 1.0, function="authenticateClient", outcome="ok")
    order = event("smdpp", "order", 1.1, matching_id="A", text="offered")
    client = event("eim", "es9", 1.2, function="authenticateClient", address="smdpp.example", outcome="ok")
    assert told(rows([server, order, client])) == [
        ("order", SMDPP, "", "offered"),
        ("ES9+", EIM, SMDPP, "authenticateClient at smdpp.example → ok"),
    ]


def test_a_call_that_only_the_sm_dp_plus_tells_came_from_the_board() -> None:
    server = event("smdpp", "es9", function="handleNotification", outcome="BadSignature")
    assert told(rows([server])) == [("ES9+", BOARD, SMDPP, "handleNotification → BadSignature")]


def test_an_sm_ds_and_a_second_eim_get_lanes_of_their_own() -> None:
    found = rows([
        event("smds", "es9", function="authenticateClient", outcome="ok"),
        event("eim2", "esipa", direction="out", message=""),
    ])  # fmt: skip
    assert [row.tag for row in found] == ["ES11", "ESipa"]
    assert lanes(found) == [*LANES, "SM-DS", "eIM 2"]


def test_few_datagrams_go_without_saying_and_lost_ones_never_do() -> None:
    assert rows([datagram("up", 80), datagram("down", 90)]) == []
    [many] = rows([datagram("up", 80), datagram("down", 90)] * 2)
    assert many.text == "2 datagrams up, 160 bytes; 2 datagrams down, 180 bytes"
    [lost] = rows([datagram("up", 80, lost=True)])
    assert lost.loud
    assert lost.text.endswith("lost 1 up and 0 down")


def test_what_went_over_the_serial_port_is_told_apart_from_what_the_radio_carried() -> None:
    tethered = [datagram(way, 80, part="tether") for way in ("up", "down")] * 2
    found = rows([*tethered, *[datagram("up", 100)] * 4])
    assert told(found) == [
        ("IP", BOARD, EIM, "4 datagrams up, 400 bytes; 0 datagrams down, 0 bytes"),
        ("tether", BOARD, EIM, "2 datagrams up, 160 bytes; 2 datagrams down, 160 bytes"),
    ]


def test_lines_that_repeat_are_one_row_with_a_count_and_errors_stand_out() -> None:
    found = rows([log("E (1) net: no answer"), log("E (7) net: no answer"), log("I (9) net: asleep")])
    assert [(row.text, row.count, row.loud) for row in found] == [
        ("net: no answer", 2, True),
        ("net: asleep", 1, False),
    ]


def test_what_the_bench_does_is_nobodys_lane() -> None:
    assert told(rows([event("lab", "step", text="cut the power")])) == [("bench", "", "", "cut the power")]


@pytest.mark.parametrize("number", [LIMIT, LIMIT + 1, 20_000])
def test_a_case_of_thousands_of_rows_keeps_its_beginning_and_its_end(number: int) -> None:
    found = rows([log(f"I (1) try {one}") for one in range(number)])
    assert found[0].text == "try 0"
    assert found[-1].text == f"try {number - 1}"
    if number == LIMIT:
        assert len(found) == LIMIT
    else:
        [gap] = [row for row in found if not row.tag]
        shown = {row.text for row in found if row.tag}
        assert len(shown) == LIMIT
        assert gap.text.startswith(f"{number - LIMIT:,} more rows")


def test_a_line_without_end_is_cut_and_says_so() -> None:
    [row] = rows([log("x" * 5000)])
    assert row.text == "x" * TEXT_LIMIT + "… (5,000 characters)"


def test_what_the_repl_says_by_itself_is_no_part_of_the_story() -> None:
    noise = (">>> ", ">", "OK", "MPY: soft reboot", "raw REPL; CTRL-B to exit", 'Type "help()" for more information.',
             "Use Ctrl-D to exit, Ctrl-E for paste mode", "MicroPython v1.26.0 on 2025-08-09; Generic ESP32S3 module")
    spoken = ("OK so far", "I (1) boot: up", "MicroPython is too old", "> a quotation")
    assert [row.text for row in rows([log(text) for text in (*noise, *spoken)])] == [
        "OK so far", "boot: up", "MicroPython is too old", "> a quotation",
    ]  # fmt: skip


AT_LINES = [
    event("modem", "at", direction="in", text='AT+CGLA=1,22,"80E2910006BF3E035C015A"'),
    event("modem", "at", direction="out", text='+CGLA: 4,"6115"'),
    event("modem", "at", direction="out", text="OK"),
    event("modem", "at", direction="in", text='AT+CSIM=10,"01C0000015"'),
    event("modem", "at", direction="out", text="+CSIM: 46,BF3E125A10890490321234512345123456789012359000"),
]


def test_without_card_contacts_es10_is_read_out_of_at_commands() -> None:
    text = "GetEuiccDataRequest: tags 5A → GetEuiccDataResponse: EID 89049032123451234512345678901235"
    assert told(rows(AT_LINES)) == [("ES10", BOARD, CARD, text)]
    refused = event("modem", "at", direction="out", text="+CME ERROR: 13")
    assert rows([AT_LINES[0], refused, AT_LINES[3], AT_LINES[2]]) == []


def test_what_contacts_and_at_commands_both_tell_is_shown_once() -> None:
    contacts = [apdu("81e2910006bf3e035c015a", "6115"),
                apdu("01c0000015", "bf3e125a10890490321234512345123456789012359000")]
    assert len(rows([*AT_LINES[:3], contacts[0], *AT_LINES[3:], contacts[1]])) == 1
