"""The jobs of the demonstration: each family, a retry and a refusal among them, and how each must end."""

import secrets
from dataclasses import dataclass, field
from typing import Any

from embedded.client import Client

CSV = "city,country,visitors\nLisbon,PT,120\nPorto,PT,80\nGhent,BE,45\nBruges,BE,95\n"
QUERY = "SELECT country, sum(visitors) AS visitors FROM cities GROUP BY country ORDER BY country"


@dataclass(frozen=True)
class Example:
    """A job to submit, and the state and error code in which it must end."""

    title: str
    kind: str
    params: dict[str, Any]
    state: str = "succeeded"
    code: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def ended_as_expected(self, job: dict[str, Any]) -> bool:
        """Whether the job ended the way it must."""
        return bool(job["state"] == self.state and (job["error"] or {}).get("code") == self.code)


def examples(client: Client, sandbox: str) -> list[Example]:
    """The jobs, against the sandbox's HTTP server; uploads the file that one of them reads."""
    city_file = client.upload("cities.csv", CSV.encode(), "text/csv")["id"]
    flaky = f"{sandbox}/flaky?fail=1&key={secrets.token_hex(4)}"
    return [
        Example("count words", "text.count", {"text": "Accepted work is never lost.\nNot even this."}),
        Example("call a server", "http.request", {"method": "GET", "url": f"{sandbox}/echo?from=mainstay"}),
        Example("call one that fails once", "http.request", {"method": "GET", "url": flaky}),
        Example("charge a card", "payment.charge", charge("pm_card_visa"), headers=once()),
        Example(
            "charge a declined card",
            "payment.charge",
            charge("pm_card_visa_chargeDeclined"),
            state="failed",
            code="card_declined",
            headers=once(),
        ),
        Example("query a CSV file", "data.query", {"sql": QUERY, "inputs": {"cities": city_file}}),
    ]


def charge(payment_method: str) -> dict[str, Any]:
    """Params of a payment."""
    return {"amount": 1999, "currency": "EUR", "payment_method": payment_method}


def once() -> dict[str, str]:
    """The header that payments require: sent again with it, a request charges nothing more."""
    return {"Idempotency-Key": secrets.token_hex(16)}
