"""The door to the payment provider: the official SDK behind one class, and its answers reduced to one vocabulary.

Nothing else reads the provider's replies or errors. A call never raises for what the provider did or failed to do,
never retries, and answers `UNKNOWN` whenever it cannot prove that no money moved. SDK exceptions carry whole bodies,
and end here.
"""

import base64
import hashlib
import logging
import os
import re
import ssl
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Literal, cast

import requests
from pydantic import BaseModel, Field, StrictInt, ValidationError
from urllib3.exceptions import NewConnectionError

if TYPE_CHECKING:
    import stripe
    from stripe import RequestOptions
    from stripe.params import PaymentIntentCreateParams

API_KEY = re.compile(r"(sk|rk)_(test|live)_\w+")
# Connect and read. A read time-out counts from byte to byte: the end of a dripping reply is the attempt's time limit.
TIMEOUT = (5.0, 30.0)
# What the SDK itself trips over when a reply is JSON of a shape that the provider never sends.
UNREADABLE = (AttributeError, LookupError, TypeError, ValueError, RecursionError)


# Failures on our side, before the first byte of a request.
MISCONFIGURED = (
    ssl.SSLCertVerificationError,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
)


class OutcomeClass(StrEnum):
    """What one call came to; only `OK` and the refusals say for certain whether it had an effect."""

    OK = "ok"
    DECLINED = "declined"
    REQUIRES_ACTION = "requires_action"
    INVALID = "invalid"
    STATE_CONFLICT = "state_conflict"
    KEY_MISMATCH = "key_mismatch"
    IN_PROGRESS = "in_progress"
    RATE_LIMITED = "rate_limited"
    NOT_SENT = "not_sent"
    UNKNOWN = "unknown"
    CONFIG = "config"


class PaymentStatus(StrEnum):
    """Where a payment stands at the provider."""

    CREATED = "created"
    PROCESSING = "processing"
    REQUIRES_ACTION = "requires_action"
    AUTHORIZED = "authorized"
    SUCCEEDED = "succeeded"
    DECLINED = "declined"
    CANCELED = "canceled"


class Step(StrEnum):
    """A provider call within an operation; part of its idempotency key."""

    CREATE = "create"
    CONFIRM = "confirm"
    CANCEL = "cancel"
    FETCH = "fetch"


@dataclass(frozen=True)
class CallContext:
    """How to make one call: a replay gives the same key and the same API version as the first time."""

    step: Step
    key: str
    api_version: str


@dataclass(frozen=True)
class CreateParams:
    """A payment to create; `currency` is upper-case ISO 4217, `amount` counts its smallest unit."""

    amount: int
    currency: str
    payment_method: str
    capture: Literal["automatic", "manual"] = "automatic"
    customer: str | None = None
    description: str | None = None
    statement_suffix: str | None = None
    receipt_email: str | None = None
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Decline:
    """Why a card was refused, in the provider's codes."""

    code: str | None
    decline_code: str | None
    advice_code: str | None


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """A payment as the provider showed it at `observed_at`."""

    object_id: str
    account: str
    livemode: bool
    status: PaymentStatus
    currency: str
    amount: int
    authorized: int
    captured: int
    refunded: int
    charge_id: str | None
    metadata: Mapping[str, str]
    decline: Decline | None
    next_action: str | None
    capture_before: datetime | None
    observed_at: datetime


@dataclass(frozen=True, kw_only=True)
class CallResult:
    """One call's outcome, with the payment where the answer showed it."""

    outcome: OutcomeClass
    snapshot: Snapshot | None = None
    decline: Decline | None = None
    code: str | None = None
    param: str | None = None
    retry_after: float | None = None
    http_status: int | None = None
    request_id: str | None = None
    replayed: bool = False


