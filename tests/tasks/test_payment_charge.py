"""payment.charge against the sandbox's provider: whatever goes wrong, one charge at most, and never a lie."""

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
import requests
from pydantic import ValidationError

from clients.payment_provider import CallContext, CreateParams, Step, call_key
from clients.stripe import StripeProvider
from sandbox.server import Reply, Request, Server
from settings import get_settings
from tasks import HANDLERS, Cancelled, Fail, LeaseLost, Park, Retry, TimedOut, Word
from tasks.payment_charge import Charge, Params, _provider, perform
from tests.sandbox.process import Sandbox, running_sandbox

VISA: dict[str, Any] = {"amount": 1999, "currency": "EUR", "payment_method": "pm_card_visa"}


class Killed(BaseException):
    """The process died here."""


class Journal:
    """What a job's attempts leave behind: the saved checkpoint, and every call that was logged."""

    def __init__(self) -> None:
        self.checkpoint: dict[str, Any] | None = None
        self.moments: list[str] = []
        self.doubts: list[bool] = []
        self.logged: list[dict[str, Any]] = []


class Log:
    """Keeps what is logged; dies after a given moment, as a process can at any line."""

    def __init__(self, attempt: "Attempt") -> None:
        self._attempt = attempt

    def info(self, event: str, **fields: Any) -> None:
        self._attempt.journal.logged.append({"event": event, **fields})
        self._attempt.live_through(f"called {fields['step']}")


class Attempt:
    """A context that keeps the engine's promises in memory, for one attempt at one job."""

    app_id = UUID(int=1)
    kind = "payment.charge"
    files: Any = None

    def __init__(
        self,
        journal: Journal,
        job_id: UUID,
        attempt: int = 1,
        max_attempts: int = 25,
        kill_after: int | None = None,
        interrupt: Callable[[str], BaseException | None] = lambda _: None,
    ) -> None:
        self.journal, self.job_id, self.attempt, self.max_attempts = journal, job_id, attempt, max_attempts
        self.idempotency_key = str(job_id)
        self.checkpoint = journal.checkpoint
        self.log: Any = Log(self)
        self._kill_after, self._interrupt = kill_after, interrupt

    def live_through(self, moment: str) -> None:
        self.journal.moments.append(moment)
        if len(self.journal.moments) == self._kill_after:
            raise Killed

    def _ask(self, moment: str) -> None:
        reason = self._interrupt(moment)
        if reason is not None:
            raise reason

    def save_checkpoint(self, state: Mapping[str, Any], *, unsettled: bool = False) -> None:
        self._ask("save")
        self.journal.checkpoint = self.checkpoint = dict(state)
        self.journal.doubts.append(unsettled)
        self.live_through(f"saved {next(reversed(state))}")

    def check_cancelled(self) -> None:
        self._ask("check")

    def progress(self, fraction: float, note: str = "") -> None:
        self.check_cancelled()

    def remaining(self) -> timedelta:
        return timedelta(minutes=2)

    def enqueue(self, kind: str, params: Mapping[str, Any], **options: Any) -> UUID:
        raise AssertionError("a charge has no children")


