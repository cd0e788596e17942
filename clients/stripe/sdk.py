"""What the SDK is denied: redirects, settings from the environment, and logs that show card data."""

import logging
import os
from typing import Any

import requests


class Session(requests.Session):
    """Follows no redirect, and takes neither a proxy nor a password from the environment in the key's place."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002  # requests' signature
        return None


def keep_quiet(sdk: Any) -> None:
    """At DEBUG the SDK logs card data and client secrets, to its logger and, if STRIPE_LOG asks, to stderr: never."""
    logging.getLogger("stripe").addFilter(_above_debug)
    sdk.log = "info" if os.environ.get("STRIPE_LOG") == "debug" else None
    sdk.enable_telemetry = False


def _above_debug(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG
