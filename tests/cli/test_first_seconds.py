"""Until the first step a person is told what is being done, before it is done."""

import json
import subprocess
import sys
import time
from pathlib import Path

from tuitrain.cli.age import age

CODE = """
import json, os, sys
from pathlib import Path
from tuitrain.cli import train
from tuitrain.run.directory import RunDirectory
said = []
train._report = lambda words: said.append([words, "torch" in sys.modules])
train._host({"corpus": sys.argv[1], "layers": 1, "hidden": 8, "batch_size": 2, "bptt": 8, "device": "cpu"},
            RunDirectory(Path(sys.argv[2])))
print(json.dumps(said), flush=True)
os._exit(0)
"""


def test_every_long_thing_is_named_before_it_is_done(corpus: Path, tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", CODE, str(corpus), str(tmp_path / "run")], capture_output=True,
                          text=True, check=True, timeout=120)
    said = json.loads(done.stdout)
    assert said[0] == ["loading torch", False]
    words = [words for words, _ in said]
    order = ["loading torch", "characters", "LSTM of", "timing steps", "building the model", "counting letters"]
    at = [next(i for i, w in enumerate(words) if part in w) for part in order]
    assert at == sorted(at)


def test_the_end_of_the_process_does_not_take_torch_apart() -> None:
    code = """
import atexit, gc
from types import SimpleNamespace
from tuitrain.cli import serve
serve.Signals = lambda worker: SimpleNamespace(install=lambda: None)
serve.print_to_the_end = lambda host, lines: 0
atexit.register(lambda: print("left to collect:", len(gc.get_objects())))  # called after those registered later
serve.serve(SimpleNamespace(worker=None, run=SimpleNamespace(path="run"), start=lambda: None), json=False)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    assert int(done.stdout.rpartition(":")[2]) < 100


def test_the_seconds_of_the_interpreter_count_too(tmp_path: Path) -> None:
    ours = age()
    assert 0 <= ours <= time.clock_gettime(time.CLOCK_BOOTTIME)
    assert age() >= ours
    asked = "import time; t = time.monotonic(); from tuitrain.cli.age import age; print(age() - (time.monotonic() - t))"
    told = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True, timeout=60)
    assert -0.1 < float(told.stdout) < 60
    for content in ("", "1 (a) b) R 1", "1 (x) " + "y " * 30):
        (tmp_path / "stat").write_text(content)
        assert age(tmp_path / "stat") == 0.0
    assert age(tmp_path / "nothing") == 0.0
