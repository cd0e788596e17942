"""What a stored answer looks like, whatever bytes it was made of."""

import hashlib
from datetime import timedelta
from io import BytesIO
from typing import Any

import orjson
import pytest
from urllib3 import HTTPResponse

from clients.http.answer import HEADERS_AT_MOST, KEEP_AT_MOST, Answer, read

JSON = "application/json; charset=utf-8"


def answer(body: bytes, content_type: str = "text/plain", size: int | None = None) -> Answer:
    return Answer(
        status=200,
        headers={"content-type": content_type},
        body=body,
        size=len(body) if size is None else size,
        sha256=hashlib.sha256(body).hexdigest(),
        elapsed=timedelta(0),
        peer=None,
    )


@pytest.mark.parametrize(
    ("body", "content_type", "text"),
    [
        ("grüß".encode(), "text/plain", "grüß"),
        ("grüß".encode("latin-1"), "text/html; charset=ISO-8859-1", "grüß"),
        ("grüß".encode("utf-16"), 'text/plain; charset="UTF-16"', "grüß"),
        ("日本".encode("shift_jis"), "text/plain; Charset=Shift_JIS", "日本"),
        (b"a\xffb", "text/plain", "a\ufffdb"),
        (b"a\x00b\x1bc\td\r\n", "text/plain", "a\ufffdb\ufffdc\td\r\n"),
        (b"\\ud800", "text/plain; charset=unicode_escape", "\\ud800"),
        (b"+2AA-", "text/plain; charset=utf-7", "+2AA-"),
        (b"a", "text/plain; charset=no-such", "a"),
        (b"a", "text/plain; charset=zlib", "a"),
    ],
)
def test_any_bytes_become_a_text_that_can_be_stored(body: bytes, content_type: str, text: str) -> None:
    assert answer(body, content_type).text() == text


def test_a_character_cut_in_two_by_the_limit_is_left_out() -> None:
    assert answer("aü".encode()[:-1], size=3).text() == "a"


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"a": [1, 2.5, null, "\\u00e4"]}', {"a": [1, 2.5, None, "ä"]}),
        (b"7", 7),
        (b"-9223372036854775808", -(2**63)),
    ],
)
def test_json_that_says_so_is_parsed(body: bytes, value: Any) -> None:
    assert answer(body, JSON).parsed() == value
    assert answer(body, "application/problem+json").parsed() == value
    assert answer(body, "text/plain").parsed() is None


@pytest.mark.parametrize(
    "body",
    [
        *(
            b"",
            b"{",
            b"NaN",
            b"[Infinity]",
            b"1e999",
            b'"\\ud800"',
            b'["\\u0000"]',
            b"\xff",
            b"18446744073709551616",
        ),
        *(b"[" * 30_000, b"9" * 5_000, b"[" + b"1e15," * 13_000 + b"1]"),
    ],
    ids=lambda body: repr(body[:20]),
)
def test_json_that_others_could_not_read_back_stays_text(body: bytes) -> None:
    assert answer(body, JSON).parsed() is None


def test_half_a_json_document_stays_text() -> None:
    assert answer(b"[1]", JSON, size=4).parsed() is None


@pytest.mark.parametrize("byte", [b"\x01", b"\xff", b'"', b"\\", b"\n"], ids=repr)
def test_the_largest_answer_fits_into_a_row(byte: bytes) -> None:
    raw = HTTPResponse(
        BytesIO(byte * KEEP_AT_MOST),
        {"Location": "\x01" * 9_000, "Link": "ÿ" * 7_000, "ETag": "e" * 9_000, "Set-Cookie": "c"},
        status=200,
        preload_content=False,
    )
    fields = read(raw)
    assert set(fields["headers"]) == {"etag", "link"}
    kept = Answer(**fields, elapsed=timedelta(0), peer=None)
    assert sum(len(name) + len(value) for name, value in kept.headers.items()) <= HEADERS_AT_MOST
    assert len(orjson.dumps([kept.text(), kept.headers])) < 250 * 1024
