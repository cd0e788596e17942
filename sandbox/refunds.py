"""Refunds: money given back, never more than was captured."""

from sandbox import charges, intents, wire
from sandbox.bank import Body, new_id
from sandbox.calls import Call
from sandbox.wire import Form, ProviderError

REASONS = ("duplicate", "fraudulent", "requested_by_customer")


def create(call: Call, form: Form) -> Body:
    """Give back `amount`, or everything that is left."""
    wire.allow(form, "payment_intent", "charge", "amount", "reason", "metadata")
    reason = wire.text(form, "reason")
    if reason is not None and reason not in REASONS:
        raise wire.invalid("Invalid reason", param="reason")
    charge = _charge(call, form)
    left = charge["amount_captured"] - charge["amount_refunded"]
    amount = wire.integer(form, "amount", least=1, most=wire.AMOUNT_LIMIT, default=left)
    _check(charge, amount, left)
    refund = _new(call, charge, amount, reason, form)
    charge["amount_refunded"] += amount
    charge["refunded"] = charge["amount_refunded"] == charge["amount_captured"]
    call.bank.save(charge)
    refund["balance_transaction"] = charges.balance_transaction(call, refund, "refund", -amount, 0)["id"]
    call.bank.insert(call.account, "refund", refund, parent=charge["payment_intent"])
    call.emit("refund.created", refund)
    call.emit("charge.refunded", charge)
    return refund


def _charge(call: Call, form: Form) -> Body:
    charge_id = wire.text(form, "charge")
    if charge_id is None:
        intent = intents.find(call, wire.required(form, "payment_intent"))
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
    fields = {} if code is None else {"code": code}
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
        "status": "succeeded",
    }