def call_key(installation_id: str, account: str, operation_id: str, step: Step, generation: int) -> str:
    """The idempotency key of a step: 160 bits as 32 characters `[a-z2-7]`, which every provider accepts."""
    seed = f"v1|{installation_id}|{account}|{operation_id}|{step}|{generation}"
    return base64.b32encode(hashlib.sha256(seed.encode()).digest()).decode().lower()[:32]


class StripeProvider:
    """Stripe, or a server that speaks like it at `base`. Made after a fork; costs the SDK's import once per process."""

    name = "stripe"

    def __init__(self, api_key: str, *, base: str | None = None, timeout: tuple[float, float] = TIMEOUT) -> None:
        """Raises ValueError when `api_key` is no secret or restricted key: the SDK would take even an empty one."""
        found = API_KEY.fullmatch(api_key)
        if found is None:
            raise ValueError("a Stripe key begins with sk_ or rk_, then test_ or live_")
        import stripe  # noqa: PLC0415  # a third of a second, which only payment workers pay

        _keep_quiet(stripe)
        self.account = f"{self.name}:{found[2]}"
        self.api_version = stripe.api_version
        self._sdk = stripe
        self._intents = stripe.StripeClient(
            api_key,
            base_addresses={"api": base} if base else None,
            max_network_retries=0,
            http_client=stripe.RequestsClient(timeout=timeout, session=_Session()),
        ).v1.payment_intents

    def create_payment(self, context: CallContext, payment: CreateParams) -> CallResult:
        """Create a payment that no money moves for until it is confirmed."""
        return self._call(lambda: self._intents.create(_create_params(payment), _options(context)))

    def confirm_payment(self, context: CallContext, object_id: str, *, off_session: bool = False) -> CallResult:
        """Let the money move. The provider gives a payment at most one successful charge."""
        params: dict[str, Any] = {"expand": ["latest_charge"], **({"off_session": True} if off_session else {})}
        return self._call(lambda: self._intents.confirm(object_id, cast("Any", params), _options(context)), object_id)

    def cancel(self, context: CallContext, object_id: str) -> CallResult:
        """End a payment that has not succeeded, for ever; money that was held is let go."""
        return self._call(
            lambda: self._intents.cancel(object_id, {"expand": ["latest_charge"]}, _options(context)), object_id
        )

    def fetch_payment(self, object_id: str) -> CallResult:
        """Look: what the provider says now. Changes nothing."""
        return self._call(lambda: self._intents.retrieve(object_id, {"expand": ["latest_charge"]}), object_id)

    def _call(self, send: Callable[[], "stripe.PaymentIntent"], object_id: str | None = None) -> CallResult:
        try:
            reply = send()
        except self._sdk.APIConnectionError as error:
            return CallResult(outcome=_unanswered(error), code="no_answer")
        except self._sdk.StripeError as error:
            return self._refused(error)
        except UNREADABLE:
            return CallResult(outcome=OutcomeClass.UNKNOWN, code="unreadable_reply")
        return self._accepted(reply, object_id)

    def _accepted(self, reply: object, object_id: str | None) -> CallResult:
        """A 2xx counts only if it shows the payment that was asked for: the SDK returns any JSON as success."""
        intent = _parse_intent(reply.to_dict()) if isinstance(reply, self._sdk.StripeObject) else None
        if intent is None or (object_id is not None and intent.id != object_id):
            return CallResult(outcome=OutcomeClass.UNKNOWN, code="unexpected_reply")
        snapshot = self._snapshot(intent)
        response = cast("stripe.StripeObject", reply).last_response
        headers = response.headers if response is not None else {}
        return CallResult(
            outcome={
                PaymentStatus.DECLINED: OutcomeClass.DECLINED,
                PaymentStatus.REQUIRES_ACTION: OutcomeClass.REQUIRES_ACTION,
            }.get(snapshot.status, OutcomeClass.OK),
            snapshot=snapshot,
            decline=snapshot.decline,
            http_status=response.code if response is not None else None,
            request_id=headers.get("Request-Id"),
            replayed=headers.get("Idempotent-Replayed") == "true",
        )

    def _refused(self, error: "stripe.StripeError") -> CallResult:
        document = _parse_error(error.json_body)
        headers = error.headers or {}
        declined = isinstance(error, self._sdk.CardError)
        intent = _parse_intent(document.payment_intent) if declined else None
        retry_after = headers.get("Retry-After", "")
        return CallResult(
            outcome=_classify(error, document),
            snapshot=self._snapshot(intent) if intent else None,
            decline=Decline(document.code, document.decline_code, document.advice_code) if declined else None,
            code=document.code or document.type,
            param=document.param,
            retry_after=float(retry_after) if retry_after.isdecimal() else None,
            http_status=error.http_status,
            request_id=error.request_id,
            replayed=headers.get("Idempotent-Replayed") == "true",
        )

    def _snapshot(self, intent: "_Intent") -> Snapshot:
        charge = intent.latest_charge if isinstance(intent.latest_charge, _Charge) else None
        failure = intent.last_payment_error
        return Snapshot(
            object_id=intent.id,
            account=self.account,
            livemode=intent.livemode,
            status=_status(intent),
            currency=intent.currency.upper(),
            amount=intent.amount,
            authorized=intent.amount_capturable + intent.amount_received,
            captured=intent.amount_received,
            refunded=charge.amount_refunded if charge else 0,
            charge_id=charge.id if charge else cast("str | None", intent.latest_charge),
            metadata=intent.metadata,
            decline=Decline(failure.code, failure.decline_code, failure.advice_code) if failure else None,
            next_action=str(intent.next_action["type"]) if intent.next_action else None,
            capture_before=charge.capture_before if charge else None,
            observed_at=datetime.now(UTC),
        )


