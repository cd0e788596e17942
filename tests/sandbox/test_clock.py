"""The provider's clock: what lies ahead happens in its order when the clock is moved, and time outlives the process."""

from pathlib import Path
from typing import Any

import pytest
import stripe

from tests.sandbox.conftest import connect
from tests.sandbox.process import Sandbox, running_sandbox

VISA: dict[str, Any] = {"amount": 1000, "currency": "eur", "payment_method": "pm_card_visa"}
HELD = {**VISA, "capture_method": "manual", "confirm": True}
HOUR, DAY = 3600, 24 * 3600


def test_an_authorization_expires_when_its_time_has_come(sandbox: Sandbox, client: Any) -> None:
    held = client.payment_intents.create({**HELD, "expand": ["latest_charge"]})
    until = held.latest_charge.payment_method_details.card.capture_before
    assert until - held.created == 7 * DAY
    sandbox.advance(7 * DAY - 60)
    assert client.payment_intents.retrieve(held.id).status == "requires_capture"
    sandbox.advance(120)
    expired = client.payment_intents.retrieve(held.id)
    assert (expired.status, expired.cancellation_reason, expired.amount_capturable) == ("canceled", "automatic", 0)
    assert until <= expired.canceled_at <= until + 30
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        client.payment_intents.capture(held.id)
    assert refusal.value.code == "payment_intent_unexpected_state"
    told = [event.type for event in client.events.list({"limit": 2}).data]
    assert told == ["payment_intent.canceled", "charge.expired"]
    assert client.events.list({"limit": 1}).data[0].request.id is None


def test_an_authorization_that_was_captured_does_not_expire(sandbox: Sandbox, client: Any) -> None:
    held = client.payment_intents.create(HELD)
    client.payment_intents.capture(held.id)
    sandbox.advance(8 * DAY)
    assert client.payment_intents.retrieve(held.id).status == "succeeded"


def test_a_key_is_forgotten_after_a_day_and_executes_again(sandbox: Sandbox, client: Any) -> None:
    options = {"idempotency_key": "same"}
    first = client.payment_intents.create(VISA, options)
    sandbox.advance(23 * HOUR)
    assert client.payment_intents.create(VISA, options).id == first.id
    sandbox.advance(HOUR + 5)
    again = client.payment_intents.create(VISA, options)
    assert (again.id != first.id, again.last_response.headers.get("Idempotent-Replayed")) == (True, None)


def test_objects_are_made_at_the_time_of_the_clock(sandbox: Sandbox, client: Any) -> None:
    before = client.payment_intents.create(VISA)
    sandbox.advance(2 * DAY)
    after = client.payment_intents.create(VISA)
    assert 0 <= after.created - before.created - 2 * DAY < 60
    bound = before.created + DAY
    assert [each.id for each in client.payment_intents.list({"created": {"gte": bound}}).data] == [after.id]
    assert [each.id for each in client.payment_intents.list({"created": {"lt": bound}}).data] == [before.id]
    assert [event.data.object.id for event in client.events.list({"created": {"gt": bound}}).data] == [after.id]


def test_what_lies_between_happens_in_its_order(sandbox: Sandbox, client: Any) -> None:
    sandbox.arm("dashboard_cancel", "payment_intents.create", after=2 * HOUR, times=None)
    later = client.payment_intents.create(VISA)
    sandbox.disarm()
    sandbox.arm("dashboard_cancel", "payment_intents.create", after=HOUR)
    sooner = client.payment_intents.create(VISA)
    sandbox.advance(3 * HOUR)
    told = client.events.list({"type": "payment_intent.canceled"}).data
    assert [event.data.object.id for event in told] == [later.id, sooner.id]
    assert told[0].created - told[1].created == pytest.approx(HOUR, abs=30)


def test_the_clock_outlives_a_kill(tmp_path: Path) -> None:
    with running_sandbox(tmp_path) as sandbox:
        key = sandbox.new_key()
        held = connect(sandbox, key).payment_intents.create(HELD)
        sandbox.advance(6 * DAY)
        before = sandbox.now()
        sandbox.process.kill()
        sandbox.process.wait(timeout=10)
    with running_sandbox(tmp_path) as sandbox:
        assert 0 <= sandbox.now() - before < 60
        sandbox.advance(DAY + 60)
        assert connect(sandbox, key).payment_intents.retrieve(held.id).status == "canceled"
