"""The director: drives the courses of many faults at once, from one thread, and keeps the fleet alive meanwhile."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from heapq import heappop, heappush
from itertools import count
from random import Random

from redis.exceptions import RedisError
from requests import RequestException
from sqlalchemy.exc import SQLAlchemyError

from embedded import CannotRun
from tests.chaos.faults import Course, DidNotHappen, Fault
from tests.chaos.field import Field
from tests.chaos.fleet import Fleet
from tests.chaos.plan import Planned

TURN = 0.02
BUSY_PAUSE = 0.3
LONG = 10.0
ATTEMPTS = 12
"""How often a fault is tried anew when another kept it from happening, as when what it was to strike is just gone."""
NOT_NOW = (DidNotHappen, SQLAlchemyError, RedisError, RequestException, OSError, CannotRun)


@dataclass(order=True)
class _Scene:
    due: float
    number: int
    fault: Fault = field(compare=False)
    course: Course | None = field(compare=False, default=None)
    attempts: int = field(compare=False, default=0)
    began: float = field(compare=False, default=0.0)


class Director:
    """One per run; `say` takes a line for whoever watches."""

    def __init__(self, fleet: Fleet, rng: Random, say: Callable[[str], None]) -> None:
        self.planned: Counter[str] = Counter()
        self.happened: Counter[str] = Counter()
        self.missed: list[str] = []
        self.unmeasured: list[str] = []
        self._fleet = fleet
        self._rng = rng
        self._say = say
        self._scenes: list[_Scene] = []
        self._numbers = count()
        self._going_on: set[str] = set()
        """The targets that are being harmed now."""
        self._began = time.monotonic()

    @property
    def undisturbed(self) -> bool:
        """Whether at most one fault is going on."""
        return len(self._going_on) <= 1

    def wait(self, seconds: float) -> None:
        """Let time pass without a fault."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._turn()

    def one_by_one(self, faults: Sequence[Fault], field: Field, settle: float) -> None:
        """Each when the one before is over and everything has settled; the recovery from each must be measured."""
        for fault in faults:
            measured = len(field.recoveries)
            self._plan(fault, time.monotonic())
            self._finish(field)
            if len(field.recoveries) == measured:
                self.unmeasured.append(f"{fault.name}: how long the recovery from it took was not measured")
            self.wait(settle)

    def storm(self, planned: Sequence[Planned], field: Field) -> None:
        """All at their times, however many at once."""
        began = time.monotonic()
        for at, fault in planned:
            self._plan(fault, began + at)
        self._finish(field)

    def _plan(self, fault: Fault, due: float) -> None:
        self.planned[fault.name] += 1
        heappush(self._scenes, _Scene(due, next(self._numbers), fault))

    def _finish(self, field: Field) -> None:
        while self._scenes:
            while self._scenes and self._scenes[0].due <= time.monotonic():
                self._go_on(heappop(self._scenes), field)
            self._turn()

    def _turn(self) -> None:
        self._fleet.look()
        time.sleep(TURN)

    def _go_on(self, scene: _Scene, field: Field) -> None:
        if scene.course is None and not self._begin(scene, field):
            self._again(scene, self._rng.uniform(BUSY_PAUSE, 3 * BUSY_PAUSE))
            return
        assert scene.course is not None
        try:
            self._again(scene, next(scene.course))
        except StopIteration:
            self._end(scene)
            self.happened[scene.fault.name] += 1
        except NOT_NOW as reason:
            self._end(scene)
            self._missed(scene, reason)

    def _begin(self, scene: _Scene, field: Field) -> bool:
        if scene.fault.target in self._going_on or len(self._going_on) >= field.scale.at_once:
            return False
        self._going_on.add(scene.fault.target)
        scene.course = scene.fault.course(field)
        scene.attempts += 1
        scene.began = time.monotonic()
        self._say(f"{time.monotonic() - self._began:7.1f} s  {scene.fault.name}")
        return True

    def _end(self, scene: _Scene) -> None:
        self._going_on.discard(scene.fault.target)
        scene.course = None
        if (seconds := time.monotonic() - scene.began) > LONG:
            self._say(f"           {scene.fault.name} took {seconds:.0f} s")

    def _missed(self, scene: _Scene, reason: Exception) -> None:
        said = f"{scene.fault.name}: {type(reason).__name__}: {str(reason).splitlines()[0]}"
        self._say(f"           not now: {said}")
        if scene.attempts < ATTEMPTS:
            # Later and later: what is in the way may be a server that is frozen for a minute.
            self._again(scene, scene.attempts * self._rng.uniform(1, 3))
        else:
            self.missed.append(said)

    def _again(self, scene: _Scene, seconds: float) -> None:
        scene.due = time.monotonic() + seconds
        heappush(self._scenes, scene)