class _Session(requests.Session):
    """Follows no redirect, and takes neither a proxy nor a password from the environment in the key's place."""

    def __init__(self) -> None:
        super().__init__()
        self.trust_env = False

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002  # requests' signature
        return None


class _Error(BaseModel):
    """The provider's error document, as far as anyone here reads it."""

    type: str | None = None
    code: str | None = None
    decline_code: str | None = None
    advice_code: str | None = None
    param: str | None = None
    payment_intent: dict[str, Any] | None = None


class _Charge(BaseModel):
    id: str = Field(pattern=r"^(ch|py)_\w+$")
    amount_refunded: StrictInt = Field(ge=0)
    payment_method_details: dict[str, Any] | None = None

    @property
    def capture_before(self) -> datetime | None:
        card = (self.payment_method_details or {}).get("card") or {}
        moment = card.get("capture_before")
        return datetime.fromtimestamp(moment, UTC) if isinstance(moment, int) else None


class _Intent(BaseModel):
    """What a reply must be made of to be believed."""

    id: str = Field(pattern=r"^pi_\w+$")
    object: Literal["payment_intent"]
    amount: StrictInt = Field(ge=0)
    amount_capturable: StrictInt = Field(ge=0)
    amount_received: StrictInt = Field(ge=0)
    currency: str = Field(pattern=r"^[a-z]{3}$")
    livemode: bool
    metadata: dict[str, str]
    status: Literal[
        "canceled", "processing", "requires_action", "requires_capture", "requires_confirmation",
        "requires_payment_method", "succeeded",
    ]  # fmt: skip
    latest_charge: _Charge | str | None = None
    last_payment_error: _Error | None = None
    next_action: dict[str, Any] | None = None


STATUSES = {
    "canceled": PaymentStatus.CANCELED,
    "processing": PaymentStatus.PROCESSING,
    "requires_action": PaymentStatus.REQUIRES_ACTION,
    "requires_capture": PaymentStatus.AUTHORIZED,
    "requires_confirmation": PaymentStatus.CREATED,
    "succeeded": PaymentStatus.SUCCEEDED,
}


