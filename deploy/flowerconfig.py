"""Flower's two secrets, read from files; every other option comes from the environment (`FLOWER_<OPTION>`)."""

import os
from pathlib import Path

_secrets = Path(os.environ.get("MAINSTAY_SECRETS_DIR", "/run/secrets"))

basic_auth = [(_secrets / "flower_basic_auth").read_text().strip()]
cookie_secret = (_secrets / "flower_cookie_secret").read_text().strip()
