"""Charges: the money's side of a payment intent. Made only by confirming one, captured at once or later."""

from typing import Any

from sandbox.books.bank import Body, new_id
from sandbox.provider.calls import Call
from sandbox.provider.methods import Card

AUTHORIZATION_SECONDS = 7 * 24 * 3600


def decline(call: Call, intent: Body, card: Card) -> Body:
    """A charge that the issuer refused."""
    charge = _new(call, intent, card, status="failed", captured=False)
    charge["failure_code"] = card.code
    charge["failure_message"] = "Your card was declined."
    charge["outcome"] = _outcome("declined_by_network", card.decline_code, "issuer_declined", card.advice_code)
    call.bank.insert(call.account, "charge", charge, parent=intent["id"])
    call.emit("charge.failed", charge)
    return charge


def succeed(call: Call, intent: Body, card: Card, *, capture: bool) -> Body:
    """A charge that went through: the money is taken, or held until it is captured."""
    charge = _new(call, intent, card, status="succeeded", captured=capture)
    if capture:
        charge["amount_captured"] = charge["amount"]
    else:
        charge["payment_method_details"]["card"]["capture_before"] = charge["created"] + AUTHORIZATION_SECONDS
    call.bank.insert(call.account, "charge", charge, parent=intent["id"])
    if capture:
        _book(call, charge)
    call.emit("charge.succeeded", charge)
    return charge


def capture(call: Call, charge: Body, amount: int) -> Body:
    """Take `amount` of the money that the charge holds."""
    charge.update(captured=True, amount_captured=amount)
    _book(call, charge)
    call.emit("charge.captured", charge)
    return charge


def balance_transaction(call: Call, source: Body, kind: str, amount: int, fee: int) -> Body:
    """What a movement does to the account's balance; `amount` is signed."""
    now = int(call.bank.now())
    return call.bank.insert(
        call.account,
        "balance_transaction",
        {
            "id": new_id("txn_1"),
            "object": "balance_transaction",
            "amount": amount,
            "available_on": now,
            "balance_type": "payments",
            "created": now,
            "currency": source["currency"],
            "description": source.get("description"),
            "exchange_rate": None,
            "fee": fee,
            "fee_details": _fee_details(fee, source["currency"]),
            "net": amount - fee,
            "reporting_category": kind,
            "source": source["id"],
            "status": "available",
            "type": kind,
        },
        parent=source["id"],
    )


def _book(call: Call, charge: Body) -> None:
    amount = charge["amount_captured"]
    fee = round(amount * 0.029) + 30
    charge["balance_transaction"] = balance_transaction(call, charge, "charge", amount, fee)["id"]
    call.bank.save(charge)


def _fee_details(fee: int, currency: str) -> list[Body]:
    if fee == 0:
        return []
    text = "Processing fees"
    return [{"amount": fee, "application": None, "currency": currency, "description": text, "type": "stripe_fee"}]


def _outcome(network_status: str, reason: str | None, kind: str, advice: str | None) -> dict[str, Any]:
    return {
        "advice_code": advice,
        "network_status": network_status,
        "reason": reason,
        "risk_level": "normal",
        "seller_message": None,
        "type": kind,
    }


def _new(call: Call, intent: Body, card: Card, *, status: str, captured: bool) -> Body:
    face = {"brand": card.brand, "last4": card.last4, "exp_month": 12, "exp_year": 2034}
    taken = {
        name: intent[name]
        for name in (
            "amount", "currency", "customer", "description", "livemode", "metadata", "payment_method",
            "receipt_email", "shipping", "statement_descriptor", "statement_descriptor_suffix", "transfer_group",
        )
    }  # fmt: skip
    empty = dict.fromkeys(
        (
            "application", "application_fee", "application_fee_amount", "authorization_code", "balance_transaction",
            "calculated_statement_descriptor", "failure_balance_transaction", "failure_code", "failure_message",
            "fraud_details", "on_behalf_of", "presentment_details", "radar_options", "receipt_number", "receipt_url",
            "review", "source", "source_transfer", "transfer", "transfer_data",
        )
    )  # fmt: skip
    return (
        empty
        | taken
        | {
            "id": new_id("ch_3"),
            "object": "charge",
            "amount_captured": 0,
            "amount_refunded": 0,
            "billing_details": {"address": None, "email": None, "name": None, "phone": None, "tax_id": None},
            "captured": captured,
            "created": int(call.bank.now()),
            "disputed": False,
            "outcome": _outcome("approved_by_network", None, "authorized", None),
            "paid": status == "succeeded",
            "payment_intent": intent["id"],
            "payment_method_details": {"type": "card", "card": face},
            "refunded": False,
            "refunds": None,
            "status": status,
        }
    )
