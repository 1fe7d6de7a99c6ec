"""The import rules at run time, and the two commands of the README."""

import subprocess
import sys
from pathlib import Path

import pytest

from tuitrain.charlstm.config import PRESETS, Config
from tuitrain.ui.keys import TABLE

ROOT = Path(__file__).resolve().parents[1]
ROOMS_OF_TORCH = "torch tuitrain.engine tuitrain.charlstm"


@pytest.mark.parametrize(("modules", "forbidden"), [
    ("tuitrain.protocol.codec, tuitrain.protocol.channel", "torch numpy textual rich"),
    ("tuitrain.host.server, tuitrain.host.client, tuitrain.host.launch", ROOMS_OF_TORCH + " textual"),
    ("tuitrain.ui.app", ROOMS_OF_TORCH),
    ("tuitrain.cli.attach, tuitrain.cli.screen", "torch tuitrain.engine"),
    ("tuitrain.headless", ROOMS_OF_TORCH + " textual"),
    ("tuitrain.run.saver, tuitrain.run.journal, tuitrain.telemetry.run_state", ROOMS_OF_TORCH + " textual"),
    ("tuitrain.diagnosis.guard", ROOMS_OF_TORCH + " textual"),
    ("tuitrain.charlstm.prepare", "textual rich plotext"),
    ("tuitrain.engine.trainer, tuitrain.watching", "tuitrain.charlstm textual"),
    ("tuitrain.charlstm.looks.sampler, tuitrain.charlstm.text.corpus, tuitrain.charlstm.runtime", "torch"),
])
def test_what_a_room_may_load(modules: str, forbidden: str) -> None:
    code = f"import sys, {modules}; print([m for m in {forbidden.split()!r} if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_every_preset_is_a_valid_configuration(preset: str, device: str) -> None:
    config = Config.of({"preset": preset}, device)
    assert config.lr > 0 and config.preset == preset


def test_the_presets_are_the_recipes_they_are_named_after() -> None:
    tflearn, rnn = Config.of({"preset": "tflearn"}), Config.of({"preset": "char-rnn"})
    assert (tflearn.layers, tflearn.hidden, tflearn.dropout, tflearn.lr, tflearn.bptt, tflearn.stride, tflearn.loss,
            tflearn.batch_size, tflearn.clip, tflearn.epochs, tflearn.precision) == (
                3, 512, 0.5, 0.005, 30, 3, "last", 128, 5.0, 50.0, "fp32")
    assert (rnn.layers, rnn.hidden, rnn.bptt, rnn.batch_size, rnn.optimizer, rnn.lr, rnn.alpha, rnn.clip_kind) == (
        2, 128, 50, 50, "rmsprop", 0.002, 0.95, "element")
    assert Config.of({}, "cuda").hidden == 512 and Config.of({}).hidden == 128
    assert Config.of({"minutes": 1.0}).lr_schedule == "linear" and Config.of({}).lr_schedule == "constant"


def test_the_ci_runs_the_readmes_test_command() -> None:
    readme, ci = (ROOT / "README.md").read_text(), (ROOT / ".ci" / "run").read_text()
    [command] = [line.strip() for line in readme.splitlines() if "pytest" in line and "pip install" in line]
    assert command in ci


def test_the_readme_has_every_key() -> None:
    readme = (ROOT / "README.md").read_text()
    assert [k.face for k in TABLE if f"| `{k.face}` | {k.help} |" not in readme] == []
