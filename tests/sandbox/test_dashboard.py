"""What people do to payments without the API: at the dashboard, and the card's holder at their bank."""

from typing import Any

import pytest
import requests
import stripe

from tests.sandbox.process import Sandbox

VISA: dict[str, Any] = {"amount": 1000, "currency": "eur", "payment_method": "pm_card_visa"}


@pytest.fixture
def waiting(client: Any) -> str:
    """A payment that waits for the card's holder."""
    card = {**VISA, "payment_method": "pm_card_authenticationRequired", "confirm": True}
    return str(client.payment_intents.create(card).id)


def test_a_holder_who_says_yes_lets_the_payment_through(sandbox: Sandbox, client: Any, waiting: str) -> None:
    sandbox.act("authenticate", waiting)
    paid = client.payment_intents.retrieve(waiting)
    assert (paid.status, paid.amount_received, paid.next_action) == ("succeeded", 1000, None)


def test_a_holder_who_says_no_ends_the_attempt(sandbox: Sandbox, client: Any, waiting: str) -> None:
    sandbox.act("refuse_authentication", waiting)
    failed = client.payment_intents.retrieve(waiting)
    assert failed.status == "requires_payment_method"
    assert failed.last_payment_error.code == "payment_intent_authentication_failure"
    assert client.events.list({"limit": 1}).data[0].type == "payment_intent.payment_failed"
    assert client.payment_intents.confirm(waiting, {"payment_method": "pm_card_visa"}).status == "succeeded"


def test_people_refund_capture_and_cancel(sandbox: Sandbox, client: Any) -> None:
    held, other = (client.payment_intents.create({**VISA, "capture_method": "manual", "confirm": True}) for _ in "12")
    assert sandbox.act("capture", held.id, 700)["amount_received"] == 700
    assert sandbox.act("refund", held.id, 200)["amount"] == 200
    assert sandbox.act("cancel", other.id)["status"] == "canceled"
    (refund,) = client.refunds.list({"payment_intent": held.id}).data
    assert (refund.amount, refund.reason) == (200, "requested_by_customer")
    event = client.events.list({"type": "refund.created"}).data[0]
    assert (event.request.idempotency_key, event.request.id[:4]) == (None, "req_")


def test_people_cannot_do_what_is_impossible_either(sandbox: Sandbox, client: Any) -> None:
    paid = client.payment_intents.create({**VISA, "confirm": True})
    order = {"action": "cancel", "object": paid.id}
    reply = requests.post(f"{sandbox.control}/actions", json=order, timeout=5)
    assert (reply.status_code, "succeeded" in reply.json()["error"]) == (400, True)
    with pytest.raises(stripe.InvalidRequestError):
        client.payment_intents.cancel(paid.id)


def test_the_log_says_what_was_asked_and_what_was_answered(sandbox: Sandbox, client: Any) -> None:
    before = sandbox.last_call()
    for _ in range(2):
        client.payment_intents.create(VISA, {"idempotency_key": "one"})
    with pytest.raises(stripe.IdempotencyError):
        client.payment_intents.create({**VISA, "amount": 1}, {"idempotency_key": "one"})
    with pytest.raises(stripe.InvalidRequestError):
        client.payment_intents.retrieve("pi_nobody")
    told = [(call["status"], call["error"], call["replayed"]) for call in sandbox.calls(before)]
    assert told == [(200, None, 0), (200, None, 1), (400, "idempotency_error", 0), (404, "resource_missing", 0)]
