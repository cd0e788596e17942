"""The request's body: bounded before it is read, and strict JSON or nothing.

Refused as malformed (400): broken JSON, bytes that are not UTF-8, repeated names in an object, NaN and Infinity, more
than 32 levels. Refused as invalid (422): what Postgres cannot keep, that is NUL characters, lone surrogates and
integers beyond 64 bits.
"""

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from json import JSONDecodeError, JSONDecoder
from math import isfinite
from typing import Any, NoReturn

from flask import g, request
from gunicorn.http.errors import ParseException  # type: ignore[import-untyped]  # it ships no types
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge

from api.edge.errors import MAX_FAULTS, Problem

BODY_LIMIT = 1024 * 1024
BULK_LIMIT = 8 * BODY_LIMIT
MAX_DEPTH = 32
READ_SECONDS = 30.0
"""For a whole body that is held in memory, and for every single wait within any body."""
DRAIN_LIMIT = 32 * BODY_LIMIT
_CHUNK = 64 * 1024
_BIGINT = 2**63


def json_body(limit: int = BODY_LIMIT) -> Any:
    """The parsed body. Raises `Problem` 413, 415, 400 or 422."""
    if request.mimetype != "application/json":
        raise Problem(415, "unsupported_media_type", "send the body as Content-Type: application/json")
    return parse_json(raw_body(limit))


def raw_body(limit: int = BODY_LIMIT) -> bytes:
    """The body's bytes, at most `limit`, read once per request. Raises what `refuse_encoded` and `chunks` do."""
    known: bytes | None = g.get("raw_body")
    if known is None:
        refuse_encoded()
        known = g.raw_body = b"".join(chunks(limit, READ_SECONDS))
    return known


def refuse_encoded() -> None:
    """Raises `Problem` 415 for a compressed body: nothing here unpacks one."""
    if request.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        detail = "send the body's own bytes, without Content-Encoding"
        raise Problem(415, "unsupported_media_type", detail, headers={"Accept-Encoding": "identity"})


def stand_in(summary: bytes) -> None:
    """Let `summary` stand for a body that was read as `chunks`, wherever the request's body is compared."""
    g.raw_body = summary


def chunks(limit: int, seconds: float | None = None) -> Iterator[bytes]:
    """The body in pieces, to be read once and whole, at most within `seconds`.

    Raises `Problem`: 413 beyond `limit` bytes, 408 when they come too slowly, 400 when the caller hung up or the chunks
    are malformed. Nothing may be kept of a body whose last piece did not come.
    """
    request.max_content_length = limit
    try:
        with _patience():
            yield from _pieces(seconds)
    except RequestEntityTooLarge:
        _drain()
        detail = f"the body is larger than the {limit:,} bytes this address takes"
        raise Problem(413, "too_large", detail, headers={"Connection": "close"}) from None
    except (ClientDisconnected, ParseException, OSError) as error:
        if isinstance(error, TimeoutError) or isinstance(error.__context__, TimeoutError):
            detail = "the body did not arrive in time"
            raise Problem(408, "body_too_slow", detail, headers={"Connection": "close"}) from None
        detail = "the body broke off, or its chunks are malformed"
        raise Problem(400, "incomplete_body", detail, headers={"Connection": "close"}) from None


def _pieces(seconds: float | None) -> Iterator[bytes]:
    until, size = time.monotonic() + (seconds or float("inf")), 0
    while piece := request.stream.read(_CHUNK):
        size += len(piece)
        yield piece
        if time.monotonic() > until:
            raise TimeoutError
    # gunicorn ends the stream quietly when the caller hangs up within a body of announced length.
    if request.content_length not in (None, size):
        raise ClientDisconnected


@contextmanager
def _patience() -> Iterator[None]:
    """Bound every single wait for the caller's bytes, where the server shows us its socket."""
    socket = request.environ.get("gunicorn.socket")
    if socket is None:
        yield
        return
    before = socket.gettimeout()
    socket.settimeout(READ_SECONDS)
    try:
        yield
    finally:
        socket.settimeout(before)


def _drain() -> None:
    """Read on for a while: a caller that is still sending when the connection closes never sees the answer."""
    stream, left = request.environ["wsgi.input"], DRAIN_LIMIT
    try:
        with _patience():
            while left > 0 and (chunk := stream.read(_CHUNK)):
                left -= len(chunk)
    except (ParseException, OSError):
        return


class _Malformed(ValueError):
    pass


def parse_json(raw: bytes) -> Any:
    """Parse one JSON text strictly. Raises `Problem` 400, or 422 with pointers to what cannot be stored."""
    try:
        value = _DECODER.decode(raw.decode())
    except _Malformed as error:
        raise Problem(400, "malformed_json", str(error)) from None
    except JSONDecodeError as error:
        raise Problem(400, "malformed_json", f"{error.msg} at line {error.lineno}, column {error.colno}") from None
    except UnicodeDecodeError:
        raise Problem(400, "malformed_json", "the text is not UTF-8") from None
    except RecursionError:
        raise _too_deep() from None
    if raw.count(b"{") + raw.count(b"[") > MAX_DEPTH or b"\\u" in raw or _LONG_NUMBER.search(raw):
        _inspect(value)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Malformed("a name occurs twice in one object")
    return found


def _integer(text: str) -> int:
    return int(text) if len(text) <= 20 else _BIGINT  # Python refuses to convert thousands of digits.


def _number(text: str) -> float:
    value = float(text)
    if not isfinite(value):
        raise _Malformed("a number is out of range")
    return value


def _no_constant(_text: str) -> NoReturn:
    raise _Malformed("NaN and Infinity are not JSON")


_DECODER = JSONDecoder(object_pairs_hook=_unique, parse_int=_integer, parse_float=_number, parse_constant=_no_constant)
_LONG_NUMBER = re.compile(rb"[0-9]{19}")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def _inspect(value: Any) -> None:
    """The walk that most bodies do not need: depth, and values that Postgres cannot keep."""
    faults: list[dict[str, str]] = []
    todo: list[tuple[str, Any, int]] = [("", value, 0)]
    while todo and len(faults) < MAX_FAULTS:
        pointer, value, depth = todo.pop()
        if depth >= MAX_DEPTH and isinstance(value, (dict, list)):
            raise _too_deep()
        if isinstance(value, dict):
            faults += [_text_fault(pointer) for name in value if _UNSTORABLE.search(name)]
            todo += [(f"{pointer}/{_escaped(name)}", item, depth + 1) for name, item in value.items()]
        elif isinstance(value, list):
            todo += [(f"{pointer}/{index}", item, depth + 1) for index, item in enumerate(value)]
        elif isinstance(value, str) and _UNSTORABLE.search(value):
            faults.append(_text_fault(pointer))
        elif isinstance(value, int) and not -_BIGINT <= value < _BIGINT:
            faults.append({"pointer": pointer, "code": "integer_range", "detail": "integers have at most 64 bits"})
    if faults:
        raise Problem(422, "invalid", "the body holds values that cannot be stored; see errors", errors=faults)


def _text_fault(pointer: str) -> dict[str, str]:
    return {
        "pointer": pointer,
        "code": "text",
        "detail": "text must not hold NUL or lone surrogate characters",
    }


def _escaped(name: str) -> str:
    return _UNSTORABLE.sub("\N{REPLACEMENT CHARACTER}", name).replace("~", "~0").replace("/", "~1")


def _too_deep() -> Problem:
    return Problem(400, "malformed_json", f"the value is nested deeper than {MAX_DEPTH} levels")
