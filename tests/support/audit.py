"""A record of every change to a job, written by Postgres itself while a test has it watch."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from typing import Any, NamedTuple

import orjson
from sqlalchemy import text
from sqlalchemy.orm import Session

from models.session import transaction

_BEGIN = """
    CREATE TABLE audit (
        n bigint GENERATED ALWAYS AS IDENTITY, at timestamptz DEFAULT now(), doing jsonb, before jsonb, after jsonb);
    CREATE FUNCTION audit_job() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
        INSERT INTO audit (doing, before, after)
        VALUES (current_setting('audit.doing')::jsonb, to_jsonb(OLD), to_jsonb(NEW));
        RETURN NULL;
    END $$;
    CREATE TRIGGER audit AFTER UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION audit_job();
"""
_END = "DROP TRIGGER IF EXISTS audit ON jobs; DROP FUNCTION IF EXISTS audit_job; DROP TABLE IF EXISTS audit"


class Change(NamedTuple):
    """One row before and after one statement, and what its author said that it was doing."""

    at: datetime
    doing: dict[str, Any]
    before: dict[str, Any]
    after: dict[str, Any]

    @property
    def id(self) -> str:
        """The job's."""
        return str(self.after["id"])

    @property
    def edge(self) -> tuple[str, str]:
        """From one state to another, or the same."""
        return self.before["state"], self.after["state"]


@contextmanager
def audited() -> Iterator[None]:
    """Have every change written down; whoever makes one says what it is with `announce`."""
    with transaction() as session:
        session.execute(text(_END))
        session.execute(text(_BEGIN))
    try:
        yield
    finally:
        with transaction() as session:
            session.execute(text(_END))


def announce(session: Session, name: str, facts: Mapping[str, Any]) -> None:
    """Say what the next statements of this transaction are for."""
    doing = orjson.dumps({"name": name, **facts}).decode()
    session.execute(text("SELECT set_config('audit.doing', :doing, true)"), {"doing": doing})


def changes(session: Session) -> list[Change]:
    """All changes so far; those of one job in their order."""
    return [Change(*row) for row in session.execute(text("SELECT at, doing, before, after FROM audit ORDER BY n"))]
