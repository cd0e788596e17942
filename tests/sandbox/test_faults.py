"""Every fault that can strike a call does what it says, seen by the real SDK. Those of webhooks have their own file."""

import re
from typing import Any

import pytest
import requests
import stripe

from sandbox.faults.kinds import OPTIONS, FaultKind
from tests.sandbox.conftest import connect
from tests.sandbox.process import ROOT, Sandbox

VISA: dict[str, Any] = {"amount": 1000, "currency": "eur", "payment_method": "pm_card_visa"}
KEY = {"idempotency_key": "the-key"}


@pytest.fixture
def client(sandbox: Sandbox, api_key: str) -> Any:
    return connect(sandbox, api_key, read_timeout=0.6)


@pytest.fixture
def intent_id(client: Any) -> str:
    return str(client.payment_intents.create(VISA).id)


def charges(sandbox: Sandbox, intent_id: str) -> int:
    return int(sandbox.books("SELECT count(*) FROM charge WHERE payment_intent = ?", intent_id)[0][0])


def last_strike(sandbox: Sandbox) -> tuple[str, str]:
    return sandbox.books("SELECT fault, struck FROM strike ORDER BY seq DESC LIMIT 1")[0][:2]


@pytest.mark.parametrize(("fault", "options", "made"), [
    ("timeout_before", {}, 0),
    ("timeout_after", {}, 1),
    ("reset_after", {}, 1),
    ("cut_after", {}, 1),
    ("drip", {"delay_ms": 1}, 1),
])  # fmt: skip
def test_without_a_whole_answer_the_money_may_have_moved(
    sandbox: Sandbox, client: Any, intent_id: str, fault: str, options: dict[str, Any], made: int
) -> None:
    sandbox.arm(fault, "payment_intents.confirm", **options)
    if fault == "drip":
        # Each byte comes in time, and so the SDK waits for the last.
        assert client.payment_intents.confirm(intent_id, {}, KEY).status == "succeeded"
    else:
        with pytest.raises(stripe.APIConnectionError):
            client.payment_intents.confirm(intent_id, {}, KEY)
    assert charges(sandbox, intent_id) == made
    assert last_strike(sandbox) == (fault, "payment_intents.confirm")
    assert client.payment_intents.confirm(intent_id, {}, KEY).status == "succeeded"
    assert charges(sandbox, intent_id) == 1


@pytest.mark.parametrize(("fault", "made"), [("error_before", 0), ("error_after", 1)])
def test_a_500_is_stored_with_or_without_its_effect(
    sandbox: Sandbox, client: Any, intent_id: str, fault: str, made: int
) -> None:
    sandbox.arm(fault, "payment_intents.confirm")
    for replayed in (None, "true"):
        with pytest.raises(stripe.APIError) as error:
            client.payment_intents.confirm(intent_id, {}, KEY)
        assert (error.value.http_status, error.value.headers.get("Idempotent-Replayed")) == (500, replayed)
    assert charges(sandbox, intent_id) == made


def test_a_500_is_rolled_forward_later_but_stays_stored(sandbox: Sandbox, client: Any, intent_id: str) -> None:
    sandbox.arm("error_rolled_forward", "payment_intents.confirm", after=600)
    with pytest.raises(stripe.APIError):
        client.payment_intents.confirm(intent_id, {}, KEY)
    assert client.payment_intents.retrieve(intent_id).status == "requires_confirmation"
    sandbox.advance(601)
    assert client.payment_intents.retrieve(intent_id).status == "succeeded"
    event = client.events.list({"type": "payment_intent.succeeded"}).data[0]
    assert event.request.idempotency_key == "the-key"
    with pytest.raises(stripe.APIError):
        client.payment_intents.confirm(intent_id, {}, KEY)


def test_what_cannot_be_rolled_forward_any_more_is_dropped(sandbox: Sandbox, client: Any, intent_id: str) -> None:
    sandbox.arm("error_rolled_forward", "payment_intents.confirm", after=600)
    with pytest.raises(stripe.APIError):
        client.payment_intents.confirm(intent_id, {}, KEY)
    client.payment_intents.cancel(intent_id)
    sandbox.advance(601)
    assert client.payment_intents.retrieve(intent_id).status == "canceled"
    assert sandbox.books("SELECT count(*) FROM errand WHERE name = 'roll_forward'") == [(0,)]


