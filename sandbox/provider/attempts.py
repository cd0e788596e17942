"""Trying to move the money of a payment intent: its charge, a decline, the card's holder, a hold that runs out."""

from typing import Any, NoReturn

from sandbox.books.bank import Body
from sandbox.books.errands import put_down
from sandbox.provider import charges, methods
from sandbox.provider.calls import Call
from sandbox.provider.intent_states import end, expect, find
from sandbox.provider.wire import ProviderError


def attempt(call: Call, intent: Body, *, off_session: bool) -> Body:
    """Try to charge the intent's card. A decline changes the intent too, and is raised as an executed answer."""
    card = methods.card_of(call.bank, call.account, intent["payment_method"])
    if card.needs_holder and not off_session:
        return _ask_holder(call, intent)
    if card.needs_holder or card.code is not None:
        _decline(call, intent, card)
    return _charge(call, intent, card)


def authenticate(call: Call, intent_id: str, *, succeed: bool) -> Body:
    """The card's holder answers their bank, and the payment goes on or fails."""
    intent = find(call, intent_id)
    expect(intent, "authenticate", "requires_action")
    card = methods.card_of(call.bank, call.account, intent["payment_method"])
    if succeed:
        return _charge(call, intent, card)
    intent["last_payment_error"] = {
        "type": "invalid_request_error",
        "code": "payment_intent_authentication_failure",
        "message": "The provided payment method has failed authentication.",
        "payment_method": call.bank.find(call.account, "payment_method", intent["payment_method"]),
    }
    intent.update(status="requires_payment_method", payment_method=None, next_action=None)
    call.bank.save(intent)
    call.emit("payment_intent.payment_failed", intent)
    return intent


def expire(call: Call, intent_id: str, charge_id: str) -> None:
    """Let go of the money that a charge holds, because nobody captured it in time."""
    intent = find(call, intent_id)
    if intent["status"] == "requires_capture" and intent["latest_charge"] == charge_id:
        charge = call.bank.find(call.account, "charge", charge_id)
        assert charge is not None  # the intent names it
        call.emit("charge.expired", charge)
        end(call, intent, "automatic")


def _charge(call: Call, intent: Body, card: methods.Card) -> Body:
    """Take the money, or hold it."""
    captured = intent["capture_method"] != "manual"
    charge = charges.succeed(call, intent, card, capture=captured)
    intent.update(latest_charge=charge["id"], next_action=None, last_payment_error=None)
    if captured:
        intent.update(status="succeeded", amount_received=intent["amount"])
    else:
        intent.update(status="requires_capture", amount_capturable=intent["amount"])
        until = charge["payment_method_details"]["card"]["capture_before"]
        put_down(call.bank, until, call.account, "expire_authorization", intent["id"], charge=charge["id"])
    call.bank.save(intent)
    call.emit("payment_intent.succeeded" if captured else "payment_intent.amount_capturable_updated", intent)
    return intent


def _ask_holder(call: Call, intent: Body) -> Body:
    intent.update(
        status="requires_action",
        next_action={"type": "use_stripe_sdk", "use_stripe_sdk": {"type": "three_d_secure_redirect"}},
    )
    call.bank.save(intent)
    call.emit("payment_intent.requires_action", intent)
    return intent


def _decline(call: Call, intent: Body, card: methods.Card) -> NoReturn:
    if card.needs_holder:
        card = methods.Card(card.brand, card.last4, "authentication_required", "authentication_required")
    charge = charges.decline(call, intent, card)
    error: dict[str, Any] = {
        "charge": charge["id"],
        "code": card.code,
        "decline_code": card.decline_code,
        "advice_code": card.advice_code,
        "message": "Your card was declined.",
        "type": "card_error",
        "payment_method": call.bank.find(call.account, "payment_method", intent["payment_method"]),
    }
    intent.update(
        status="requires_payment_method",
        latest_charge=charge["id"],
        last_payment_error=error,
        payment_method=None,
        next_action=None,
    )
    call.bank.save(intent)
    call.emit("payment_intent.payment_failed", intent)
    fields = {name: value for name, value in error.items() if name not in {"type", "message"}}
    raise ProviderError(402, "card_error", error["message"], executed=True, payment_intent=intent, **fields)
