"""The journal remembers what was promised, and notices answers that cannot both be true."""

from random import Random
from uuid import UUID, uuid4

from tests.chaos.journal import Journal


def resource(request: str, job_id: UUID | None = None) -> dict:
    return {"id": str(job_id or uuid4()), "kind": "chaos.quick", "labels": {"request": request}}


def test_the_same_answer_twice_is_no_contradiction() -> None:
    journal, job = Journal(), resource("one")
    journal.ask("one", 1, "key")
    journal.accept("one", [job])
    journal.accept("one", [job])
    assert journal.contradictions == []
    assert journal.requests["one"].ids == list(journal.accepted)


def test_two_answers_to_one_request_contradict_each_other() -> None:
    journal = Journal()
    journal.ask("one", 1, "key")
    (first,) = journal.accept("one", [resource("one")])
    (second,) = journal.accept("one", [resource("one")])
    (sentence,) = journal.contradictions
    assert str(first) in sentence
    assert str(second) in sentence


def test_a_refusal_after_an_acceptance_is_a_contradiction() -> None:
    journal = Journal()
    journal.ask("one", 1, "key")
    journal.accept("one", [resource("one")])
    journal.refuse("one", "409 unique_key_taken")
    assert len(journal.contradictions) == 1


def test_a_job_that_existed_keeps_the_name_of_the_request_that_made_it() -> None:
    journal, job_id = Journal(), uuid4()
    journal.ask("second", 1, "key")
    journal.accept("second", [resource("first", job_id)])
    assert journal.requests["second"].existing
    assert journal.accepted[job_id].request == "first"


def test_an_answer_to_what_was_sent_before_a_fault_does_not_end_it() -> None:
    journal = Journal()
    journal.answered(began=1.0)
    assert journal.first_answer_after(2.0) is None
    journal.answered(began=3.0)
    journal.answered(began=4.0)
    first, second = journal.first_answer_after(2.0), journal.first_answer_after(3.5)
    assert first is not None
    assert second is not None
    assert first <= second


def test_recent_jobs_are_those_accepted_last() -> None:
    journal = Journal()
    assert journal.recent(Random(1)) is None
    journal.ask("old", 1, None)
    (old,) = journal.accept("old", [resource("old")])
    journal.ask("new", 100, None, bulk=True)
    new = journal.accept("new", [resource("new") for _ in range(100)])
    drawn = {journal.recent(Random(seed)) for seed in range(200)}
    assert old not in drawn
    assert drawn <= set(new)
