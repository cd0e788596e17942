"""What people do without the API: at the provider's dashboard, with a card in hand, or at the holder's bank."""

from collections.abc import Callable

from sandbox.books.bank import Body
from sandbox.provider import attempts, intents, refunds
from sandbox.provider.calls import Call
from sandbox.provider.wire import Form

Act = Callable[[Call, str, Form], Body]


def _refund(call: Call, intent_id: str, amount: Form) -> Body:
    return refunds.create(call, {"payment_intent": intent_id, "reason": "requested_by_customer", **amount})


def _capture(call: Call, intent_id: str, amount: Form) -> Body:
    form = {"amount_to_capture": amount["amount"]} if amount else {}
    return intents.capture(call, intent_id, form)


ACTIONS: dict[str, Act] = {
    "refund": _refund,
    "capture": _capture,
    "cancel": lambda call, intent_id, _: intents.cancel(call, intent_id, {}),
    "authenticate": lambda call, intent_id, _: attempts.authenticate(call, intent_id, succeed=True),
    "refuse_authentication": lambda call, intent_id, _: attempts.authenticate(call, intent_id, succeed=False),
    "refund_succeeds": lambda call, refund_id, _: refunds.settle(call, refund_id, "succeeded"),
    "refund_fails": lambda call, refund_id, _: refunds.settle(call, refund_id, "failed"),
}


def act(call: Call, action: str, object_id: str, amount: int | None = None) -> Body:
    """Do `action` to a payment intent or a refund; `amount` goes with refunds and captures, and is all by default."""
    return ACTIONS[action](call, object_id, {} if amount is None else {"amount": str(amount)})
