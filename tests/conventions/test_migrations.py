"""The migrations: up, down and up again, and at the end exactly the tables that the models say."""

from collections.abc import Iterator

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, text

from embedded.postgres import Postgres
from models import Base
from tests.support.compose import ROOT
from tests.support.database import fresh_database

LEFT = text("""
    SELECT name FROM (
        SELECT relname, relnamespace FROM pg_class
        UNION ALL SELECT typname, typnamespace FROM pg_type
        UNION ALL SELECT proname, pronamespace FROM pg_proc
    ) AS things (name, namespace)
    WHERE namespace = 'public'::regnamespace AND name NOT LIKE '%alembic_version%'
""")


@pytest.fixture
def connection(postgres: Postgres) -> Iterator[Connection]:
    """A connection to an empty database."""
    with fresh_database(postgres.url) as url:
        engine = create_engine(url)
        with engine.connect() as connection:
            yield connection
        engine.dispose()


@pytest.fixture
def config(connection: Connection) -> Config:
    config = Config(ROOT / "alembic.ini")
    config.set_main_option("script_location", str(ROOT / "migrations"))
    config.attributes["connection"] = connection
    return config


def tables(connection: Connection) -> set[str]:
    connection.rollback()
    return set(inspect(connection).get_table_names()) - {"alembic_version"}


def test_upgrade_makes_the_tables_of_the_models_and_downgrade_leaves_nothing(
    config: Config, connection: Connection
) -> None:
    command.upgrade(config, "head")
    assert tables(connection) == Base.metadata.tables.keys()
    command.downgrade(config, "base")
    assert connection.execute(LEFT).scalars().all() == []
    connection.rollback()
    command.upgrade(config, "head")
    assert tables(connection) == Base.metadata.tables.keys()


def test_nothing_in_the_models_waits_for_a_migration(config: Config) -> None:
    command.upgrade(config, "head")
    command.check(config)


def test_every_step_can_be_undone_and_done_again(config: Config, connection: Connection) -> None:
    steps = [script.revision for script in ScriptDirectory.from_config(config).walk_revisions()]
    for revision in reversed(steps):
        command.upgrade(config, revision)
        made = tables(connection)
        command.downgrade(config, "-1")
        command.upgrade(config, revision)
        assert tables(connection) == made


def test_the_history_is_one_line(config: Config) -> None:
    scripts = ScriptDirectory.from_config(config)
    assert len(scripts.get_heads()) == len(scripts.get_bases()) == 1
