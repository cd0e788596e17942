"""The board shows jobs changing: lines for a log, a table for a terminal."""

import io
from typing import Any

import pytest
from rich.console import Console

from embedded.board import ANSWER_WIDTH, Board, answer


def job(**changes: Any) -> dict[str, Any]:
    return {"id": "0199", "kind": "text.count", "state": "ready", "attempt": 0, "result": None, "error": None} | changes


def test_a_log_gets_one_line_for_each_change() -> None:
    console = Console(file=io.StringIO(), width=40)
    with Board(console) as board:
        for seen in (job(), job(), job(state="running", attempt=1), job(state="succeeded", attempt=1, result={"n": 1})):
            board.show("count words", seen)
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]  # it is the StringIO above
    assert [line.split()[4:] for line in lines] == [
        ["ready", "attempt", "0"],
        ["running", "attempt", "1"],
        ["succeeded", "attempt", "1", '{"n":', "1}"],
    ]


def test_a_terminal_gets_a_table_in_which_answers_are_not_taken_for_markup() -> None:
    console = Console(file=io.StringIO(), width=120, force_terminal=True, color_system=None)
    with Board(console) as board:
        board.show("count words", job())
        board.show("count words", job(state="failed", attempt=1, error={"code": "odd", "message": "[bold]not[/] bold"}))
    shown = console.file.getvalue()  # type: ignore[attr-defined]  # it is the StringIO above
    assert "odd: [bold]not[/] bold" in shown


@pytest.mark.parametrize(
    ("ended", "shown"),
    [
        (job(), ""),
        (job(result={}), "{}"),
        (job(result={"name": "Zoë"}), '{"name": "Zoë"}'),
        (job(error={"code": "card_declined", "message": "no"}), "card_declined: no"),
        (job(result={"text": "x" * 500}), ('{"text": "' + "x" * 500)[:ANSWER_WIDTH]),
    ],
)
def test_an_answer_is_the_error_or_the_beginning_of_the_result(ended: dict[str, Any], shown: str) -> None:
    assert answer(ended) == shown
