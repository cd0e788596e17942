"""Refunds: money given back, never more than was captured. Some take their time, and some come back."""

from dataclasses import dataclass
from typing import Any

from sandbox.books.bank import Body, new_id
from sandbox.books.errands import put_down
from sandbox.faults.kinds import FaultKind
from sandbox.provider import charges, intent_states, methods, wire
from sandbox.provider.calls import Call
from sandbox.provider.methods import RefundFate
from sandbox.provider.wire import Form, ProviderError

REASONS = ("duplicate", "fraudulent", "requested_by_customer")
SETTLING_SECONDS = 60.0


@dataclass(frozen=True)
class Course:
    """A refund's status at once, and the one that it will have `after` seconds, if it will change."""

    now: str
    later: str | None = None
    after: float = SETTLING_SECONDS


COURSES = {
    RefundFate.SUCCEEDS: Course("succeeded"),
    RefundFate.PENDING: Course("pending", "succeeded"),
    RefundFate.FAILS_LATER: Course("succeeded", "failed"),
    RefundFate.NEEDS_ACTION: Course("requires_action"),
}


def find(call: Call, refund_id: str) -> Body:
    """The account's refund of that id, or 404."""
    refund = call.bank.find(call.account, "refund", refund_id)
    if refund is None:
        raise wire.missing("refund", refund_id, param="refund")
    return refund


def create(call: Call, form: Form) -> Body:
    """Give back `amount`, or everything that is left."""
    wire.allow(form, "payment_intent", "charge", "amount", "reason", "metadata")
    reason = wire.text(form, "reason")
    if reason is not None and reason not in REASONS:
        raise wire.invalid("Invalid reason", param="reason")
    charge = _charge(call, form)
    left = charge["amount_captured"] + charge.get("released", 0) - charge["amount_refunded"]
    amount = wire.integer(form, "amount", least=1, most=wire.AMOUNT_LIMIT, default=left)
    _check(charge, amount, left)
    course = _course(call, charge)
    refund = _new(call, charge, amount, reason, form) | {"status": course.now}
    if course.now == "pending":
        refund["pending_reason"] = "processing"
    charge["amount_refunded"] += amount
    charge["refunded"] = amount == left
    call.bank.save(charge)
    refund["balance_transaction"] = charges.balance_transaction(call, refund, "refund", -amount, 0)["id"]
    call.bank.insert(call.account, "refund", refund, parent=charge["payment_intent"])
    call.emit("refund.created", refund)
    call.emit("charge.refunded", charge)
    if course.later is not None:
        at = call.bank.now() + course.after
        put_down(call.bank, at, call.account, "settle_refund", refund["id"], status=course.later)
    return refund


def show_release(call: Call, charge: Body) -> None:
    """Where the fault says so, show money that was held and is let go as Stripe has been seen to: as refunded.

    No balance changes, and what was captured can still be refunded.
    """
    if call.fault is None or call.fault.fault is not FaultKind.RELEASE_AS_REFUND:
        return
    released = charge["amount"] - charge["amount_captured"]
    if released > 0:
        charge["amount_refunded"] += released
        charge.update(released=released, refunded=charge["amount_captured"] == 0)
        call.bank.save(charge)
        refund = _new(call, charge, released, None, {}) | {"status": "succeeded"}
        call.bank.insert(call.account, "refund", refund, parent=charge["payment_intent"])
        call.emit("charge.refunded", charge)


def cancel(call: Call, refund_id: str, form: Form) -> Body:
    """Take back a refund that still waits for its customer; no other can be."""
    wire.allow(form)
    refund = find(call, refund_id)
    if refund["status"] != "requires_action":
        _refuse(f"A refund with the status {refund['status']} cannot be canceled.", None)
    return _return(call, refund, "canceled", "merchant_request")


def settle(call: Call, refund_id: str, status: str) -> Body:
    """The bank says what became of a refund: it arrived, or the money comes back."""
    refund = find(call, refund_id)
    if refund["status"] in {"failed", "canceled", status}:
        _refuse(f"The refund is {refund['status']} already.", None)
    if status == "failed":
        return _return(call, refund, "failed", "expired_or_canceled_card")
    refund.update(status="succeeded", pending_reason=None)
    call.bank.save(refund)
    call.emit("refund.updated", refund)
    call.emit("charge.refund.updated", refund)
    return refund


def _return(call: Call, refund: Body, status: str, reason: str) -> Body:
    """The money is the account's again, and can be refunded again."""
    charge = call.bank.find(call.account, "charge", refund["charge"])
    assert charge is not None  # it was refunded
    charge["amount_refunded"] -= refund["amount"]
    charge["refunded"] = False
    call.bank.save(charge)
    back = charges.balance_transaction(call, refund, "refund_failure", refund["amount"], 0)
    refund.update(status=status, failure_reason=reason, pending_reason=None, failure_balance_transaction=back["id"])
    call.bank.save(refund)
    for event_type in (*(["refund.failed"] if status == "failed" else []), "refund.updated", "charge.refund.updated"):
        call.emit(event_type, refund)
    return refund


def _course(call: Call, charge: Body) -> Course:
    if call.fault is not None and call.fault.fault is FaultKind.REFUND_FAILS:
        return Course("pending", "failed", call.fault.after)
    return COURSES[methods.card_of(call.bank, call.account, charge["payment_method"]).refunds]


def _charge(call: Call, form: Form) -> Body:
    charge_id = wire.text(form, "charge")
    if charge_id is None:
        intent = intent_states.find(call, wire.required(form, "payment_intent"))
        charge_id = intent["latest_charge"]
        if charge_id is None:
            raise wire.invalid("This PaymentIntent does not have a successful charge to refund.")
    charge = call.bank.find(call.account, "charge", charge_id)
    if charge is None:
        raise wire.missing("charge", charge_id, param="charge")
    return charge


def _check(charge: Body, amount: int, left: int) -> None:
    if not charge["captured"]:
        _refuse("The charge has no captured money to refund.", "charge_not_captured")
    if left == 0:
        _refuse(f"Charge {charge['id']} has already been refunded.", "charge_already_refunded")
    if amount > left:
        _refuse(f"Refund amount ({amount}) is greater than unrefunded amount on charge ({left}).", None)


def _refuse(message: str, code: str | None) -> None:
    fields: dict[str, Any] = {} if code is None else {"code": code}
    raise ProviderError(400, "invalid_request_error", message, executed=True, **fields)


def _new(call: Call, charge: Body, amount: int, reason: str | None, form: Form) -> Body:
    empty = dict.fromkeys(
        (
            "balance_transaction", "customer", "customer_account", "description", "destination_details",
            "failure_balance_transaction", "failure_reason", "instructions_email", "next_action", "payment_method",
            "pending_reason", "presentment_details", "receipt_number", "source_transfer_reversal", "transfer_reversal",
        )
    )  # fmt: skip
    return empty | {
        "id": new_id("re_3"),
        "object": "refund",
        "amount": amount,
        "charge": charge["id"],
        "created": int(call.bank.now()),
        "currency": charge["currency"],
        "metadata": wire.metadata(form),
        "payment_intent": charge["payment_intent"],
        "reason": reason,
    }
