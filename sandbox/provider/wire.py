"""The provider's wire format: bracketed form fields in, its error document out, and the checks on single fields."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl

Form = dict[str, Any]

_CURRENCIES = (
    "aed afn all amd ang aoa ars aud awg azn bam bbd bdt bhd bif bmd bnd bob brl bsd bwp byn bzd cad cdf chf clp "
    "cny cop crc cve czk djf dkk dop dzd egp etb eur fjd fkp gbp gel ghs gip gmd gnf gtq gyd hkd hnl htg huf idr "
    "ils inr isk jmd jod jpy kes kgs khr kmf krw kwd kyd kzt lak lbp lkr lrd lsl mad mdl mga mkd mmk mnt mop mur "
    "mvr mwk mxn myr mzn nad ngn nio nok npr nzd omr pab pen pgk php pkr pln pyg qar ron rsd rub rwf sar sbd scr "
    "sek sgd shp sle sos srd std szl thb tjs tnd top try ttd twd tzs uah ugx usd uyu uzs vnd vuv wst xaf xcd xcg "
    "xof xpf yer zar zmw "
)
CURRENCIES = frozenset(_CURRENCIES.split())
AMOUNT_LIMIT = 99_999_999


class ProviderError(Exception):
    """An answer other than success, as the provider's error document.

    `executed` tells the idempotency layer whether the endpoint had begun: only then is the answer stored under the key.
    """

    def __init__(
        self,
        status: int,
        kind: str,
        message: str,
        *,
        executed: bool = False,
        headers: Mapping[str, str] | None = None,
        **fields: Any,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.executed = executed
        self.headers = headers or {}
        self.document = {"error": {"type": kind, "message": message, **fields}}


def invalid(message: str, *, param: str | None = None, code: str | None = None, status: int = 400) -> ProviderError:
    """A request that is refused before it is executed."""
    fields: dict[str, Any] = {"param": param, "code": code}
    fields = {name: value for name, value in fields.items() if value is not None}
    return ProviderError(status, "invalid_request_error", message, **fields)


def missing(kind: str, object_id: str, *, param: str, status: int = 404) -> ProviderError:
    """An id that the account does not have."""
    return invalid(f"No such {kind}: '{object_id}'", param=param, code="resource_missing", status=status)


def parse_form(encoded: str) -> Form:
    """Decode `a[b][0]=c` into nested objects; numbered or empty brackets become a list."""
    form: Form = {}
    for name, value in parse_qsl(encoded, keep_blank_values=True):
        *path, last = name.replace("]", "").split("[")
        at = form
        for part in path:
            at = at.setdefault(part or str(len(at)), {})
            if not isinstance(at, dict):
                raise invalid(f"Invalid request: {name} is given twice.", param=name)
        at[last or str(len(at))] = value
    # Metadata may have numbers for names.
    return {name: value if name == "metadata" else _lists(value) for name, value in form.items()}


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    if all(name.isdecimal() for name in value):
        return [_lists(value[name]) for name in sorted(value, key=int)]
    return {name: _lists(below) for name, below in value.items()}


def allow(form: Form, *names: str) -> None:
    """Refuse fields that the endpoint does not know, as the provider does."""
    unknown = sorted(set(form) - set(names) - {"expand"})
    if unknown:
        raise invalid(f"Received unknown parameter: {unknown[0]}", param=unknown[0], code="parameter_unknown")


def required(form: Form, name: str) -> str:
    """A text that must be given and not be empty."""
    value = form.get(name)
    if not isinstance(value, str) or not value:
        raise invalid(f"Missing required param: {name}.", param=name, code="parameter_missing")
    return value


def text(form: Form, name: str) -> str | None:
    """A text that may be left out; an empty one counts as left out."""
    value = form.get(name)
    if value is not None and not isinstance(value, str):
        raise invalid(f"Invalid string: {name}", param=name)
    return value or None


def choice(form: Form, name: str, default: str, *choices: str) -> str:
    """One of a few words."""
    value = text(form, name) or default
    if value not in choices:
        raise invalid(f"Invalid {name}: must be one of {', '.join(choices)}", param=name)
    return value


def flag(form: Form, name: str) -> bool:
    """True or false; left out is false."""
    return choice(form, name, "false", "true", "false") == "true"


def integer(form: Form, name: str, *, least: int, most: int, default: int | None = None) -> int:
    """A whole number within bounds; required unless there is a default."""
    value = form.get(name)
    if value is None and default is not None:
        return default
    shown = required(form, name)
    number = int(shown) if shown.lstrip("-").isascii() and shown.lstrip("-").isdigit() else None
    if number is None:
        raise invalid(f"Invalid integer: {shown}", param=name, code="parameter_invalid_integer")
    if number < least:
        raise invalid(f"{name} must be at least {least}.", param=name, code="parameter_invalid_integer")
    if number > most:
        raise invalid(f"{name} must be no more than {most}.", param=name, code=f"{name}_too_large")
    return number


def currency(form: Form) -> str:
    """A currency that exists, in lower case whatever case it came in."""
    value = required(form, "currency").lower()
    if value not in CURRENCIES:
        raise invalid(f"Invalid currency: {value}.", param="currency")
    return value


def metadata(form: Form, before: Mapping[str, str] | None = None) -> dict[str, str]:
    """Merge new metadata over `before`; an empty value removes its key."""
    given = form.get("metadata") or {}
    if not isinstance(given, dict) or not all(isinstance(value, str) for value in given.values()):
        raise invalid("Invalid object: metadata", param="metadata")
    merged = {name: value for name, value in {**(before or {}), **given}.items() if value != ""}
    if len(merged) > 50 or any(len(name) > 40 or len(value) > 500 for name, value in merged.items()):
        raise invalid("Metadata can have up to 50 keys of 40 characters and values of 500.", param="metadata")
    return merged
