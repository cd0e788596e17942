"""Which headers a job may ask for: well-formed, few, not ours to set, and no secrets, as params are read."""

import re
from collections.abc import Mapping

MAX_HEADERS = 50
MAX_NAME = 100
MAX_VALUE = 4_096
MAX_TOTAL = 16 * 1024

OURS = frozenset(
    {
        # Framing and hop-by-hop: with these a job could smuggle a second request onto a shared connection.
        *(
            "host",
            "content-length",
            "transfer-encoding",
            "connection",
            "keep-alive",
            "upgrade",
            "te",
            "trailer",
        ),
        *("expect", "proxy-connection", "accept-encoding"),
        *("x-job-id", "x-job-attempt"),
    }
)

_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(r"[!-~](?:[\t -~]*[!-~])?|")
_SECRET = re.compile(
    r"(?:^|[-_.])(?:(?:proxy)?auth(?:orization|entication)?|cookie2?|session(?:-?id)?|secret|password|passwd"
    r"|credentials?|jwt|bearer|[a-z]*token|api-?key"
    r"|(?:api|app|access|auth|account|subscription|private|signing|secret)[-_]key)(?:$|[-_.])"
)


class RefusedHeader(ValueError):
    """This header cannot be part of a job."""


def check_headers(headers: Mapping[str, str]) -> None:
    """Raise `RefusedHeader` for the first header that a job may not set, or when there are too many."""
    if len(headers) > MAX_HEADERS:
        raise RefusedHeader(f"there are more than {MAX_HEADERS} headers")
    if sum(len(name) + len(value) for name, value in headers.items()) > MAX_TOTAL:
        raise RefusedHeader(f"the headers have more than {MAX_TOTAL:,} characters")
    if len({name.lower() for name in headers}) < len(headers):
        raise RefusedHeader("two headers have the same name")
    for name, value in headers.items():
        _check_one(name, value)


def _check_one(name: str, value: str) -> None:
    if len(name) > MAX_NAME or not _NAME.fullmatch(name):
        raise RefusedHeader("a header's name may have letters, digits and hyphens, at most 100")
    if len(value) > MAX_VALUE or not _VALUE.fullmatch(value):
        raise RefusedHeader(f"{name}: a value is one line of printable ASCII, at most {MAX_VALUE:,} characters")
    if name.lower() in OURS:
        raise RefusedHeader(f"{name} is set by the sender and cannot be given")
    if _SECRET.search(name.lower()):
        raise RefusedHeader(f"{name} would put a secret into the job, where every reader of the job sees it")
