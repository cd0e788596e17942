"""`python -m workers.alive dispatcher|QUEUE`: exit 0 if this machine's dispatcher or worker showed itself just now.

What containers are asked for their health: one query, where `celery inspect ping` would wake every worker and prove
less. A worker is known by its row. A dispatcher is known by its connection, on which it speaks every second, active or
not; it has to be the only one of its kind at its address, as it is in a container.
"""

import socket
import sys

import click
from sqlalchemy import exists, func, select, text
from sqlalchemy.orm import Session

from models import Worker
from models.session import transaction
from settings import get_settings
from tasks import QUEUES
from workers.dispatcher.election import FROZEN

DISPATCHER = "dispatcher"

_DISPATCHER_SPEAKS = text(
    """
    SELECT EXISTS (
        SELECT FROM pg_stat_activity
        WHERE datname = current_database() AND application_name = current_setting('application_name')
          AND pid <> pg_backend_pid() AND client_addr IS NOT DISTINCT FROM inet_client_addr()
          AND state_change > now() - CAST(:frozen AS interval))
    """
)


@click.command()
@click.argument("role", type=click.Choice([DISPATCHER, *QUEUES]))
def main(role: str) -> None:
    """Exit 0 if the process of ROLE on this machine lives, else 1."""
    with transaction() as session:
        alive = _dispatcher_speaks(session) if role == DISPATCHER else _worker_was_seen(session, role)
    if not alive:
        sys.exit(f"the {role} of this machine has not shown itself")


def _dispatcher_speaks(session: Session) -> bool:
    return bool(session.scalar(_DISPATCHER_SPEAKS, {"frozen": FROZEN}))


def _worker_was_seen(session: Session, queue: str) -> bool:
    """Its node is named after its queue, as docker-compose.yml does it."""
    mine = Worker.name.startswith(f"{queue}@{socket.gethostname()}:", autoescape=True)
    seen = select(exists().where(mine, Worker.seen_at > func.now() - get_settings().lease))
    return bool(session.scalar(seen))


if __name__ == "__main__":
    main()