class Job:
    """A job of this kind at one provider account, tried as often as the engine would."""

    def __init__(self, sandbox: Sandbox, api_key: str | None = None, **params: Any) -> None:
        self.id, self.journal, self.sandbox = uuid4(), Journal(), sandbox
        self.params = Params(**{**VISA, **params})
        self.api_key = api_key or sandbox.new_key()
        self.provider = StripeProvider(self.api_key, base=sandbox.payments, timeout=(1, 0.5))

    def attempt(self, attempt: int = 1, **options: Any) -> dict[str, Any]:
        context = Attempt(self.journal, self.id, attempt, **options)
        return Charge(self.provider, "test", self.params, context).run()

    def until_settled(self, max_attempts: int = 4, first: int = 1) -> dict[str, Any]:
        """Retry while the handler asks for it; the last attempt's ending is raised."""
        for attempt in range(first, max_attempts):
            try:
                return self.attempt(attempt, max_attempts=max_attempts)
            except Retry:
                continue
        return self.attempt(max_attempts, max_attempts=max_attempts)

    @property
    def payment_id(self) -> str:
        assert self.journal.checkpoint is not None
        return str(self.journal.checkpoint["payment_id"])

    def payments(self) -> list[tuple[Any, ...]]:
        """Every payment that the provider has for this job: (id, status)."""
        return self.sandbox.books(
            "SELECT id, json_extract(body, '$.status') FROM object WHERE kind = 'payment_intent'"
            " AND json_extract(body, '$.metadata.mainstay_operation') = ?",
            str(self.id),
        )

    def charged(self) -> int:
        """How many times the provider took money for this job."""
        found = self.sandbox.books(
            "SELECT count(*) FROM object WHERE kind = 'charge' AND json_extract(body, '$.status') = 'succeeded'"
            " AND json_extract(body, '$.metadata.mainstay_operation') = ?",
            str(self.id),
        )
        return int(found[0][0])


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    with running_sandbox(tmp_path_factory.mktemp("sandbox")) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running: Sandbox) -> Iterator[Sandbox]:
    yield running
    running.disarm()


@pytest.fixture
def job(sandbox: Sandbox) -> Job:
    return Job(sandbox)


def test_a_payment_is_charged_once_and_reported(job: Job) -> None:
    result = job.attempt()
    charge_id = result.pop("charge_id")
    assert charge_id.startswith("ch_")
    assert result == {
        "payment_id": job.payment_id, "status": "succeeded", "amount": 1999, "currency": "EUR", "authorized": 1999,
        "captured": 1999, "refunded": 0, "capture_before": None, "livemode": False,
    }  # fmt: skip
    assert (job.charged(), job.payments()) == (1, [(job.payment_id, "succeeded")])


def test_everything_is_saved_before_it_is_sent_and_the_id_before_money_moves(job: Job) -> None:
    job.attempt()
    assert job.journal.moments == [
        "saved create", "called create", "saved payment_id", "saved confirm", "called confirm",
    ]  # fmt: skip


def test_the_job_is_unsettled_from_before_the_confirmation_is_sent(job: Job) -> None:
    job.attempt()
    assert job.journal.doubts == [False, False, True]


def test_manual_capture_only_holds_the_money(sandbox: Sandbox) -> None:
    job = Job(sandbox, capture="manual")
    result = job.attempt()
    assert (result["status"], result["authorized"], result["captured"]) == ("authorized", 1999, 0)
    assert datetime.fromisoformat(result["capture_before"]) > datetime.now(UTC)


def test_what_the_app_said_reaches_the_provider(sandbox: Sandbox) -> None:
    job = Job(
        sandbox, customer="cus_1", description="Order 42", statement_suffix="ORDER 42", receipt_email="a@example.org",
        reference="order-42", metadata={"colour": "red"},
    )  # fmt: skip
    job.attempt()
    fields = ("customer", "description", "statement_descriptor_suffix", "receipt_email")
    columns = ", ".join(f"json_extract(body, '$.{name}')" for name in fields)
    assert sandbox.books(f"SELECT {columns} FROM object WHERE id = ?", job.payment_id) == [
        ("cus_1", "Order 42", "ORDER 42", "a@example.org")
    ]
    snapshot = job.provider.fetch_payment(job.payment_id).snapshot
    assert snapshot is not None
    assert snapshot.metadata == {
        "colour": "red", "mainstay_operation": str(job.id), "mainstay_installation": "test",
        "mainstay_reference": "order-42",
    }  # fmt: skip


@pytest.mark.parametrize("lost", [1, 2, 3, 4, 5])
def test_a_process_that_dies_at_any_point_leaves_one_charge_in_the_end(job: Job, lost: int) -> None:
    with pytest.raises(Killed):
        job.attempt(kill_after=lost)
    assert job.attempt()["status"] == "succeeded"
    assert (job.charged(), len(job.payments())) == (1, 1)


