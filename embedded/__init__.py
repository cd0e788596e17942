"""A private Postgres, a private Valkey, and the command that runs all of Mainstay on one machine."""


class CannotRun(Exception):
    """Something outside stands in the way; the message says what to do about it."""
