"""The invariants of a chaos run: none is violated by a history of everything, and each counts what is done to that."""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy import text

from embedded.postgres import Postgres
from models import lease
from models.session import dispose, engine, transaction
from settings import get_settings
from tasks.payment_charge import _provider
from tests.chaos import audit
from tests.chaos.invariants import ends
from tests.chaos.invariants.history import NUMBERS
from tests.chaos.planted import PLANTS, Plant, Scene
from tests.chaos.story import Story, claimed, running_sink
from tests.sandbox.process import running_sandbox
from tests.support.compose import ROOT
from tests.support.database import fresh_database
from workers.timeline import timeline


@pytest.fixture(scope="module")
def story(services: None, postgres: Postgres, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    """In a database of its own, as the audit would slow the other tests down."""
    folder = tmp_path_factory.mktemp("story")
    with fresh_database(postgres.url) as url, pytest.MonkeyPatch.context() as patch:
        with running_sandbox(folder) as sandbox, running_sink(folder / "effects.jsonl") as sink:
            patch.setenv("DATABASE_URL", url)
            patch.setenv("MAINSTAY_STRIPE_API_KEY", sandbox.new_key())
            patch.setenv("MAINSTAY_STRIPE_API_BASE", sandbox.payments)
            forget()
            config = Config(ROOT / "alembic.ini")
            config.set_main_option("script_location", str(ROOT / "migrations"))
            command.upgrade(config, "head")
            audit.install(engine())
            story = Story(sink, folder / "effects.jsonl", sandbox)
            story.live()
            yield story
        patch.undo()
        forget()


def forget() -> None:
    """The environment has changed."""
    dispose()
    get_settings.cache_clear()
    _provider.cache_clear()


@pytest.fixture
def scene(story: Story) -> Iterator[Scene]:
    with engine().connect() as connection:
        yield Scene(story, connection)


def test_a_history_of_everything_violates_nothing(scene: Scene) -> None:
    assert [found for found in scene.counts().values() if found.violated] == []
    seen = {(end.kind, end.state, end.code) for end in ends(scene.connection)}
    assert seen == {
        ("chaos.quick", "succeeded", ""), ("chaos.effect", "succeeded", ""), ("chaos.flaky", "succeeded", ""),
        ("chaos.parent", "succeeded", ""), ("chaos.fail", "failed", "chaos_fail"),
        ("chaos.quick", "expired", "deadline_exceeded"), ("payment.charge", "succeeded", ""),
        ("payment.charge", "failed", "card_declined"), ("payment.charge", "parked", "requires_action"),
    }  # fmt: skip
    assert len(scene.effects) == 4
    assert len(scene.charges) == 1


def test_that_history_has_lost_workers_lost_messages_cancels_and_retries(scene: Scene) -> None:
    outcomes = set(scene.connection.scalars(text("SELECT outcome FROM attempts")))
    assert outcomes == {"succeeded", "failed", "lost", "parked"}
    events = set(scene.connection.scalars(text("SELECT type FROM events")))
    assert events == {"cancelled", "retried", "message_lost", "progress", "expired"}


@pytest.mark.parametrize(
    ("name", "plant"),
    [pytest.param(name, plant, id=plant.__name__) for name, planted in PLANTS.items() for plant in planted],
)
def test_what_breaks_a_promise_is_counted_and_named(scene: Scene, name: str, plant: Plant) -> None:
    subject = plant(scene)
    found = scene.counts()[name]
    assert found.violated
    assert [example for example in found.examples if str(subject) in example]


def test_every_count_has_been_seen_to_count(scene: Scene) -> None:
    assert scene.counts().keys() == PLANTS.keys()


def test_the_numbers_that_are_counted_are_those_of_the_timeline(scene: Scene) -> None:
    claim = claimed(scene.session, scene.story.app_id)
    lease.save_progress(scene.session, claim.id, claim.token, {"fraction": 0.5, "note": ""})
    rows = scene.connection.execute(
        text(f"SELECT job_id, array_agg(seq ORDER BY seq) AS numbers FROM ({NUMBERS}) AS number GROUP BY job_id")
    ).all()
    told = {row.job_id: [event.seq for event in timeline(scene.session, row.job_id)] for row in rows}
    assert told == {row.job_id: row.numbers for row in rows}
    assert told[claim.id] == [1, 2, 3]


def test_only_a_few_violations_are_named_and_all_are_counted(scene: Scene) -> None:
    scene.connection.execute(text("DELETE FROM jobs"))
    found = scene.counts()["accepted jobs without a row"]
    assert found.found == len(scene.journal.accepted)
    assert len(found.examples) == 5


def test_the_audit_follows_a_job_and_leaves_renewals_out(scene: Scene) -> None:
    claim = claimed(scene.session, scene.story.app_id)
    for _ in range(3):
        lease.renew(scene.session, {claim.token: claim.id}, timedelta(seconds=20))
    rows = scene.connection.execute(
        text("SELECT old_state, new_state, new_epoch, new_token FROM chaos_audit WHERE job_id = :id ORDER BY n"),
        {"id": claim.id},
    )
    assert rows.all() == [
        (None, "ready", 0, None), ("ready", "dispatched", 1, None), ("dispatched", "running", 1, claim.token),
    ]  # fmt: skip


def test_what_was_rolled_back_is_not_in_the_audit(story: Story) -> None:
    with engine().connect() as connection:
        claim = claimed(Scene(story, connection).session, story.app_id)
    with transaction() as session:
        assert not session.scalar(text("SELECT count(*) FROM chaos_audit WHERE job_id = :id"), {"id": claim.id})
