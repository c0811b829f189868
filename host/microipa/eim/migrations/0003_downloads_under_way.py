"""An index of the downloads under way, among which a request without eimTransactionId finds its own."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "0003", "0002"

UNDER_WAY = sa.text("orders.kind = 'download' AND orders.state = 'delivered'")


def upgrade() -> None:
    op.create_index("downloading_orders", "orders", ["id"], if_not_exists=True,
                    sqlite_where=UNDER_WAY, postgresql_where=UNDER_WAY)