@pytest.mark.parametrize("endpoint", ["payment_intents.create", "payment_intents.confirm"])
@pytest.mark.parametrize("fault", ["timeout_before", "timeout_after", "reset_after", "rate_limit"])
def test_a_lost_answer_costs_an_attempt_and_never_a_second_charge(
    sandbox: Sandbox, job: Job, fault: str, endpoint: str
) -> None:
    sandbox.arm(fault, endpoint)
    with pytest.raises(Retry):
        job.attempt()
    assert job.until_settled(first=2)["status"] == "succeeded"
    assert (job.charged(), len(job.payments())) == (1, 1)


def test_after_a_lost_answer_the_next_attempt_looks_and_sends_nothing_again(sandbox: Sandbox, job: Job) -> None:
    sandbox.arm("timeout_after", "payment_intents.confirm")
    with pytest.raises(Retry, match="looks before it acts"):
        job.attempt()
    before = sandbox.last_call()
    assert job.attempt(2)["status"] == "succeeded"
    assert [call["endpoint"] for call in sandbox.calls(before)] == ["payment_intents.retrieve"]


@pytest.mark.parametrize("fault", ["error_before", "error_after"])
def test_a_stored_500_on_confirming_is_resolved(sandbox: Sandbox, job: Job, fault: str) -> None:
    sandbox.arm(fault, "payment_intents.confirm")
    assert job.until_settled()["status"] == "succeeded"
    assert job.charged() == 1


@pytest.mark.parametrize(("fault", "made"), [("error_before", 0), ("error_after", 1)])
def test_a_stored_500_on_creating_ends_as_unknown_and_moves_no_money(
    sandbox: Sandbox, job: Job, fault: str, made: int
) -> None:
    sandbox.arm(fault, "payment_intents.create")
    with pytest.raises(Park) as ending:
        job.until_settled()
    assert ending.value.code == "outcome_unknown"
    assert (job.charged(), len(job.payments())) == (0, made)


def test_the_last_attempt_looks_once_more_before_it_gives_up(sandbox: Sandbox, job: Job) -> None:
    sandbox.arm("timeout_after", "payment_intents.confirm")
    assert job.attempt(max_attempts=1)["status"] == "succeeded"


def test_the_last_attempt_parks_what_it_cannot_know(sandbox: Sandbox, job: Job) -> None:
    sandbox.arm("timeout_before", "payment_intents.confirm")
    with pytest.raises(Park) as ending:
        job.attempt(max_attempts=1)
    assert (ending.value.code, ending.value.details) == ("outcome_unknown", {"payment_id": job.payment_id})


def test_attempts_spent_on_a_provider_that_went_silent_end_as_parked(sandbox: Sandbox, job: Job) -> None:
    sandbox.arm("timeout_after", "payment_intents.confirm")
    sandbox.arm("rate_limit", "payment_intents.retrieve", times=None)
    with pytest.raises(Park) as ending:
        job.until_settled(max_attempts=3)
    assert (ending.value.code, job.charged()) == ("outcome_unknown", 1)


def test_a_rate_limit_before_anything_was_sent_is_an_ordinary_retry_to_the_last(sandbox: Sandbox, job: Job) -> None:
    sandbox.arm("rate_limit", "payment_intents.create", times=None)
    with pytest.raises(Retry) as ending:
        job.attempt(max_attempts=1)
    assert (ending.value.code, job.payments()) == ("provider_rate_limited", [])


def test_an_unreachable_provider_is_an_ordinary_retry(sandbox: Sandbox, job: Job) -> None:
    job.provider = StripeProvider(sandbox.new_key(), base="http://127.0.0.1:1", timeout=(1, 1))
    with pytest.raises(Retry) as ending:
        job.attempt()
    assert ending.value.code == "provider_unreachable"


@pytest.mark.parametrize(
    ("method", "decline_code", "advice_code"),
    [
        ("pm_card_visa_chargeDeclined", "generic_decline", "try_again_later"),
        ("pm_card_visa_chargeDeclinedInsufficientFunds", "insufficient_funds", "try_again_later"),
        ("pm_card_visa_chargeDeclinedStolenCard", "stolen_card", "do_not_try_again"),
    ],
)
def test_a_decline_is_final_and_nobody_can_confirm_the_payment_later(
    sandbox: Sandbox, method: str, decline_code: str, advice_code: str
) -> None:
    job = Job(sandbox, payment_method=method)
    with pytest.raises(Fail) as ending:
        job.attempt()
    assert ending.value.code == "card_declined"
    assert ending.value.details == {
        "payment_id": job.payment_id, "code": "card_declined", "decline_code": decline_code,
        "advice_code": advice_code,
    }  # fmt: skip
    assert (job.payments(), job.charged()) == ([(job.payment_id, "canceled")], 0)


