"""The report of a real session: a first light with everything a lab records, read back as rows and as a page."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest
from microipa.hil.record import PASSED, Case, Recorder, Run
from microipa.hil.report import write_reports
from microipa.hil.sequence import BOARD, CARD, EIM, SMDPP, Row, rows
from scene import Recording, record


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    return asyncio.run(record(tmp_path_factory.mktemp("reported")))


@pytest.fixture(scope="module")
def found(recording: Recording) -> list[Row]:
    return rows(recording.events)


def test_every_message_of_a_session_is_on_its_diagram(recording: Recording, found: list[Row]) -> None:
    drawn = Counter((row.tag, row.source, row.target) for row in found for _ in range(row.count))
    assert drawn["ESipa", BOARD, EIM] == len(recording.of("eim", "esipa", direction="in"))
    assert drawn["ESipa", EIM, BOARD] == len(recording.of("eim", "esipa", direction="out"))
    assert drawn["ES9+", EIM, SMDPP] == len(recording.of("eim", "es9")) > 0
    assert ("ES9+", BOARD, SMDPP) not in drawn
    assert drawn["ES10", BOARD, CARD] > 20


def test_a_download_reads_as_sgp32_3_2_3_2_tells_it(found: list[Row]) -> None:
    words = iter(f"{row.tag} {row.text}" for row in found)
    for step in (
        "ESipa GetEimPackageResponse: ProfileDownloadTriggerRequest",
        "ESipa InitiateAuthenticationRequestEsipa",
        "ES9+ initiateAuthentication at smdpp.microipa.example → ok",
        "ES10 AuthenticateServerRequest",
        "ESipa AuthenticateClientRequest",
        "ES10 PrepareDownloadRequest",
        "ESipa GetBoundProfilePackageResponseEsipa",
        "ES10 BoundProfilePackage, InitialiseSecureChannel",
        "ESipa ProvideEimPackageResultResponse: EimAcknowledgements",
    ):
        assert any(word.startswith(step) for word in words), step


def test_a_session_is_far_fewer_rows_than_events(recording: Recording, found: list[Row]) -> None:
    assert len(found) < len(recording.events) / 4


def test_the_page_of_a_real_session_is_a_small_file(recording: Recording, tmp_path: Path) -> None:
    run = Run("virtual", "virtual", "1.28.0", "ipa-1", "mpy", "bg95", "", "virtual", "8904", "144K", False, "2026")
    recorder = Recorder(tmp_path, run)
    recorder.add(Case("test_first_light[virtual]", "downloads", "SGP.32 3.2.3.2", "it works", PASSED), recording.events)
    page, _ = write_reports(tmp_path)
    assert "BoundProfilePackage, InitialiseSecureChannel" in page.read_text(encoding="utf-8")
    assert page.stat().st_size < 150_000
