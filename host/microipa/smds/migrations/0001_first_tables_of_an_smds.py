"""The table as it was when it got a version number."""

revision, down_revision = "0001", None


def upgrade() -> None:
    """Earlier labs have the same."""
