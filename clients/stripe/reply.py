"""What a reply must look like to be believed, and the payment that it shows."""

from datetime import UTC, datetime
from typing import Any, Literal, cast

from pydantic import BaseModel, Field, StrictInt, ValidationError

from clients.payment_provider import Decline, PaymentStatus, Snapshot


class ErrorDocument(BaseModel):
    """The provider's error document, as far as anyone here reads it."""

    type: str | None = None
    code: str | None = None
    decline_code: str | None = None
    advice_code: str | None = None
    param: str | None = None
    payment_intent: dict[str, Any] | None = None


class Charge(BaseModel):
    """The charge behind a payment, as far as anyone here reads it."""

    id: str = Field(pattern=r"^(ch|py)_\w+$")
    amount_refunded: StrictInt = Field(ge=0)
    payment_method_details: dict[str, Any] | None = None

    @property
    def capture_before(self) -> datetime | None:
        card = (self.payment_method_details or {}).get("card") or {}
        moment = card.get("capture_before")
        return datetime.fromtimestamp(moment, UTC) if isinstance(moment, int) else None


class Intent(BaseModel):
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
    latest_charge: Charge | str | None = None
    last_payment_error: ErrorDocument | None = None
    next_action: dict[str, Any] | None = None


STATUSES = {
    "canceled": PaymentStatus.CANCELED,
    "processing": PaymentStatus.PROCESSING,
    "requires_action": PaymentStatus.REQUIRES_ACTION,
    "requires_capture": PaymentStatus.AUTHORIZED,
    "requires_confirmation": PaymentStatus.CREATED,
    "succeeded": PaymentStatus.SUCCEEDED,
}


def snapshot_of(intent: Intent, account: str) -> Snapshot:
    """The payment that a reply shows, in the words of every provider."""
    charge = intent.latest_charge if isinstance(intent.latest_charge, Charge) else None
    failure = intent.last_payment_error
    return Snapshot(
        object_id=intent.id,
        account=account,
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


def _status(intent: Intent) -> PaymentStatus:
    if intent.status != "requires_payment_method":
        return STATUSES[intent.status]
    if intent.last_payment_error is None:
        return PaymentStatus.CREATED
    needs_holder = intent.last_payment_error.code == "authentication_required"
    return PaymentStatus.REQUIRES_ACTION if needs_holder else PaymentStatus.DECLINED


def parse_intent(body: object) -> Intent | None:
    """The payment in a reply, or None where the reply shows none that can be believed."""
    try:
        return Intent.model_validate(body)
    except ValidationError:
        return None


def parse_error(body: object) -> ErrorDocument:
    """The error in a reply; an empty one where the reply is of another shape."""
    try:
        return ErrorDocument.model_validate(cast("Any", body)["error"])
    except (LookupError, TypeError, ValidationError):
        return ErrorDocument()
