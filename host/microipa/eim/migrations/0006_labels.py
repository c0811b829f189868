"""What an operator calls a device, and who made it."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0006", "0005"


def upgrade() -> None:
    known = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("devices")}
    for name in ("label", "maker"):
        if name not in known:
            op.add_column("devices", sa.Column(name, sa.String))
