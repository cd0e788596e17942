"""Search and the narrowing of lists: what a customer of the provider can look for, and what it cannot see yet."""

from typing import Any

import pytest
import stripe

from tests.sandbox.process import Sandbox

ORDERS = [("eur", 100, "A-1"), ("usd", 200, "A-2"), ("eur", 300, "B-3")]


@pytest.fixture
def made(sandbox: Sandbox, client: Any) -> dict[str, str]:
    """Three payment intents, a minute old, by their orders."""
    ids = {}
    for currency, amount, order in ORDERS:
        params = {"amount": amount, "currency": currency, "customer": f"cus_{order[0]}", "metadata": {"order": order}}
        ids[order] = client.payment_intents.create(params).id
    client.payment_intents.cancel(ids["B-3"])
    sandbox.advance(62)
    return ids


@pytest.mark.parametrize(("query", "orders"), [
    ('metadata["order"]:"A-2"', ["A-2"]),
    ("metadata['order']:\"a-2\"", ["A-2"]),
    ('metadata["order"]~"A-"', ["A-2", "A-1"]),
    ('-metadata["order"]~"A-"', ["B-3"]),
    ('metadata["nothing"]:null', ["B-3", "A-2", "A-1"]),
    ('-metadata["order"]:null AND currency:"eur"', ["B-3", "A-1"]),
    ('status:"canceled"', ["B-3"]),
    ('currency:"eur" AND amount>100', ["B-3"]),
    ('currency:"eur" amount<=100', ["A-1"]),
    ('amount:200 OR status:"canceled"', ["B-3", "A-2"]),
    ('customer:"cus_A" AND amount:"100"', ["A-1"]),
    ("created>0", ["B-3", "A-2", "A-1"]),
    ("created<1000", []),
])  # fmt: skip
def test_search_finds(client: Any, made: dict[str, str], query: str, orders: list[str]) -> None:
    found = client.payment_intents.search({"query": query})
    assert [intent.id for intent in found.data] == [made[order] for order in orders]


@pytest.mark.parametrize("query", [
    "", "x", 'colour:"red"', 'status:"a" AND', 'status:"a" AND currency:"b" OR amount:1', "status:5", "amount:ten",
    'amount~"1"', 'status>"a"', 'metadata:"a"', 'status["a"]:"b"', 'status:"a" nonsense', '"; DROP TABLE object',
])  # fmt: skip
def test_a_query_that_makes_no_sense_is_refused(client: Any, query: str) -> None:
    with pytest.raises(stripe.InvalidRequestError) as refusal:
        client.payment_intents.search({"query": query})
    assert (refusal.value.http_status, refusal.value.param) == (400, "query")


def test_search_does_not_see_the_last_minute_but_a_list_does(sandbox: Sandbox, client: Any) -> None:
    intent = client.payment_intents.create({"amount": 1, "currency": "eur"})
    assert client.payment_intents.search({"query": "amount:1"}).data == []
    assert [each.id for each in client.payment_intents.list().data] == [intent.id]
    sandbox.advance(62)
    assert [each.id for each in client.payment_intents.search({"query": "amount:1"}).data] == [intent.id]


def test_the_sdk_pages_through_a_search(sandbox: Sandbox, client: Any) -> None:
    ids = [client.payment_intents.create({"amount": 7, "currency": "eur"}).id for _ in range(5)]
    sandbox.advance(62)
    first = client.payment_intents.search({"query": "amount:7", "limit": 2})
    assert (len(first.data), first.has_more) == (2, True)
    assert [intent.id for intent in first.auto_paging_iter()] == ids[::-1]
    with pytest.raises(stripe.InvalidRequestError):
        client.payment_intents.search({"query": "amount:7", "page": "page_x"})


def test_lists_are_narrowed_by_customer_currency_and_payment(client: Any, made: dict[str, str]) -> None:
    mine = client.payment_intents.list({"customer": "cus_A"}).data
    assert [intent.id for intent in mine] == [made["A-2"], made["A-1"]]
    paid = client.payment_intents.confirm(made["A-1"], {"payment_method": "pm_card_visa"})
    assert [charge.id for charge in client.charges.list({"payment_intent": paid.id}).data] == [paid.latest_charge]
    assert client.charges.list({"customer": "cus_B"}).data == []
    assert len(client.balance_transactions.list({"currency": "eur", "type": "charge"}).data) == 1
    assert client.balance_transactions.list({"currency": "usd"}).data == []


def test_events_are_listed_by_type_by_several_types_and_by_group(client: Any, made: dict[str, str]) -> None:
    def told(**params: Any) -> list[str]:
        return [event.type.removeprefix("payment_intent.") for event in client.events.list(params).data]

    assert told(type="payment_intent.canceled") == ["canceled"]
    assert told(types=["payment_intent.canceled", "payment_intent.created"]) == ["canceled", *["created"] * 3]
    assert told(type="payment_intent.*") == ["canceled", *["created"] * 3]
    assert told(type="charge.*") == []
    assert told(type="payment_intent.[a-z]anceled") == []
    with pytest.raises(stripe.InvalidRequestError):
        told(type="charge.*", types=["refund.*"])
    with pytest.raises(stripe.InvalidRequestError):
        told(types=["a"] * 21)
