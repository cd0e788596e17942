"""The payment provider's door: the real SDK against the sandbox, and against servers that are no Stripe at all."""

import logging
import re
import ssl
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import stripe

from clients.payment_provider import (
    CallContext,
    CallResult,
    CreateParams,
    OutcomeClass,
    PaymentStatus,
    Step,
    call_key,
)
from clients.stripe import StripeProvider
from sandbox.server import Behaviour, Reply, Reset, Server, Stream
from tests.sandbox.process import Sandbox, running_sandbox

VISA = CreateParams(amount=1999, currency="EUR", payment_method="pm_card_visa", metadata={"order": "42"})
TEST_KEY = "sk_test_1234567890"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Iterator[Sandbox]:
    yield running
    running.disarm()


@pytest.fixture
def provider(sandbox: Sandbox) -> StripeProvider:
    return StripeProvider(sandbox.new_key(), base=sandbox.payments, timeout=(1, 0.7))


def context(step: Step, key: str | None = None) -> CallContext:
    return CallContext(step, key or call_key("test", "stripe:test", "operation", step, 0), stripe.api_version)


def create(provider: StripeProvider, payment: CreateParams = VISA, key: str | None = None) -> CallResult:
    return provider.create_payment(context(Step.CREATE, key), payment)


def created_id(provider: StripeProvider, payment: CreateParams = VISA) -> str:
    snapshot = create(provider, payment).snapshot
    assert snapshot is not None
    return snapshot.object_id


def confirm(provider: StripeProvider, payment_id: str, key: str | None = None) -> CallResult:
    return provider.confirm_payment(context(Step.CONFIRM, key), payment_id)


def status(result: CallResult) -> PaymentStatus | None:
    return result.snapshot.status if result.snapshot else None


@contextmanager
def serving(behaviour: Behaviour, certificate: ssl.SSLContext | None = None) -> Iterator[StripeProvider]:
    """A provider whose server gives every request the same treatment."""
    server = Server(lambda _: behaviour, "127.0.0.1", 0)
    if certificate is not None:
        server.socket = certificate.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield StripeProvider(
            TEST_KEY, base=f"{'https' if certificate else 'http'}://127.0.0.1:{server.port}", timeout=(1, 0.7)
        )
    finally:
        server.shutdown()
        server.server_close()


def test_a_payment_is_created_confirmed_and_shown(provider: StripeProvider) -> None:
    created = create(provider)
    assert (created.outcome, status(created), created.replayed) == (OutcomeClass.OK, PaymentStatus.CREATED, False)
    assert created.snapshot is not None
    confirmed = confirm(provider, created.snapshot.object_id)
    shown = confirmed.snapshot
    assert shown is not None
    assert (confirmed.outcome, confirmed.http_status) == (OutcomeClass.OK, 200)
    assert (shown.status, shown.amount, shown.currency, shown.captured) == (PaymentStatus.SUCCEEDED, 1999, "EUR", 1999)
    assert (shown.metadata, shown.livemode, shown.refunded) == ({"order": "42"}, False, 0)
    assert (shown.charge_id or "").startswith("ch_")
    fetched = provider.fetch_payment(shown.object_id).snapshot
    assert fetched is not None
    assert replace(fetched, observed_at=shown.observed_at) == shown


def test_an_authorization_says_until_when_it_holds(provider: StripeProvider) -> None:
    payment_id = created_id(provider, replace(VISA, capture="manual"))
    shown = confirm(provider, payment_id).snapshot
    assert shown is not None
    assert (shown.status, shown.authorized, shown.captured) == (PaymentStatus.AUTHORIZED, 1999, 0)
    assert shown.capture_before is not None
    assert shown.capture_before > shown.observed_at


