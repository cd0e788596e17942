"""bench.noop: do nothing, durably. What remains is the engine's own cost."""

from typing import Any

from pydantic import BaseModel

from tasks import Context, handler


class Params(BaseModel, extra="forbid"):
    """Nothing to say."""


@handler("bench.noop", Params)
def perform(params: Params, context: Context) -> dict[str, Any]:
    """Return at once."""
    return {}
