"""Options that were not typed: who comes first, where a value is from, and what is said of a wrong one."""

import dataclasses
import tomllib
from pathlib import Path

import pytest

from tuitrain.charlstm.config import Config
from tuitrain.cli import options
from tuitrain.cli.main import main
from tuitrain.cli.settings import in_force, table
from tuitrain.errors import UsageError


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The person's own file."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    (tmp_path / "config" / "tuitrain").mkdir(parents=True)
    return tmp_path / "config" / "tuitrain" / "tuitrain.toml"


def test_the_order_is_option_environment_runs_file_own_file_preset(tmp_path: Path, own: Path) -> None:
    own.write_text('lr = 0.1\nclip = 0.2\nhidden = 30\nlayers = 4\nsample-every = "40s"\n')
    (tmp_path / "tuitrain.toml").write_text("lr = 0.01\nclip = 0.02\nhidden = 31\ntemperature = [0.6, 1]\n")
    found = in_force({"lr": 0.5}, tmp_path, {"TUITRAIN_CLIP": "0.7", "TUITRAIN_LR": "9", "HOME": "/"})
    assert {name: s.value for name, s in found.items()} == {
        "lr": 0.5, "clip": 0.7, "hidden": 31, "layers": 4, "sample_every": "40s", "temperature": (0.6, 1.0)}
    assert [found[n].origin for n in ("lr", "clip", "hidden", "layers")] == [
        "--lr", "TUITRAIN_CLIP", str(tmp_path / "tuitrain.toml"), str(own)]


def test_an_end_that_comes_first_drops_the_others(own: Path) -> None:
    own.write_text("steps = 100\n")
    assert set(in_force({"minutes": 5.0}, None, {})) == {"minutes"}
    assert in_force({}, None, {})["steps"].value == 100


def test_what_is_shown_is_a_file_of_settings_again(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--hidden", "64", "--preset", "char-rnn", "--show-config"]) == 0
    shown = capsys.readouterr().out
    lines = {line.split(" = ")[0]: line for line in shown.splitlines()}
    assert lines["hidden"].endswith("# --hidden") and lines["alpha"].endswith("# preset char-rnn")
    assert lines["seed"].endswith("# default")
    own.write_text(shown)
    again = in_force({}, None, {})
    assert tomllib.loads(shown)["lr"] == 0.002 and table(again).count(str(own)) == len(lines)
    assert Config.of({n: s.value for n, s in again.items()}) == Config.of({"hidden": 64, "preset": "char-rnn"})


@pytest.mark.parametrize(("text", "said"), [
    ("lrr = 1", "did you mean lr"), ("lr = 'fast'", "is not valid"), ("lr = ", "not valid TOML"),
    ("[lr]\nx = 1", "at the top level"), ("optimizer = 'adm'", "choose one of"), ("sample-every = 'soon'", "30s")])
def test_a_wrong_file_is_named_with_the_key(own: Path, text: str, said: str) -> None:
    own.write_text(text)
    with pytest.raises(UsageError, match=said) as raised:
        in_force({}, None, {})
    assert str(own) in str(raised.value) and "\n" not in str(raised.value)


def test_a_wrong_variable_is_named() -> None:
    with pytest.raises(UsageError, match="TUITRAIN_HIDEN: no such option; did you mean hidden"):
        in_force({}, None, {"TUITRAIN_HIDEN": "3"})
    assert in_force({}, None, {"TUITRAIN_TRACEBACK": "1"}) == {}


def test_every_field_has_an_option_of_its_own_name() -> None:
    grouped = [name for members in options.GROUPS.values() for name in members]
    assert sorted([*grouped, *options.NOT_OPTIONS]) == sorted(spec.name for spec in dataclasses.fields(Config))
