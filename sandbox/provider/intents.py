"""Payment intents: created without moving money, confirmed into at most one successful charge, captured, cancelled."""

from sandbox.books.bank import Body, new_id
from sandbox.provider import charges, methods, refunds, wire
from sandbox.provider.attempts import attempt
from sandbox.provider.calls import Call
from sandbox.provider.intent_states import end, expect, find, refuse
from sandbox.provider.wire import Form, ProviderError

CREATE_FIELDS = (
    "amount", "currency", "payment_method", "payment_method_types", "capture_method", "confirm", "customer",
    "description", "metadata", "off_session", "receipt_email", "return_url", "setup_future_usage",
    "statement_descriptor", "statement_descriptor_suffix",
)  # fmt: skip
UPDATE_FIELDS = (
    "amount", "currency", "payment_method", "customer", "description", "metadata", "receipt_email",
    "statement_descriptor", "statement_descriptor_suffix",
)  # fmt: skip
TEXTS = ("customer", "description", "receipt_email", "statement_descriptor", "statement_descriptor_suffix")
CANCELLATION_REASONS = ("abandoned", "duplicate", "fraudulent", "requested_by_customer")


def create(call: Call, form: Form) -> Body:
    """A new intent; with `confirm=true` it is confirmed in the same breath."""
    wire.allow(form, *CREATE_FIELDS)
    if form.get("payment_method_types", ["card"]) != ["card"]:
        raise wire.invalid("Only card payments exist here.", param="payment_method_types")
    if "off_session" in form and not wire.flag(form, "confirm"):
        raise wire.invalid("off_session goes with confirm=true only.", param="off_session")
    intent = _new(call, form)
    call.bank.insert(call.account, "payment_intent", intent)
    call.emit("payment_intent.created", intent)
    if wire.flag(form, "confirm"):
        return attempt(call, intent, off_session=wire.flag(form, "off_session"))
    return intent


def update(call: Call, intent_id: str, form: Form) -> Body:
    """Change an intent that is not paid yet; metadata and description at any time."""
    wire.allow(form, *UPDATE_FIELDS)
    intent = find(call, intent_id)
    if set(form) - {"metadata", "description", "expand"}:
        expect(intent, "update", "requires_payment_method", "requires_confirmation", "requires_action")
    if "amount" in form:
        intent["amount"] = wire.integer(form, "amount", least=1, most=wire.AMOUNT_LIMIT)
    if "currency" in form:
        intent["currency"] = wire.currency(form)
    intent.update({name: wire.text(form, name) for name in TEXTS if name in form})
    intent["metadata"] = wire.metadata(form, intent["metadata"])
    _give_method(call, intent, form)
    call.bank.save(intent)
    return intent


def confirm(call: Call, intent_id: str, form: Form) -> Body:
    """Try to take or hold the money with the intent's payment method."""
    wire.allow(form, "payment_method", "off_session", "return_url", "receipt_email")
    intent = find(call, intent_id)
    expect(intent, "confirm", "requires_payment_method", "requires_confirmation", "requires_action")
    _give_method(call, intent, form)
    if intent["payment_method"] is None:
        refuse(intent, "The intent has no payment method to confirm with.")
    return attempt(call, intent, off_session=wire.flag(form, "off_session"))


def capture(call: Call, intent_id: str, form: Form) -> Body:
    """Take all or part of the held amount; the rest is let go."""
    wire.allow(form, "amount_to_capture", "metadata", "statement_descriptor", "statement_descriptor_suffix")
    intent = find(call, intent_id)
    expect(intent, "capture", "requires_capture")
    held = intent["amount_capturable"]
    amount = wire.integer(form, "amount_to_capture", least=1, most=wire.AMOUNT_LIMIT, default=held)
    if amount > held:
        raise ProviderError(
            400,
            "invalid_request_error",
            f"The amount to capture is greater than the amount that can be captured ({held}).",
            executed=True,
            code="amount_too_large",
            param="amount_to_capture",
        )
    charge = call.bank.find(call.account, "charge", intent["latest_charge"])
    assert charge is not None  # an intent that requires capture has the charge that holds the money
    charges.capture(call, charge, amount)
    refunds.show_release(call, charge)
    intent.update(status="succeeded", amount_capturable=0, amount_received=amount)
    intent["metadata"] = wire.metadata(form, intent["metadata"])
    call.bank.save(intent)
    call.emit("payment_intent.succeeded", intent)
    return intent


def cancel(call: Call, intent_id: str, form: Form) -> Body:
    """End an intent for ever; a held amount is let go."""
    wire.allow(form, "cancellation_reason")
    reason = wire.text(form, "cancellation_reason")
    if reason is not None and reason not in CANCELLATION_REASONS:
        raise wire.invalid("Invalid cancellation_reason", param="cancellation_reason")
    intent = find(call, intent_id)
    expect(
        intent,
        "cancel",
        "requires_payment_method",
        "requires_confirmation",
        "requires_action",
        "requires_capture",
    )
    held = call.bank.find(call.account, "charge", intent["latest_charge"] or "")
    if held is not None and intent["status"] == "requires_capture":
        refunds.show_release(call, held)
    return end(call, intent, reason)


def _give_method(call: Call, intent: Body, form: Form) -> None:
    name = wire.text(form, "payment_method")
    if name is not None:
        intent["payment_method"] = methods.attach(call.bank, call.account, name)["id"]
        intent["status"] = "requires_confirmation"


def _new(call: Call, form: Form) -> Body:
    empty = dict.fromkeys(
        (
            "allowed_payment_method_types", "amount_details", "application", "application_fee_amount",
            "automatic_payment_methods", "canceled_at", "cancellation_reason", "customer_account",
            "excluded_payment_method_types", "hooks", "last_payment_error", "latest_charge", "managed_payments",
            "next_action", "on_behalf_of", "payment_details", "payment_method",
            "payment_method_configuration_details", "payment_record", "presentment_details", "processing", "review",
            "shipping", "source", "transfer_data", "transfer_group",
        )
    )  # fmt: skip
    intent_id = new_id("pi_3")
    intent = empty | {
        "id": intent_id,
        "object": "payment_intent",
        "amount": wire.integer(form, "amount", least=1, most=wire.AMOUNT_LIMIT),
        "amount_capturable": 0,
        "amount_received": 0,
        "capture_method": wire.choice(
            form, "capture_method", "automatic_async", "automatic", "automatic_async", "manual"
        ),
        "client_secret": new_id(f"{intent_id}_secret_"),
        "confirmation_method": "automatic",
        "created": int(call.bank.now()),
        "currency": wire.currency(form),
        "livemode": False,
        "metadata": wire.metadata(form),
        "payment_method_options": {"card": {"request_three_d_secure": "automatic"}},
        "payment_method_types": ["card"],
        "setup_future_usage": wire.text(form, "setup_future_usage"),
        "status": "requires_payment_method",
        **{name: wire.text(form, name) for name in TEXTS},
    }
    _give_method(call, intent, form)
    return intent
