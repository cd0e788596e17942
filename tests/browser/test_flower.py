"""Flower as operators meet it: in a browser, with a password, showing jobs that really ran, and changing nothing."""

import re
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest
import requests
from playwright.sync_api import Browser, BrowserContext, Error, Page, expect

from embedded.postgres import Postgres
from embedded.processes import wait_until
from embedded.valkey import Valkey
from tests.support.compose import Compose
from tests.support.database import fresh_database

DEADLINE = 60.0
KIND = "text.count"
PAGES = (
    "/",
    "/workers",
    "/tasks",
    "/broker",
    "/tasks/datatable?draw=1&start=0&length=10",
    "/api/tasks",
    "/api/workers",
)
WRITES = (
    "/api/worker/shutdown/{worker}", "/api/worker/pool/restart/{worker}", "/api/worker/pool/grow/{worker}",
    "/api/worker/pool/shrink/{worker}", "/api/worker/pool/autoscale/{worker}",
    "/api/worker/queue/add-consumer/{worker}", "/api/worker/queue/cancel-consumer/{worker}",
    "/api/task/apply/{kind}", "/api/task/async-apply/{kind}", "/api/task/send-task/{kind}", "/api/task/abort/{job}",
    "/api/task/timeout/{kind}", "/api/task/rate-limit/{kind}", "/api/task/revoke/{job}",
)  # fmt: skip


class Running(NamedTuple):
    """Flower beside an engine that has performed one job."""

    flower: str
    user: str
    password: str
    worker: str
    job: str
    secrets: tuple[str, ...]


