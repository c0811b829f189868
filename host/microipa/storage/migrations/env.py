"""What Alembic runs: the steps in versions/, on the connection it is given and in its transaction."""

from alembic import context

context.configure(connection=context.config.attributes["connection"], transaction_per_migration=False)
context.run_migrations()
