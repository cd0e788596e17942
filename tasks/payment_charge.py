"""payment.charge: charge or authorize a card payment, in two steps that cannot charge twice.

The payment is created without moving money, its id is saved, and only then is it confirmed; the provider gives one
payment at most one successful charge. What is about to be sent is saved before it is sent, and whatever became of an
earlier attempt, the next one looks at the provider before it acts.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Annotated, Any, Literal, assert_never

from pydantic import BaseModel, Field, StrictBool, StrictInt, StringConstraints, field_validator, model_validator
from pydantic_core import PydanticCustomError

from clients.payment_provider import (
    CallContext,
    CallResult,
    CreateParams,
    Decline,
    OutcomeClass,
    PaymentStatus,
    Snapshot,
    Step,
    call_key,
)
from clients.stripe import StripeProvider
from settings import get_settings
from tasks import Cancelled, Context, Fail, Park, Retry, TimedOut, Word, handler
from tasks.backoff import Backoff
from tasks.card_guard import refuse_card_data

# The provider forgets keys after 24 hours, and then a replay is a new request.
REPLAY_LIMIT = timedelta(hours=23)
RESERVED = "mainstay_"

# Currencies whose smallest unit at the provider is ISO 4217's; the exceptions stay out until they are verified.
Currency = Literal[
    "AED", "AUD", "BRL", "CAD", "CHF", "CLP", "CNY", "CZK", "DKK", "EUR", "GBP", "HKD", "HUF", "IDR", "ILS", "INR",
    "JPY", "KRW", "MXN", "MYR", "NOK", "NZD", "PHP", "PLN", "RON", "SAR", "SEK", "SGD", "THB", "TRY", "TWD", "USD",
    "VND", "ZAR",
]  # fmt: skip
OURS_TO_MEND = {
    OutcomeClass.CONFIG: ("provider_configuration", "the provider does not accept this installation's key or address"),
    OutcomeClass.KEY_MISMATCH: ("idempotency_mismatch", "the provider saw another request under the same key"),
}
# Failures that pass, and the seconds to wait at least where the provider names none.
PASSING = {
    OutcomeClass.RATE_LIMITED: ("provider_rate_limited", "the provider asked to slow down", 1),
    OutcomeClass.NOT_SENT: ("provider_unreachable", "the provider could not be reached; nothing was sent", 0),
    OutcomeClass.IN_PROGRESS: ("provider_busy", "an earlier request is still running", 2),
}
Customer = Annotated[str, StringConstraints(pattern=r"^cus_[A-Za-z0-9_]{1,250}$")]
Email = Annotated[str, StringConstraints(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", max_length=254)]
MetadataKey = Annotated[str, StringConstraints(min_length=1, max_length=40, pattern=r"^[^\[\]]+$")]
MetadataValue = Annotated[str, StringConstraints(min_length=1, max_length=500)]


class Params(BaseModel, extra="forbid", hide_input_in_errors=True):
    """A payment: `amount` in the currency's smallest unit, `payment_method` as the provider's token, never a card."""

    amount: StrictInt = Field(ge=1, le=99_999_999)
    currency: Currency
    payment_method: str = Field(pattern=r"^(pm|card)_[A-Za-z0-9_]{1,250}$")
    capture: Literal["automatic", "manual"] = "automatic"
    customer: Customer | None = None
    description: str | None = Field(default=None, min_length=1, max_length=500)
    statement_suffix: str | None = Field(
        default=None, pattern=r"^[A-Za-z0-9 .,&/+-]*[A-Za-z][A-Za-z0-9 .,&/+-]*$", max_length=22
    )
    receipt_email: Email | None = None
    off_session: StrictBool = False
    reference: str | None = Field(default=None, min_length=1, max_length=100)
    metadata: dict[MetadataKey, MetadataValue] = Field(default_factory=dict, max_length=40)

    @model_validator(mode="before")
    @classmethod
    def _no_card_data(cls, given: Any) -> Any:
        refuse_card_data(given)
        return given

    @field_validator("metadata")
    @classmethod
    def _no_reserved_names(cls, metadata: dict[str, str]) -> dict[str, str]:
        if any(name.startswith(RESERVED) for name in metadata):
            raise PydanticCustomError("reserved_name", f"names that begin with {RESERVED} are reserved")
        return metadata


@handler(
    "payment.charge",
    Params,
    queue="payments",
    max_attempts=25,
    timeout=timedelta(minutes=2),
    # Longer than the slowest two provider calls, so that nobody ends the job while its money may be moving.
    grace=timedelta(seconds=90),
    backoff=Backoff(base=timedelta(seconds=2), cap=timedelta(minutes=5)),
    chunk=False,
    idempotency_required=True,
)
def perform(params: Params, context: Context) -> dict[str, Any]:
    """Return the payment as the provider shows it, once it has succeeded (or is authorized, with manual capture).

    Fails only when no money can have moved; what is not known for certain is parked.
    """
    return Charge(_provider(), get_settings().installation_id, params, context).run()


@cache
def _provider() -> StripeProvider:
    settings = get_settings()
    if settings.stripe_api_key is None:
        raise Park("provider_not_configured", "no payment provider is configured")
    try:
        return StripeProvider(settings.stripe_api_key.get_secret_value(), base=settings.stripe_api_base)
    except ValueError as error:
        raise Park("provider_configuration", str(error)) from None


class Charge:
    """One attempt at a charge, and its record: which calls were announced, and what is known of the payment."""

    def __init__(self, provider: StripeProvider, installation_id: str, params: Params, context: Context) -> None:
        self._provider = provider
        self._installation_id = installation_id
        self._params = params
        self._context = context
        self._record: dict[str, Any] = dict(context.checkpoint or {})

    def run(self) -> dict[str, Any]:
        """Take the payment from wherever an earlier attempt left it to its end."""
        try:
            snapshot = self._look() if "payment_id" in self._record else self._create()
            # Before money moves, not only after: what is confirmed must be the payment that was asked for.
            self._verify(snapshot)
            if snapshot.status is PaymentStatus.CREATED:
                snapshot = self._confirm()
                self._verify(snapshot)
            return self._settle(snapshot)
        except TimedOut:
            if self._last and Step.CONFIRM in self._record:
                raise self._park_unknown() from None
            raise

    def _create(self) -> Snapshot:
        """Create the payment, or replay an earlier creation under the same key; then save its id."""
        announced = self._record.get(Step.CREATE)
        if announced is None:
            payment = asdict(self._payment())
        else:
            payment = announced["payment"]
            if datetime.now(UTC) - datetime.fromisoformat(announced["first_sent_at"]) > REPLAY_LIMIT:
                raise self._park_unknown()
        self._context.check_cancelled()
        if announced is None:
            self._announce(Step.CREATE, 0, payment=payment)
        result = self._send(Step.CREATE, lambda call: self._provider.create_payment(call, CreateParams(**payment)))
        if result.snapshot is None:
            raise self._stop(result)
        self._save(payment_id=result.snapshot.object_id)
        return result.snapshot

    def _confirm(self) -> Snapshot:
        """Let the money move. Only ever called after a look at the payment showed that it has not moved."""
        try:
            self._context.check_cancelled()
        except Cancelled:
            if self._cancel().outcome is OutcomeClass.OK:
                raise
            return self._look()
        # A new key each time: under the old one the provider might only repeat an old 500. That is safe, because the
        # payment itself allows one success.
        self._announce(Step.CONFIRM, self._record.get("confirms", 0), confirms=self._record.get("confirms", 0) + 1)
        result = self._send(
            Step.CONFIRM,
            lambda call: self._provider.confirm_payment(
                call, self._record["payment_id"], off_session=self._params.off_session
            ),
        )
        if result.snapshot is not None:
            return result.snapshot
        return self._resolve(result)

    def _resolve(self, result: CallResult) -> Snapshot:
        """A confirmation that came back without the payment: end the attempt, or see for ourselves."""
        match result.outcome:
            case OutcomeClass.DECLINED:
                raise self._declined(result.decline)
            case OutcomeClass.REQUIRES_ACTION:
                raise self._park("requires_action", "the card's holder has to act")
            case OutcomeClass.INVALID:
                if self._cancel().outcome is OutcomeClass.STATE_CONFLICT:
                    return self._look()
            case OutcomeClass.STATE_CONFLICT:
                return self._look()
            case OutcomeClass.UNKNOWN if self._last:
                return self._look()
            case OutcomeClass.KEY_MISMATCH:
                snapshot = self._look()
                if snapshot.status is not PaymentStatus.CREATED:
                    return snapshot
        raise self._stop(result)

    def _look(self) -> Snapshot:
        result = self._logged(Step.FETCH, None, lambda: self._provider.fetch_payment(self._record["payment_id"]))
        if result.snapshot is not None:
            return result.snapshot
        if result.outcome is OutcomeClass.INVALID:
            raise self._park("payment_not_found", "the provider does not know the payment that was created there")
        raise self._stop(result)

    def _settle(self, snapshot: Snapshot) -> dict[str, Any]:
        match snapshot.status:
            case PaymentStatus.SUCCEEDED | PaymentStatus.AUTHORIZED:
                return _result(snapshot)
            case PaymentStatus.REQUIRES_ACTION:
                raise self._park("requires_action", "the card's holder has to act", next_action=snapshot.next_action)
            case PaymentStatus.DECLINED:
                raise self._declined(snapshot.decline)
            case PaymentStatus.CANCELED:
                raise self._canceled()
            case PaymentStatus.PROCESSING:
                raise self._again("payment_processing", "the provider is still working on the payment")
            case PaymentStatus.CREATED:
                raise self._again("not_confirmed", "the payment could not be confirmed yet")
            case _:
                assert_never(snapshot.status)

    def _verify(self, snapshot: Snapshot) -> None:
        expected = (self._params.amount, self._params.currency, str(self._context.job_id))
        if (snapshot.amount, snapshot.currency, snapshot.metadata.get(f"{RESERVED}operation")) != expected:
            raise self._park("payment_mismatch", "the provider shows another payment than the one that was asked for")

    def _declined(self, decline: Decline | None) -> Word:
        """A decline is final; the payment is cancelled, so that nobody can confirm it later."""
        self._save(decline=asdict(decline) if decline else {})
        result = self._cancel()
        if result.outcome is not OutcomeClass.OK and (not self._last or result.outcome is OutcomeClass.STATE_CONFLICT):
            return self._again("cancel_unfinished", "the card was declined; the payment is being cancelled")
        return self._canceled()

    def _canceled(self) -> Word:
        decline = self._record.get("decline")
        if decline is None:
            return Fail("payment_canceled", "the payment was cancelled at the provider", self._details())
        reason = decline.get("decline_code") or decline.get("code") or "no reason given"
        return Fail("card_declined", f"the card was declined: {reason}", self._details(**decline))

    def _cancel(self) -> CallResult:
        self._announce(Step.CANCEL, self._context.attempt)
        return self._send(Step.CANCEL, lambda call: self._provider.cancel(call, self._record["payment_id"]))

    def _stop(self, result: CallResult) -> Word:
        """How the attempt ends after a call that did not show the payment."""
        if result.outcome is OutcomeClass.INVALID:
            details = self._details(provider_code=result.code, param=result.param)
            return Fail("payment_invalid", "the provider refused the payment as invalid", details)
        if result.outcome in OURS_TO_MEND:
            return self._park(*OURS_TO_MEND[result.outcome])
        if result.outcome in PASSING:
            code, message, seconds = PASSING[result.outcome]
            return self._again(code, message, after=timedelta(seconds=result.retry_after or seconds))
        if self._last:
            return self._park_unknown()
        return self._again("outcome_unknown", "the provider's answer was lost; the next attempt looks before it acts")

    def _again(self, code: str, message: str, *, after: timedelta | None = None) -> Word:
        """Try again later; but once money may have moved, running out of attempts is no failure."""
        if self._last and Step.CONFIRM in self._record:
            return self._park_unknown()
        return Retry(code, message, self._details(), after=after)

    def _park_unknown(self) -> Word:
        return self._park("outcome_unknown", "it is not known whether the payment took place: look at the provider")

    def _park(self, code: str, message: str, **details: Any) -> Word:
        return Park(code, message, self._details(**details))

    def _details(self, **details: Any) -> dict[str, Any]:
        return {"payment_id": self._record.get("payment_id"), **details}

    @property
    def _last(self) -> bool:
        return self._context.attempt >= self._context.max_attempts

    def _payment(self) -> CreateParams:
        ours = {f"{RESERVED}operation": str(self._context.job_id), f"{RESERVED}installation": self._installation_id}
        if self._params.reference is not None:
            ours[f"{RESERVED}reference"] = self._params.reference
        fields = self._params.model_dump(exclude={"off_session", "reference", "metadata"})
        return CreateParams(**fields, metadata={**self._params.metadata, **ours})

    def _announce(self, step: Step, generation: int, *, payment: Mapping[str, Any] | None = None, **known: Any) -> None:
        """Commit what is about to be sent, so that a crash on the next line can be resolved."""
        operation = str(self._context.job_id)
        announced = {
            "key": call_key(self._installation_id, self._provider.account, operation, step, generation),
            "generation": generation,
            "api_version": self._provider.api_version,
            "first_sent_at": datetime.now(UTC).isoformat(),
        }
        if payment is not None:
            announced["payment"] = payment
        self._save(**known, **{str(step): announced})

    def _save(self, **known: Any) -> None:
        self._record.update(known)
        in_doubt = Step.CONFIRM in self._record and "decline" not in self._record
        self._context.save_checkpoint(self._record, unsettled=in_doubt)

    def _send(self, step: Step, send: Callable[[CallContext], CallResult]) -> CallResult:
        announced = self._record[step]
        call = CallContext(step, announced["key"], announced["api_version"])
        return self._logged(step, call.key, lambda: send(call))

    def _logged(self, step: Step, key: str | None, send: Callable[[], CallResult]) -> CallResult:
        started = time.monotonic()
        result = send()
        self._context.log.info(
            "provider_call",
            provider=self._provider.name,
            payment=self._record.get("payment_id"),
            step=step,
            key_prefix=key[:8] if key else None,
            outcome=result.outcome,
            http_status=result.http_status,
            provider_request_id=result.request_id,
            replayed=result.replayed,
            ms=round((time.monotonic() - started) * 1000),
        )
        return result


def _result(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "payment_id": snapshot.object_id,
        "status": str(snapshot.status),
        "amount": snapshot.amount,
        "currency": snapshot.currency,
        "authorized": snapshot.authorized,
        "captured": snapshot.captured,
        "refunded": snapshot.refunded,
        "charge_id": snapshot.charge_id,
        "capture_before": snapshot.capture_before.isoformat() if snapshot.capture_before else None,
        "livemode": snapshot.livemode,
    }
