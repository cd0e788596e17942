"""The folder of a run: its env file serves shells and programs, its secrets stay with their owner."""

import stat
import subprocess
from pathlib import Path

import pytest

from embedded.home import Home, Kept


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path)
    home.prepare()
    return home


@pytest.mark.parametrize("value", ["plain", "", "two words", "it's", 'say "hi"', "$HOME `id` \\ ;", "a=b&c=d", "ü"])
def test_what_is_published_reaches_a_shell_and_its_children_unchanged(home: Home, value: str) -> None:
    home.publish({"MAINSTAY_URL": "http://127.0.0.1:1", "VALUE": value})
    script = '. "$0"; exec printenv VALUE'
    shell = subprocess.run(["sh", "-c", script, str(home.env_file)], capture_output=True, text=True, check=True)
    assert shell.stdout == f"{value}\n"
    assert home.published() == {"MAINSTAY_URL": "http://127.0.0.1:1", "VALUE": value}


def test_nothing_is_published_before_everything_is_ready(home: Home) -> None:
    assert home.published() == {}


def test_secrets_are_made_once_and_readable_by_their_owner_alone(home: Home) -> None:
    first = Kept.load(home)
    first.api_key = "mst_dev_x"
    first.save(home)
    home.publish({})
    assert Kept.load(home) == first
    assert first != Kept()
    for file in (home.data / "secrets.json", home.env_file):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_the_logs_of_the_run_before_are_kept_beside_the_new_ones(home: Home) -> None:
    home.log("api").write_text("why it died")
    home.prepare()
    assert not home.log("api").exists()
    assert Path(f"{home.log('api')}.1").read_text() == "why it died"
