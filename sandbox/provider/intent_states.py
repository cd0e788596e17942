"""Finding a payment intent, the states in which something can be done to it, and its end."""

from typing import NoReturn

from sandbox.books.bank import Body
from sandbox.provider import wire
from sandbox.provider.calls import Call
from sandbox.provider.wire import ProviderError


def find(call: Call, intent_id: str) -> Body:
    """The account's intent of that id, or 404."""
    intent = call.bank.find(call.account, "payment_intent", intent_id)
    if intent is None:
        raise wire.missing("payment_intent", intent_id, param="intent")
    return intent


def end(call: Call, intent: Body, reason: str | None) -> Body:
    """End an intent for ever; a held amount is let go."""
    intent.update(status="canceled", canceled_at=int(call.bank.now()), cancellation_reason=reason)
    intent.update(amount_capturable=0, next_action=None)
    call.bank.save(intent)
    call.emit("payment_intent.canceled", intent)
    return intent


def expect(intent: Body, verb: str, *statuses: str) -> None:
    """Refuse what cannot be done to an intent in the state it is in."""
    if intent["status"] not in statuses:
        refuse(intent, f"You cannot {verb} this PaymentIntent because it has a status of {intent['status']}.")


def refuse(intent: Body, message: str) -> NoReturn:
    """An answer that shows the intent as it is."""
    raise ProviderError(
        400,
        "invalid_request_error",
        message,
        executed=True,
        code="payment_intent_unexpected_state",
        payment_intent=intent,
    )
