"""`mainstay db`, and what the command line says when it cannot do its work."""

import subprocess
import sys

import pytest
from sqlalchemy import inspect

from models.session import engine
from tests.api.outage import POSTGRES, surroundings
from tests.cli.conftest import Run


def test_tables_go_down_and_up_again(database: None, run: Run) -> None:
    assert run("db", "downgrade", "base", "--yes").exit_code == 0
    assert inspect(engine()).get_table_names() == ["alembic_version"]
    assert run("db", "upgrade").exit_code == 0
    assert "jobs" in inspect(engine()).get_table_names()
    assert "(head)" in run("db", "current").stdout


def test_a_downgrade_is_asked_about_first(database: None, run: Run) -> None:
    assert run("db", "downgrade", "base", answer="n\n").exit_code == 1
    assert "jobs" in inspect(engine()).get_table_names()


@pytest.mark.parametrize("verb", [("upgrade", "nowhere"), ("downgrade", "nowhere", "--yes")])
def test_an_unknown_revision_is_a_failure_with_a_reason(database: None, run: Run, verb: tuple[str, ...]) -> None:
    failed = run("db", *verb)
    assert failed.exit_code == 1
    assert "nowhere" in failed.stderr


def test_without_a_database_one_sentence_says_so(services: None, run: Run) -> None:
    with surroundings(**POSTGRES):
        failed = run("apps", "list")
    assert failed.exit_code == 1
    assert "Connection refused" in failed.stderr
    assert len(failed.stderr.splitlines()) == 1


def test_a_wrong_environment_is_named_whole(services: None, run: Run) -> None:
    with surroundings(MAINSTAY_LOG_LEVEL="loud", MAINSTAY_LEASE_SECONDS="1"):
        failed = run("apps", "list")
    assert failed.exit_code == 2
    assert "MAINSTAY_LOG_LEVEL" in failed.stderr
    assert "MAINSTAY_LEASE_SECONDS" in failed.stderr


@pytest.mark.parametrize("words", [("--help",), ("keys", "create", "--help"), ("db", "upgrade", "--help")])
def test_help_needs_no_environment(words: tuple[str, ...]) -> None:
    helped = subprocess.run([sys.executable, "-m", "cli", *words], env={}, capture_output=True, text=True, check=False)
    assert helped.returncode == 0
    assert "Usage: mainstay" in helped.stdout


@pytest.mark.parametrize("command", [("-m", "gunicorn", "-c", "api/gunicorn.conf.py"), ("-m", "cli", "keys", "list")])
def test_every_program_refuses_a_wrong_environment_with_all_its_faults(command: tuple[str, ...]) -> None:
    refused = subprocess.run(
        [sys.executable, *command], env={"MAINSTAY_ENV": "prod"}, capture_output=True, text=True, check=False
    )
    assert refused.returncode not in (0, None)
    for variable in ("DATABASE_URL", "REDIS_URL", "MAINSTAY_KEY_PEPPER", "MAINSTAY_ENV"):
        assert variable in refused.stderr
    assert "Traceback" not in refused.stderr
