"""Logs of every process: one line per event on standard error, JSON or for the eye, with secrets taken out.

An event is a constant snake_case name; everything else is a field. What goes through the standard library's loggers
(Celery, gunicorn, SQLAlchemy and the rest) takes the same way, redaction included.
"""

import logging
import os
import re
import sys
from datetime import datetime
from typing import Any
from uuid import UUID

import orjson
import structlog
from structlog.stdlib import ProcessorFormatter
from structlog.typing import EventDict, Processor

from settings import get_settings

REDACTED = "[redacted]"
_SHORTEST_CARD = 10**12
_SECRET_NAMES = {
    "authorization", "body", "card", "cookie", "cvc", "cvv", "json", "params", "password", "payload", "payment_method",
    "pepper", "secret", "set-cookie", "token",
}  # fmt: skip
_SECRET_ENDINGS = ("_password", "_pepper", "_secret", "_token", "api_key")
_SECRETS = re.compile(
    r"(?<![0-9A-Za-z_])(?:mst_[a-z]{1,8}_|(?:sk|rk)_(?:live|test)_|whsec_)[0-9A-Za-z+/=_-]+"
    r"|(?<=Bearer )\S+|(?<=Basic )\S+|(?<=://)[^/\s:@]*:[^/\s@]+(?=@)",
    re.ASCII,
)
_UUID_OR_CARD = re.compile(
    r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}|(?<![\w.-])[2-6](?:[ -]?\d){12,18}(?![\w-])",
    re.ASCII | re.IGNORECASE,
)
_QUIETED = (
    "gunicorn.error",
    "gunicorn.access",
    "celery",
    "celery.task",
    "celery.redirected",
    "kombu",
    "werkzeug",
)


def configure_logging(role: str, *context: Processor) -> None:
    """Set up this process's logs. `role` stands in every line; `context` may add fields to every event.

    Calling it again replaces what was set up, also what a server or a worker put in its place meanwhile.
    """
    settings = get_settings()
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        *context,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        lambda _logger, _method, event: {"role": role, "pid": os.getpid(), **event},
    ]
    structlog.configure(
        processors=[*shared, ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(settings.log_level)),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    foreign: list[Processor] = [
        structlog.stdlib.add_logger_name,
        structlog.stdlib.PositionalArgumentsFormatter(),
    ]
    _route(
        ProcessorFormatter(processors=_last(settings.log_format), foreign_pre_chain=[*foreign, *shared]),
        settings.log_level,
    )


def _last(log_format: str) -> list[Processor]:
    if log_format == "console":
        render: Processor = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    else:
        render = structlog.processors.JSONRenderer(serializer=_json)
    return [ProcessorFormatter.remove_processors_meta, redact, render]


def _route(formatter: logging.Formatter, level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level)
    for name in _QUIETED:
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = True
    logging.getLogger("alembic").setLevel(logging.WARNING)  # It tells of itself whenever /readyz asks it.
    logging.captureWarnings(capture=True)


def _json(event: Any, **_kwargs: Any) -> str:
    return orjson.dumps(event, default=repr, option=orjson.OPT_NON_STR_KEYS).decode()


def redact(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Take out what looks like a secret, by its name or by its form, at any depth."""
    return {name: _redacted(name, value) for name, value in event.items()}


def _redacted(name: object, value: Any) -> Any:
    if _is_secret(name):
        return REDACTED
    if isinstance(value, dict):
        return {key: _redacted(key, item) for key, item in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [_redacted(None, item) for item in value]
    if value is None or isinstance(value, (bool, float)) or (isinstance(value, int) and value < _SHORTEST_CARD):
        return value
    plain = str(value) if isinstance(value, (str, int, UUID, datetime)) else repr(value)
    shown = _UUID_OR_CARD.sub(_unless_id, _SECRETS.sub(REDACTED, plain))
    return value if isinstance(value, int) and shown == plain else shown


def _is_secret(name: object) -> bool:
    if not isinstance(name, str):
        return False
    lowered = name.lower()
    return lowered in _SECRET_NAMES or lowered.endswith(_SECRET_ENDINGS)


def _unless_id(found: re.Match[str]) -> str:
    text = found[0]
    digits = [int(digit) for digit in text if digit.isdigit()]
    if len(digits) > 19 or not text.replace(" ", "").replace("-", "").isdigit():
        return text
    doubled = (sum(divmod(digit * 2, 10)) for digit in digits[-2::-2])
    return REDACTED if (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0 else text