def test_a_decline_keeps_its_codes_and_is_replayed(provider: StripeProvider) -> None:
    payment_id = created_id(provider, replace(VISA, payment_method="pm_card_visa_chargeDeclinedInsufficientFunds"))
    first, again = confirm(provider, payment_id), confirm(provider, payment_id)
    assert first.decline is not None
    assert (first.outcome, first.decline.decline_code) == (OutcomeClass.DECLINED, "insufficient_funds")
    assert (first.replayed, again.replayed, again.decline) == (False, True, first.decline)
    looked = provider.fetch_payment(payment_id)
    assert (looked.outcome, status(looked), looked.decline) == (
        OutcomeClass.DECLINED, PaymentStatus.DECLINED, first.decline,
    )  # fmt: skip


@pytest.mark.parametrize("off_session", [False, True])
def test_a_card_that_needs_its_holder_is_not_called_declined(provider: StripeProvider, *, off_session: bool) -> None:
    payment_id = created_id(provider, replace(VISA, payment_method="pm_card_authenticationRequired"))
    result = provider.confirm_payment(context(Step.CONFIRM), payment_id, off_session=off_session)
    assert (result.outcome, status(result)) == (OutcomeClass.REQUIRES_ACTION, PaymentStatus.REQUIRES_ACTION)
    assert status(provider.fetch_payment(payment_id)) == PaymentStatus.REQUIRES_ACTION


def test_the_same_key_creates_one_payment_and_refuses_other_parameters(provider: StripeProvider) -> None:
    first, again = create(provider), create(provider)
    assert first.snapshot is not None
    assert again.snapshot is not None
    assert (again.snapshot.object_id, again.replayed) == (first.snapshot.object_id, True)
    changed = create(provider, replace(VISA, amount=2000))
    assert (changed.outcome, changed.snapshot, changed.http_status) == (OutcomeClass.KEY_MISMATCH, None, 400)


def test_a_cancelled_payment_refuses_to_be_confirmed(provider: StripeProvider) -> None:
    payment_id = created_id(provider)
    cancelled = provider.cancel(context(Step.CANCEL), payment_id)
    assert (cancelled.outcome, status(cancelled)) == (OutcomeClass.OK, PaymentStatus.CANCELED)
    assert confirm(provider, payment_id).outcome is OutcomeClass.STATE_CONFLICT


@pytest.mark.parametrize(
    ("payment", "param"),
    [
        (replace(VISA, amount=0), "amount"),
        (replace(VISA, currency="XXZ"), "currency"),
        (replace(VISA, payment_method="pm_card_nobody"), "payment_method"),
    ],
)
def test_what_the_provider_finds_invalid_is_named(provider: StripeProvider, payment: CreateParams, param: str) -> None:
    result = create(provider, payment)
    assert (result.outcome, result.param, result.snapshot) == (OutcomeClass.INVALID, param, None)


def test_a_payment_nobody_knows_is_invalid(provider: StripeProvider) -> None:
    result = provider.fetch_payment("pi_nobody")
    assert (result.outcome, result.code) == (OutcomeClass.INVALID, "resource_missing")


@pytest.mark.parametrize(
    ("fault", "outcome", "after"),
    [
        ("timeout_before", OutcomeClass.UNKNOWN, PaymentStatus.CREATED),
        ("timeout_after", OutcomeClass.UNKNOWN, PaymentStatus.SUCCEEDED),
        ("reset_after", OutcomeClass.UNKNOWN, PaymentStatus.SUCCEEDED),
        ("error_before", OutcomeClass.UNKNOWN, PaymentStatus.CREATED),
        ("error_after", OutcomeClass.UNKNOWN, PaymentStatus.SUCCEEDED),
        ("rate_limit", OutcomeClass.RATE_LIMITED, PaymentStatus.CREATED),
    ],
)
def test_a_fault_is_classified_and_a_look_tells_the_truth(
    sandbox: Sandbox, provider: StripeProvider, fault: str, outcome: OutcomeClass, after: PaymentStatus
) -> None:
    payment_id = created_id(provider)
    before = sandbox.last_call()
    sandbox.arm(fault, "payment_intents.confirm")
    assert confirm(provider, payment_id).outcome is outcome
    assert [call["endpoint"] for call in sandbox.calls(before)] == ["payment_intents.confirm"]
    assert status(provider.fetch_payment(payment_id)) is after


