"""The parts whose refusals are tried, and the tests that answer for each."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
_HOST = "host/microipa"


@dataclass(frozen=True)
class Part:
    """``modules`` and ``tests``: patterns below the root of the checkout; ``but``: of those, not these.

    Seconds with one process: ``mapping`` to see which tests reach which mutants, ``each`` for a mutant. Measured on a
    machine with two cores and other work, but for smdpp and crypto, where they follow from the number of tests.
    """

    name: str
    modules: tuple[str, ...]
    tests: tuple[str, ...]
    but: tuple[str, ...] = ()
    mapping: float = 100.0
    each: float = 0.6

    def sources(self) -> list[Path]:
        return self._found(self.modules)

    def test_files(self) -> list[Path]:
        return self._found(self.tests)

    def _found(self, patterns: tuple[str, ...]) -> list[Path]:
        dropped = {path for pattern in self.but for path in ROOT.glob(pattern)}
        return sorted({path for pattern in patterns for path in ROOT.glob(pattern)} - dropped)


PARTS = [
    Part(
        "euicc",
        # the ISD-R, not the file system and the reader of the UICC around it
        tuple(
            f"{_HOST}/euicc/{name}.py"
            for name in (
                "chip", "connectivity", "consumer", "eims", "identity", "install", "isdr", "memory_reset",
                "notifications", "operations", "packages", "profiles", "revocation", "session",
            )
        ),
        ("tests/unit/test_euicc_*.py", "tests/unit/test_card_quirks.py", "tests/unit/test_modem_card.py"),
        ("tests/unit/test_euicc_vpcd.py",),  # a reader in another process
    ),
    Part(
        "eim",
        (f"{_HOST}/eim/*.py",),
        (
            "tests/unit/test_eim_*.py",
            "tests/unit/test_certificate_roles.py",
            "tests/unit/test_server_quirks.py",
            "tests/unit/test_foreign_keys.py",
            "tests/unit/test_cli_orders.py",
        ),
        # the same tests over another database, and settings of whoever runs the eIM, which are no peer's
        ("tests/unit/test_eim_postgresql.py", f"{_HOST}/eim/config.py", f"{_HOST}/eim/odd_answers.py"),
        mapping=350.0,
        each=2.8,
    ),
    Part(
        "smdpp",
        (f"{_HOST}/smdpp/*.py", f"{_HOST}/smds/*.py"),
        (
            "tests/unit/test_smdpp*.py",
            "tests/unit/test_smds.py",
            "tests/unit/test_certificate_roles.py",
            "tests/unit/test_foreign_keys.py",
        ),
        (f"{_HOST}/smdpp/odd_server.py",),
    ),
    Part(
        "crypto",
        tuple(f"{_HOST}/crypto/{name}.py" for name in ("certificates", "pki", "revocation", "ec", "bsp")),
        (
            "tests/unit/test_crypto*.py",
            "tests/unit/test_certificate_roles.py",
            "tests/unit/test_euicc_revocation.py",
            "tests/unit/test_foreign_keys.py",
            "tests/unit/test_eim_clients.py",
            "tests/unit/test_smdpp_refusals.py",
        ),
    ),
    Part(
        "firmware",
        # what reads messages, certificates, cards and settings; not what decides when to act
        (
            *(f"firmware/ipa/{name}.py" for name in ("tlv", "config", "eim", "initial_eim", "journal", "policy")),
            "firmware/ipa/card/*.py",
            "firmware/ipa/net/*.py",
            "firmware/ipa/steps/*.py",
        ),
        ("tests/firmware/test_*.py", "tests/system/test_direct_download.py", "tests/system/test_several_eims.py"),
        # modems, whose errors are no refusals, and what reads the sources instead of running them
        ("firmware/ipa/net/modem_dtls.py", *(
            f"tests/firmware/test_{name}.py"
            for name in (
                "apn", "at", "at_tap", "boards", "carrier", "cinterion", "families", "flash", "quectel", "refusals",
                "tether",
            )
        )),
        mapping=400.0,
        each=1.5,
    ),
]  # fmt: skip
