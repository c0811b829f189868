"""What a signature of the card proved; older devices have proved nothing yet."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0004", "0003"

COLUMNS = {"proven_token": sa.Integer, "info2_signed": sa.Boolean, "default_signed": sa.Boolean}


def upgrade() -> None:
    known = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("devices")}
    for name, kind in COLUMNS.items():
        if name not in known:
            op.add_column("devices", sa.Column(name, kind))
