"""What a run needs is told before it begins, with the numbers and what bounds it."""

import resource
from pathlib import Path

import pytest

from tuitrain.charlstm import footprint
from tuitrain.charlstm.config import Config
from tuitrain.cli.main import is_at_the_limit
from tuitrain.errors import UsageError


def group(folder: Path, most: str, used: int, cache: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "memory.max").write_text(most + "\n")
    (folder / "memory.current").write_text(f"{used}\n")
    (folder / "memory.stat").write_text(f"anon 5\ninactive_file {cache}\n")


def test_the_tightest_control_group_counts_and_its_cache_is_free(tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.write_text("1:name=old:/x\n0::/job/step\n")
    root = tmp_path / "cgroup"
    assert footprint.cgroup_free(root, mine) is None
    group(root / "job", "1000", 700, 100)
    group(root / "job" / "step", "max", 700, 100)
    assert footprint.cgroup_free(root, mine) == 400
    group(root / "job" / "step", "800", 700, 100)
    assert footprint.cgroup_free(root, mine) == 200
    (root / "job" / "step" / "memory.current").write_text("garbage")
    assert footprint.cgroup_free(root, mine) == 400
    assert footprint.cgroup_free(root, tmp_path / "nothing") is None


@pytest.mark.parametrize(("whose", "room"), [
    ("the machine", (10**9, "the machine", "")),
    ("the container's", (10**9, "the container's or the job's memory", "give it more, "))])
def test_a_model_that_is_too_large_is_refused_with_numbers(whose: str, room: tuple[int, str, str],
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(footprint, "limits", lambda device: iter([(10**12, "the machine", ""), room]))
    footprint.check(Config(layers=2, hidden=128, embedding=16), 60, "cpu")
    with pytest.raises(UsageError, match=rf"takes about 5\.\d+ GB and 1 GB of {whose}.*smaller --hidden"):
        footprint.check(Config(layers=2, hidden=4096, embedding=16), 60, "cpu")


def test_a_limit_of_addresses_bounds_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (10**6, 10**6))
    with pytest.raises(UsageError, match=r"0 B of the 1 MB of addresses.*raise that limit"):
        footprint.check(Config(layers=1, hidden=16, embedding=16), 60, "cpu")


def test_an_error_without_words_at_the_limit_is_the_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    error = SystemError("error return without exception set")
    assert not is_at_the_limit(error)
    monkeypatch.setattr(resource, "getrlimit", lambda which: (10**6, 10**6))
    assert is_at_the_limit(error) and not is_at_the_limit(KeyError("x"))
