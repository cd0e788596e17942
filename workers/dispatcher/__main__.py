"""`python -m workers.dispatcher [--queue NAME …]`: run one dispatcher; run another for a standby."""

import signal

import click

from logs import configure_logging
from tasks import QUEUES
from workers.dispatcher.loop import Dispatcher


@click.command()
@click.option("--queue", "queues", multiple=True, type=click.Choice(QUEUES), default=QUEUES, help="Default: all.")
def main(queues: tuple[str, ...]) -> None:
    """Dispatch due jobs of the given queues."""
    configure_logging("dispatcher")
    dispatcher = Dispatcher(queues)
    for name in (signal.SIGTERM, signal.SIGINT):
        signal.signal(name, lambda *_: dispatcher.stop())
    dispatcher.run()


main()
