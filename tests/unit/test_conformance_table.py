"""`make conformance`: the rows come from the schema, and only a passing test makes one pass."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
sys.path.append(str(TESTS))

from conformance_rows import NOTES, resolve, rows  # noqa: E402 (it stands beside the folder of this test)

KEYS = {row.key: row for row in rows()}
KNOWN = {row.key.lower(): row for row in rows()}


def under(prefix: str) -> list[str]:
    return [key.removeprefix(prefix) for key in KEYS if key.startswith(prefix)]


def test_every_operation_of_a_package_has_a_row_for_each_result() -> None:
    assert under("psmo.enable.") == [
        "ok",
        "iccidOrAidNotFound",
        "profileNotInDisabledState",
        "disallowedByPolicy",
        "catBusy",
        "rollbackNotAvailable",
        "undefinedError",
    ]
    assert under("psmo.getRAT.") == ["ok"]
    assert under("eco.addEim.")[:2] == ["associationToken", "ok"]
    assert {key.split(".")[1] for key in KEYS if key.startswith("psmo.")} == {
        "enable",
        "disable",
        "delete",
        "listProfileInfo",
        "getRAT",
        "configureImmediateEnable",
        "setFallbackAttribute",
        "unsetFallbackAttribute",
        "setDefaultDpAddress",
    }
    assert {key.split(".")[1] for key in KEYS if key.startswith("result.")} == {"rollback", "processingTerminated"}
    assert {key.split(".")[1] for key in KEYS if key.startswith("eco.")} == {
        "addEim",
        "deleteEim",
        "updateEim",
        "listEim",
    }


def test_every_function_of_the_card_has_rows() -> None:
    assert {key.split(".")[1] for key in KEYS if key.startswith("es10b.")} == {
        "AddInitialEim",
        "AuthenticateServer",
        "CancelSession",
        "ConfigureImmediateProfileEnabling",
        "DisableEmergencyProfile",
        "EnableEmergencyProfile",
        "EuiccMemoryReset",
        "ExecuteFallbackMechanism",
        "GetCerts",
        "GetConnectivityParameters",
        "GetEID",
        "GetEimConfigurationData",
        "GetEuiccChallenge",
        "GetEuiccConfiguredData",
        "GetEuiccInfo1",
        "GetEuiccInfo2",
        "GetProfilesInfo",
        "GetRAT",
        "ImmediateEnable",
        "IpaeActivation",
        "ListNotification",
        "LoadCRL",
        "LoadEuiccPackage",
        "PrepareDownload",
        "ProfileRollback",
        "RemoveNotificationFromList",
        "RetrieveNotificationsList",
        "ReturnFromFallback",
        "SetDefaultDpAddress",
    }
    assert under("es10b.LoadEuiccPackage.") == [
        "euiccPackageResultSigned",
        "invalidEid",
        "replayError",
        "counterValueOutOfRange",
        "sizeOverflow",
        "ecallActive",
        "undefinedError",
        "euiccPackageErrorUnsigned",
    ]
    assert KEYS["es10b.EuiccMemoryReset.resetEimResult.eimResetNotSupported"].code == 2


def test_every_message_of_esipa_has_a_row_and_every_error_of_an_answer() -> None:
    assert len(under("esipa.")) == 15
    assert under("error.GetEimPackageResponse.") == [
        "noEimPackageAvailable",
        "eidNotFound",
        "invalidEid",
        "missingEid",
        "undefinedError",
    ]
    assert under("error.ProvideEimPackageResult.") == [
        "invalidPackageFormat",
        "unknownPackage",
        "undefinedError",
    ]
    assert "package.ePRAndNotifications" in KEYS
    assert under("cause.") == [
        "otherEim",
        "fallback",
        "emergencyProfile",
        "local",
        "reset",
        "immediateEnableProfile",
        "deviceChange",
        "undefined",
    ]


@pytest.mark.parametrize(
    ("key", "row"),
    [
        ("psmo.enable.catBusy", "psmo.enable.catBusy"),
        ("psmo.enable.5", "psmo.enable.catBusy"),
        ("PSMO.Enable.CatBusy", "psmo.enable.catBusy"),
        ("es10b.GetCerts.ok", "es10b.GetCerts.certs"),
        ("psmo.enable.ok", "psmo.enable.ok"),
        ("psmo.enable.6", None),
        ("psmo.reboot.ok", None),
        ("enable", None),
    ],
)
def test_a_test_may_name_a_row_by_the_codes_number_or_by_ok(key: str, row: str | None) -> None:
    found = resolve(key, KNOWN)
    assert (found and found.key) == row


def test_what_does_not_apply_is_a_row_and_has_a_reason() -> None:
    for pattern, reason in NOTES["not_applicable"].items():
        assert reason
        assert any(row.reason == reason for row in rows()), pattern


SUITE = """
import pytest

