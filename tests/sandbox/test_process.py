"""The sandbox as a process: it starts, stops, keeps its books, and knows nothing of the project."""

import ast
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any
from uuid import uuid4

import stripe

from tests.sandbox.conftest import connect
from tests.sandbox.process import ROOT, Sandbox, running_sandbox

VISA: dict[str, Any] = {"amount": 100, "currency": "eur", "payment_method": "pm_card_visa", "confirm": True}


def test_it_imports_nothing_but_the_standard_library_and_itself() -> None:
    imported = set()
    for path in (ROOT / "sandbox").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                imported.add((node.module or "").split(".")[0])
    assert imported <= sys.stdlib_module_names | {"sandbox"}


def test_sigterm_stops_it_cleanly(tmp_path: Path) -> None:
    with running_sandbox(tmp_path) as sandbox:
        os.kill(sandbox.process.pid, signal.SIGTERM)
        assert sandbox.process.wait(timeout=10) == 0


def test_a_taken_port_is_refused_with_a_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "sandbox", "--data", str(tmp_path), "--http-port", port]
        ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=20, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("sandbox: ")
    assert "Traceback" not in ended.stderr


def test_the_books_outlive_a_kill(tmp_path: Path) -> None:
    with running_sandbox(tmp_path) as sandbox:
        key = sandbox.new_key()
        paid = _pay(sandbox, key)
        os.kill(sandbox.process.pid, signal.SIGKILL)
        sandbox.process.wait(timeout=10)
    with running_sandbox(tmp_path) as sandbox:
        found = connect(sandbox, key).payment_intents.retrieve(paid)
        assert found.status == "succeeded"


def test_whatever_was_answered_before_a_kill_stands_after_it(tmp_path: Path) -> None:
    key, answered = f"sk_test_{uuid4().hex}", dict[str, str]()

    def pay_until_nobody_answers(name: str) -> None:
        client = connect(sandbox, key)
        for number in count():
            unique = f"{name}-{number}"
            try:
                answered[unique] = client.payment_intents.create(VISA, {"idempotency_key": unique}).id
            except stripe.APIConnectionError:
                return

    with running_sandbox(tmp_path) as sandbox, ThreadPoolExecutor(4) as pool:
        payers = [pool.submit(pay_until_nobody_answers, name) for name in "abcd"]
        while len(answered) < 40:
            assert not any(payer.done() for payer in payers)
        os.kill(sandbox.process.pid, signal.SIGKILL)
        wait(payers, timeout=20)
    with running_sandbox(tmp_path) as sandbox:
        client = connect(sandbox, key)
        for unique, intent_id in answered.items():
            again = client.payment_intents.create(VISA, {"idempotency_key": unique})
            assert (again.id, again.status) == (intent_id, "succeeded")
        charged = sandbox.books("SELECT count(*), count(DISTINCT payment_intent) FROM charge")
        # What was under way when it died may have been charged without an answer, at most once per payer.
        assert charged[0][0] == charged[0][1]
        assert len(answered) <= charged[0][0] <= len(answered) + 4


def test_an_unfinished_call_does_not_hold_its_key_after_a_kill(tmp_path: Path) -> None:
    options = {"idempotency_key": "same"}
    with running_sandbox(tmp_path) as sandbox, ThreadPoolExecutor(1) as pool:
        key = sandbox.new_key()
        sandbox.arm("slow", "payment_intents.create", delay_ms=60_000)
        cut_off = pool.submit(connect(sandbox, key, 30).payment_intents.create, VISA, options)
        while not sandbox.strikes():
            assert not cut_off.done()
        os.kill(sandbox.process.pid, signal.SIGKILL)
        assert isinstance(cut_off.exception(timeout=20), stripe.APIConnectionError)
    with running_sandbox(tmp_path) as sandbox:
        assert connect(sandbox, key).payment_intents.create(VISA, options).status == "succeeded"


def test_books_of_an_older_sandbox_are_opened(tmp_path: Path) -> None:
    old = ("call", "object", "idempotency")
    with running_sandbox(tmp_path) as sandbox:
        key = sandbox.new_key()
        paid = _pay(sandbox, key)
    with closing(sqlite3.connect(tmp_path / "payments.sqlite3")) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        for name in set(tables) - set(old) - {"sqlite_sequence"}:
            db.execute(f"DROP TABLE {name}")
        db.commit()
    with running_sandbox(tmp_path) as sandbox:
        assert connect(sandbox, key).payment_intents.retrieve(paid).status == "succeeded"
        assert len(sandbox.calls(0)) == 2


def _pay(sandbox: Sandbox, key: str) -> str:
    return str(connect(sandbox, key).payment_intents.create(VISA).id)
