"""The faults that can be armed, what each does, and which options go with it.

`before` and `after` say on which side of the effect a fault strikes. A 500 passes through the idempotency layer and is
stored under the key, as the real provider's is. A time-out, a reset, a cut or mangled reply, and the 502 of a proxy are
no answers of the endpoint and are not stored: a replay gets the true one. What is refused at the door leaves no trace.
"""

from enum import StrEnum


class FaultKind(StrEnum):
    """What goes wrong."""

    SLOW = "slow"
    TIMEOUT_BEFORE = "timeout_before"
    TIMEOUT_AFTER = "timeout_after"
    RESET_AFTER = "reset_after"
    CUT_AFTER = "cut_after"
    ERROR_BEFORE = "error_before"
    ERROR_AFTER = "error_after"
    ERROR_ROLLED_FORWARD = "error_rolled_forward"
    ERROR_ROLLED_BACK = "error_rolled_back"
    BAD_GATEWAY = "bad_gateway"
    GARBAGE = "garbage"
    RATE_LIMIT = "rate_limit"
    LOCK_TIMEOUT = "lock_timeout"
    KEY_IN_USE = "key_in_use"
    DRIP = "drip"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    REFUND_FAILS = "refund_fails"
    KEY_PRUNED = "key_pruned"
    DASHBOARD_REFUND = "dashboard_refund"
    DASHBOARD_CANCEL = "dashboard_cancel"
    WRONG_AMOUNT = "wrong_amount"
    RELEASE_AS_REFUND = "release_as_refund"
    WEBHOOK_DUPLICATE = "webhook_duplicate"
    WEBHOOK_REORDER = "webhook_reorder"
    WEBHOOK_EARLY = "webhook_early"
    WEBHOOK_LOST = "webhook_lost"
    WEBHOOK_DELAY = "webhook_delay"
    WEBHOOK_SIGNATURE = "webhook_signature"


class Group(StrEnum):
    """Where a fault strikes. At most one fault of a group strikes at a time."""

    DELAY = "delay"
    KEY = "key"
    CALL = "call"
    WEBHOOK = "webhook"


def group_of(kind: FaultKind) -> Group:
    """The group of a kind."""
    if kind is FaultKind.SLOW:
        return Group.DELAY
    if kind is FaultKind.KEY_PRUNED:
        return Group.KEY
    return Group.WEBHOOK if kind.startswith("webhook_") else Group.CALL


# What strikes only where the endpoint is executed, and therefore not a replay.
EXECUTION = frozenset({
    FaultKind.ERROR_BEFORE, FaultKind.ERROR_AFTER, FaultKind.ERROR_ROLLED_FORWARD, FaultKind.ERROR_ROLLED_BACK,
    FaultKind.REFUND_FAILS, FaultKind.DASHBOARD_REFUND, FaultKind.DASHBOARD_CANCEL, FaultKind.RELEASE_AS_REFUND,
})  # fmt: skip
CONTENTS = ("garbage", "empty", "list")
SIGNATURES = ("bad", "old", "future")
# Beside `endpoint`, `nth`, `times`, `probability` and `seed`, which go with every kind.
OPTIONS: dict[FaultKind, frozenset[str]] = {
    FaultKind.SLOW: frozenset({"delay_ms"}),
    FaultKind.DRIP: frozenset({"delay_ms"}),
    FaultKind.ERROR_ROLLED_FORWARD: frozenset({"after"}),
    FaultKind.ERROR_ROLLED_BACK: frozenset({"after"}),
    FaultKind.BAD_GATEWAY: frozenset({"effect"}),
    FaultKind.GARBAGE: frozenset({"content"}),
    FaultKind.REFUND_FAILS: frozenset({"after"}),
    FaultKind.DASHBOARD_REFUND: frozenset({"after", "amount"}),
    FaultKind.DASHBOARD_CANCEL: frozenset({"after"}),
    FaultKind.WEBHOOK_DUPLICATE: frozenset({"copies"}),
    FaultKind.WEBHOOK_REORDER: frozenset({"after"}),
    FaultKind.WEBHOOK_DELAY: frozenset({"after"}),
    FaultKind.WEBHOOK_SIGNATURE: frozenset({"signature"}),
}
