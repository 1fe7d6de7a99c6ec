"""A word of the screen that was mistyped is found by its closeness."""

import pytest

from tuitrain.cli.main import main
from tuitrain.errors import UsageError
from tuitrain.telemetry.glossary import near


@pytest.mark.parametrize(("typed", "meant"), [
    ("gradints", "gradients pane"), ("gradeint norm", "gradient norm"), ("clpi", "clip"), ("temprature", "temperature"),
    ("warmpu", "warm-up"), ("smaple", "sample pane"), ("bptr", "bptt")])
def test_the_nearest_word_comes_first(typed: str, meant: str) -> None:
    assert near(typed)[0] == meant and "radius" not in near(typed)


def test_nothing_is_guessed_where_nothing_is_like_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert near("xyzzy") == []
    assert main(["help", "gradints"]) == UsageError.exit_code
    assert "did you mean gradients pane" in capsys.readouterr().err
