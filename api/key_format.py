"""How an API key is written: `mst_<env>_<32 base62><6 base62 of CRC32>`, and the digest under which it is stored.

The checksum refuses a typo before any query, and lets secret scanners tell a leaked key from a random word.
"""

import hmac
import re
import secrets
import string
import zlib

ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase
_KEY = re.compile(r"(mst_([a-z]{1,8})_[0-9A-Za-z]{32})([0-9A-Za-z]{6})")


def new_key(env: str) -> str:
    """A fresh key: 190 bits of randomness and the checksum."""
    body = f"mst_{env}_" + "".join(secrets.choice(ALPHABET) for _ in range(32))
    return body + _checksum(body)


def env_of(key: str) -> str | None:
    """The environment a well-formed key belongs to; None when the form or the checksum is wrong."""
    match = _KEY.fullmatch(key)
    if match is None or _checksum(match[1]) != match[3]:
        return None
    return match[2]


def digest(key: str, pepper: str) -> bytes:
    """What is stored instead of the key."""
    return hmac.digest(pepper.encode(), key.encode(), "sha256")


def _checksum(body: str) -> str:
    value, digits = zlib.crc32(body.encode()), ""
    for _ in range(6):
        value, digit = divmod(value, 62)
        digits = ALPHABET[digit] + digits
    return digits
