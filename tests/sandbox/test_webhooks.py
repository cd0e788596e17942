"""What the provider tells by itself: signed, repeated until it is taken, and as unreliable as it is told to be."""

import time
from typing import Any

import pytest
import requests
import stripe

from sandbox.server import Request
from tests.sandbox.conftest import connect
from tests.sandbox.process import Sandbox, running_sandbox
from tests.sandbox.receiver import SECRET, Receiver, running_receiver, verified

VISA: dict[str, Any] = {"amount": 1000, "currency": "eur", "payment_method": "pm_card_visa"}
CREATED, SUCCEEDED = "payment_intent.created", "payment_intent.succeeded"
HOUR = 3600


@pytest.fixture
def endpoint(sandbox: Sandbox, api_key: str, receiver: Receiver) -> str:
    """The account's events go to the receiver, but for those of charges."""
    return sandbox.register(api_key, receiver.url, SECRET, enabled_events=["payment_intent.*", "refund.created"])


def ids(requests_: list[Request]) -> list[str]:
    return [verified(request).id for request in requests_]


def event_of(client: Any, event_type: str = CREATED) -> Any:
    return client.events.list({"type": event_type, "limit": 1}).data[0]


def settled(sandbox: Sandbox, event_id: str) -> list[dict[str, Any]]:
    """The event's deliveries, when none is on its way any more."""
    deadline = time.monotonic() + 10
    while any(each["state"] == "pending" and not each["attempts"] for each in sandbox.deliveries(event_id)):
        assert time.monotonic() < deadline
    return sandbox.deliveries(event_id)


def test_events_arrive_signed_in_order_and_say_what_caused_them(client: Any, endpoint: str, receiver: Receiver) -> None:
    intent = client.payment_intents.create(VISA, {"idempotency_key": "create"})
    client.payment_intents.confirm(intent.id)
    created, succeeded = receiver.events(2)
    assert [created.type, succeeded.type] == [CREATED, SUCCEEDED]
    assert (created.data.object.id, created.request.idempotency_key) == (intent.id, "create")
    assert (created.pending_webhooks, created.api_version) == (1, stripe.api_version)
    assert {created.id, succeeded.id} < {event.id for event in client.events.list().data}


def test_a_secret_that_is_not_the_endpoints_is_noticed(client: Any, endpoint: str, receiver: Receiver) -> None:
    client.payment_intents.create(VISA)
    with pytest.raises(stripe.SignatureVerificationError):
        verified(receiver.wait(1)[0], "whsec_another")


def test_an_endpoint_is_registered_over_the_api_and_shows_its_secret_once(client: Any, receiver: Receiver) -> None:
    made = client.webhook_endpoints.create({"url": receiver.url, "enabled_events": [CREATED], "description": "ours"})
    assert made.secret.startswith("whsec_")
    assert "secret" not in client.webhook_endpoints.retrieve(made.id).to_dict()
    client.payment_intents.create({**VISA, "confirm": True})
    assert [event.type for event in receiver.events(1, made.secret)] == [CREATED]
    assert [each.id for each in client.webhook_endpoints.list().data] == [made.id]
    changed = client.webhook_endpoints.update(made.id, {"enabled_events": ["*"], "disabled": True})
    assert (changed.enabled_events, changed.status) == (["*"], "disabled")
    assert client.webhook_endpoints.delete(made.id).deleted
    assert client.webhook_endpoints.list().data == []


@pytest.mark.parametrize("params", [
    {"url": "ftp://example.org", "enabled_events": ["*"]}, {"url": "http://[", "enabled_events": ["*"]},
    {"url": "http://a b/", "enabled_events": ["*"]}, {"url": "http://127.0.0.1:9/"},
    {"url": "http://127.0.0.1:9/", "enabled_events": ["[a-z]"]},
    {"url": "http://127.0.0.1:9/", "enabled_events": ["*"], "connect": True},
])  # fmt: skip
def test_an_endpoint_that_makes_no_sense_is_refused(client: Any, params: dict[str, Any]) -> None:
    with pytest.raises(stripe.InvalidRequestError):
        client.webhook_endpoints.create(params)
    assert client.webhook_endpoints.list().data == []


def test_registering_an_address_again_changes_its_secret_only(
    sandbox: Sandbox, client: Any, api_key: str, receiver: Receiver
) -> None:
    first = sandbox.register(api_key, receiver.url, "whsec_first")
    assert sandbox.register(api_key, receiver.url, SECRET) == first
    client.payment_intents.create(VISA)
    assert receiver.events(1)[0].type == CREATED


