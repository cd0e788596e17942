"""The card guard, where it stands: in the params of a payment, which refuse card data and never repeat it."""

from typing import Any

import pytest
from pydantic import ValidationError

from tasks.payment_charge import Params

VISA: dict[str, Any] = {"amount": 1999, "currency": "EUR", "payment_method": "pm_card_visa"}


@pytest.mark.parametrize(
    "card",
    [
        "4242424242424242", "4242 4242 4242 4242", "4242-4242-4242-4242", "4242.4242.4242.4242", "4000056655665556",
        "5555555555554444", "2223003122003222", "378282246310005", "3782 822463 10005", "6011111111111117",
        "30569309025904", "3566002020360505", "6200000000000005", "4222222222222", "card 4242424242424242!",
        "order 12 4242424242424242 paid", "4242  4242  4242  4242", "\N{FULLWIDTH DIGIT FOUR}242424242424242",
        "pm_4242424242424242",
    ],
)  # fmt: skip
@pytest.mark.parametrize("place", ["description", "payment_method", "metadata", "key", "unknown"])
def test_a_card_number_is_refused_wherever_it_stands_and_never_repeated(card: str, place: str) -> None:
    given: dict[str, Any] = {
        "metadata": {"metadata": {"note": card}},
        "key": {"metadata": {card: "note"}},
        "unknown": {"nested": [{"deep": [card]}]},
    }.get(place, {place: card})
    with pytest.raises(ValidationError) as refusal:
        Params.model_validate({**VISA, **given})
    assert [error["type"] for error in refusal.value.errors()] == ["card_data_not_allowed"]
    told = str(refusal.value) + str(refusal.value.errors(include_input=False, include_url=False))
    assert card not in told
    assert "4242" not in told


def test_a_card_number_is_refused_as_a_number_too() -> None:
    with pytest.raises(ValidationError) as refusal:
        Params.model_validate({**VISA, "amount": 4242424242424242})
    assert [error["type"] for error in refusal.value.errors()] == ["card_data_not_allowed"]


@pytest.mark.parametrize("name", ["cvc", "CVC", "cvv", "card_number", "number"])
def test_a_field_for_card_data_is_refused_whatever_it_holds(name: str) -> None:
    for given in ({name: "123"}, {"metadata": {name: "123"}}, {"card": {name: None}}):
        with pytest.raises(ValidationError) as refusal:
            Params.model_validate({**VISA, **given})
        assert [error["type"] for error in refusal.value.errors()] == ["card_data_not_allowed"]


@pytest.mark.parametrize(
    "text",
    [
        "4242424242424241", "1234567890123", "9999999999999995", "424242424242", "42424242424242424242",
        "2026-11-23 08:37:45.123", "0199aa4f-7f3e-7cc1-b2a4-000000000000", "+49 30 1234567", "order 4242",
    ],
)  # fmt: skip
def test_what_is_no_card_number_passes(text: str) -> None:
    assert Params.model_validate({**VISA, "description": text}).description == text


def test_texts_too_long_to_be_valid_are_refused_without_a_search() -> None:
    with pytest.raises(ValidationError) as refusal:
        Params.model_validate({**VISA, "description": "4 " * 100_000})
    assert [error["type"] for error in refusal.value.errors()] == ["params_too_long"]


def test_params_filled_to_the_brim_are_accepted() -> None:
    metadata = {f"{number:040}": "x" * 500 for number in range(40)}
    assert Params.model_validate({**VISA, "description": "x" * 500, "metadata": metadata}).metadata == metadata