@pytest.mark.parametrize("fault", ["timeout_before", "timeout_after", "error_after", "rate_limit"])
def test_a_decline_whose_cancelling_went_wrong_is_cancelled_by_the_next_attempt(sandbox: Sandbox, fault: str) -> None:
    job = Job(sandbox, payment_method="pm_card_visa_chargeDeclined")
    sandbox.arm(fault, "payment_intents.cancel")
    with pytest.raises(Retry, match="was declined"):
        job.attempt()
    with pytest.raises(Fail) as ending:
        job.attempt(2)
    assert ending.value.code == "card_declined"
    assert ending.value.details["decline_code"] == "generic_decline"
    assert job.payments() == [(job.payment_id, "canceled")]


def test_a_declined_job_that_is_retried_by_a_person_is_declined_again_without_a_charge(sandbox: Sandbox) -> None:
    job = Job(sandbox, payment_method="pm_card_visa_chargeDeclined")
    for attempt in (1, 2):
        with pytest.raises(Fail, match="generic_decline"):
            job.attempt(attempt)
    assert len(sandbox.books("SELECT id FROM charge WHERE payment_intent = ?", job.payment_id)) == 1


def test_a_declined_answer_that_got_lost_is_found_by_looking(sandbox: Sandbox) -> None:
    job = Job(sandbox, payment_method="pm_card_visa_chargeDeclined")
    sandbox.arm("reset_after", "payment_intents.confirm")
    with pytest.raises(Fail, match="generic_decline"):
        job.until_settled()
    assert len(sandbox.books("SELECT id FROM charge WHERE payment_intent = ?", job.payment_id)) == 1


@pytest.mark.parametrize("off_session", [False, True])
def test_a_card_that_needs_its_holder_parks_the_job(sandbox: Sandbox, *, off_session: bool) -> None:
    job = Job(sandbox, payment_method="pm_card_authenticationRequired", off_session=off_session)
    for attempt in (1, 2):
        with pytest.raises(Park) as ending:
            job.attempt(attempt)
        assert (ending.value.code, job.charged()) == ("requires_action", 0)


def test_what_the_provider_calls_invalid_fails_with_the_field_at_fault(sandbox: Sandbox) -> None:
    job = Job(sandbox, payment_method="pm_card_nobody")
    with pytest.raises(Fail) as ending:
        job.attempt()
    assert (ending.value.code, ending.value.details["param"]) == ("payment_invalid", "payment_method")


def test_a_key_that_the_provider_does_not_take_parks_the_job(sandbox: Sandbox) -> None:
    job = Job(sandbox, api_key="sk_live_1234567890")
    with pytest.raises(Park) as ending:
        job.attempt()
    assert ending.value.code == "provider_configuration"


def test_a_creation_announced_23_hours_ago_is_never_replayed(sandbox: Sandbox, job: Job) -> None:
    with pytest.raises(Killed):
        job.attempt(kill_after=2)
    assert job.journal.checkpoint is not None
    long_ago = (datetime.now(UTC) - timedelta(hours=23, seconds=1)).isoformat()
    job.journal.checkpoint["create"]["first_sent_at"] = long_ago
    before = sandbox.last_call()
    with pytest.raises(Park) as ending:
        job.attempt(2)
    assert (ending.value.code, sandbox.calls(before)) == ("outcome_unknown", [])


def test_a_replay_sends_what_was_saved_and_not_what_the_code_would_send_today(job: Job) -> None:
    with pytest.raises(Killed):
        job.attempt(kill_after=1)
    assert job.journal.checkpoint is not None
    key = job.journal.checkpoint["create"]["key"]
    job.journal.checkpoint["create"]["payment"]["description"] = "as it was"
    job.attempt(2)
    assert job.sandbox.books("SELECT json_extract(body, '$.description') FROM object WHERE id = ?", job.payment_id) == [
        ("as it was",)
    ]
    assert job.sandbox.books("SELECT count(*) FROM call WHERE idempotency_key = ?", key) == [(1,)]


