"""How Alembic reaches the database: the application's own settings, one transaction per migration, short waits."""

from alembic import context
from sqlalchemy import create_engine, text

from models import Base
from settings import get_settings

LOCK_TIMEOUT = "5s"
"""A migration that cannot get its lock soon gives up instead of queueing the whole application behind itself."""


def run() -> None:
    """Migrate over the connection that the caller put into the attributes, or over one of our own."""
    given = context.config.attributes.get("connection")
    if given is not None:
        _migrate(given)
        return
    engine = create_engine(get_settings().database_url.get_secret_value())
    with engine.connect() as connection:
        _migrate(connection)
    engine.dispose()


def _migrate(connection) -> None:
    connection.execute(text(f"SET lock_timeout = '{LOCK_TIMEOUT}'"))
    connection.commit()
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        transaction_per_migration=True,
        compare_server_default=True,
    )
    with context.begin_transaction():
        context.run_migrations()


run()
