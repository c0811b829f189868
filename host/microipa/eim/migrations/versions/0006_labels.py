"""What an operator calls a device, and who made it."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0006", "0005"


def upgrade() -> None:
    op.add_column("devices", sa.Column("label", sa.String))
    op.add_column("devices", sa.Column("maker", sa.String))