def test_a_500_is_rolled_back_later_as_if_it_had_never_been(sandbox: Sandbox, client: Any, intent_id: str) -> None:
    before = client.payment_intents.retrieve(intent_id).to_dict()
    sandbox.arm("error_rolled_back", "payment_intents.confirm", after=600)
    with pytest.raises(stripe.APIError):
        client.payment_intents.confirm(intent_id, {}, KEY)
    assert client.payment_intents.retrieve(intent_id).status == "succeeded"
    sandbox.advance(601)
    assert client.payment_intents.retrieve(intent_id).to_dict() == before
    assert client.charges.list({"payment_intent": intent_id}).data == []
    assert client.balance_transactions.list().data == []
    assert [event.type for event in client.events.list().data] == ["payment_intent.created"]


def test_what_somebody_has_built_on_is_not_rolled_back(sandbox: Sandbox, client: Any, intent_id: str) -> None:
    sandbox.arm("error_rolled_back", "payment_intents.confirm", after=600)
    with pytest.raises(stripe.APIError):
        client.payment_intents.confirm(intent_id, {}, KEY)
    client.refunds.create({"payment_intent": intent_id, "amount": 1})
    sandbox.advance(601)
    assert client.payment_intents.retrieve(intent_id).status == "succeeded"


def test_a_refund_can_be_rolled_back(sandbox: Sandbox, client: Any, intent_id: str) -> None:
    client.payment_intents.confirm(intent_id)
    sandbox.arm("error_rolled_back", "refunds.create", after=5)
    with pytest.raises(stripe.APIError):
        client.refunds.create({"payment_intent": intent_id, "amount": 300}, KEY)
    assert [refund.amount for refund in client.refunds.list({"payment_intent": intent_id}).data] == [300]
    sandbox.advance(6)
    assert client.refunds.list({"payment_intent": intent_id}).data == []
    assert client.charges.list({"payment_intent": intent_id}).data[0].amount_refunded == 0


@pytest.mark.parametrize(("effect", "made"), [(True, 1), (False, 0)])
def test_a_bad_gateway_is_html_and_is_not_stored(
    sandbox: Sandbox, client: Any, intent_id: str, *, effect: bool, made: int
) -> None:
    sandbox.arm("bad_gateway", "payment_intents.confirm", effect=effect)
    with pytest.raises(stripe.APIError) as error:
        client.payment_intents.confirm(intent_id, {}, KEY)
    assert (error.value.http_status, str(error.value.http_body)[:6]) == (502, "<html>")
    assert charges(sandbox, intent_id) == made
    assert client.payment_intents.confirm(intent_id, {}, KEY).status == "succeeded"


@pytest.mark.parametrize("content", ["garbage", "empty"])
def test_a_200_can_be_unreadable(sandbox: Sandbox, client: Any, intent_id: str, content: str) -> None:
    sandbox.arm("garbage", "payment_intents.confirm", content=content)
    with pytest.raises(stripe.APIError) as error:
        client.payment_intents.confirm(intent_id, {}, KEY)
    assert error.value.http_status == 200
    assert charges(sandbox, intent_id) == 1
    assert client.payment_intents.confirm(intent_id, {}, KEY).status == "succeeded"


def test_a_200_can_be_an_empty_list_which_the_sdk_takes_for_success(
    sandbox: Sandbox, client: Any, intent_id: str
) -> None:
    sandbox.arm("garbage", "payment_intents.confirm", content="list")
    assert client.payment_intents.confirm(intent_id) == []
    assert charges(sandbox, intent_id) == 1


