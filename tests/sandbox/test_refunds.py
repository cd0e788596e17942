"""Refunds that take their time, come back, or wait for the customer, and what they leave of charge and balance."""

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import stripe

from tests.sandbox.process import Sandbox


def paid(client: Any, method: str = "pm_card_visa") -> str:
    params = {"amount": 1000, "currency": "eur", "payment_method": method, "confirm": True, "metadata": {"order": "7"}}
    return str(client.payment_intents.create(params).id)


def charge_of(client: Any, intent_id: str) -> Any:
    return client.payment_intents.retrieve(intent_id, {"expand": ["latest_charge"]}).latest_charge


def balance(client: Any) -> int:
    return int(client.balance.retrieve().available[0].amount)


def types(client: Any) -> list[str]:
    return [event.type for event in client.events.list({"types": ["refund.*", "charge.refund*"]}).auto_paging_iter()]


def test_a_pending_refund_succeeds_later(sandbox: Sandbox, client: Any) -> None:
    intent_id = paid(client, "pm_card_pendingRefund")
    refund = client.refunds.create({"payment_intent": intent_id})
    assert (refund.status, refund.pending_reason) == ("pending", "processing")
    sandbox.advance(61)
    settled = client.refunds.retrieve(refund.id)
    assert (settled.status, settled.pending_reason) == ("succeeded", None)
    assert types(client) == ["charge.refund.updated", "refund.updated", "charge.refunded", "refund.created"]


def test_a_refund_that_has_succeeded_fails_later_and_can_be_made_again(sandbox: Sandbox, client: Any) -> None:
    intent_id = paid(client, "pm_card_refundFail")
    before = balance(client)
    refund = client.refunds.create({"payment_intent": intent_id})
    assert (refund.status, charge_of(client, intent_id).refunded, balance(client)) == ("succeeded", True, before - 1000)
    sandbox.advance(61)
    failed = client.refunds.retrieve(refund.id, {"expand": ["failure_balance_transaction"]})
    assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")
    assert (failed.failure_balance_transaction.type, failed.failure_balance_transaction.net) == ("refund_failure", 1000)
    charge = charge_of(client, intent_id)
    assert (charge.amount_refunded, charge.refunded, balance(client)) == (0, False, before)
    assert types(client)[:3] == ["charge.refund.updated", "refund.updated", "refund.failed"]
    assert client.refunds.create({"payment_intent": intent_id, "amount": 400}).amount == 400


def test_a_refund_that_waits_for_its_customer_can_be_canceled_once(client: Any) -> None:
    intent_id = paid(client, "pm_card_refundRequiresAction")
    refund = client.refunds.create({"payment_intent": intent_id, "amount": 600})
    assert refund.status == "requires_action"
    canceled = client.refunds.cancel(refund.id)
    assert (canceled.status, canceled.failure_reason) == ("canceled", "merchant_request")
    assert charge_of(client, intent_id).amount_refunded == 0
    with pytest.raises(stripe.InvalidRequestError, match="canceled"):
        client.refunds.cancel(refund.id)


def test_a_refund_that_went_through_cannot_be_canceled(client: Any) -> None:
    refund = client.refunds.create({"payment_intent": paid(client)})
    with pytest.raises(stripe.InvalidRequestError):
        client.refunds.cancel(refund.id)
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        client.refunds.cancel("re_nobody")
    assert (refusal.value.http_status, refusal.value.code) == (404, "resource_missing")


def test_people_settle_refunds_too(sandbox: Sandbox, client: Any) -> None:
    intent_id = paid(client, "pm_card_refundRequiresAction")
    one, other = (client.refunds.create({"payment_intent": intent_id, "amount": 500}).id for _ in range(2))
    assert sandbox.act("refund_succeeds", one)["status"] == "succeeded"
    assert sandbox.act("refund_fails", other)["status"] == "failed"
    assert charge_of(client, intent_id).amount_refunded == 500


def test_money_that_was_not_captured_cannot_be_refunded(client: Any) -> None:
    held = {"amount": 1000, "currency": "eur", "payment_method": "pm_card_visa", "capture_method": "manual"}
    intent = client.payment_intents.create({**held, "confirm": True})
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        client.refunds.create({"payment_intent": intent.id})
    assert refusal.value.json_body["error"]["code"] == "charge_not_captured"
    client.payment_intents.capture(intent.id, {"amount_to_capture": 600})
    with pytest.raises(stripe.InvalidRequestError, match="greater"):
        client.refunds.create({"payment_intent": intent.id, "amount": 601})
    assert client.refunds.create({"charge": charge_of(client, intent.id).id}).amount == 600


def test_refunds_at_once_never_exceed_what_was_captured(sandbox: Sandbox, client: Any) -> None:
    intent_id = paid(client)

    def refund(number: int) -> bool:
        try:
            client.refunds.create({"payment_intent": intent_id, "amount": 300}, {"idempotency_key": f"r{number}"})
        except stripe.InvalidRequestError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(refund, range(8))) == 3
    assert sandbox.books("SELECT sum(amount) FROM refund WHERE payment_intent = ?", intent_id) == [(900,)]
    assert charge_of(client, intent_id).amount_refunded == 900


def test_an_unpaid_intent_has_nothing_to_refund(client: Any) -> None:
    intent = client.payment_intents.create({"amount": 5, "currency": "eur"})
    with pytest.raises(stripe.InvalidRequestError):
        client.refunds.create({"payment_intent": intent.id})
    assert client.refunds.list().data == []


def test_a_refund_keeps_its_own_metadata_and_a_charge_its_payments(client: Any) -> None:
    intent_id = paid(client)
    made = client.refunds.create({"payment_intent": intent_id, "metadata": {"operation": "r1"}, "reason": "duplicate"})
    (listed,) = client.refunds.list({"payment_intent": intent_id}).data
    assert (listed.id, listed.metadata.to_dict(), listed.reason) == (made.id, {"operation": "r1"}, "duplicate")
    assert charge_of(client, intent_id).metadata.to_dict() == {"order": "7"}