def test_another_request_under_our_key_parks_the_job(job: Job) -> None:
    with pytest.raises(Killed):
        job.attempt(kill_after=2)
    assert job.journal.checkpoint is not None
    job.journal.checkpoint["create"]["payment"]["amount"] = 1
    with pytest.raises(Park) as ending:
        job.attempt(2)
    assert (ending.value.code, job.charged()) == ("idempotency_mismatch", 0)


def test_a_payment_of_another_job_is_not_taken_for_ours(sandbox: Sandbox) -> None:
    key = sandbox.new_key()
    other, job = Job(sandbox, api_key=key), Job(sandbox, api_key=key)
    other.attempt()
    job.journal.checkpoint = {"payment_id": other.payment_id}
    with pytest.raises(Park) as ending:
        job.attempt(2)
    assert ending.value.code == "payment_mismatch"


def test_a_payment_of_another_job_is_never_confirmed(sandbox: Sandbox) -> None:
    key = sandbox.new_key()
    other, job = Job(sandbox, api_key=key), Job(sandbox, api_key=key)
    with pytest.raises(Killed):
        other.attempt(kill_after=3)
    job.journal.checkpoint = {"payment_id": other.payment_id}
    with pytest.raises(Park, match="another payment"):
        job.attempt(2)
    assert other.payments() == [(other.payment_id, "requires_confirmation")]


def test_a_payment_that_somebody_confirmed_in_between_is_seen(job: Job) -> None:
    def confirm_first(moment: str) -> None:
        if moment == "save" and "saved payment_id" in job.journal.moments:
            job.provider.confirm_payment(CallContext(Step.CONFIRM, "zombie", job.provider.api_version), job.payment_id)

    assert job.attempt(interrupt=confirm_first)["status"] == "succeeded"
    assert [entry["outcome"] for entry in job.journal.logged] == ["ok", "state_conflict", "ok"]
    assert job.charged() == 1


@pytest.mark.parametrize("paid", [False, True])
def test_a_confirmation_under_a_spent_key_is_looked_at_and_never_guessed(job: Job, *, paid: bool) -> None:
    key = call_key("test", job.provider.account, str(job.id), Step.CONFIRM, 0)

    def spend_key(moment: str) -> None:
        if moment == "save" and job.journal.moments[-1:] == ["saved payment_id"]:
            job.provider.create_payment(
                CallContext(Step.CREATE, key, job.provider.api_version), CreateParams(1, "EUR", "pm_card_visa")
            )
            if paid:
                call = CallContext(Step.CONFIRM, "zombie", job.provider.api_version)
                job.provider.confirm_payment(call, job.payment_id)

    if paid:
        assert job.attempt(interrupt=spend_key)["status"] == "succeeded"
    else:
        with pytest.raises(Park) as ending:
            job.attempt(interrupt=spend_key)
        assert ending.value.code == "idempotency_mismatch"
    assert job.charged() == paid


@contextmanager
def detour(job: Job, path: str, reply: Reply) -> Iterator[None]:
    """Between the job and its provider: whatever is sent to a path that ends in `path` gets `reply` instead."""

    def pass_on(request: Request) -> Reply:
        if request.path.endswith(path):
            return reply
        url = f"{job.sandbox.payments}{request.path}?{request.query}"
        headers = {name: value for name, value in request.headers.items() if name != "Host"}
        answer = requests.request(request.method, url, headers=headers, data=request.body, timeout=10)
        return Reply(answer.status_code, answer.content, {"Content-Type": "application/json"})

    server = Server(pass_on, "127.0.0.1", 0)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    direct, job.provider = job.provider, StripeProvider(job.api_key, base=f"http://127.0.0.1:{server.port}")
    try:
        yield
    finally:
        job.provider = direct
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    ("error", "ending", "code", "left"),
    [
        ({"type": "card_error", "code": "card_declined"}, Fail, "card_declined", "canceled"),
        ({"type": "card_error", "code": "authentication_required"}, Park, "requires_action", "requires_confirmation"),
        ({"type": "invalid_request_error", "code": "amount_too_small"}, Fail, "payment_invalid", "canceled"),
    ],
)
def test_a_refusal_that_does_not_show_the_payment_is_understood(
    job: Job, error: dict[str, str], ending: type[Word], code: str, left: str
) -> None:
    status = 402 if error["type"] == "card_error" else 400
    with detour(job, "/confirm", Reply(status, json.dumps({"error": error}).encode())), pytest.raises(ending) as ended:
        job.attempt()
    assert (ended.value.code, job.payments()) == (code, [(job.payment_id, left)])


