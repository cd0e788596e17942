"""Told: what clients, the sink and the payment provider say, put into tables beside the engine's own."""

import json
import sqlite3
from collections.abc import Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple
from uuid import UUID

from sqlalchemy import Connection, text

from tests.chaos.journal import Journal
from tests.chaos.sink import Effect


class Charge(NamedTuple):
    """Money that the provider took. `job` is what it was told the money is for; None when it was told nothing."""

    id: str
    job: UUID | None
    amount: int
    currency: str


def read_charges(books: Path) -> list[Charge]:
    """All charges that went through, from the sandbox's own file (`payments.sqlite3` in its data folder)."""
    with closing(sqlite3.connect(f"file:{books}?mode=ro", uri=True)) as db:
        bodies = db.execute("SELECT body FROM object WHERE kind = 'charge' ORDER BY seq").fetchall()
    charges = [json.loads(body) for (body,) in bodies]
    return [_charge(charge) for charge in charges if charge["status"] == "succeeded"]


def _charge(body: dict[str, Any]) -> Charge:
    operation = body["metadata"].get("mainstay_operation")
    return Charge(body["id"], UUID(operation) if operation else None, body["amount"], body["currency"].upper())


TABLES = {
    "told_jobs": "id uuid, request text, kind text",
    "told_requests": "name text, size int, bulk bool, key text, answered bool, refused text, existing bool, ids int",
    "told_actions": "job_id uuid, verb text",
    "told_effects": "key text, job uuid, attempt int, token uuid",
    "told_charges": "id text, job uuid, amount bigint, currency text",
}


def tell(connection: Connection, journal: Journal, effects: Sequence[Effect], charges: Sequence[Charge]) -> None:
    """Make the tables, anew if need be, and let the planner look at them and at what the run has left."""
    actions = [(job_id, "cancel_requested") for job_id in journal.cancelled]
    actions += [(job_id, "retried") for job_id in journal.retried]
    told: dict[str, Iterable[Sequence[Any]]] = {
        "told_jobs": [(job.id, job.request, job.kind) for job in journal.accepted.values()],
        "told_requests": [
            (r.name, r.size, r.bulk, r.key, r.answered, r.refused, r.existing, len(set(r.ids)))
            for r in journal.requests.values()
        ],
        "told_actions": actions,
        "told_effects": [(effect.key, effect.job, effect.attempt, effect.token) for effect in effects],
        "told_charges": charges,
    }
    for table, rows in told.items():
        _fill(connection, table, rows)
    connection.execute(text(f"ANALYZE jobs, attempts, events, chaos_audit, {', '.join(TABLES)}"))


def _fill(connection: Connection, table: str, rows: Iterable[Sequence[Any]]) -> None:
    connection.execute(text(f"DROP TABLE IF EXISTS pg_temp.{table}"))
    connection.execute(text(f"CREATE TEMPORARY TABLE {table} ({TABLES[table]})"))
    driver = connection.connection.driver_connection
    assert driver is not None
    with driver.cursor() as cursor, cursor.copy(f"COPY {table} FROM STDIN") as copy:
        for row in rows:
            copy.write_row(row)
