"""The test payment methods: what a card with a given name does when a payment with it is confirmed."""

from dataclasses import dataclass
from enum import StrEnum

from sandbox.books.bank import Bank, Body, new_id
from sandbox.provider.wire import missing


class RefundFate(StrEnum):
    """What becomes of a refund to a card: at once, and later."""

    SUCCEEDS = "succeeds"
    PENDING = "pending"
    FAILS_LATER = "fails_later"
    NEEDS_ACTION = "needs_action"


@dataclass(frozen=True)
class Card:
    """A card's face, and its behaviour: an error code to decline with, the wish to see its holder, fickle refunds."""

    brand: str
    last4: str
    code: str | None = None
    decline_code: str | None = None
    advice_code: str | None = None
    needs_holder: bool = False
    refunds: RefundFate = RefundFate.SUCCEEDS


CARDS = {
    "pm_card_visa": Card("visa", "4242"),
    "pm_card_visa_debit": Card("visa", "5556"),
    "pm_card_mastercard": Card("mastercard", "4444"),
    "pm_card_amex": Card("amex", "8431"),
    "pm_card_chargeDeclined": Card("visa", "0002", "card_declined", "generic_decline", "try_again_later"),
    "pm_card_visa_chargeDeclined": Card("visa", "0002", "card_declined", "generic_decline", "try_again_later"),
    "pm_card_chargeDeclinedInsufficientFunds": Card(
        "visa", "9995", "card_declined", "insufficient_funds", "try_again_later"
    ),
    "pm_card_visa_chargeDeclinedInsufficientFunds": Card(
        "visa", "9995", "card_declined", "insufficient_funds", "try_again_later"
    ),
    "pm_card_visa_chargeDeclinedLostCard": Card("visa", "9987", "card_declined", "lost_card", "do_not_try_again"),
    "pm_card_visa_chargeDeclinedStolenCard": Card("visa", "9979", "card_declined", "stolen_card", "do_not_try_again"),
    "pm_card_chargeDeclinedExpiredCard": Card("visa", "0069", "expired_card", "expired_card", "do_not_try_again"),
    "pm_card_chargeDeclinedIncorrectCvc": Card("visa", "0127", "incorrect_cvc", "incorrect_cvc", "confirm_card_data"),
    "pm_card_chargeDeclinedProcessingError": Card(
        "visa", "0119", "processing_error", "processing_error", "try_again_later"
    ),
    "pm_card_chargeCustomerFail": Card("visa", "0341", "card_declined", "generic_decline", "try_again_later"),
    "pm_card_authenticationRequired": Card("visa", "3184", needs_holder=True),
    "pm_card_pendingRefund": Card("visa", "7726", refunds=RefundFate.PENDING),
    "pm_card_refundFail": Card("visa", "5126", refunds=RefundFate.FAILS_LATER),
    # The provider has this one for bank transfers only, where the customer has to say which account it shall be.
    "pm_card_refundRequiresAction": Card("visa", "7734", refunds=RefundFate.NEEDS_ACTION),
}


def attach(bank: Bank, account: str, name: str) -> Body:
    """The payment method called `name`: a new one for each use of a test name, or one that exists already."""
    card = CARDS.get(name)
    if card is None:
        found = bank.find(account, "payment_method", name)
        if found is None:
            raise missing("PaymentMethod", name, param="payment_method", status=400)
        return found
    body: Body = {
        "id": new_id("pm_1"),
        "object": "payment_method",
        "type": "card",
        "created": int(bank.now()),
        "livemode": False,
        "card": {"brand": card.brand, "last4": card.last4, "exp_month": 12, "exp_year": 2034},
        "test_name": name,
    }
    return bank.insert(account, "payment_method", body)


def card_of(bank: Bank, account: str, method_id: str) -> Card:
    """The card behind a payment method that was attached before."""
    method = bank.find(account, "payment_method", method_id)
    if method is None:
        raise missing("PaymentMethod", method_id, param="payment_method", status=400)
    return CARDS[method["test_name"]]
