"""text.count through the real engine: the test to copy with the kind."""

from tests.support.engine import enqueue, job_row


def test_it_counts_lines_words_and_characters(app_id, drain):
    job = enqueue(app_id, "text.count", {"text": "to be\nor not"})
    drain()
    assert job_row(job).result == {"lines": 2, "words": 4, "characters": 12}


def test_a_text_without_words_fails_at_once(app_id, drain):
    job = enqueue(app_id, "text.count", {"text": "  "})
    drain()
    row = job_row(job)
    assert (row.state, row.attempt, row.error["code"]) == ("failed", 1, "empty_text")
