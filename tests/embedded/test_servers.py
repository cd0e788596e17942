"""The private Postgres and Valkey start, stop, and cope with what an earlier run left behind."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from embedded import CannotRun
from embedded.ports import LOOPBACK, PortTaken, free_port, is_free
from embedded.postgres import Postgres
from embedded.processes import arguments_of, wait_until
from embedded.valkey import Valkey

ROOT = Path(__file__).parents[2]

STARTER = """
import signal, sys
from pathlib import Path
from embedded.postgres import Postgres
from embedded.valkey import Valkey
with Postgres(Path(sys.argv[1]) / "pg") as postgres, Valkey(Path(sys.argv[1]) / "vk") as valkey:
    print(postgres.pid, valkey.pid, flush=True)
    signal.pause()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("servers")


@pytest.fixture
def postgres(folder: Path) -> Iterator[Postgres]:
    with Postgres(folder / "pg", options={"shared_buffers": "16MB"}) as server:
        yield server


def ask(server: Postgres, query: str) -> object:
    with psycopg.connect(server.url.replace("+psycopg", "")) as connection:
        cursor = connection.execute(query.encode())
        row = cursor.fetchone() if cursor.description else None
    return row and row[0]


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("fsync", "on"),
        ("synchronous_commit", "on"),
        ("full_page_writes", "on"),
        ("data_checksums", "on"),
        ("server_encoding", "UTF8"),
        ("timezone", "UTC"),
        ("listen_addresses", "127.0.0.1"),
        ("unix_socket_directories", ""),
        ("password_encryption", "scram-sha-256"),
        ("max_connections", "200"),
    ],
)
def test_postgres_is_durable_and_private(postgres: Postgres, setting: str, value: str) -> None:
    assert ask(postgres, f"SHOW {setting}") == value


def test_postgres_refuses_a_wrong_password(postgres: Postgres) -> None:
    with pytest.raises(psycopg.OperationalError, match="password authentication failed"):
        psycopg.connect(host=LOOPBACK, port=postgres.port, user="mainstay", password="guess", dbname="mainstay")


def test_postgres_keeps_its_data_and_its_address_over_a_restart(postgres: Postgres) -> None:
    ask(postgres, "CREATE TABLE IF NOT EXISTS kept AS SELECT 42 AS answer")
    url, pid = postgres.url, postgres.pid
    postgres.restart()
    assert (postgres.url, ask(postgres, "SELECT answer FROM kept")) == (url, 42)
    assert postgres.pid != pid


def test_postgres_starts_after_an_immediate_stop(folder: Path) -> None:
    server = Postgres(folder / "pg")
    server.start()
    ask(server, "CREATE TABLE unflushed AS SELECT 7 AS n")
    server.stop("immediate")
    with server:
        assert ask(server, "SELECT n FROM unflushed") == 7


def test_postgres_starts_after_its_process_was_killed(folder: Path) -> None:
    server = Postgres(folder / "pg")
    server.start()
    os.kill(server.pid, signal.SIGKILL)
    assert wait_until(lambda: not server.running, 5)
    server.start()
    assert ask(server, "SELECT 1") == 1
    server.stop()


def test_postgres_is_not_fooled_by_the_pid_file_of_another_process(folder: Path) -> None:
    with Postgres(folder / "pg"):
        pass
    pid_file = folder / "pg" / "cluster" / "postmaster.pid"
    pid_file.write_text(f"{os.getpid()}\n{pid_file.parent}\n0\n1\n\n127.0.0.1\n0 0\nready\n")
    with Postgres(folder / "pg") as server:
        assert ask(server, "SELECT 1") == 1


def test_a_cluster_that_was_half_made_is_made_anew(tmp_path: Path) -> None:
    half = tmp_path / "cluster.new"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    with Postgres(tmp_path, options={"shared_buffers": "16MB"}) as server:
        assert ask(server, "SELECT current_database()") == "mainstay"


def test_a_folder_serves_one_starter_at_a_time(postgres: Postgres) -> None:
    with pytest.raises(CannotRun, match=f"in use by process {os.getpid()}"):
        Postgres(postgres.data_dir).start()
    assert ask(postgres, "SELECT 1") == 1


@pytest.mark.parametrize(
    ("lost", "message"),
    [("password", "password file .* is gone"), ("cluster/PG_VERSION", "made by PostgreSQL 9")],
)
def test_data_that_cannot_be_used_is_explained(folder: Path, lost: str, message: str) -> None:
    with Postgres(folder / "pg"):
        pass
    file = folder / "pg" / lost
    kept = file.read_text()
    try:
        if file.name == "password":
            file.unlink()
        else:
            file.write_text("9\n")
        with pytest.raises(CannotRun, match=message):
            Postgres(folder / "pg").start()
    finally:
        file.write_text(kept)
        os.chown(file, (folder / "pg").stat().st_uid, -1)


@pytest.mark.parametrize("kind", [Postgres, Valkey])
def test_a_taken_port_is_named_with_what_to_do(
    folder: Path, tmp_path: Path, kind: type[Postgres] | type[Valkey]
) -> None:
    with socket.create_server((LOOPBACK, 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(PortTaken, match=rf"Port {port} .* is taken: stop .* or choose another port"):
            kind(folder / "pg" if kind is Postgres else tmp_path, port=port).start()


def test_a_free_port_is_one_that_can_be_bound() -> None:
    port = free_port()
    with socket.create_server((LOOPBACK, port)):
        assert not is_free(port)
    assert is_free(port)


def test_valkey_evicts_nothing_and_writes_nothing(tmp_path: Path) -> None:
    with Valkey(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        settings = client.config_get("maxmemory-policy", "save", "appendonly", "bind")
    assert settings == {"maxmemory-policy": "noeviction", "save": "", "appendonly": "no", "bind": "127.0.0.1"}


def test_valkey_keeps_its_address_over_a_restart_and_forgets_the_rest(tmp_path: Path) -> None:
    with Valkey(tmp_path, password="p@ss /word") as server, redis.Redis.from_url(server.url) as client:
        client.set("a", 1)
        server.restart()
        assert client.get("a") is None
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=server.port or 0, retry=Retry(NoBackoff(), 0)).ping()


def test_servers_go_when_their_starter_is_killed_and_the_next_start_succeeds(folder: Path) -> None:
    starter = subprocess.Popen([sys.executable, "-c", STARTER, str(folder)], stdout=subprocess.PIPE, cwd=ROOT)
    assert starter.stdout is not None
    pids = [int(pid) for pid in starter.stdout.readline().split()]
    starter.kill()
    starter.wait()
    starter.stdout.close()
    with Postgres(folder / "pg") as postgres, Valkey(folder / "vk") as valkey:
        assert ask(postgres, "SELECT 1") == 1
        assert not {postgres.pid, valkey.pid} & set(pids)
        assert wait_until(lambda: not any(any(arguments_of(pid)) for pid in pids), 5)
