"""What is kept of an HTTP answer: its status, a few headers, and as much body as a job's row can carry."""

import codecs
import hashlib
import json
import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import orjson
from urllib3 import BaseHTTPResponse

READ_AT_MOST = 1024 * 1024
KEEP_AT_MOST = 64 * 1024
HEADERS_AT_MOST = 16 * 1024
"""Characters, names included."""
JSON_AT_MOST = 128 * 1024
"""Bytes of JSON as we would write it: `1e15` grows to four times its length."""
_CHUNK = 16 * 1024

_HEADERS = re.compile(
    r"content-(type|length|encoding|language|location)|date|etag|last-modified|expires|cache-control|age|vary|location|link"
    r"|allow|retry-after|(x-)?(request|correlation|trace)-id|(x-)?ratelimit(-[a-z-]+)?|idempotency-key|idempotent-replayed"
)
# All but tab and line ends: JSON writes each in six bytes, and Postgres refuses NUL.
_CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f]")
_CHARSETS = frozenset(
    (
        *("utf-8", "ascii", "iso8859-1", "iso8859-15", "cp1252", "utf-16", "utf-16-le", "utf-16-be"),
        *("shift_jis", "euc_jp", "gb18030", "gbk", "big5", "euc_kr"),
    )
)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """One whole answer, or as much of it as was read."""

    status: int
    headers: dict[str, str]
    """By lower-case name, only those on the allow-list: an answer's cookies and tokens never reach a job."""
    body: bytes
    """The first 64 KiB, decompressed."""
    size: int
    """Bytes read, decompressed; the body may be larger when `sha256` is None."""
    sha256: str | None
    """Of the whole body; None when it was larger than what is read."""
    elapsed: timedelta
    peer: str | None
    """The address that answered. For operators: it would map an internal network."""

    @property
    def truncated(self) -> bool:
        """Whether `body` is only the beginning."""
        return self.sha256 is None or len(self.body) < self.size

    def text(self) -> str:
        """The body as text that any store can hold: bytes that are no text become U+FFFD."""
        decoder = codecs.getincrementaldecoder(self._charset())(errors="replace")
        return _CONTROL.sub("\ufffd", decoder.decode(self.body, final=not self.truncated))

    def parsed(self) -> Any | None:
        """The body as JSON when it says so, is whole, and means the same to every JSON reader; else None.

        NaN, integers beyond 64 bits, NUL and lone surrogates can be read here, but not by all who follow.
        """
        if self.truncated or not re.fullmatch(r"application/([\w.-]+\+)?json", self._content_type()):
            return None
        try:
            text = self.body.decode()
            value = json.loads(text)
            written = orjson.dumps(value)
        except (ValueError, TypeError, RecursionError):
            return None
        portable = "\\u0000" not in text and len(written) <= JSON_AT_MOST and orjson.loads(written) == value
        return value if portable else None

    def _content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    def _charset(self) -> str:
        found = re.search(r"charset=\"?([\w-]{1,40})", self.headers.get("content-type", ""), re.IGNORECASE)
        try:
            name = codecs.lookup(found[1]).name if found else "utf-8"
        except LookupError:
            name = "utf-8"
        # Only encodings of text: Python also knows codecs such as idna and unicode_escape.
        return name if name in _CHARSETS else "utf-8"


def read(raw: BaseHTTPResponse) -> dict[str, Any]:
    """Read the answer's fields from the wire, at most 1 MiB of decompressed body: a bomb stays unread."""
    digest, kept, size = hashlib.sha256(), bytearray(), 0
    for chunk in raw.stream(_CHUNK, decode_content=True):
        size += len(chunk)
        digest.update(chunk)
        kept += chunk[: KEEP_AT_MOST - len(kept)]
        if size > READ_AT_MOST:
            break
    return {
        "status": raw.status,
        "headers": _allowed(raw),
        "body": bytes(kept),
        "size": size,
        "sha256": digest.hexdigest() if size <= READ_AT_MOST else None,
    }


def _allowed(raw: BaseHTTPResponse) -> dict[str, str]:
    kept, room = {}, HEADERS_AT_MOST
    for name in sorted({name.lower() for name in raw.headers if _HEADERS.fullmatch(name.lower())}):
        value = raw.headers[name]
        room -= len(name) + len(value)
        if room >= 0:
            kept[name] = _CONTROL.sub("\ufffd", value)
    return kept