def test_while_secrets_are_rotated_both_verify(
    sandbox: Sandbox, client: Any, endpoint: str, receiver: Receiver
) -> None:
    new = sandbox.roll(endpoint, 2 * HOUR)
    client.payment_intents.create(VISA)
    (both,) = receiver.wait(1)
    assert verified(both, SECRET).id == verified(both, new).id
    sandbox.advance(2 * HOUR + 1)
    client.payment_intents.create(VISA)
    alone = receiver.wait(2)[1]
    assert verified(alone, new).type == CREATED
    with pytest.raises(stripe.SignatureVerificationError):
        verified(alone, SECRET)


def test_what_is_not_taken_is_sent_again_freshly_signed_as_the_clock_goes(
    sandbox: Sandbox, client: Any, endpoint: str, receiver: Receiver
) -> None:
    receiver.answers = [500, 302, 404]
    client.payment_intents.create(VISA)
    event = event_of(client)
    settled(sandbox, event.id)
    assert [each.id for each in client.events.list({"delivery_success": False}).data] == [event.id]
    assert client.events.retrieve(event.id).pending_webhooks == 1
    sandbox.advance(5 * 60 + 30 * 60 + 2 * HOUR + 10)
    assert ids(receiver.got()) == [event.id] * 4
    assert sandbox.deliveries(event.id)[0]["state"] == "delivered"
    assert client.events.list({"delivery_success": False}).data == []
    assert client.events.retrieve(event.id).pending_webhooks == 0


def test_after_almost_three_days_the_provider_gives_up(
    sandbox: Sandbox, client: Any, endpoint: str, receiver: Receiver
) -> None:
    receiver.status = 503
    client.payment_intents.create(VISA)
    event = event_of(client)
    settled(sandbox, event.id)
    sandbox.advance(72 * HOUR)
    (delivery,) = sandbox.deliveries(event.id)
    assert (delivery["state"], delivery["attempts"], delivery["status"]) == ("failed", 10, 503)
    assert len(receiver.got()) == 10
    sandbox.advance(72 * HOUR)
    assert len(receiver.got()) == 10
    assert [each.id for each in client.events.list({"delivery_success": False}).data] == [event.id]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", f"http://{'a' * 70}.localhost/", "http://127.0.0.1:9/\u007f"])
def test_an_address_where_nobody_listens_does_not_stop_the_others(
    sandbox: Sandbox, client: Any, api_key: str, receiver: Receiver, url: str
) -> None:
    sandbox.register(api_key, url, "whsec_nobody")
    sandbox.register(api_key, receiver.url, SECRET)
    client.payment_intents.create(VISA)
    assert receiver.events(1)[0].type == CREATED


def test_a_disabled_or_deleted_endpoint_hears_no_more(
    sandbox: Sandbox, client: Any, endpoint: str, receiver: Receiver
) -> None:
    receiver.status = 500
    client.payment_intents.create(VISA)
    event = event_of(client)
    settled(sandbox, event.id)
    client.webhook_endpoints.update(endpoint, {"disabled": True})
    client.payment_intents.create(VISA)
    client.webhook_endpoints.delete(endpoint)
    sandbox.advance(HOUR)
    assert len(receiver.got()) == 1
    assert sandbox.deliveries(event.id)[0]["state"] == "failed"


def test_a_webhook_comes_several_times(sandbox: Sandbox, client: Any, endpoint: str, receiver: Receiver) -> None:
    sandbox.arm("webhook_duplicate", CREATED, copies=3)
    client.payment_intents.create(VISA)
    assert len(set(ids(receiver.wait(3)))) == 1


def test_a_webhook_is_overtaken_by_a_later_one(
    sandbox: Sandbox, client: Any, endpoint: str, receiver: Receiver
) -> None:
    sandbox.arm("webhook_reorder", CREATED, after=HOUR)
    intent = client.payment_intents.create(VISA)
    client.payment_intents.confirm(intent.id)
    assert [event.type for event in receiver.events(2)] == [SUCCEEDED, CREATED]


def test_a_webhook_that_nothing_overtakes_comes_late(
    sandbox: Sandbox, client: Any, endpoint: str, receiver: Receiver
) -> None:
    sandbox.arm("webhook_reorder", CREATED, after=HOUR)
    client.payment_intents.create(VISA)
    sandbox.advance(HOUR - 5)
    assert receiver.got() == []
    sandbox.advance(6)
    assert [event.type for event in receiver.events(1)] == [CREATED]


def test_a_webhook_comes_before_the_answer(sandbox: Sandbox, client: Any, endpoint: str, receiver: Receiver) -> None:
    intent = client.payment_intents.create(VISA)
    sandbox.arm("webhook_early", SUCCEEDED)
    client.payment_intents.confirm(intent.id)
    assert SUCCEEDED in {verified(request).type for request in receiver.got()}


