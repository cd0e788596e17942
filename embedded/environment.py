"""The variables of a run: what its processes are given, and what a shell may source."""

import os
from collections.abc import Mapping

from embedded.home import Home, Kept
from embedded.ports import LOOPBACK
from embedded.postgres import Postgres
from embedded.roles import FLOWER_USER, Ports, url
from embedded.valkey import Valkey

SANDBOX_STRIPE_KEY = "sk_test_sandbox"


def for_processes(home: Home, kept: Kept, ports: Ports, postgres: Postgres, valkey: Valkey) -> dict[str, str]:
    """What every process of the run is given, over what this one was given."""
    return os.environ | {
        "DATABASE_URL": postgres.url,
        "REDIS_URL": valkey.url,
        "MAINSTAY_KEY_PEPPER": kept.key_pepper,
        "MAINSTAY_FILES_DIR": str(home.data / "files"),
        "MAINSTAY_STRIPE_API_KEY": SANDBOX_STRIPE_KEY,
        "MAINSTAY_STRIPE_API_BASE": url(ports.payments),
        # Of this machine, handlers may call the sandbox's HTTP server and nothing else.
        "EGRESS_ALLOW_CIDRS": f"{LOOPBACK}/32:{ports.http}",
        "FLOWER_BASIC_AUTH": f"{FLOWER_USER}:{kept.flower_password}",
        "FLOWER_COOKIE_SECRET": kept.flower_cookie_secret,
        "FLOWER_READ_ONLY": "true",
        "FLOWER_PERSISTENT": "true",
        "FLOWER_DB": str(home.data / "flower"),
        "FLOWER_STATE_SAVE_INTERVAL": "10000",
        "FLOWER_MAX_TASKS": "10000",
        "FLOWER_PURGE_OFFLINE_WORKERS": "60",
        "PYTHONUNBUFFERED": "1",
    }


def for_shells(kept: Kept, ports: Ports, postgres: Postgres, valkey: Valkey, pids: Mapping[str, int]) -> dict[str, str]:
    """What a person or a program needs to use the run."""
    return {
        "MAINSTAY_URL": url(ports.api),
        "MAINSTAY_API_KEY": kept.api_key,
        "MAINSTAY_OPERATOR_KEY": kept.operator_key,
        "MAINSTAY_FLOWER_URL": url(ports.flower),
        "MAINSTAY_FLOWER_USER": FLOWER_USER,
        "MAINSTAY_FLOWER_PASSWORD": kept.flower_password,
        "MAINSTAY_SANDBOX_URL": url(ports.http),
        "MAINSTAY_SANDBOX_PAYMENTS_URL": url(ports.payments),
        "MAINSTAY_SANDBOX_CONTROL_URL": url(ports.control),
        "DATABASE_URL": postgres.url,
        "REDIS_URL": valkey.url,
        "MAINSTAY_KEY_PEPPER": kept.key_pepper,
    } | {pid_name(role): str(pid) for role, pid in pids.items()}


def pid_name(role: str) -> str:
    """The variable that holds the process id of a role."""
    return f"MAINSTAY_PID_{role.upper().replace('-', '_')}"


def for_people(values: Mapping[str, str]) -> str:
    """Where to look, in a few lines."""
    return f"""
  API      {values["MAINSTAY_URL"]}   documentation at {values["MAINSTAY_URL"]}/docs
  Key      {values["MAINSTAY_API_KEY"]}
  Flower   {values["MAINSTAY_FLOWER_URL"]}   user {FLOWER_USER}, password {values["MAINSTAY_FLOWER_PASSWORD"]}
  Sandbox  {values["MAINSTAY_SANDBOX_URL"]}   a server to call; it echoes, fails and stalls on demand
"""
