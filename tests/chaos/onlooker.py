"""A client that does not submit: it looks at jobs, lists them and follows them, and cancels and retries some.

Jobs that the plan submitted are left alone: a fault that is cancelled does not happen.
"""

from collections.abc import Callable
from random import Random
from uuid import UUID

from tests.chaos.client import Client
from tests.chaos.orders import PLAN

WAIT = 1
PAGE = 20


class Onlooker:
    """To be used by one thread; `look` does one of its things."""

    def __init__(self, client: Client, seed: int) -> None:
        self._client = client
        self._journal = client.journal
        self._chance = Random(f"{seed}/onlooker")
        self._ways: dict[Callable[[UUID], None], int] = {
            self._show: 3, self._wait: 2, self._follow: 2, self._list: 2, self._cancel: 4, self._retry: 2,
        }  # fmt: skip

    def look(self) -> None:
        """Do something about any recent job."""
        job = self._journal.recent(self._chance)
        if job is not None and not _planned(self._journal.accepted[job].request):
            (way,) = self._chance.choices(list(self._ways), list(self._ways.values()))
            way(job)

    def _show(self, job: UUID) -> None:
        self._ask("GET", f"/v1/jobs/{job}")

    def _wait(self, job: UUID) -> None:
        self._ask("GET", f"/v1/jobs/{job}", wait=WAIT, headers={"Prefer": f"wait={WAIT}"})

    def _follow(self, job: UUID) -> None:
        """The events of an accepted job are numbered from 1 without gaps, at whatever moment one looks."""
        page = self._ask("GET", f"/v1/jobs/{job}/events")
        numbers = [event["seq"] for event in page["items"]] if page else []
        if page and numbers != list(range(1, len(numbers) + 1)):
            self._journal.contradict(f"the events of {job} were numbered {numbers}")

    def _list(self, job: UUID) -> None:
        """Two pages of the newest jobs."""
        page = self._ask("GET", f"/v1/jobs?limit={PAGE}")
        if page and page["next_cursor"]:
            self._ask("GET", f"/v1/jobs?limit={PAGE}&cursor={page['next_cursor']}")

    def _cancel(self, job: UUID) -> None:
        if self._ask("POST", f"/v1/jobs/{job}/cancel"):
            self._journal.cancelled.add(job)

    def _retry(self, job: UUID) -> None:
        """Any of the last jobs that failed or were cancelled, in place of `job`."""
        page = self._ask("GET", f"/v1/jobs?state=failed&state=cancelled&limit={PAGE}")
        ended = [job["id"] for job in page["items"] if not _planned(job["labels"].get("request", ""))] if page else []
        if ended:
            job = UUID(self._chance.choice(ended))
            if self._ask("POST", f"/v1/jobs/{job}/retry"):
                self._journal.retried.add(job)

    def _ask(self, method: str, path: str, **options: object) -> dict | None:
        """The answer if it is a success. 409 is no wonder, as jobs move on; anything else is."""
        answer = self._client.call(method, path, **options)
        if answer is None or answer.status_code in (409, 429):
            return None
        if not answer.ok:
            self._journal.contradict(f"{method} {path} was answered with {answer.status_code}")
            return None
        found: dict = answer.json()
        return found


def _planned(request: str) -> bool:
    return request.startswith(PLAN)
