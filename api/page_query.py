"""The query of a page of something that a job numbers: its events, its attempts."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MAX_LIMIT = 200

Limit = Annotated[int, Field(ge=1, le=MAX_LIMIT, description="How many items a page may have.")]


class PageQuery(BaseModel):
    """Where the page begins and how long it may be."""

    model_config = ConfigDict(extra="forbid")

    after: int = Field(default=0, ge=0, lt=2**31, description="Only what comes after this number.")
    limit: Limit = 50
