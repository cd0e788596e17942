"""What may be said of a job besides its kind and params, and within which bounds: for apps and handlers alike."""

from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    model_validator,
)
from pydantic_core import PydanticCustomError

from tasks import QUEUES

PARAMS_LIMIT = 256 * 1024
"""Bytes of JSON that a job's params may take."""
_EARLIEST = datetime(1970, 1, 1, tzinfo=UTC)
# A thousand years before Python and Postgres end, no sum of such a time and a delay overflows.
_LATEST = datetime(9000, 1, 1, tzinfo=UTC)


def in_range(moment: datetime) -> datetime:
    """The moment in UTC, unless it lies too far away to reckon with."""
    if not _EARLIEST <= moment < _LATEST:
        raise PydanticCustomError("timestamp_range", "Input should lie between the years 1970 and 9000")
    return moment.astimezone(UTC)


def _known_queue(value: str) -> str:
    if value not in QUEUES:
        raise PydanticCustomError("unknown_queue", "Input should be one of " + ", ".join(QUEUES))
    return value


Queue = Annotated[str, AfterValidator(_known_queue), Field(json_schema_extra={"enum": list(QUEUES)})]
Priority = Annotated[int, Field(ge=-100, le=100)]
MaxAttempts = Annotated[int, Field(ge=1, le=100)]
LabelKey = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
LabelValue = Annotated[str, StringConstraints(max_length=256)]
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=16, json_schema_extra={"additionalProperties": False})]
_Moment = Annotated[AwareDatetime, AfterValidator(in_range)]


class ChildOptions(BaseModel):
    """What a handler may say of a child job; see `tasks.Context.enqueue`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    queue: Queue | None = None
    max_attempts: MaxAttempts | None = None
    priority: Priority = 0
    run_at: _Moment | None = None
    expires_at: _Moment | None = None
    deadline_at: _Moment | None = None
    labels: Labels | None = None

    @model_validator(mode="after")
    def _could_run(self) -> Self:
        for name in ("expires_at", "deadline_at"):
            limit = getattr(self, name)
            if self.run_at is not None and limit is not None and limit <= self.run_at:
                raise ValueError(f"with {name} before run_at it would never run")
        return self
