"""The calls: each goes out once, under the key it was announced with, and comes back as a `CallResult`."""

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from clients.payment_provider import CallContext, CallResult, CreateParams, Decline, OutcomeClass, PaymentStatus
from clients.stripe.errors import classify, unanswered
from clients.stripe.reply import parse_error, parse_intent, snapshot_of
from clients.stripe.sdk import Session, keep_quiet

if TYPE_CHECKING:
    import stripe
    from stripe import RequestOptions
    from stripe.params import PaymentIntentCreateParams

API_KEY = re.compile(r"(sk|rk)_(test|live)_\w+")
# Connect and read. A read time-out counts from byte to byte: the end of a dripping reply is the attempt's time limit.
TIMEOUT = (5.0, 30.0)
# What the SDK itself trips over when a reply is JSON of a shape that the provider never sends.
UNREADABLE = (AttributeError, LookupError, TypeError, ValueError, RecursionError)


class StripeProvider:
    """Stripe, or a server that speaks like it at `base`. Made after a fork; costs the SDK's import once per process."""

    name = "stripe"

    def __init__(self, api_key: str, *, base: str | None = None, timeout: tuple[float, float] = TIMEOUT) -> None:
        """Raises ValueError when `api_key` is no secret or restricted key: the SDK would take even an empty one."""
        found = API_KEY.fullmatch(api_key)
        if found is None:
            raise ValueError("a Stripe key begins with sk_ or rk_, then test_ or live_")
        import stripe  # noqa: PLC0415  # a third of a second, which only payment workers pay

        keep_quiet(stripe)
        self.account = f"{self.name}:{found[2]}"
        self.api_version = stripe.api_version
        self._sdk = stripe
        self._intents = stripe.StripeClient(
            api_key,
            base_addresses={"api": base} if base else None,
            max_network_retries=0,
            http_client=stripe.RequestsClient(timeout=timeout, session=Session()),
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
            return CallResult(outcome=unanswered(error), code="no_answer")
        except self._sdk.StripeError as error:
            return self._refused(error)
        except UNREADABLE:
            return CallResult(outcome=OutcomeClass.UNKNOWN, code="unreadable_reply")
        return self._accepted(reply, object_id)

    def _accepted(self, reply: object, object_id: str | None) -> CallResult:
        """A 2xx counts only if it shows the payment that was asked for: the SDK returns any JSON as success."""
        intent = parse_intent(reply.to_dict()) if isinstance(reply, self._sdk.StripeObject) else None
        if intent is None or (object_id is not None and intent.id != object_id):
            return CallResult(outcome=OutcomeClass.UNKNOWN, code="unexpected_reply")
        snapshot = snapshot_of(intent, self.account)
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
        document = parse_error(error.json_body)
        headers = error.headers or {}
        declined = isinstance(error, self._sdk.CardError)
        intent = parse_intent(document.payment_intent) if declined else None
        retry_after = headers.get("Retry-After", "")
        return CallResult(
            outcome=classify(error, document),
            snapshot=snapshot_of(intent, self.account) if intent else None,
            decline=Decline(document.code, document.decline_code, document.advice_code) if declined else None,
            code=document.code or document.type,
            param=document.param,
            retry_after=float(retry_after) if retry_after.isdecimal() else None,
            http_status=error.http_status,
            request_id=error.request_id,
            replayed=headers.get("Idempotent-Replayed") == "true",
        )


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
