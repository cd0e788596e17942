"""The sandbox as a process: it starts, stops, keeps its books, and knows nothing of the project."""

import ast
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import stripe

from tests.sandbox.process import ROOT, Sandbox, running_sandbox


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
        found = stripe.StripeClient(key, base_addresses={"api": sandbox.payments}).v1.payment_intents.retrieve(paid)
        assert found.status == "succeeded"


def _pay(sandbox: Sandbox, key: str) -> str:
    client = stripe.StripeClient(key, base_addresses={"api": sandbox.payments})
    intent = client.v1.payment_intents.create(
        {"amount": 100, "currency": "eur", "payment_method": "pm_card_visa", "confirm": True}
    )
    return intent.id