@pytest.fixture(scope="module")
def running(postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """The services that it takes, as docker-compose.yml starts them, on a Redis with a password."""
    folder = tmp_path_factory.mktemp("flower")
    redis = Valkey(folder / "valkey", password="sesame-redis")
    with redis, fresh_database(postgres.url) as url, Compose(folder / "compose", url, redis.url) as compose:
        assert compose.run("migrate").returncode == 0
        for name in ("flower", "api", "dispatcher", "worker-default"):
            compose.start(name)
        flower = f"{compose.url('5555')}/flower"
        user, password = compose.secret("flower_basic_auth").split(":")
        with requests.Session() as session:
            session.auth, session.trust_env = (user, password), False
            worker = _await_worker(session, flower)
            job = _perform(compose)
        secrets = (compose.secret("database_url"), "sesame-redis", compose.secret("mainstay_key_pepper"))
        yield Running(flower, user, password, worker, job, secrets)


def _await_worker(session: requests.Session, flower: str) -> str:
    """Flower only sees what happens while it watches: wait until it watches the worker."""

    def known() -> list[str]:
        try:
            answer = session.get(f"{flower}/api/workers", params={"status": True}, timeout=10)
        except requests.ConnectionError:
            return []
        return [name for name, alive in answer.json().items() if alive] if answer.ok else []

    assert wait_until(lambda: bool(known()), DEADLINE)
    return known()[0]


def _perform(compose: Compose) -> str:
    """Submit a job as an app would and wait for its end; its id."""
    made = compose.invoke("api", "python", "-m", "cli", "keys", "create", "--app", "shop", "--all-app-scopes")
    headers = {"Authorization": f"Bearer {made.stdout.strip()}", "Prefer": "wait=20"}
    order = {"kind": KIND, "params": {"text": "found in Flower"}}
    with requests.Session() as session:
        session.trust_env = False
        assert wait_until(lambda: _answers(session, f"{compose.url('8000')}/readyz"), DEADLINE), compose.said("api")
        job = session.post(f"{compose.url('8000')}/v1/jobs", json=order, headers=headers, timeout=30).json()
    assert job["state"] == "succeeded", (job, compose.said("worker-default"), compose.said("dispatcher"))
    return str(job["id"])


def _answers(session: requests.Session, url: str) -> bool:
    try:
        return session.get(url, timeout=10).ok
    except requests.ConnectionError:
        return False


@pytest.fixture
def context(browser: Browser, running: Running) -> Iterator[BrowserContext]:
    credentials = {"username": running.user, "password": running.password}
    context = browser.new_context(http_credentials=credentials, viewport={"width": 1280, "height": 800})
    yield context
    context.close()


@pytest.fixture
def page(context: BrowserContext) -> Page:
    return context.new_page()


def test_a_job_that_ran_is_found_by_its_kind_and_by_its_id(page: Page, running: Running, tmp_path: Path) -> None:
    page.goto(f"{running.flower}/tasks")
    row = page.locator("#tasks-table tbody tr", has_text=running.job)
    expect(row).to_have_count(1)
    expect(row).to_contain_text(KIND)
    expect(row).to_contain_text("SUCCESS")
    for sought, found in ((KIND, 1), ("no.such.kind", 0), (running.job, 1)):
        page.locator("input[type=search]").first.fill(sought)
        expect(row).to_have_count(found)
    page.screenshot(path=tmp_path / "tasks.png")
    row.get_by_role("link", name=running.job).click()
    expect(page).to_have_url(re.compile(f"/flower/task/{running.job}$"))
    expect(page.locator("#task-page")).to_contain_text(KIND)
    expect(page.locator("#task-page")).to_contain_text("SUCCESS")
    page.screenshot(path=tmp_path / "task.png")
    assert (tmp_path / "task.png").stat().st_size > 10_000


def test_a_jobs_page_has_its_id_in_its_address_and_shows_ids_only(page: Page, running: Running) -> None:
    page.goto(f"{running.flower}/task/{running.job}")
    expect(page.locator("#task-page")).to_contain_text(running.job)
    assert "found in Flower" not in page.content()


def test_the_living_worker_is_listed_and_no_page_shows_a_password(page: Page, running: Running) -> None:
    page.goto(f"{running.flower}/workers")
    expect(page.get_by_text(running.worker).first).to_be_visible()
    for path in (f"/worker/{running.worker}", "/workers", "/broker", f"/task/{running.job}"):
        page.goto(running.flower + path)
        assert [secret for secret in running.secrets if secret in page.content()] == [], path


def test_pages_are_whole_in_the_browser(page: Page, running: Running) -> None:
    """Under its prefix too: every script, style and picture comes, and nothing fails in the console."""
    faults: list[str] = []
    page.on("console", lambda message: faults.append(message.text) if message.type == "error" else None)
    page.on("response", lambda answer: faults.append(f"{answer.status} {answer.url}") if not answer.ok else None)
    for path in ("/workers", "/tasks", "/broker", f"/task/{running.job}"):
        page.goto(running.flower + path, wait_until="networkidle")
    assert faults == []


def test_a_worker_can_be_asked_for_everything_many_times_over(running: Running) -> None:
    """All questions go out at once: on too few connections to Redis they would wait for each other for ever."""
    with requests.Session() as session:
        session.auth, session.trust_env = (running.user, running.password), False
        for _ in range(3):
            asked = {"refresh": True, "workername": running.worker}
            answer = session.get(f"{running.flower}/api/workers", params=asked, timeout=20)
            assert answer.json()[running.worker].keys() >= {"stats", "active_queues", "registered", "conf"}


def test_nobody_gets_in_without_the_password(browser: Browser, running: Running) -> None:
    with requests.Session() as session:
        session.trust_env = False
        paths = (*PAGES, f"/task/{running.job}", f"/worker/{running.worker}")
        answers = {path: session.get(running.flower + path, timeout=10).status_code for path in paths}
    assert set(answers.values()) == {401}, answers
    with closing(browser.new_context()) as context, pytest.raises(Error, match="ERR_INVALID_AUTH_CREDENTIALS"):
        context.new_page().goto(f"{running.flower}/workers")


@pytest.mark.parametrize("route", WRITES)
def test_nothing_can_be_changed(running: Running, route: str) -> None:
    path = route.format(worker=running.worker, kind=KIND, job=running.job)
    with requests.Session() as session:
        session.auth, session.trust_env = (running.user, running.password), False
        answer = session.post(running.flower + path, json={"args": []}, timeout=10)
    assert answer.status_code in {403, 405}, answer.text