def test_a_refused_confirmation_of_a_paid_payment_is_not_reported_as_a_failure(job: Job) -> None:
    def confirm_first(moment: str) -> None:
        if moment == "save" and job.journal.moments[-1:] == ["called confirm"]:
            call = CallContext(Step.CONFIRM, "zombie", job.provider.api_version)
            StripeProvider(job.api_key, base=job.sandbox.payments).confirm_payment(call, job.payment_id)

    refusal = Reply(400, b'{"error": {"type": "invalid_request_error"}}')
    with detour(job, "/confirm", refusal):
        assert job.attempt(interrupt=confirm_first)["status"] == "succeeded"


def test_a_payment_that_the_provider_still_works_on_is_looked_at_again(job: Job) -> None:
    with pytest.raises(Killed):
        job.attempt(kill_after=3)
    snapshot = requests.get(
        f"{job.sandbox.payments}/v1/payment_intents/{job.payment_id}",
        headers={"Authorization": f"Bearer {job.api_key}"},
        timeout=10,
    ).json()
    reply = Reply(200, json.dumps({**snapshot, "status": "processing"}).encode())
    with detour(job, "/confirm", reply), pytest.raises(Retry) as ending:
        job.attempt(2)
    assert ending.value.code == "payment_processing"
    assert job.attempt(3)["status"] == "succeeded"


def test_a_payment_that_the_provider_does_not_know_parks_the_job(job: Job) -> None:
    job.journal.checkpoint = {"payment_id": "pi_gone"}
    with pytest.raises(Park) as ending:
        job.attempt(2)
    assert ending.value.code == "payment_not_found"


def test_a_payment_cancelled_by_someone_else_fails_without_a_charge(job: Job) -> None:
    with pytest.raises(Killed):
        job.attempt(kill_after=3)
    job.provider.cancel(CallContext(Step.CANCEL, "somebody-else", job.provider.api_version), job.payment_id)
    with pytest.raises(Fail) as ending:
        job.attempt(2)
    assert (ending.value.code, job.charged()) == ("payment_canceled", 0)


def test_a_cancel_request_before_the_money_moves_cancels_the_payment_too(job: Job) -> None:
    checks = iter([None, Cancelled()])
    with pytest.raises(Cancelled):
        job.attempt(interrupt=lambda moment: next(checks) if moment == "check" else None)
    assert (job.payments(), job.charged()) == ([(job.payment_id, "canceled")], 0)


def test_a_cancel_request_that_cannot_cancel_the_payment_does_not_claim_to_have(sandbox: Sandbox, job: Job) -> None:
    sandbox.arm("timeout_before", "payment_intents.cancel")
    checks = iter([None, Cancelled()])
    with pytest.raises(Retry) as ending:
        job.attempt(interrupt=lambda moment: next(checks) if moment == "check" else None)
    assert ending.value.code == "not_confirmed"


def test_an_attempt_that_lost_its_job_sends_nothing(sandbox: Sandbox, job: Job) -> None:
    with pytest.raises(Killed):
        job.attempt(kill_after=3)
    before = sandbox.last_call()
    with pytest.raises(LeaseLost):
        job.attempt(2, interrupt=lambda moment: LeaseLost() if moment == "save" else None)
    assert [call["endpoint"] for call in sandbox.calls(before)] == ["payment_intents.retrieve"]


