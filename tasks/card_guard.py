"""The guard that keeps card numbers and security codes out of params, and so out of the database and the logs."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from typing import Any

from pydantic_core import PydanticCustomError

CARD_DIGITS = range(13, 20)
# More than all fields together may hold; it bounds the search for card numbers, which is slow on hostile texts.
TEXT_LIMIT = 32_768
CARD_FIELDS = frozenset({"number", "card_number", "cardnumber", "pan", "cvc", "cvv", "cvc2", "cvv2", "security_code"})
DIGIT_GROUPS = re.compile(r"\d+(?:[ .-]{1,2}\d+)*")
# Each digit's double, its own digits summed.
DOUBLED = str.maketrans("0123456789", "0246813579")
CARD_PREFIX = re.compile(r"3[0-9]|4|5|6|81|2(22[1-9]|2[3-9]|[3-6]|7[01]|720)")


def refuse_card_data(given: Any) -> None:
    """Refuse card numbers and security codes wherever they stand; the refusal repeats nothing of them."""
    texts = list(_texts(given))
    if sum(len(text) for _, text in texts) > TEXT_LIMIT:
        raise PydanticCustomError("params_too_long", "the texts are longer together than all fields may be")
    if any(_is_card_data(name, text) for name, text in texts):
        message = "card data is not accepted: send the token that the provider gave for the card"
        raise PydanticCustomError("card_data_not_allowed", message)


def _texts(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every name and text in a JSON value, numbers included: a card number may come as one."""
    if isinstance(value, Mapping):
        for key, below in value.items():
            yield str(key), str(key)
            yield from _texts(below, str(key))
    elif isinstance(value, list | tuple):
        for below in value:
            yield from _texts(below, name)
    elif isinstance(value, str):
        yield name, value
    elif isinstance(value, int) and value < 10**CARD_DIGITS.stop:
        yield name, str(value)


def _is_card_data(name: str, text: str) -> bool:
    plain = unicodedata.normalize("NFKC", text)
    return name.lower() in CARD_FIELDS or any(
        _is_card_number(digits) for run in DIGIT_GROUPS.findall(plain) for digits in _candidates(run)
    )


def _candidates(run: str) -> Iterator[str]:
    """The numbers that neighbouring groups of digits may have been meant to form."""
    groups = re.findall(r"\d+", run)
    for start in range(len(groups)):
        digits = ""
        for group in groups[start:]:
            digits += group
            if len(digits) >= CARD_DIGITS.stop:
                break
            if len(digits) in CARD_DIGITS:
                yield digits


def _is_card_number(digits: str) -> bool:
    """Whether digits have a card's prefix and check digit (ISO/IEC 7812-1)."""
    if CARD_PREFIX.match(digits) is None:
        return False
    return (sum(map(int, digits[-1::-2])) + sum(map(int, digits[-2::-2].translate(DOUBLED)))) % 10 == 0