@pytest.mark.parametrize(("fault", "error", "status", "code"), [
    ("rate_limit", stripe.RateLimitError, 429, "rate_limit"),
    ("lock_timeout", stripe.RateLimitError, 429, "lock_timeout"),
    ("key_in_use", stripe.APIError, 409, "idempotency_key_in_use"),
    ("unauthorized", stripe.AuthenticationError, 401, None),
    ("forbidden", stripe.PermissionError, 403, None),
])  # fmt: skip
def test_what_is_refused_at_the_door_leaves_no_trace(
    sandbox: Sandbox, client: Any, intent_id: str, fault: str, error: type[stripe.StripeError], status: int, code: str
) -> None:
    sandbox.arm(fault, "payment_intents.confirm")
    with pytest.raises(error) as refusal:
        client.payment_intents.confirm(intent_id, {}, KEY)
    assert (refusal.value.http_status, refusal.value.json_body["error"].get("code")) == (status, code)
    assert refusal.value.headers.get("Stripe-Should-Retry") == ("true" if fault == "lock_timeout" else None)
    assert charges(sandbox, intent_id) == 0
    done = client.payment_intents.confirm(intent_id, {}, KEY)
    assert (done.status, done.last_response.headers.get("Idempotent-Replayed")) == ("succeeded", None)


def test_a_drip_holds_a_client_longer_than_its_time_limit(sandbox: Sandbox, client: Any) -> None:
    sandbox.arm("drip", "balance.retrieve", delay_ms=20)
    reply = client.balance.retrieve()
    assert reply.last_response.code == 200
    sandbox.arm("drip", "balance.retrieve", delay_ms=2000)
    with pytest.raises(stripe.APIConnectionError):
        client.balance.retrieve()


def test_a_refund_can_be_pending_and_then_fail(sandbox: Sandbox, client: Any, intent_id: str) -> None:
    client.payment_intents.confirm(intent_id)
    sandbox.arm("refund_fails", "refunds.create", after=7200)
    refund = client.refunds.create({"payment_intent": intent_id, "amount": 300}, KEY)
    assert (refund.status, refund.pending_reason) == ("pending", "processing")
    sandbox.advance(7201)
    failed = client.refunds.retrieve(refund.id)
    assert (failed.status, failed.failure_reason) == ("failed", "expired_or_canceled_card")
    assert client.charges.list({"payment_intent": intent_id}).data[0].amount_refunded == 0


def test_a_key_that_is_pruned_early_executes_again(sandbox: Sandbox, client: Any) -> None:
    first = client.payment_intents.create({**VISA, "confirm": True}, KEY)
    sandbox.arm("key_pruned", "payment_intents.create")
    again = client.payment_intents.create({**VISA, "confirm": True}, KEY)
    assert first.id != again.id
    assert client.payment_intents.create({**VISA, "confirm": True}, KEY).id == again.id


def test_a_dashboard_refund_is_nobodys_request(sandbox: Sandbox, client: Any, intent_id: str) -> None:
    sandbox.arm("dashboard_refund", "payment_intents.confirm", after=30, amount=250)
    assert client.payment_intents.confirm(intent_id, {}, KEY).status == "succeeded"
    sandbox.advance(31)
    (refund,) = client.refunds.list({"payment_intent": intent_id}).data
    assert (refund.amount, refund.metadata.to_dict()) == (250, {})
    event = client.events.list({"type": "refund.created"}).data[0]
    assert event.request.idempotency_key is None


def test_a_dashboard_cancel_ends_a_payment_behind_our_back(sandbox: Sandbox, client: Any) -> None:
    sandbox.arm("dashboard_cancel", "payment_intents.create", after=30)
    intent = client.payment_intents.create(VISA)
    sandbox.advance(31)
    assert client.payment_intents.retrieve(intent.id).status == "canceled"


def test_an_amount_in_a_reply_can_be_wrong(sandbox: Sandbox, client: Any, intent_id: str) -> None:
    sandbox.arm("wrong_amount", "payment_intents.confirm")
    wrong = client.payment_intents.confirm(intent_id, {}, KEY)
    assert (wrong.amount, wrong.amount_received) == (1001, 1001)
    assert client.payment_intents.confirm(intent_id, {}, KEY).amount == 1000
    sandbox.arm("wrong_amount", "payment_intents.list")
    assert client.payment_intents.list().data[0].amount == 1001


