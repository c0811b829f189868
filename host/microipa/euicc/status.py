"""Status words (ISO 7816-4, TS 102 221 clause 10.2.1) and the exception that carries one out of a command."""

from __future__ import annotations

from microipa.common.errors import MicroipaError

OK = 0x9000
MORE_DATA = 0x62F1  # than fits into one answer
MEMORY_PROBLEM = 0x6581
WRONG_LENGTH = 0x6700
NO_LOGICAL_CHANNEL = 0x6881
NO_SECURE_MESSAGING = 0x6882
NO_CHAINING = 0x6884
WRONG_FILE_STRUCTURE = 0x6981
SECURITY_STATUS = 0x6982
CONDITIONS = 0x6985
NO_EF_SELECTED = 0x6986
WRONG_DATA = 0x6A80
NO_CHANNEL_LEFT = 0x6A81
FILE_NOT_FOUND = 0x6A82
RECORD_NOT_FOUND = 0x6A83
WRONG_P1_P2 = 0x6A86
NOT_FOUND = 0x6A88
WRONG_OFFSET = 0x6B00
NO_INSTRUCTION = 0x6D00
NO_CLASS = 0x6E00
AUTHENTICATION_FAILED = 0x9862
NO_3G_CONTEXT = 0x9864


class StatusWord(MicroipaError):
    """Ends a command with ``sw`` and no data."""

    def __init__(self, sw: int) -> None:
        super().__init__(f"status word {sw:04X}")
        self.sw = sw
