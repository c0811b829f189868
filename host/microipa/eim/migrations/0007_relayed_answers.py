"""Answers of SM-DP+ for devices that ask again, perhaps another worker."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0007", "0006"


def upgrade() -> None:
    op.create_table(
        "relayed_answers",
        sa.Column("request", sa.String, primary_key=True),
        sa.Column("answer", sa.LargeBinary, nullable=False),
        sa.Column("created", sa.Double, nullable=False),
        if_not_exists=True,
    )
    op.create_index("ix_relayed_answers_created", "relayed_answers", ["created"], if_not_exists=True)
