"""The base classes of everything that goes wrong in the lab on purpose."""


class MicroipaError(Exception):
    """Something a user can understand and mend. The command line prints one sentence and exits with ``exit_status``."""

    exit_status = 1


class Busy(MicroipaError):
    """What cannot be taken up now. The same request may succeed a little later."""
