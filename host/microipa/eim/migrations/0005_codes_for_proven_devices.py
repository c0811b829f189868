"""Which activation codes wait for a result that the card has signed; orders from before do not."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0005", "0004"


def upgrade() -> None:
    if "needs_proof" not in [column["name"] for column in sa.inspect(op.get_bind()).get_columns("orders")]:
        op.add_column("orders", sa.Column("needs_proof", sa.Boolean))