def _status(intent: _Intent) -> PaymentStatus:
    if intent.status != "requires_payment_method":
        return STATUSES[intent.status]
    if intent.last_payment_error is None:
        return PaymentStatus.CREATED
    needs_holder = intent.last_payment_error.code == "authentication_required"
    return PaymentStatus.REQUIRES_ACTION if needs_holder else PaymentStatus.DECLINED


def _parse_intent(body: object) -> _Intent | None:
    try:
        return _Intent.model_validate(body)
    except ValidationError:
        return None


def _parse_error(body: object) -> _Error:
    try:
        return _Error.model_validate(cast("Any", body)["error"])
    except (LookupError, TypeError, ValidationError):
        return _Error()


REFUSALS = {
    "CardError": OutcomeClass.DECLINED,
    "IdempotencyError": OutcomeClass.KEY_MISMATCH,
    "InvalidRequestError": OutcomeClass.INVALID,
    "RateLimitError": OutcomeClass.RATE_LIMITED,
    "AuthenticationError": OutcomeClass.CONFIG,
    "PermissionError": OutcomeClass.CONFIG,
}
BY_CODE = {
    ("CardError", "authentication_required"): OutcomeClass.REQUIRES_ACTION,
    ("InvalidRequestError", "payment_intent_unexpected_state"): OutcomeClass.STATE_CONFLICT,
    ("InvalidRequestError", "charge_already_captured"): OutcomeClass.STATE_CONFLICT,
    ("InvalidRequestError", "charge_already_refunded"): OutcomeClass.STATE_CONFLICT,
}


def _classify(error: "stripe.StripeError", document: _Error) -> OutcomeClass:
    name, status = type(error).__name__, error.http_status or 0
    if name in REFUSALS:
        return BY_CODE.get((name, document.code or ""), REFUSALS[name])
    if status == HTTPStatus.CONFLICT:
        return OutcomeClass.IN_PROGRESS
    redirected = HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST
    return OutcomeClass.CONFIG if redirected else OutcomeClass.UNKNOWN


def _unanswered(error: Exception) -> OutcomeClass:
    """Whether a request without an answer can have been sent: only what failed before the first byte was not."""
    causes = list(_causes(error))
    if any(isinstance(cause, requests.exceptions.ConnectTimeout | NewConnectionError) for cause in causes):
        return OutcomeClass.NOT_SENT
    if any(isinstance(cause, MISCONFIGURED) for cause in causes):
        return OutcomeClass.CONFIG
    return OutcomeClass.UNKNOWN


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        # urllib3 keeps what went wrong in `reason`, requests in its first argument.
        inner = getattr(error, "reason", None) or (error.args[0] if error.args else None)
        error = inner if isinstance(inner, BaseException) else error.__cause__ or error.__context__


def _options(context: CallContext) -> "RequestOptions":
    return {"idempotency_key": context.key, "stripe_version": context.api_version}


def _create_params(payment: CreateParams) -> "PaymentIntentCreateParams":
    """The provider's fields; what the caller left out is left out, as not every server knows every option."""
    params = {
        "amount": payment.amount,
        "currency": payment.currency.lower(),
        "payment_method": payment.payment_method,
        "payment_method_types": ["card"],
        "capture_method": payment.capture,
        "metadata": dict(payment.metadata),
        "customer": payment.customer,
        "description": payment.description,
        "statement_descriptor_suffix": payment.statement_suffix,
        "receipt_email": payment.receipt_email,
    }
    return cast("PaymentIntentCreateParams", {name: value for name, value in params.items() if value is not None})


def _keep_quiet(sdk: Any) -> None:
    """At DEBUG the SDK logs card data and client secrets, to its logger and, if STRIPE_LOG asks, to stderr: never."""
    logging.getLogger("stripe").addFilter(_above_debug)
    sdk.log = "info" if os.environ.get("STRIPE_LOG") == "debug" else None
    sdk.enable_telemetry = False


def _above_debug(record: logging.LogRecord) -> bool:
    return record.levelno > logging.DEBUG