def test_a_webhook_is_lost_and_only_the_list_knows(
    sandbox: Sandbox, client: Any, endpoint: str, receiver: Receiver
) -> None:
    sandbox.arm("webhook_lost", CREATED)
    intent = client.payment_intents.create(VISA)
    client.payment_intents.confirm(intent.id)
    sandbox.advance(80 * HOUR)
    assert [verified(request).type for request in receiver.got()] == [SUCCEEDED]
    assert {event.type for event in client.events.list({"delivery_success": True}).data} >= {CREATED, SUCCEEDED}


def test_a_webhook_comes_hours_late(sandbox: Sandbox, client: Any, endpoint: str, receiver: Receiver) -> None:
    sandbox.arm("webhook_delay", CREATED, after=6 * HOUR)
    client.payment_intents.create(VISA)
    sandbox.advance(5 * HOUR)
    assert receiver.got() == []
    sandbox.advance(HOUR + 5)
    assert [event.type for event in receiver.events(1)] == [CREATED]


@pytest.mark.parametrize("signature", ["bad", "old", "future"])
def test_a_signature_is_no_good_until_the_next_sending(
    sandbox: Sandbox, client: Any, endpoint: str, receiver: Receiver, signature: str
) -> None:
    sandbox.arm("webhook_signature", CREATED, signature=signature)
    receiver.answers = [400]
    client.payment_intents.create(VISA)
    (request,) = receiver.wait(1)
    at = int(request.headers["Stripe-Signature"].split(",")[0].removeprefix("t="))
    assert {"old": at < time.time() - 600, "future": at > time.time() + 600, "bad": True}[signature]
    if signature == "future":
        # The SDK does not look ahead: who receives has to.
        assert verified(request).type == CREATED
    else:
        with pytest.raises(stripe.SignatureVerificationError):
            verified(request)
    settled(sandbox, event_of(client).id)
    sandbox.advance(301)
    assert verified(receiver.wait(2)[1]).type == CREATED


def test_nobody_hears_of_what_is_rolled_back(sandbox: Sandbox, client: Any, endpoint: str, receiver: Receiver) -> None:
    intent = client.payment_intents.create(VISA)
    receiver.wait(1)
    sandbox.arm("error_rolled_back", "payment_intents.confirm", after=60)
    with pytest.raises(stripe.APIError):
        client.payment_intents.confirm(intent.id)
    sandbox.advance(HOUR)
    assert [verified(request).type for request in receiver.got()] == [CREATED]


def test_what_a_dead_provider_still_had_to_send_its_successor_sends(tmp_path: Any) -> None:
    with running_receiver() as receiver:
        receiver.status = 500
        with running_sandbox(tmp_path) as sandbox:
            key = sandbox.new_key()
            sandbox.register(key, receiver.url, SECRET)
            connect(sandbox, key).payment_intents.create(VISA)
            receiver.wait(1)
            sandbox.process.kill()
            sandbox.process.wait(timeout=10)
        receiver.status = 200
        with running_sandbox(tmp_path) as sandbox:
            sandbox.advance(301)
            first, again = receiver.wait(2)
            assert verified(first).id == verified(again).id


@pytest.mark.parametrize(("method", "path", "order"), [
    ("PUT", "/webhook_endpoints", {"api_key": "sk_live_1", "url": "http://127.0.0.1:9/", "secret": "s"}),
    ("PUT", "/webhook_endpoints", {"api_key": "sk_test_1234", "url": "nowhere", "secret": "s"}),
    ("PUT", "/webhook_endpoints", {"api_key": "sk_test_1234", "url": "http://127.0.0.1:9/", "secret": " "}),
    ("PUT", "/webhook_endpoints", {"url": "http://127.0.0.1:9/"}),
    ("POST", "/webhook_endpoints/we_nobody/roll", {}),
    ("POST", "/clock", {"advance": -1}), ("POST", "/clock", {}), ("POST", "/clock", []),
    ("POST", "/actions", {"action": "explode", "object": "pi_1"}),
    ("POST", "/actions", {"action": "refund", "object": "pi_nobody"}),
    ("GET", "/calls?after=x", None),
])  # fmt: skip
def test_the_control_port_refuses_nonsense_with_a_sentence(
    sandbox: Sandbox, method: str, path: str, order: Any
) -> None:
    reply = requests.request(method, sandbox.control + path, json=order, timeout=5)
    assert reply.status_code == 400
    assert reply.json()["error"]
