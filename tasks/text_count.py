"""text.count: count the lines, words and characters of a text. The smallest whole kind: copy it to begin yours."""

from typing import Any

from pydantic import BaseModel, Field

from tasks import Context, Fail, handler


class Params(BaseModel, extra="forbid"):
    """What an app sends: `text`, at most 100,000 characters."""

    text: str = Field(max_length=100_000)


@handler("text.count", Params)
def perform(params: Params, context: Context) -> dict[str, Any]:
    """Return `{lines, words, characters}`; a text without a word is final: trying again would not help."""
    words = params.text.split()
    if not words:
        raise Fail("empty_text", "there is not one word in this text")
    context.progress(1.0, f"{len(words)} words")
    return {"lines": len(params.text.splitlines()), "words": len(words), "characters": len(params.text)}
