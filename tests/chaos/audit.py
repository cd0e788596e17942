"""Audit: every change of a job's state, token or epoch, written down by Postgres itself in the same transaction.

The engine knows nothing of it. Whoever changed a row cannot have left it out, and what was rolled back is not in it.
The table is an ordinary one, as an unlogged one would be emptied by the crash of Postgres that a run causes.
"""

from sqlalchemy import Engine, text

_TABLE = """
CREATE TABLE chaos_audit (
    n bigint GENERATED ALWAYS AS IDENTITY, at timestamptz NOT NULL DEFAULT clock_timestamp(), job_id uuid NOT NULL,
    old_state text, new_state text NOT NULL, old_epoch int, new_epoch int NOT NULL, old_token uuid, new_token uuid,
    old_attempt int, new_attempt int NOT NULL, lost int NOT NULL, old_lease timestamptz, result_token text
)
"""

# An insert has no old row: each of its columns reads as null.
_FUNCTION = """
CREATE FUNCTION chaos_audit() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO chaos_audit (job_id, old_state, new_state, old_epoch, new_epoch, old_token, new_token,
                             old_attempt, new_attempt, lost, old_lease, result_token)
    VALUES (NEW.id, OLD.state, NEW.state, OLD.epoch, NEW.epoch, OLD.lease_token, NEW.lease_token,
            OLD.attempt, NEW.attempt, NEW.lost, OLD.lease_expires_at, NEW.result ->> 'token');
    RETURN NULL;
END
$$
"""

# Two triggers, because the condition of one that also fires on inserts may not name the old row.
_INSERTED = "CREATE TRIGGER chaos_inserted AFTER INSERT ON jobs FOR EACH ROW EXECUTE FUNCTION chaos_audit()"
_CHANGED = """
CREATE TRIGGER chaos_changed AFTER UPDATE ON jobs FOR EACH ROW
WHEN (OLD.state <> NEW.state OR OLD.epoch <> NEW.epoch OR OLD.lease_token IS DISTINCT FROM NEW.lease_token)
EXECUTE FUNCTION chaos_audit()
"""


def install(engine: Engine) -> None:
    """Begin to audit a migrated database, before its first job. The numbers `n` of one job are in its true order."""
    with engine.begin() as connection:
        for statement in (_TABLE, _FUNCTION, _INSERTED, _CHANGED):
            connection.execute(text(statement))