@pytest.mark.parametrize(("attempt", "ends"), [(2, TimedOut), (25, Park)])
def test_a_time_limit_on_the_last_attempt_parks_a_payment_that_may_have_moved(
    sandbox: Sandbox, job: Job, attempt: int, ends: type[BaseException]
) -> None:
    sandbox.arm("timeout_before", "payment_intents.confirm")
    with pytest.raises(Retry):
        job.attempt()
    with pytest.raises(ends):
        job.attempt(attempt, interrupt=lambda moment: TimedOut() if moment == "check" else None)


def test_the_log_names_every_call_and_no_secret(job: Job) -> None:
    job.attempt()
    assert [(entry["event"], entry["step"], entry["outcome"]) for entry in job.journal.logged] == [
        ("provider_call", "create", "ok"), ("provider_call", "confirm", "ok"),
    ]  # fmt: skip
    assert job.journal.checkpoint is not None
    written = str(job.journal.logged)
    assert job.journal.checkpoint["confirm"]["key"] not in written
    assert "_secret_" not in written + str(job.journal.checkpoint)


def test_the_handler_takes_its_provider_from_the_environment(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    environment = {
        "DATABASE_URL": "postgresql://nobody@127.0.0.1:1/none", "REDIS_URL": "redis://127.0.0.1:1/0",
        "MAINSTAY_KEY_PEPPER": "x" * 32, "MAINSTAY_STRIPE_API_BASE": sandbox.payments,
    }  # fmt: skip
    for name in [name for name in os.environ if name.startswith("MAINSTAY_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    codes = []
    for key in (None, "pk_nonsense", sandbox.new_key()):
        if key is not None:
            monkeypatch.setenv("MAINSTAY_STRIPE_API_KEY", key)
        get_settings.cache_clear()
        _provider.cache_clear()
        try:
            codes.append(perform(Params(**VISA), Attempt(Journal(), uuid4()))["status"])
        except Word as ending:
            codes.append(ending.code)
    get_settings.cache_clear()
    _provider.cache_clear()
    assert codes == ["provider_not_configured", "provider_configuration", "succeeded"]


def test_payments_travel_alone_and_need_an_idempotency_key() -> None:
    declared = HANDLERS["payment.charge"]
    assert (declared.queue, declared.chunk, declared.idempotency_required) == ("payments", False, True)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"amount": 0}, "amount"),
        ({"amount": -1}, "amount"),
        ({"amount": 100_000_000}, "amount"),
        ({"amount": 10.0}, "amount"),
        ({"amount": "10"}, "amount"),
        ({"amount": True}, "amount"),
        ({"amount": None}, "amount"),
        ({"currency": "eur"}, "currency"),
        ({"currency": "XXZ"}, "currency"),
        ({"currency": "ISK"}, "currency"),
        ({"currency": 978}, "currency"),
        ({"payment_method": "tok_visa"}, "payment_method"),
        ({"payment_method": "pm_"}, "payment_method"),
        ({"payment_method": "pm_card_visa\n"}, "payment_method"),
        ({"payment_method": "pm_card/../x"}, "payment_method"),
        ({"capture": "later"}, "capture"),
        ({"customer": "42"}, "customer"),
        ({"description": ""}, "description"),
        ({"description": "x" * 501}, "description"),
        ({"statement_suffix": "<b>"}, "statement_suffix"),
        ({"statement_suffix": "12 34"}, "statement_suffix"),
        ({"receipt_email": "nobody"}, "receipt_email"),
        ({"off_session": "yes"}, "off_session"),
        ({"metadata": {"mainstay_operation": "x"}}, "metadata"),
        ({"metadata": {f"key{number}": "x" for number in range(41)}}, "metadata"),
        ({"metadata": {"x" * 41: "y"}}, "metadata"),
        ({"metadata": {"x": "y" * 501}}, "metadata"),
        ({"metadata": {"x": 1}}, "metadata"),
        ({"metadata": {"a[b]": "y"}}, "metadata"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_params_out_of_bounds_are_refused_by_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(ValidationError) as refusal:
        Params.model_validate({**VISA, **change})
    assert {error["loc"][0] for error in refusal.value.errors()} == {field}