def test_a_stored_500_stays_unknown_under_its_key(sandbox: Sandbox, provider: StripeProvider) -> None:
    sandbox.arm("error_after", "payment_intents.create")
    answers = [create(provider) for _ in range(2)]
    assert [(answer.outcome, answer.replayed) for answer in answers] == [
        (OutcomeClass.UNKNOWN, False), (OutcomeClass.UNKNOWN, True),
    ]  # fmt: skip


def test_a_key_in_flight_is_in_progress(sandbox: Sandbox) -> None:
    patient = StripeProvider(sandbox.new_key(), base=sandbox.payments)
    sandbox.arm("slow", "payment_intents.create", delay_ms=700)
    before = sandbox.last_call()
    with ThreadPoolExecutor() as pool:
        first = pool.submit(create, patient)
        while not sandbox.calls(before):
            assert not first.done()
        assert create(patient).outcome is OutcomeClass.IN_PROGRESS
        assert first.result().outcome is OutcomeClass.OK


def test_nothing_listening_means_nothing_was_sent() -> None:
    server = Server(lambda _: Reset(), "127.0.0.1", 0)
    port = server.port
    server.server_close()
    provider = StripeProvider(TEST_KEY, base=f"http://127.0.0.1:{port}", timeout=(1, 1))
    assert create(provider).outcome is OutcomeClass.NOT_SENT
    assert provider.fetch_payment("pi_1").outcome is OutcomeClass.NOT_SENT


@pytest.mark.parametrize("base", ["nowhere", "ftp://127.0.0.1", "http://"])
def test_an_address_that_is_none_is_a_matter_of_configuration(base: str) -> None:
    assert create(StripeProvider(TEST_KEY, base=base)).outcome is OutcomeClass.CONFIG


INTENT = b'{"id": "pi_other", "object": "payment_intent", "amount": 1, "amount_capturable": 0, "amount_received": 1,'
WHOLE = INTENT + b' "currency": "eur", "livemode": false, "metadata": {}, "status": "succeeded"}'


@pytest.mark.parametrize(
    ("behaviour", "outcome"),
    [
        (Reply(200, b"[]"), OutcomeClass.UNKNOWN),
        (Reply(200, b""), OutcomeClass.UNKNOWN),
        (Reply(200, b"null"), OutcomeClass.UNKNOWN),
        (Reply(200, b"7"), OutcomeClass.UNKNOWN),
        (Reply(200, b"<html>"), OutcomeClass.UNKNOWN),
        (Reply(200, b"\xff\xfe"), OutcomeClass.UNKNOWN),
        (Reply(200, b'{"id": "pi_mine"}'), OutcomeClass.UNKNOWN),
        (Reply(200, INTENT[:-20]), OutcomeClass.UNKNOWN),
        (Reply(200, WHOLE), OutcomeClass.UNKNOWN),
        (Reply(200, WHOLE.replace(b"pi_other", b"pi_mine")), OutcomeClass.OK),
        (Reply(200, WHOLE.replace(b"pi_other", b"pi_mine").replace(b'"succeeded"', b'"new"')), OutcomeClass.UNKNOWN),
        (Reply(200, WHOLE.replace(b"pi_other", b"pi_mine").replace(b": 1,", b": 1.5,")), OutcomeClass.UNKNOWN),
        (Stream(200, [WHOLE[:50]], length=500), OutcomeClass.UNKNOWN),
        (Reset(), OutcomeClass.UNKNOWN),
        (Reply(500, b"{}"), OutcomeClass.UNKNOWN),
        (Reply(502, b"<html>Bad Gateway</html>"), OutcomeClass.UNKNOWN),
        (Reply(404, b"<html>Not Found</html>"), OutcomeClass.UNKNOWN),
        (Reply(500, b'{"error": "broken"}'), OutcomeClass.UNKNOWN),
        (Reply(500, b'{"error": ["broken"]}'), OutcomeClass.UNKNOWN),
        (Reply(402, b'{"error": {"type": "card_error", "code": 7}}'), OutcomeClass.DECLINED),
        (Reply(409, b'{"error": {"type": "idempotency_error"}}'), OutcomeClass.IN_PROGRESS),
        (Reply(401, b'{"error": {"type": "invalid_request_error"}}'), OutcomeClass.CONFIG),
        (Reply(403, b'{"error": {"type": "invalid_request_error"}}'), OutcomeClass.CONFIG),
        (Reply(302, b"", {"Location": "/elsewhere"}), OutcomeClass.CONFIG),
        (Reply(307, b"{}", {"Location": "/elsewhere"}), OutcomeClass.CONFIG),
    ],
)
def test_an_answer_is_believed_only_when_it_shows_the_payment(behaviour: Behaviour, outcome: OutcomeClass) -> None:
    with serving(behaviour) as provider:
        assert confirm(provider, "pi_mine").outcome is outcome


