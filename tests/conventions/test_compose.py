"""docker-compose.yml and what belongs to it: valid, closed, and true to the code it starts."""

import json
import re
import subprocess
from datetime import timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from flower.options import default_options
from jsonschema import Draft202012Validator
from sqlalchemy import make_url

from settings import Settings
from tasks import QUEUES
from tasks.discovery import handlers
from tests.support.compose import FILE, ROOT, SERVICES, in_image, interpolate

OURS = {name: service for name, service in SERVICES.items() if "build" in service}
WORKERS = {name: service for name, service in SERVICES.items() if name.startswith("worker-")}
LASTING = {name: service for name, service in SERVICES.items() if name != "migrate"}
EXPECTED = {
    "postgres", "redis", "migrate", "api", "dispatcher", "worker-payments", "worker-integrations", "worker-data",
    "worker-default", "flower", "proxy", "sandbox",
}  # fmt: skip
PLAIN_IMAGE = re.compile(r"(?:[a-z0-9-]+/)?[a-z0-9-]+:[\w.-]+")


def seconds(duration: str) -> timedelta:
    assert duration.endswith("s")
    return timedelta(seconds=int(duration.removesuffix("s")))


def option(service: dict[str, Any], *names: str) -> str:
    command = service["command"]
    (value,) = (command[index + 1] for index, word in enumerate(command) if word in names)
    return str(value)


def test_the_file_keeps_to_the_compose_specification() -> None:
    schema = files("check_jsonschema").joinpath("builtin_schemas/vendor/compose-spec.json").read_text()
    faults = [
        f"{fault.json_path}: {fault.message}" for fault in Draft202012Validator(json.loads(schema)).iter_errors(FILE)
    ]
    assert faults == []


