"""An uploaded file as it arrives: its name, its content type and its bytes in pieces, raw or as multipart/form-data."""

import mimetypes
import re
import unicodedata
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

from flask import request
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData

from api.edge.body import chunks, refuse_encoded
from api.edge.errors import Problem, invalid

MULTIPART_SLACK = 64 * 1024
"""What the envelope of a multipart body may take besides the file."""
MAX_NAME_BYTES = 255
UNKNOWN = "application/octet-stream"
_TYPE = re.compile(r"[a-z0-9!#$&^_.+-]{1,127}/[a-z0-9!#$&^_.+-]{1,127}")
# What curl says when it is not told a type.
_SAYS_NOTHING = ("", "application/x-www-form-urlencoded", UNKNOWN)
_BUFFER = 1024 * 1024
_BIDI = "\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"


class Upload(NamedTuple):
    """A file of which only the head has been read."""

    name: str
    content_type: str
    chunks: Iterator[bytes]
    """Raises `Problem` when the body is too long, breaks off or is no single file; then nothing may be kept."""


def arriving(name: str | None, limit: int) -> Upload:
    """The upload in the request's body, of about `limit` bytes at most; `name` goes before what the body says."""
    refuse_encoded()
    if request.mimetype == "multipart/form-data":
        return _from_multipart(name, limit)
    name = _checked(name)
    return Upload(name, _content_type(request.mimetype, name), chunks(limit))


def _from_multipart(name: str | None, limit: int) -> Upload:
    boundary = request.mimetype_params.get("boundary", "")
    if not re.fullmatch(r"[ -~]{1,70}", boundary):
        raise _malformed("the multipart boundary is missing or malformed")
    events = _events(MultipartDecoder(boundary.encode(), _BUFFER), chunks(limit + MULTIPART_SLACK))
    for event in events:
        if isinstance(event, File):
            name = _checked(name if name is not None else event.filename)
            said = event.headers.get("Content-Type", "").partition(";")[0].strip().lower()
            return Upload(name, _content_type(said, name), _only_part(events))
        if isinstance(event, Field):
            break
    raise _malformed("a multipart body holds one part, and that is a file")


Event = Data | Field | File


def _events(decoder: MultipartDecoder, pieces: Iterator[bytes]) -> Iterator[Event]:
    """What the parts consist of; ends only where the body ends as it should."""
    try:
        for piece in chain(pieces, (None,)):
            decoder.receive_data(piece)
            while not isinstance(event := decoder.next_event(), NeedData | Epilogue):
                if isinstance(event, Event):
                    yield event
    except RequestEntityTooLarge:
        raise _malformed("a part's header is too long") from None
    except ValueError:
        raise _malformed("the multipart body is malformed or its end is missing") from None


def _only_part(events: Iterator[Event]) -> Iterator[bytes]:
    for event in events:
        if not isinstance(event, Data):
            raise _malformed("a multipart body holds one part, and that is a file")
        yield event.data


def _checked(name: str | None) -> str:
    """The name, if files may be called so: one part of a path, visible and not too long."""
    if not name:
        raise _bad_name("missing", "say how the file is called: ?name=…")
    if len(name.encode(errors="replace")) > MAX_NAME_BYTES:
        raise _bad_name("too_long", f"a name has at most {MAX_NAME_BYTES} bytes")
    if name in (".", "..") or "/" in name or "\\" in name:
        raise _bad_name("path", "a name is no path")
    if any(character in _BIDI or unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in name):
        raise _bad_name("control_character", "a name has no control characters")
    return name


def _content_type(said: str, name: str) -> str:
    if said not in _SAYS_NOTHING and _TYPE.fullmatch(said):
        return said
    return mimetypes.guess_type(name)[0] or UNKNOWN


def _bad_name(code: str, detail: str) -> Problem:
    return invalid([{"pointer": "/name", "code": code, "detail": detail}], "invalid_query")


def _malformed(detail: str) -> Problem:
    return Problem(400, "malformed_multipart", detail, headers={"Connection": "close"})
