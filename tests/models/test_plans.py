"""The statements on single jobs go by the primary key, also with statistics from a moment when nothing was live."""

from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import TextClause, text

from models import lifecycle
from models.session import engine, transaction

HISTORY = """
    INSERT INTO jobs (app_id, kind, queue, params, state, max_attempts, finished_at)
    SELECT :app_id, 'text.count', 'default', '{}', 'succeeded', 1, now() FROM generate_series(1, 20000)
"""
LIVE = """
    INSERT INTO jobs (app_id, kind, queue, params, state, max_attempts, lease_expires_at, lease_token)
    SELECT :app_id, 'text.count', 'default', '{}', state, 1,
           CASE WHEN state <> 'ready' THEN now() END, CASE WHEN state = 'running' THEN uuidv7() END
    FROM generate_series(1, 300), unnest(ARRAY['ready', 'dispatched', 'running']) AS state
"""
SECONDS = timedelta(seconds=20)
IDS = [uuid4() for _ in range(20)]
ENDINGS = [{"id": str(job), "token": str(uuid4()), "state": "succeeded", "outcome": "succeeded"} for job in IDS]


@pytest.fixture
def after_a_quiet_moment(app_id):
    """Much history, statistics from then, and many live jobs since."""
    with transaction() as session:
        session.execute(text(HISTORY), {"app_id": app_id})
        session.execute(text("ANALYZE jobs"))
        session.execute(text(LIVE), {"app_id": app_id})


def plan(statement: TextClause, **values: object) -> str:
    explained = text(f"EXPLAIN {statement.text}").bindparams(*statement._bindparams.values())
    with engine().connect() as connection:
        return "\n".join(connection.scalars(explained, values))


@pytest.mark.parametrize(
    ("statement", "values"),
    [
        (lifecycle._DISPATCH, {"ids": IDS, "lease": SECONDS}),
        (lifecycle._WITHDRAW, {"ids": IDS, "epochs": [1] * 20, "delay": SECONDS}),
        (lifecycle._CLAIM, {"ids": IDS, "epochs": [1] * 20, "worker": "w", "lease": SECONDS}),
        (lifecycle._CLAIMED, {"ids": IDS, "epochs": [1] * 20, "worker": "w", "lease": SECONDS}),
        (lifecycle._PROLONG, {"ids": IDS, "epochs": [1] * 20, "lease": SECONDS}),
        (lifecycle._RECORD, {"endings": ENDINGS}),
    ],
    ids=["dispatch", "withdraw", "claim", "claimed", "prolong", "record"],
)
def test_jobs_that_are_named_are_found_by_their_names(after_a_quiet_moment, statement, values):
    seen = plan(statement, **values)
    assert "pk_jobs" in seen
    assert "ix_jobs" not in seen