@pytest.mark.covers("psmo.enable.ok", "psmo.enable.2", "psmo.enable.20", "psmo.delete.undefinedError")
def test_good(): pass

@pytest.mark.covers("psmo.enable.2", "psmo.disable.ok")
def test_bad(): assert False

@pytest.mark.covers("psmo.delete.ok")
@pytest.mark.skip
def test_skipped(): pass

@pytest.mark.covers("psmo.enabel.ok")
@pytest.mark.parametrize("n", [1, 2])
def test_misspelt(n): pass

def test_other(): assert False
"""


def conformance(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The plugin over the tests in ``folder``."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conformance", "-p", "no:cacheprovider", "-m", "covers"]
    return subprocess.run(
        [*command, *options],
        cwd=folder,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(TESTS)},
        check=False,
    )


def test_every_row_that_applies_has_a_test_and_every_claim_of_a_test_a_row(tmp_path: Path) -> None:
    """What `make conformance` would find without running a test twice in `make test`."""
    table = tmp_path / "table.md"
    done = conformance(TESTS.parent, "-n", "0", "--collect-only", f"--conformance={table}")
    assert [line for line in done.stdout.splitlines() if "| FAIL |" in line] == []
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert not table.exists()


def test_a_row_without_a_test_is_found_without_running_any(tmp_path: Path) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = covers\n")
    done = conformance(tmp_path, "--collect-only", "--conformance=table.md")
    assert done.returncode == 1
    assert "| psmo.enable.catBusy (5) | FAIL | no test |" in done.stdout
    assert "| psmo.enabel.ok | FAIL | test_suite.py::test_misspelt |" in done.stdout
    assert "psmo.enable.ok" not in done.stdout


def test_a_row_passes_when_a_test_passes_and_none_fails(tmp_path: Path) -> None:
    (tmp_path / "test_suite.py").write_text(SUITE)
    (tmp_path / "pytest.ini").write_text("[pytest]\nmarkers = covers\n")
    done = conformance(tmp_path, "-n", "2", "--conformance=table.md")
    table = (tmp_path / "table.md").read_text()
    lines = table.splitlines()
    assert done.returncode == 1
    assert table in done.stdout.replace("\r\n", "\n")
    for line in (
        "| psmo.enable.ok (0) | pass | test_suite.py::test_good |",
        "| psmo.enable.profileNotInDisabledState (2) | FAIL | test_suite.py::test_bad failed |",
        "| psmo.enable.catBusy (5) | FAIL | no test |",
        "| psmo.disable.ok (0) | FAIL | test_suite.py::test_bad failed |",
        "| psmo.delete.ok (0) | FAIL | test_suite.py::test_skipped skipped |",
        "| psmo.enable.rollbackNotAvailable (20) | pass | test_suite.py::test_good |",
        "| psmo.enabel.ok | FAIL | test_suite.py::test_misspelt |",
        "## SGP.33-3 4.2.1, SGP.33-1 4.2.31: enable",
    ):
        assert line in lines
    reason = NOTES["not_applicable"]["psmo.delete.undefinedError"]
    made_up = f"{reason}; its code is made up by test_suite.py::test_good"
    assert f"| psmo.delete.undefinedError (127) | n/a | {made_up} |" in lines
    assert f"{len(rows())} rows: 2 pass, " in lines[2]
