"""The vocabulary of payments that every provider's client speaks: what to ask for, and what may come of it."""

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Literal


class OutcomeClass(StrEnum):
    """What one call came to; only `OK` and the refusals say for certain whether it had an effect."""

    OK = "ok"
    DECLINED = "declined"
    REQUIRES_ACTION = "requires_action"
    INVALID = "invalid"
    STATE_CONFLICT = "state_conflict"
    KEY_MISMATCH = "key_mismatch"
    IN_PROGRESS = "in_progress"
    RATE_LIMITED = "rate_limited"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    CONFIG = "config"


class PaymentStatus(StrEnum):
    """Where a payment stands at the provider."""

    CREATED = "created"
    PROCESSING = "processing"
    REQUIRES_ACTION = "requires_action"
    AUTHORIZED = "authorized"
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    CANCELED = "canceled"


class Step(StrEnum):
    """A provider call within an operation; part of its idempotency key."""

    CREATE = "create"
    CONFIRM = "confirm"
    CANCEL = "cancel"
    FETCH = "fetch"


@dataclass(frozen=True)
class CallContext:
    """How to make one call: a replay gives the same key and the same API version as the first time."""

    step: Step
    key: str
    api_version: str


@dataclass(frozen=True)
class CreateParams:
    """A payment to create; `currency` is upper-case ISO 4217, `amount` counts its smallest unit."""

    amount: int
    currency: str
    payment_method: str
    capture: Literal["automatic", "manual"] = "automatic"
    customer: str | None = None
    description: str | None = None
    statement_suffix: str | None = None
    receipt_email: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Decline:
    """Why a card was refused, in the provider's codes."""

    code: str | None
    decline_code: str | None
    advice_code: str | None


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A payment as the provider showed it at `observed_at`."""

    object_id: str
    account: str
    livemode: bool
    status: PaymentStatus
    currency: str
    amount: int
    authorized: int
    captured: int
    refunded: int
    charge_id: str | None
    metadata: Mapping[str, str]
    decline: Decline | None
    next_action: str | None
    capture_before: datetime | None
    observed_at: datetime


@dataclass(frozen=True, kw_only=True)
class CallResult:
    """One call's outcome, with the payment where the answer showed it."""

    outcome: OutcomeClass
    snapshot: Snapshot | None = None
    decline: Decline | None = None
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None
    http_status: int | None = None
    request_id: str | None = None
    replayed: bool = False


def call_key(installation_id: str, account: str, operation_id: str, step: Step, generation: int) -> str:
    """The idempotency key of a step: 160 bits as 32 characters `[a-z2-7]`, which every provider accepts."""
    seed = f"v1|{installation_id}|{account}|{operation_id}|{step}|{generation}"
    return base64.b32encode(hashlib.sha256(seed.encode()).digest()).decode().lower()[:32]
