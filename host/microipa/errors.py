"""The one base class of everything that goes wrong in the lab on purpose."""


class MicroipaError(Exception):
    """Something a user can understand and mend. The command line prints it as one sentence and exits 1."""
