"""What a board needs of heap: the table of firmware/README.md, and which form of the code fits where."""

from __future__ import annotations

import runpy
from dataclasses import replace

import pytest
from microipa.board.known import find_board
from microipa.board.needs import (
    TLS_BUFFERS,
    TLS_BYTES,
    TLS_BYTES_SMALL,
    chosen_form,
    forms_that_fit,
    heap_needed,
    needed_on,
    protocols_of,
)
from microipa.common.paths import firmware, tools


def test_the_table_of_the_firmware_is_that_of_what_was_measured() -> None:
    made = runpy.run_path(str(tools() / "heap_needed.py"))
    text = (firmware() / "README.md").read_text()
    assert text.partition(made["BEGIN"])[2].partition(made["END"])[0] == made["table"]()  # else: make heap-needed


def test_code_that_runs_in_flash_needs_less_and_a_frozen_one_least() -> None:
    assert heap_needed("frozen") < heap_needed("romfs") < heap_needed("mpy")
    assert heap_needed("romfs", tls_in_heap=True) > heap_needed("romfs")


@pytest.mark.parametrize(("heap_kb", "forms"), [
    (400, ["mpy", "romfs", "frozen"]), (130, ["romfs", "frozen"]), (95, ["frozen"]), (60, [])])
def test_a_board_carries_the_forms_that_its_heap_has_room_for(heap_kb: int, forms: list[str]) -> None:
    assert forms_that_fit(replace(find_board("pico-lte"), heap_kb=heap_kb)) == forms


@pytest.mark.parametrize(("free_kb", "no_romfs", "form", "why"), [
    (300, "", "mpy", ""),
    (130, "", "romfs", "bytecode in RAM needs"),
    (130, "there is none", "frozen", "and there is none"),
    (95, "", "frozen", "and romfs needs"),
    (70, "", "frozen", "with the small Mbed TLS buffers that the manifest names"),
    (40, "", None, "the smallest form, frozen, needs")])
def test_the_form_is_chosen_by_the_heap_and_said_why(free_kb: int, no_romfs: str, form: str | None, why: str) -> None:
    chosen, reason = chosen_form(find_board("pico-lte"), "CoAP", free_kb * 1024, no_romfs)
    assert chosen == form
    assert why in reason


def test_where_tls_has_its_memory_is_a_matter_of_the_port() -> None:
    pico, desk = find_board("pico-lte"), find_board("virtual")
    assert needed_on(pico, "romfs") - needed_on(desk, "romfs") == 24 * 1024


def test_small_tls_buffers_save_what_the_buffers_are_smaller() -> None:
    small = 2048 + TLS_BUFFERS[0] - 16384  # what a record has beside its content is the same
    saved = sum(TLS_BUFFERS) - 2 * small
    assert 0 <= TLS_BYTES_SMALL - (TLS_BYTES - saved) < 1024
    assert heap_needed("frozen", tls_in_heap=True) - heap_needed("frozen", tls_in_heap=True, small_buffers=True) == (
        TLS_BYTES - TLS_BYTES_SMALL)


def test_the_firmware_s_readme_has_the_memory_of_tls_that_is_reckoned_with() -> None:
    text = " ".join((firmware() / "README.md").read_text().split())
    assert f"computed: {TLS_BYTES // 1024} KiB for each association that is open at the same time" in text
    assert f"{TLS_BUFFERS[0]:,} bytes for incoming records and one of {TLS_BUFFERS[1]:,} for outgoing" in text
    assert f"an association needs {TLS_BYTES_SMALL // 1024} KiB" in text


@pytest.mark.parametrize(("settings", "protocols"), [
    ({}, "CoAP"), ({"compact": True}, "CoAP, compact"), ({"transport": "https"}, "HTTPS"),
    ({"transport": "https", "binding": "json"}, "CoAP and JSON"),
    ({"download": "direct", "binding": "json"}, "direct")])
def test_the_protocols_are_those_of_the_settings(settings: dict[str, object], protocols: str) -> None:
    assert protocols_of(settings) == protocols
