"""Webhook endpoints: where an account wants its events sent, and the secrets that they are signed with."""

import re
from typing import Any
from urllib.parse import urlsplit

from sandbox.books.bank import Body, new_id
from sandbox.provider import wire
from sandbox.provider.calls import Call
from sandbox.provider.wire import Form
from sandbox.webhooks.signature import expire_secrets, keep_secret, new_secret

EVENT_TYPE = re.compile(r"\*|[a-z_]+(\.[a-z_]+)*(\.\*)?")
LIMIT = 16


def create(call: Call, form: Form) -> Body:
    """Register an address. The answer shows the signing secret, once and never again."""
    wire.allow(form, "url", "enabled_events", "description", "metadata", "api_version", "connect")
    endpoint, secret = _register(call, form), new_secret()
    keep_secret(call.bank, endpoint["id"], secret)
    return {**endpoint, "secret": secret}


def register(call: Call, url: str, secret: str, enabled_events: list[str]) -> Body:
    """Have `url` registered with this secret and no other, however often it is said."""
    known = [endpoint for endpoint in call.bank.all_of(call.account, "webhook_endpoint") if endpoint["url"] == url]
    form: Form = {"url": url, "enabled_events": enabled_events}
    endpoint = update(call, known[0]["id"], {**form, "disabled": "false"}) if known else _register(call, form)
    expire_secrets(call.bank, endpoint["id"], call.bank.now())
    keep_secret(call.bank, endpoint["id"], secret)
    return endpoint


def update(call: Call, endpoint_id: str, form: Form) -> Body:
    """Change where events go, which, and whether."""
    wire.allow(form, "url", "enabled_events", "description", "metadata", "disabled")
    endpoint = _find(call, endpoint_id)
    if "url" in form:
        endpoint["url"] = _url(form)
    if "enabled_events" in form:
        endpoint["enabled_events"] = _events(form)
    if "description" in form:
        endpoint["description"] = wire.text(form, "description")
    if "disabled" in form:
        endpoint["status"] = "disabled" if wire.flag(form, "disabled") else "enabled"
    endpoint["metadata"] = wire.metadata(form, endpoint["metadata"])
    call.bank.save(endpoint)
    return endpoint


def delete(call: Call, endpoint_id: str, form: Form) -> Body:
    """Forget an address, and what was still to be sent there."""
    wire.allow(form)
    _find(call, endpoint_id)
    call.bank.delete(endpoint_id)
    call.bank.rows("DELETE FROM signing_secret WHERE endpoint = ?", (endpoint_id,))
    return {"id": endpoint_id, "object": "webhook_endpoint", "deleted": True}


def roll_secret(call: Call, endpoint_id: str, expires_in: float) -> str:
    """A new secret; the old ones sign along with it for another `expires_in` seconds of the books' time."""
    _find(call, endpoint_id)
    expire_secrets(call.bank, endpoint_id, call.bank.now() + expires_in)
    secret = new_secret()
    keep_secret(call.bank, endpoint_id, secret)
    return secret


def _register(call: Call, form: Form) -> Body:
    if len(call.bank.all_of(call.account, "webhook_endpoint")) >= LIMIT:
        raise wire.invalid(f"You have reached the maximum of {LIMIT} test webhook endpoints.")
    if wire.flag(form, "connect"):
        raise wire.invalid("There are no connected accounts here.", param="connect")
    endpoint: dict[str, Any] = {
        "id": new_id("we_1"),
        "object": "webhook_endpoint",
        "api_version": wire.text(form, "api_version"),
        "application": None,
        "created": int(call.bank.now()),
        "description": wire.text(form, "description"),
        "enabled_events": _events(form),
        "livemode": False,
        "metadata": wire.metadata(form),
        "status": "enabled",
        "url": _url(form),
    }
    return call.bank.insert(call.account, "webhook_endpoint", endpoint)


def _find(call: Call, endpoint_id: str) -> Body:
    endpoint = call.bank.find(call.account, "webhook_endpoint", endpoint_id)
    if endpoint is None:
        raise wire.missing("webhook_endpoint", endpoint_id, param="webhook_endpoint")
    return endpoint


def _url(form: Form) -> str:
    url = wire.required(form, "url")
    try:
        parts = urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        usable = False
    if not usable or not url.isascii() or any(letter.isspace() for letter in url):
        raise wire.invalid("Invalid URL: it must begin with http:// or https://.", param="url", code="url_invalid")
    return url


def _events(form: Form) -> list[str]:
    given = form.get("enabled_events")
    if not isinstance(given, list) or not given:
        raise wire.invalid("Missing required param: enabled_events.", param="enabled_events", code="parameter_missing")
    if not all(isinstance(name, str) and EVENT_TYPE.fullmatch(name) for name in given):
        raise wire.invalid("Invalid enabled_events: there is no such event type.", param="enabled_events")
    return given