def test_what_is_let_go_can_look_like_a_refund(sandbox: Sandbox, client: Any) -> None:
    held, other = (client.payment_intents.create({**VISA, "capture_method": "manual", "confirm": True}) for _ in "12")
    sandbox.arm("release_as_refund", None, times=2)
    client.payment_intents.capture(held.id, {"amount_to_capture": 600})
    client.payment_intents.cancel(other.id)
    charges = [client.charges.list({"payment_intent": each.id}).data[0] for each in (held, other)]
    assert [(each.amount_captured, each.amount_refunded, each.refunded) for each in charges] == [
        (600, 400, False), (0, 1000, True),
    ]  # fmt: skip
    assert client.refunds.create({"payment_intent": held.id}).amount == 600
    assert client.charges.list({"payment_intent": held.id}).data[0].refunded
    fee = client.balance_transactions.list({"type": "charge"}).data[0].fee
    assert client.balance.retrieve().available[0].amount == -fee


def test_a_slow_call_can_be_struck_by_another_fault_too(sandbox: Sandbox, client: Any) -> None:
    sandbox.arm("slow", "payment_intents.list", delay_ms=5, times=None)
    sandbox.arm("rate_limit", "payment_intents.create")
    sandbox.arm("wrong_amount", "payment_intents.list")
    with pytest.raises(stripe.RateLimitError):
        client.payment_intents.create(VISA)
    client.payment_intents.create(VISA)
    assert [client.payment_intents.list().data[0].amount for _ in range(2)] == [1001, 1000]


def test_a_strike_at_a_replay_does_not_count(sandbox: Sandbox, client: Any) -> None:
    client.payment_intents.create(VISA, KEY)
    sandbox.arm("error_after", "payment_intents.create")
    assert client.payment_intents.create(VISA, KEY).status == "requires_confirmation"
    with pytest.raises(stripe.InvalidRequestError):
        client.payment_intents.create({**VISA, "amount": 0})
    with pytest.raises(stripe.APIError):
        client.payment_intents.create(VISA)


def test_a_seed_strikes_the_same_calls_again(sandbox: Sandbox, client: Any) -> None:
    assert _drawn(sandbox, client, seed=7) == _drawn(sandbox, client, seed=7)
    assert 0 < sum(_drawn(sandbox, client, seed=8)) < 20


def _drawn(sandbox: Sandbox, client: Any, seed: int) -> list[bool]:
    sandbox.disarm()
    sandbox.arm("rate_limit", "balance.retrieve", probability=0.5, seed=seed)
    struck = []
    for _ in range(20):
        try:
            client.balance.retrieve()
            struck.append(False)
        except stripe.RateLimitError:
            struck.append(True)
    return struck


@pytest.mark.parametrize("order", [
    {}, {"fault": "flood"}, {"fault": "slow", "nth": "x"}, {"fault": "slow", "no": 1}, {"fault": "slow", "copies": 2},
    {"fault": "slow", "times": -1}, {"fault": "slow", "nth": True}, {"fault": "slow", "probability": 2},
    {"fault": "garbage", "content": "?"}, {"fault": "webhook_delay", "after": -1}, {"fault": "slow", "endpoint": 5},
])  # fmt: skip
def test_a_fault_that_makes_no_sense_is_refused(sandbox: Sandbox, order: dict[str, Any]) -> None:
    assert requests.post(f"{sandbox.control}/faults", json=order, timeout=5).status_code == 400
    assert requests.get(f"{sandbox.control}/faults", timeout=5).json() == {"items": []}


def test_every_fault_and_its_options_are_described() -> None:
    text = (ROOT / "docs" / "sandbox.md").read_text().partition("## Faults")[2]
    rows = [line.split("|")[1:3] for line in text.splitlines() if line.startswith("| `")]
    described = {kind: set(re.findall(r"`(\w+)`", f"{options.split(':')[0]}")) for names, options in rows
                 for kind in re.findall(r"`(\w+)`", names)}  # fmt: skip
    assert described == {kind.value: set(OPTIONS.get(kind, ())) for kind in FaultKind}
