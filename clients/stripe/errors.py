"""What an error says about the call: refused and why, never sent, or unknown."""

import ssl
from collections.abc import Iterator
from http import HTTPStatus
from typing import TYPE_CHECKING

import requests
from urllib3.exceptions import NewConnectionError

from clients.payment_provider import OutcomeClass
from clients.stripe.reply import ErrorDocument

if TYPE_CHECKING:
    import stripe

# Failures on our side, before the first byte of a request.
MISCONFIGURED = (
    ssl.SSLCertVerificationError,
    requests.exceptions.InvalidSchema,
    requests.exceptions.InvalidURL,
    requests.exceptions.MissingSchema,
)
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


def classify(error: "stripe.StripeError", document: ErrorDocument) -> OutcomeClass:
    """What a call came to that was answered with an error; what is not known for a refusal is `UNKNOWN`."""
    name, status = type(error).__name__, error.http_status or 0
    if name in REFUSALS:
        return BY_CODE.get((name, document.code or ""), REFUSALS[name])
    if status == HTTPStatus.CONFLICT:
        return OutcomeClass.IN_PROGRESS
    redirected = HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST
    return OutcomeClass.CONFIG if redirected else OutcomeClass.UNKNOWN


def unanswered(error: Exception) -> OutcomeClass:
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
