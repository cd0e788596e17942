"""http.request: call a URL and keep its answer.

A call whose outcome is unknown (time-out or reset after sending; server error on POST or PATCH) is made again
only if that is safe: the method is idempotent, an idempotency key was sent, or the job has `retry_unsafe`.
Otherwise the job is parked as `outcome_unknown`, and so it is when the attempts are spent: `failed` would
claim that nothing happened.

POST and PATCH carry `Idempotency-Key`, the same over all attempts. It only helps where the far side honours
it, which cannot be seen from here: for a server that does not, say `send_idempotency_key: false`.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, Self
from urllib.parse import urlencode, urlsplit, urlunsplit

from pydantic import BaseModel, Field, JsonValue, field_validator, model_validator

from clients.http.addresses import EgressPolicy
from clients.http.answer import Answer
from clients.http.call import CallFailed, Request, Timeouts, send
from clients.http.egress import Blocked, RefusedURL, check_url
from clients.http.headers import check_headers
from clients.http.outcome import SAFE, Failure, Outcome, classify, may_repeat, retry_after
from clients.http.transport import adapter_for
from settings import get_settings
from tasks import Context, Fail, Park, Retry, Word, handler
from tasks.backoff import Backoff

BACKOFF = Backoff(base=timedelta(seconds=5), factor=3, cap=timedelta(hours=1), jitter=0.2)
FLOOR = timedelta(seconds=60)
"""The least wait after a 429 or a time-out: the far side is telling us that it is too busy."""
EXCERPT = 2_000

# One text for "blocked" and "refused": the difference would let a caller map the network around us.
UNREACHABLE = "the server could not be reached"

Scalar = str | int | float | bool


class Params(BaseModel, extra="forbid", serialize_by_alias=True):
    """What to send: `json` or a text `body`, not both; `timeout_s` is for the whole call."""

    method: Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"] = "GET"
    url: str = Field(description="http or https, without user name and password.")
    headers: dict[str, str] = Field(default_factory=dict, description="No secrets: every reader of the job sees them.")
    query: dict[str, Scalar | list[Scalar]] = Field(default_factory=dict, description="Added to the URL's own query.")
    json_body: JsonValue = Field(
        default=None, alias="json", description="Sent as application/json; null sends no body."
    )
    body: str | None = Field(default=None, description="Sent as UTF-8, as text/plain unless a header says otherwise.")
    timeout_s: float | None = Field(default=None, ge=0.1, le=600, description="Default: 30, and 15 between two reads.")
    retry_unsafe: bool = Field(default=False, description="Repeat even if the first call may have been performed.")
    send_idempotency_key: bool = Field(default=True, description="False for a server that would ignore the header.")

    @field_validator("headers")
    @classmethod
    def _sendable(cls, value: dict[str, str]) -> dict[str, str]:
        check_headers(value)
        return value

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.body is not None and self.json_body is not None:
            raise ValueError("give json or body, not both")
        if self.method in SAFE and (self.body is not None or self.json_body is not None):
            raise ValueError(f"a {self.method} request has no body")
        check_url(self.url)
        check_url(self.full_url())
        return self

    def full_url(self) -> str:
        """The URL with `query` added, and without its fragment, which is never sent."""
        parts = urlsplit(self.url)
        added = urlencode({name: _spelled(value) for name, value in self.query.items()}, doseq=True)
        return urlunsplit(parts._replace(query="&".join(filter(None, (parts.query, added))), fragment=""))

    @property
    def keyed(self) -> bool:
        """Whether the request carries an idempotency key."""
        given = any(name.lower() == "idempotency-key" for name in self.headers)
        return self.method in ("POST", "PATCH") and (self.send_idempotency_key or given)

    @property
    def repeatable(self) -> bool:
        """Whether the call may be made again after it ended without a known outcome."""
        return may_repeat(self.method, keyed=self.keyed, retry_unsafe=self.retry_unsafe)


@handler(
    "http.request",
    Params,
    queue="integrations",
    max_attempts=8,
    timeout=timedelta(minutes=11),
    backoff=BACKOFF,
)
def perform(params: Params, context: Context) -> dict[str, Any]:
    """Return `{status, headers, body or json, bytes, sha256, truncated, ms}` of a 2xx answer."""
    context.check_cancelled()
    if params.repeatable:
        return _call(params, context)
    _claim_the_only_call(context)
    try:
        return _call(params, context)
    except Word:
        # This attempt knows how it ended: if the schedule or a person wants another, that one may send.
        context.save_checkpoint({"sending": False})
        raise


def _claim_the_only_call(context: Context) -> None:
    # Committed before the first byte: if this worker dies, the next attempt knows that it may be out.
    if (context.checkpoint or {}).get("sending"):
        context.save_checkpoint({"sending": False})
        raise Park("outcome_unknown", "an earlier attempt was cut off: the request may have been performed")
    context.save_checkpoint({"sending": True}, unsettled=True)


def _call(params: Params, context: Context) -> dict[str, Any]:
    settings = get_settings()
    policy = EgressPolicy.parse(settings.egress_allow_cidrs, allow_metadata=settings.egress_allow_metadata)
    try:
        answer = send(_request(params, context), adapter_for(policy), _timeouts(params, context))
    except RefusedURL as refused:
        raise Fail("invalid_url", str(refused)) from refused
    except Blocked as blocked:
        context.log.warning("egress_blocked", reason=str(blocked))
        raise Fail("egress_blocked", UNREACHABLE) from blocked
    except CallFailed as failed:
        context.log.info("call_failed", failure=failed.failure, reason=failed.reason)
        raise _unanswered(params, context, failed) from failed
    context.log.debug("call_answered", status=answer.status, peer=answer.peer)
    if classify(params.method, answer.status) is Outcome.SUCCESS:
        return _result(answer)
    raise _unsuccessful(params, context, answer)


def _spelled(value: Scalar | list[Scalar]) -> Any:
    if isinstance(value, list):
        return [_spelled(item) for item in value]
    return str(value).lower() if isinstance(value, bool) else value


def _request(params: Params, context: Context) -> Request:
    headers, body = {}, None
    if params.json_body is not None:
        headers["Content-Type"], body = "application/json", json.dumps(params.json_body).encode()
    elif params.body is not None:
        headers["Content-Type"], body = "text/plain; charset=utf-8", params.body.encode()
    if params.keyed:
        headers["Idempotency-Key"] = context.idempotency_key
    given = {name.lower() for name in params.headers}
    headers = {name: value for name, value in headers.items() if name.lower() not in given} | params.headers
    headers |= {"X-Job-Id": str(context.job_id), "X-Job-Attempt": str(context.attempt)}
    return Request(method=params.method, url=params.full_url(), headers=headers, body=body)


def _timeouts(params: Params, context: Context) -> Timeouts:
    usual = Timeouts()
    total = usual.total if params.timeout_s is None else timedelta(seconds=params.timeout_s)
    # Who allows ten minutes for a call expects its first byte late, too.
    read = usual.read if params.timeout_s is None else total
    return Timeouts(connect=min(usual.connect, total), read=read, total=min(total, context.remaining()))


def _unanswered(params: Params, context: Context, failed: CallFailed) -> Word:
    after = FLOOR if failed.timed_out else None
    match failed.failure:
        case Failure.TLS:
            return Fail("tls_verification", "the server's certificate could not be verified")
        case Failure.LOST:
            text = "no answer in time" if failed.timed_out else "the connection was lost before the answer was whole"
            return _ambiguous(params, context, Retry("no_answer", f"{text}; the request had been sent", after=after))
        case _:
            return Retry("unreachable", UNREACHABLE, after=after)


def _unsuccessful(params: Params, context: Context, answer: Answer) -> Word:
    message, details = f"the server answered {answer.status}", _details(answer)
    asked = retry_after(answer.headers.get("retry-after"), datetime.now(UTC))
    floor = FLOOR if answer.status == 429 else timedelta(0)
    again = Retry("http_status", message, details, after=max(asked or timedelta(0), floor))
    match classify(params.method, answer.status):
        case Outcome.TRANSIENT:
            return again
        case Outcome.AMBIGUOUS:
            return _ambiguous(params, context, again)
        case _:
            return Fail("http_status", message, details)


def _ambiguous(params: Params, context: Context, again: Retry) -> Word:
    if params.method in SAFE:
        return again
    if params.repeatable and context.attempt < context.max_attempts:
        # Should anything but an answer end the job now, it must not read as if nothing had happened.
        context.save_checkpoint({"sending": False}, unsettled=True)
        return again
    return Park("outcome_unknown", f"{again.message}: it may have been performed", again.details)


def _result(answer: Answer) -> dict[str, Any]:
    parsed = answer.parsed()
    return {
        "status": answer.status,
        "headers": answer.headers,
        **({"json": parsed} if parsed is not None else {"body": answer.text()}),
        "bytes": answer.size,
        "sha256": answer.sha256,
        "truncated": answer.truncated,
        "ms": round(answer.elapsed.total_seconds() * 1000),
    }


def _details(answer: Answer) -> dict[str, Any]:
    return {"status": answer.status, "headers": answer.headers, "body": answer.text()[:EXCERPT]}