def test_every_role_has_its_service() -> None:
    assert SERVICES.keys() == EXPECTED
    assert SERVICES["dispatcher"]["deploy"]["replicas"] == 2
    assert {name for name, service in SERVICES.items() if "profiles" in service} == {"sandbox"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_can_do_nothing_that_its_work_does_not_need(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["init"] is True
    assert service["user"].split(":")[0] not in {"root", "0"}
    assert service.get("cap_add", []) == (["NET_BIND_SERVICE"] if name == "proxy" else [])
    assert not {"privileged", "pid", "ipc", "network_mode", "devices"} & service.keys()


def test_only_the_proxy_is_published_and_only_to_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert [interpolate(port, {}) for port in published.pop("proxy")] == ["127.0.0.1:8080:8080"]
    assert published == {}


def test_the_databases_and_the_file_readers_have_no_way_out() -> None:
    closed = {name for name, network in FILE["networks"].items() if network.get("internal")}
    for name in ("postgres", "redis", "dispatcher", "api", "worker-data", "flower"):
        assert set(SERVICES[name]["networks"]) <= closed, name


@pytest.mark.parametrize("name", LASTING)
def test_what_lasts_can_be_asked_for_its_health(name: str) -> None:
    assert LASTING[name]["healthcheck"]["test"]
    assert LASTING[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", [name for name in OURS if name not in {"migrate", "sandbox", "flower"}])
def test_what_reads_tables_waits_until_they_are_there(name: str) -> None:
    assert SERVICES[name]["depends_on"]["migrate"] == {"condition": "service_completed_successfully"}
    assert SERVICES["migrate"]["depends_on"]["postgres"] == {"condition": "service_healthy"}


def test_a_service_waits_only_for_services_and_uses_only_what_is_declared() -> None:
    for name, service in SERVICES.items():
        assert set(service.get("depends_on", {})) <= SERVICES.keys(), name
        assert set(service.get("secrets", [])) <= FILE["secrets"].keys(), name
        assert set(service["networks"]) <= FILE["networks"].keys(), name
        assert {volume.split(":")[0] for volume in service.get("volumes", [])} <= FILE["volumes"].keys(), name


def test_every_queue_has_one_lane_of_workers_in_its_name() -> None:
    assert {option(service, "-Q"): name for name, service in WORKERS.items()} == {
        queue: f"worker-{queue}" for queue in QUEUES
    }
    for service in WORKERS.values():
        assert option(service, "-n") == f"{option(service, '-Q')}@%h"
        assert {"--without-gossip", "--without-mingle"} <= set(service["command"])
        assert option(service, "--heartbeat-interval") == "10"


def test_workers_are_given_longer_to_stop_than_their_handlers_may_take() -> None:
    grace = timedelta(seconds=Settings.model_fields["stop_grace_seconds"].default)
    for name, service in WORKERS.items():
        handlers_of_lane = [handler for handler in handlers().values() if name == f"worker-{handler.queue}"]
        longest = max(handler.grace for handler in handlers_of_lane)
        assert seconds(service["stop_grace_period"]) >= grace + longest + timedelta(seconds=10), name


@pytest.mark.parametrize("name", ["api", "proxy"])
def test_no_restart_cuts_off_a_long_poll(name: str) -> None:
    configuration = (ROOT / "api" / "gunicorn.conf.py").read_text()
    (graceful,) = re.findall(r"^graceful_timeout = (\d+)$", configuration, re.MULTILINE)
    assert seconds(SERVICES[name]["stop_grace_period"]) >= timedelta(seconds=int(graceful) + 5)


def test_flower_is_read_only_asks_for_a_password_and_forgets_in_time() -> None:
    given = SERVICES["flower"]["environment"]
    assert given["FLOWER_READ_ONLY"] == "true"
    assert {"flower_basic_auth", "flower_cookie_secret"} <= set(SERVICES["flower"]["secrets"])
    assert int(given["FLOWER_MAX_TASKS"]) <= 10_000
    assert int(given["FLOWER_PURGE_OFFLINE_WORKERS"]) > 0


def test_flower_knows_every_option_it_is_given() -> None:
    names = [name for name in SERVICES["flower"]["environment"] if name.startswith("FLOWER_")]
    assert names
    assert [name for name in names if name.removeprefix("FLOWER_").lower() not in default_options] == []


@pytest.mark.parametrize("name", SERVICES)
def test_images_are_named_without_a_host(name: str) -> None:
    assert PLAIN_IMAGE.fullmatch(interpolate(SERVICES[name]["image"], {}))


def test_the_image_is_made_from_plain_images_and_the_lock_file() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    assert set(re.findall(r"^FROM (\S+)", dockerfile, re.MULTILINE)) == {"python:${PYTHON}-slim"}
    assert re.findall(r"pip install .*", dockerfile) == [
        "pip install --disable-pip-version-check --require-hashes --only-binary :all: -r requirements.lock"
    ]
    assert re.search(r"^USER 10001:10001$", dockerfile, re.MULTILINE)
    assert {service["user"] for service in OURS.values()} == {"10001:10001"}


def test_the_image_holds_every_package_but_the_embedded_servers(packages: set[str]) -> None:
    assert set(in_image()) >= packages - {"embedded"}
    assert "embedded" not in in_image()
    assert [name for name in in_image() if not (ROOT / name).exists()] == []


def test_the_secrets_fit_together_and_stay_when_made_again(tmp_path: Path) -> None:
    def make() -> dict[str, str]:
        subprocess.run([ROOT / "deploy" / "secrets.sh", tmp_path / "made"], check=True, capture_output=True)
        return {file.name: file.read_text().strip() for file in (tmp_path / "made").iterdir()}

    made = make()
    assert made.keys() == FILE["secrets"].keys()
    assert {Path(interpolate(entry["file"], {})).name for entry in FILE["secrets"].values()} == made.keys()
    database, redis = make_url(made["database_url"]), make_url(made["redis_url"])
    assert (database.host, database.password) == ("postgres", made["postgres_password"])
    assert (redis.host, f"requirepass {redis.password}") == ("redis", made["redis_conf"])
    assert len(set(made.values())) == len(made)
    assert (tmp_path / "made").stat().st_mode & 0o077 == 0
    assert make() == made
