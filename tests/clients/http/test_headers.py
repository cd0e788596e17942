"""Which headers a job may ask for."""

import pytest

from clients.http.headers import MAX_HEADERS, MAX_VALUE, RefusedHeader, check_headers


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Accept",
            "Accept-Language",
            "Content-Type",
            "If-None-Match",
            "Idempotency-Key",
            "User-Agent",
            "X-Request-Id",
        ),
        *(
            "X-Author",
            "X-Authored-By",
            "X-Keyboard",
            "X-Monkey",
            "X-Tokenizer",
            "X-Cookiecutter",
            "traceparent",
        ),
    ],
)
def test_an_ordinary_header_passes(name: str) -> None:
    check_headers({name: "any value; q=0.5"})


@pytest.mark.parametrize(
    "name",
    [
        *(
            "Authorization",
            "authorization",
            "Proxy-Authorization",
            "X-Authorization",
            "Cookie",
            "Cookie2",
            "Set-Cookie",
        ),
        *(
            "X-Api-Key",
            "Api-Key",
            "apikey",
            "X-ApiKey",
            "X-Goog-Api-Key",
            "Ocp-Apim-Subscription-Key",
            "DD-API-KEY",
        ),
        *(
            "X-Auth-Token",
            "X-Access-Token",
            "Private-Token",
            "X-Vault-Token",
            "X-Amz-Security-Token",
            "X-CSRFToken",
        ),
        *("X-Auth-Key", "X-Client-Secret", "X-Password", "X-Auth", "X-Session-Id", "X-JWT", "X-Signing-Key"),
    ],
)
def test_a_header_that_would_carry_a_secret_is_refused_by_name(name: str) -> None:
    with pytest.raises(RefusedHeader, match=f"^{name} would put a secret into the job"):
        check_headers({name: "value"})


@pytest.mark.parametrize(
    "name",
    ["Host", "Content-Length", "transfer-encoding", "Connection", "Upgrade", "X-Job-Id", "X-Job-Attempt"],
)
def test_a_header_that_the_sender_sets_is_refused(name: str) -> None:
    with pytest.raises(RefusedHeader, match="set by the sender"):
        check_headers({name: "value"})


@pytest.mark.parametrize("name", ["", "A B", "A:", "A\r\nB", "Ä", "A\x00", "a" * 101])
def test_a_malformed_name_is_refused(name: str) -> None:
    with pytest.raises(RefusedHeader):
        check_headers({name: "value"})


@pytest.mark.parametrize(
    "value",
    ["a\r\nX: 1", "a\nb", "a\rb", "a\x00", "\x7f", "ä", "pad ", " pad", "\t", "nl\n", "v" * (MAX_VALUE + 1)],
)
def test_a_malformed_value_is_refused_without_quoting_it(value: str) -> None:
    with pytest.raises(RefusedHeader) as caught:
        check_headers({"X-Note": value})
    assert value not in str(caught.value)


@pytest.mark.parametrize("value", ["", "a", "a b\tc", "v" * MAX_VALUE])
def test_a_value_of_one_printable_line_passes(value: str) -> None:
    check_headers({"X-Note": value})


@pytest.mark.parametrize(
    "headers",
    [
        {f"X-{number}": "" for number in range(MAX_HEADERS + 1)},
        {f"X-{number}": "v" * MAX_VALUE for number in range(4)},
        {"X-Note": "1", "x-note": "2"},
    ],
    ids=["too many", "too large", "twice"],
)
def test_a_bomb_of_headers_is_refused(headers: dict[str, str]) -> None:
    with pytest.raises(RefusedHeader):
        check_headers(headers)
