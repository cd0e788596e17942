"""The pretend payment provider, driven by the real SDK over a real wire."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from inspect import get_annotations
from typing import Any

import pytest
import requests
import stripe

from tests.sandbox.conftest import connect
from tests.sandbox.process import Sandbox

# Fields that the provider shows only where they apply.
SOMETIMES = {"level3", "reason", "deleted"}
LISTEN: dict[str, Any] = {"url": "http://127.0.0.1:9/hook", "enabled_events": ["*"]}
VISA: dict[str, Any] = {"amount": 1000, "currency": "eur", "payment_method": "pm_card_visa"}


def replayed(reply: Any) -> bool:
    return reply.last_response.headers.get("Idempotent-Replayed") == "true"


def test_a_payment_is_created_without_money_and_confirmed_into_one_charge(sandbox: Sandbox, client: Any) -> None:
    created = client.payment_intents.create(VISA)
    assert (created.status, created.amount_received, created.latest_charge) == ("requires_confirmation", 0, None)
    assert sandbox.books("SELECT count(*) FROM charge WHERE payment_intent = ?", created.id) == [(0,)]
    confirmed = client.payment_intents.confirm(created.id, {"expand": ["latest_charge"]})
    assert (confirmed.status, confirmed.amount_received) == ("succeeded", 1000)
    assert confirmed.latest_charge.amount_captured == 1000
    assert confirmed.last_response.headers["Stripe-Version"] == stripe.api_version
    assert confirmed.last_response.headers["Request-Id"].startswith("req_")


def test_a_payment_intent_has_47_fields(client: Any) -> None:
    assert len(set(client.payment_intents.create(VISA).to_dict())) == 47


@pytest.mark.parametrize(
    ("model", "make"),
    [
        (stripe.PaymentIntent, lambda client: client.payment_intents.create(VISA)),
        (stripe.Charge, lambda client: client.charges.retrieve(_paid(client).latest_charge)),
        (stripe.Refund, lambda client: client.refunds.create({"payment_intent": _paid(client).id})),
        (
            stripe.BalanceTransaction,
            lambda client: client.balance_transactions.list().data[0] if _paid(client) else None,
        ),
        (stripe.WebhookEndpoint, lambda client: client.webhook_endpoints.create(LISTEN)),
        (stripe.Event, lambda client: client.events.list({"limit": 1}).data[0] if _paid(client) else None),
    ],
)
def test_objects_have_every_field_that_the_sdk_knows(client: Any, model: Any, make: Callable[[Any], Any]) -> None:
    fields = {name for name in get_annotations(model) if not name.startswith("_") and name.islower()}
    assert fields - SOMETIMES <= set(make(client).to_dict())


@pytest.mark.parametrize(
    ("method", "code", "decline_code"),
    [
        ("pm_card_visa_chargeDeclined", "card_declined", "generic_decline"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "card_declined", "insufficient_funds"),
        ("pm_card_chargeDeclinedExpiredCard", "expired_card", "expired_card"),
        ("pm_card_chargeCustomerFail", "card_declined", "generic_decline"),
    ],
)
def test_a_bad_card_is_declined_and_no_money_moves(
    sandbox: Sandbox, client: Any, method: str, code: str, decline_code: str
) -> None:
    intent = client.payment_intents.create({**VISA, "payment_method": method})
    with pytest.raises(stripe.CardError) as refusal:
        client.payment_intents.confirm(intent.id, {}, {"idempotency_key": "confirm"})
    error = refusal.value.json_body["error"]
    assert (refusal.value.http_status, error["code"], error["decline_code"]) == (402, code, decline_code)
    assert error["payment_intent"]["status"] == "requires_payment_method"
    charged = sandbox.books("SELECT status, amount_captured FROM charge WHERE payment_intent = ?", intent.id)
    assert charged == [("failed", 0)]
    with pytest.raises(stripe.CardError) as again:
        client.payment_intents.confirm(intent.id, {}, {"idempotency_key": "confirm"})
    assert again.value.headers["Idempotent-Replayed"] == "true"
    assert client.payment_intents.confirm(intent.id, {"payment_method": "pm_card_mastercard"}).status == "succeeded"


def test_a_card_that_needs_its_holder_waits_for_them_or_is_declined_without_them(client: Any) -> None:
    card = {**VISA, "payment_method": "pm_card_authenticationRequired"}
    intent = client.payment_intents.create(card)
    waiting = client.payment_intents.confirm(intent.id)
    assert (waiting.status, waiting.next_action.type) == ("requires_action", "use_stripe_sdk")
    with pytest.raises(stripe.CardError) as refusal:
        client.payment_intents.create({**card, "confirm": True, "off_session": True})
    assert refusal.value.code == "authentication_required"


def test_a_replay_gives_the_first_answer_again(sandbox: Sandbox, client: Any) -> None:
    first = client.payment_intents.create(VISA, {"idempotency_key": "same"})
    again = client.payment_intents.create(VISA, {"idempotency_key": "same"})
    assert (first.id, replayed(first), replayed(again)) == (again.id, False, True)
    assert again.last_response.headers["Original-Request"] == first.last_response.request_id
    account = sandbox.books("SELECT account FROM payment_intent WHERE id = ?", first.id)[0][0]
    assert sandbox.books("SELECT count(*) FROM payment_intent WHERE account = ?", account) == [(1,)]


@pytest.mark.parametrize("change", [{"amount": 1001}, {"metadata": {"a": "b"}}, {"payment_method": "pm_card_amex"}])
def test_a_key_with_other_parameters_is_refused(client: Any, change: dict[str, Any]) -> None:
    client.payment_intents.create(VISA, {"idempotency_key": "same"})
    with pytest.raises(stripe.IdempotencyError) as refusal:
        client.payment_intents.create({**VISA, **change}, {"idempotency_key": "same"})
    assert refusal.value.http_status == 400


def test_a_key_used_on_another_path_is_refused(client: Any) -> None:
    intent = client.payment_intents.create(VISA, {"idempotency_key": "same"})
    with pytest.raises(stripe.IdempotencyError):
        client.payment_intents.confirm(intent.id, {}, {"idempotency_key": "same"})


def test_a_key_belongs_to_one_account(sandbox: Sandbox) -> None:
    one, other = (connect(sandbox, sandbox.new_key()) for _ in range(2))
    intents = [client.payment_intents.create(VISA, {"idempotency_key": "same"}) for client in (one, other)]
    assert intents[0].id != intents[1].id
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        other.payment_intents.retrieve(intents[0].id)
    assert (refusal.value.http_status, refusal.value.code) == (404, "resource_missing")


def test_a_key_in_flight_is_refused_until_its_answer_is_stored(sandbox: Sandbox, client: Any) -> None:
    sandbox.arm("slow", "payment_intents.create", delay_ms=700)
    before = sandbox.last_call()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(client.payment_intents.create, VISA, {"idempotency_key": "same"})
        while not sandbox.calls(before):
            assert not first.done()
        with pytest.raises(stripe.APIError) as refusal:
            client.payment_intents.create(VISA, {"idempotency_key": "same"})
        assert refusal.value.http_status == 409
        made = first.result()
    again = client.payment_intents.create(VISA, {"idempotency_key": "same"})
    assert (again.id, replayed(again)) == (made.id, True)


def test_what_is_refused_before_it_is_executed_leaves_the_key_free(sandbox: Sandbox, client: Any) -> None:
    options = {"idempotency_key": "same"}
    with pytest.raises(stripe.InvalidRequestError):
        client.payment_intents.create({**VISA, "amount": 0}, options)
    sandbox.arm("rate_limit", "payment_intents.create")
    with pytest.raises(stripe.RateLimitError):
        client.payment_intents.create(VISA, options)
    assert not replayed(client.payment_intents.create(VISA, options))


@pytest.mark.parametrize(("fault", "made"), [("error_before", 0), ("error_after", 1)])
def test_a_500_is_stored_whether_it_had_an_effect_or_not(sandbox: Sandbox, client: Any, fault: str, made: int) -> None:
    sandbox.arm(fault, "payment_intents.create")
    answers = []
    for _ in range(2):
        with pytest.raises(stripe.APIError) as refusal:
            client.payment_intents.create(VISA, {"idempotency_key": "same"})
        answers.append((refusal.value.http_status, refusal.value.headers.get("Idempotent-Replayed")))
    assert answers == [(500, None), (500, "true")]
    assert len(client.payment_intents.list().data) == made


@pytest.mark.parametrize(("fault", "status"), [
    ("timeout_before", "requires_confirmation"), ("timeout_after", "succeeded"), ("reset_after", "succeeded"),
])  # fmt: skip
def test_a_lost_answer_does_not_tell_whether_the_money_moved(
    sandbox: Sandbox, client: Any, fault: str, status: str
) -> None:
    intent = client.payment_intents.create(VISA)
    sandbox.arm(fault, "payment_intents.confirm")
    with pytest.raises(stripe.APIConnectionError):
        client.payment_intents.confirm(intent.id, {}, {"idempotency_key": "confirm"})
    assert client.payment_intents.retrieve(intent.id).status == status
    assert client.payment_intents.confirm(intent.id, {}, {"idempotency_key": "confirm"}).status == "succeeded"
    charged = sandbox.books("SELECT count(*) FROM charge WHERE payment_intent = ?", intent.id)
    assert charged == [(1,)]


def test_a_fault_strikes_the_nth_call_as_often_as_it_was_told_to(sandbox: Sandbox, client: Any) -> None:
    sandbox.arm("rate_limit", "payment_intents.list", nth=2, times=2)
    client.payment_intents.create(VISA)
    struck = []
    for _ in range(4):
        try:
            client.payment_intents.list()
            struck.append(False)
        except stripe.RateLimitError:
            struck.append(True)
    assert struck == [False, True, True, False]


def test_an_intent_charges_once_however_many_confirm_it_at_once(sandbox: Sandbox, client: Any) -> None:
    intent = client.payment_intents.create(VISA)

    def confirm(number: int) -> str:
        try:
            confirmed = client.payment_intents.confirm(intent.id, {}, {"idempotency_key": f"confirm-{number}"})
        except stripe.InvalidRequestError as refusal:
            return str(refusal.code)
        return str(confirmed.status)

    with ThreadPoolExecutor(8) as pool:
        answers = sorted(pool.map(confirm, range(8)))
    assert answers == ["payment_intent_unexpected_state"] * 7 + ["succeeded"]
    assert sandbox.books("SELECT count(*) FROM charge WHERE payment_intent = ?", intent.id) == [(1,)]


def test_an_authorization_holds_the_money_until_it_is_captured_in_part(client: Any) -> None:
    held = client.payment_intents.create({**VISA, "capture_method": "manual", "confirm": True})
    assert (held.status, held.amount_capturable, held.amount_received) == ("requires_capture", 1000, 0)
    with pytest.raises(stripe.InvalidRequestError, match="greater"):
        client.payment_intents.capture(held.id, {"amount_to_capture": 1001})
    captured = client.payment_intents.capture(held.id, {"amount_to_capture": 600})
    assert (captured.status, captured.amount_received) == ("succeeded", 600)


@pytest.mark.parametrize("verb", ["confirm", "capture", "cancel"])
def test_a_finished_intent_refuses_what_would_change_it(client: Any, verb: str) -> None:
    paid = _paid(client)
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        getattr(client.payment_intents, verb)(paid.id)
    assert refusal.value.code == "payment_intent_unexpected_state"


def test_a_cancelled_intent_can_never_be_confirmed(client: Any) -> None:
    intent = client.payment_intents.create(VISA)
    assert client.payment_intents.cancel(intent.id, {"cancellation_reason": "abandoned"}).status == "canceled"
    with pytest.raises(stripe.InvalidRequestError):
        client.payment_intents.confirm(intent.id)


def test_an_intent_can_be_changed_until_it_is_paid(client: Any) -> None:
    intent = client.payment_intents.create({**VISA, "metadata": {"keep": "1", "drop": "2", "7": "number"}})
    changed = client.payment_intents.update(intent.id, {"amount": 1100, "metadata": {"drop": ""}})
    assert (changed.amount, changed.metadata.to_dict()) == (1100, {"keep": "1", "7": "number"})
    client.payment_intents.confirm(intent.id)
    with pytest.raises(stripe.InvalidRequestError):
        client.payment_intents.update(intent.id, {"amount": 1})


def test_refunds_never_exceed_what_was_captured(client: Any) -> None:
    paid = _paid(client)
    twins = [client.refunds.create({"payment_intent": paid.id, "amount": 300}) for _ in range(2)]
    assert len({refund.id for refund in twins}) == 2
    with pytest.raises(stripe.InvalidRequestError, match="greater"):
        client.refunds.create({"payment_intent": paid.id, "amount": 401})
    rest = client.refunds.create({"payment_intent": paid.id})
    assert (rest.amount, rest.status) == (400, "succeeded")
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        client.refunds.create({"payment_intent": paid.id})
    assert refusal.value.code == "charge_already_refunded"
    assert len(client.refunds.list({"payment_intent": paid.id}).data) == 3
    assert client.refunds.retrieve(rest.id).amount == 400


def test_lists_are_newest_first_and_page_through_everything(client: Any) -> None:
    made = [client.payment_intents.create(VISA).id for _ in range(5)]
    first = client.payment_intents.list({"limit": 2})
    assert ([intent.id for intent in first.data], first.has_more) == (made[:2:-1], True)
    assert [intent.id for intent in first.auto_paging_iter()] == made[::-1]
    before = client.payment_intents.list({"limit": 2, "ending_before": made[0]})
    assert [intent.id for intent in before.data] == [made[2], made[1]]
    created = first.data[0].created
    assert client.payment_intents.list({"created": {"gt": created + 3600}}).data == []
    assert len(client.payment_intents.list({"created": {"gte": created - 60, "lte": created + 60}}).data) == 5


def test_events_name_the_request_that_caused_them(client: Any) -> None:
    intent = client.payment_intents.create(VISA)
    confirmed = client.payment_intents.confirm(intent.id, {}, {"idempotency_key": "confirm"})
    events = client.events.list({"type": "payment_intent.succeeded"}).data
    assert [event.data.object.id for event in events] == [intent.id]
    assert events[0].request.idempotency_key == "confirm"
    assert events[0].request.id == confirmed.last_response.request_id
    assert client.events.retrieve(events[0].id).type == "payment_intent.succeeded"


def test_the_balance_is_what_captures_leave_after_refunds_and_fees(client: Any) -> None:
    paid = _paid(client)
    client.refunds.create({"payment_intent": paid.id, "amount": 100})
    fee = client.balance_transactions.list({"type": "charge"}).data[0].fee
    assert fee > 0
    available = client.balance.retrieve().available
    assert [(item.currency, item.amount) for item in available] == [("eur", 1000 - 100 - fee)]


@pytest.mark.parametrize(
    ("params", "param"),
    [
        ({**VISA, "amount": 0}, "amount"),
        ({**VISA, "amount": -5}, "amount"),
        ({**VISA, "amount": "1e3"}, "amount"),
        ({**VISA, "amount": 100_000_000}, "amount"),
        ({"currency": "eur"}, "amount"),
        ({"amount": 5}, "currency"),
        ({**VISA, "currency": "xxz"}, "currency"),
        ({**VISA, "payment_method": "pm_card_nobody"}, "payment_method"),
        ({**VISA, "capture_method": "later"}, "capture_method"),
        ({**VISA, "payment_method_types": ["sofort"]}, "payment_method_types"),
        ({**VISA, "colour": "red"}, "colour"),
        ({**VISA, "off_session": True}, "off_session"),
        ({**VISA, "metadata": {"x" * 41: "y"}}, "metadata"),
        ({**VISA, "expand": ["nothing"]}, "expand"),
    ],
)
def test_bad_parameters_are_refused_by_name(client: Any, params: dict[str, Any], param: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        client.payment_intents.create(params)
    assert (refusal.value.http_status, refusal.value.param) == (400, param)
    assert client.payment_intents.list().data == []


@pytest.mark.parametrize("key", ["", "pk_test_1234567", "sk_live_1234567", "nonsense"])
def test_only_a_test_key_is_let_in(sandbox: Sandbox, key: str) -> None:
    headers = {"Authorization": f"Bearer {key}"}
    reply = requests.get(f"{sandbox.payments}/v1/balance", headers=headers, timeout=5)
    assert reply.status_code == 401


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "/"), ("GET", "/v2/payment_intents"), ("DELETE", "/v1/payment_intents/pi_1"), ("POST", "/v1/charges"),
     ("POST", "/v1/payment_intents/pi_1/explode"), ("GET", "/v1/payment_intents/a/b/c")],
)  # fmt: skip
def test_an_unknown_address_is_404(sandbox: Sandbox, method: str, path: str) -> None:
    headers = {"Authorization": f"Bearer {sandbox.new_key()}"}
    reply = requests.request(method, sandbox.payments + path, headers=headers, timeout=5)
    assert (reply.status_code, reply.json()["error"]["type"]) == (404, "invalid_request_error")


def test_calls_are_counted_by_endpoint(sandbox: Sandbox, client: Any) -> None:
    before = requests.get(f"{sandbox.control}/counts", timeout=5).json().get("payment_intents.confirm", 0)
    _paid(client)
    client.payment_intents.confirm(client.payment_intents.create(VISA).id)
    assert requests.get(f"{sandbox.control}/counts", timeout=5).json()["payment_intents.confirm"] == before + 1


def _paid(client: Any) -> Any:
    return client.payment_intents.create({**VISA, "confirm": True})
