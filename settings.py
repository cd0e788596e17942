"""The environment, typed and read once: every process asks `get_settings()` and nothing else reads variables.

A variable that is not set may be a file of that name, in lower case, in `MAINSTAY_SECRETS_DIR` (`/run/secrets`): so are
containers given secrets. A wrong environment is reported whole: `SettingsError` names every faulty variable at once.
"""

import os
from datetime import timedelta
from functools import cache
from ipaddress import ip_network
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class SettingsError(Exception):
    """The environment is not usable; the message names every faulty variable and what is wrong with it."""


class Settings(BaseSettings):
    """Each field is one environment variable: `MAINSTAY_<NAME>`, or the alias where the world already has a name."""

    model_config = SettingsConfigDict(env_prefix="MAINSTAY_", extra="ignore", frozen=True)

    database_url: SecretStr = Field(validation_alias="DATABASE_URL")
    redis_url: SecretStr = Field(validation_alias="REDIS_URL")

    env: Literal["live", "test", "dev"] = "dev"
    """Stands in every API key (`mst_<env>_…`); a key of another environment is refused."""
    installation_id: str = Field(default="default", pattern=r"^[a-z0-9-]{1,40}$")
    """Part of every provider idempotency key; two installations on one provider account need two ids."""
    key_pepper: SecretStr = Field(min_length=16)
    """The server's secret in the HMAC under which API keys are stored; changing it revokes every key."""

    files_dir: Path = Path(".mainstay/files")
    file_max_bytes: int = Field(default=10 * 1024**3, ge=1)
    app_quota_bytes: int = Field(default=50 * 1024**3, ge=1)

    lease_seconds: float = Field(default=20, ge=2, le=600)
    """How long an attempt holds a job without renewing; it renews four times within one lease."""
    dispatch_lease_seconds: float = Field(default=30, ge=2, le=600)
    """How long a message may wait in Redis before its jobs are dispatched anew."""
    max_lost: int = Field(default=3, ge=1, le=100)
    """How many workers a job may lose before it fails as the likely cause."""
    max_chunk: int = Field(default=500, ge=1, le=5000)
    """The most jobs that one message may carry."""
    stop_grace_seconds: float = Field(default=25, ge=0)
    """How long running handlers may go on after SIGTERM before their jobs are handed back."""
    retention_days: int = Field(default=30, ge=1)
    """Ended jobs older than this are pruned, with their attempts and events."""

    egress_allow_cidrs: Annotated[tuple[str, ...], NoDecode] = Field(default=(), validation_alias="EGRESS_ALLOW_CIDRS")
    """Otherwise denied networks that handlers may call, comma-separated, each `CIDR` or `CIDR:PORT`."""
    egress_allow_metadata: bool = Field(default=False, validation_alias="EGRESS_ALLOW_METADATA")
    """Cloud metadata addresses need this flag besides an allowed network."""

    stripe_api_key: SecretStr | None = None
    stripe_api_base: str | None = None
    """Another base address than Stripe's own: the sandbox's payment provider."""

    rate_limit_per_second: float = Field(default=200, gt=0)
    """Requests per second and API key, for reads and for writes apart; bursts up to five times this."""
    trusted_proxies: int = Field(default=0, ge=0, le=10)
    """How many proxies of ours stand before the API: so many of its `X-Forwarded-For` addresses are believed."""
    cors_origins: Annotated[tuple[str, ...], NoDecode] = ()

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    log_format: Literal["json", "console"] = "json"

    @field_validator("egress_allow_cidrs", "cors_origins", mode="before")
    @classmethod
    def _comma_separated(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("egress_allow_cidrs")
    @classmethod
    def _networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for entry in value:
            network, port = split_network(entry)
            ip_network(network)
            if port is not None and not 0 < port < 65536:
                raise ValueError(f"{entry}: the port must be between 1 and 65535")
        return value

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.lease_seconds)

    @property
    def dispatch_lease(self) -> timedelta:
        return timedelta(seconds=self.dispatch_lease_seconds)


def split_network(entry: str) -> tuple[str, int | None]:
    """Split `CIDR` or `CIDR:PORT` (IPv6 networks stand in brackets when a port follows)."""
    if entry.startswith("["):
        network, _, port = entry[1:].partition("]")
        return network, int(port.removeprefix(":")) if port else None
    if entry.count(":") == 1:
        network, _, port = entry.partition(":")
        return network, int(port)
    return entry, None


@cache
def get_settings() -> Settings:
    """Read the environment once. Raises `SettingsError` with every faulty variable named."""
    secrets = Path(os.environ.get("MAINSTAY_SECRETS_DIR", "/run/secrets"))
    try:
        return Settings(_secrets_dir=secrets if secrets.is_dir() else None)
    except ValidationError as error:
        raise SettingsError(_explain(error)) from None
    except OSError as error:
        raise SettingsError(f"a file in {secrets} cannot be read: {error}") from None


def _explain(error: ValidationError) -> str:
    lines = [f"  {_variable(str(fault['loc'][0]))}: {fault['msg']}" for fault in error.errors(include_input=False)]
    return "the environment is not usable:\n" + "\n".join(lines)


def _variable(location: str) -> str:
    field = Settings.model_fields.get(location)
    if field is None:
        return location
    alias = field.validation_alias
    return alias if isinstance(alias, str) else f"MAINSTAY_{location.upper()}"