def test_a_payment_without_a_method_has_not_been_declined() -> None:
    body = WHOLE.replace(b"pi_other", b"pi_mine").replace(b'"succeeded"', b'"requires_payment_method"')
    with serving(Reply(200, body)) as provider:
        assert status(provider.fetch_payment("pi_mine")) is PaymentStatus.CREATED


def test_the_wait_that_a_rate_limit_asks_for_is_passed_on() -> None:
    reply = Reply(429, b'{"error": {"code": "rate_limit"}}', {"Retry-After": "7"})
    with serving(reply) as provider:
        result = create(provider)
    assert (result.outcome, result.retry_after) == (OutcomeClass.RATE_LIMITED, 7.0)


def test_a_server_without_tls_does_not_prove_that_nothing_was_sent(sandbox: Sandbox) -> None:
    provider = StripeProvider(TEST_KEY, base=sandbox.payments.replace("http:", "https:"), timeout=(1, 1))
    assert create(provider).outcome is OutcomeClass.UNKNOWN


def test_a_certificate_of_a_stranger_is_a_matter_of_configuration() -> None:
    certificate = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.load_cert_chain(Path(__file__).parent / "tls" / "valid.pem")
    with serving(Reset(), certificate) as provider:
        assert create(provider).outcome is OutcomeClass.CONFIG


@pytest.mark.parametrize("key", ["", " ", "pk_test_1", "sk_1234", "sk_test_", "whsec_1"])
def test_what_is_no_secret_key_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="Stripe key"):
        StripeProvider(key)


def test_neither_log_nor_stderr_ever_shows_a_body(
    sandbox: Sandbox,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("STRIPE_LOG", "debug")
    monkeypatch.setattr("stripe._util.STRIPE_LOG", "debug")
    key = sandbox.new_key()
    loud = StripeProvider(key, base=sandbox.payments)
    caplog.set_level(logging.DEBUG, logger="stripe")
    assert create(loud).outcome is OutcomeClass.OK
    written = caplog.text + "".join(capfd.readouterr())
    assert "Request to Stripe api" in written
    assert "client_secret" not in written
    assert "Post details" not in written
    assert key not in written


def test_keys_are_32_characters_and_differ_in_every_part() -> None:
    parts = [
        ("a", "stripe:test", "job", Step.CREATE, 0),
        ("b", "stripe:test", "job", Step.CREATE, 0),
        ("a", "stripe:live", "job", Step.CREATE, 0),
        ("a", "stripe:test", "other", Step.CREATE, 0),
        ("a", "stripe:test", "job", Step.CONFIRM, 0),
        ("a", "stripe:test", "job", Step.CREATE, 1),
    ]
    keys = [call_key(*part) for part in parts]
    assert len(set(keys)) == len(parts)
    assert all(re.fullmatch(r"[a-z2-7]{32}", key) for key in keys)
    assert keys[0] == call_key(*parts[0])
