"""The whole of it: a folder that breaks is read, told and gone on with; bad input is one line."""

import json
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.autopsy import made
from tuitrain.autopsy import results
from tuitrain.autopsy.examination import Examiner
from tuitrain.autopsy.inquest import chosen, perform
from tuitrain.cli.main import main
from tuitrain.errors import CorpusError, TuitrainError, UsageError

Copy = Callable[[], Path]


def text_of(folder: Path) -> Path:
    return folder.parent / "text.txt"


def test_a_folder_that_breaks_is_told_in_json(copy: Copy, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copy()
    assert main(["autopsy", str(folder), "--corpus", str(text_of(folder)), "--json"]) == 0
    out, err = capsys.readouterr()
    found = json.loads(out)
    assert not err and out.count("\n") == 1
    assert [each["step"] for each in found["checkpoints"]] == list(range(30, 301, 30))
    losses = [each["loss"] for each in found["checkpoints"]]
    assert losses[:7] == sorted(losses[:7], reverse=True) and min(losses[7:]) > losses[6] + 0.5
    assert found["last_healthy"] == {"name": "lm_210.pt", "step": 210}
    assert found["first_broken"] == {"name": "lm_240.pt", "step": 240}
    assert found["cause"] == "lr_too_high" and len(found["evidence"]) >= 3
    # torch's file says which rate it was: at the first checkpoint, before it was raised
    assert found["command"] == f"tuitrain adopt {folder}/lm_210.pt --corpus {text_of(folder)} --lr 0.0025 --clip auto"
    assert set(found["checkpoints"][1]) >= {"gibberish", "radius", "worst", "saturation", "moved", "weights", "sample"}


def test_the_report_has_the_time_line_plots_and_the_verdict(copy: Copy, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copy()
    assert main(["autopsy", str(folder), "--corpus", str(text_of(folder)), "--no-ui"]) == 0
    out = capsys.readouterr().out
    for words in ("healthy until lm_210.pt; first broken lm_240.pt, 30 steps later", "cause: lr too high",
                  "✓  lm_210.pt", "✗  lm_240.pt", "linear.weight → head.weight", "sample of lm_210.pt (healthy)", "┤",
                  "LSTM 1x24, one-hot"):
        assert words in out
    *report, command = out.splitlines()
    assert "\x1b" not in out and max(map(len, report)) <= 100 and command.startswith("go on: tuitrain adopt ")


def test_an_interrupted_autopsy_goes_on_where_it_stopped(copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy()
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    seen: list[str] = []
    read = Examiner.read

    def counted(self: Examiner, name: str, *rest: Any) -> Any:
        if len(seen) == 4:
            raise KeyboardInterrupt
        seen.append(name)
        return read(self, name, *rest)

    monkeypatch.setattr(Examiner, "read", counted)
    with pytest.raises(KeyboardInterrupt):
        perform(folder, text_of(folder))
    monkeypatch.setattr(Examiner, "read", lambda self, name, *rest: seen.append(name) or read(self, name, *rest))
    found = perform(folder, text_of(folder))
    assert seen == [each.name for each in found.checkpoints]  # each once
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    kept = folder.with_name(folder.name + results.ENDING)
    whole = perform(folder, text_of(folder))
    assert whole.checkpoints == found.checkpoints and len(seen) == 10
    kept.write_text(kept.read_text()[:-200] + "\nno JSON\n")
    assert perform(folder, text_of(folder)).checkpoints[:9] == found.checkpoints[:9] and len(seen) == 11
    (folder / "lm_90.pt").write_bytes((folder / "lm_60.pt").read_bytes())  # it and what is compared with it count anew
    perform(folder, text_of(folder))
    assert seen[11:] == ["lm_90.pt", "lm_120.pt"]


def test_what_cannot_be_read_is_left_out_and_the_rest_goes_on(copy: Copy) -> None:
    folder = copy()
    broken = folder / "lm_120.pt"
    broken.write_bytes(broken.read_bytes()[:-500])
    torch.save({"lstm.weight_ih_l0": torch.ones(8, 5), "lstm.weight_hh_l0": torch.ones(8, 2),
                "linear.weight": torch.ones(5, 2)}, folder / "lm_150.pt")
    found = perform(folder, text_of(folder))
    assert [name for name, _ in found.unreadable] == ["lm_120.pt", "lm_150.pt"]
    assert "damaged or cut off" in found.unreadable[0][1] and "another model" in found.unreadable[1][1]
    assert found.last_healthy is not None and found.last_healthy.step == 210 and len(found.checkpoints) == 8


def test_tflearns_folder_with_its_pickled_vocabulary(tmp_path: Path) -> None:
    made.tflearn_set(tmp_path / "set", 3, layers=1, hidden=6)
    (tmp_path / "text.txt").write_text(made.TEXT)
    found = perform(tmp_path / "set", tmp_path / "text.txt")
    assert found.first_broken is None and found.last_healthy is None  # random weights have learned nothing
    assert found.subject.config.loss == "last" and found.subject.config.bptt == 30
    assert all(each.squares for each in found.checkpoints)
    turned = dict(zip(made.VOCABULARY, reversed(range(len(made.VOCABULARY))), strict=True))
    (tmp_path / "set" / "charDict.pi").write_bytes(pickle.dumps(turned))
    other = perform(tmp_path / "set", tmp_path / "text.txt")
    assert other.checkpoints[0].loss != found.checkpoints[0].loss  # the numbers mean other characters now
    assert other.checkpoints[0].weights == found.checkpoints[0].weights


def test_characters_in_another_order_give_the_same_losses(copy: Copy) -> None:
    folder = copy()
    found = perform(folder, text_of(folder), every=9)
    order = torch.randperm(len(made.VOCABULARY), generator=torch.Generator().manual_seed(1))
    for file in folder.iterdir():
        stored = torch.load(file, weights_only=True)
        weights = stored["model_state_dict"]
        for name in ("linear.weight", "linear.bias"):
            weights[name] = weights[name][order]
        weights["lstm.weight_ih_l0"] = weights["lstm.weight_ih_l0"][:, order]
        numbers = {made.VOCABULARY[int(j)]: i for i, j in enumerate(order)}
        torch.save({"model_state_dict": weights, "stoi": numbers}, file)
    turned = perform(folder, text_of(folder), every=9)
    before, after = ([each.loss for each in one.checkpoints] for one in (found, turned))
    assert after == pytest.approx(before, abs=1e-5)
    assert turned.checkpoints[0].sample == found.checkpoints[0].sample


def test_every_nth_counts_back_from_the_last() -> None:
    assert chosen(list("abcdefg"), 3) == ["a", "d", "g"] and chosen(list("abcdef"), 4) == ["b", "f"]  # type: ignore[list-item]
    assert chosen(list("abc"), 1) == ["a", "b", "c"]  # type: ignore[list-item]


@pytest.mark.parametrize(("text", "words"), [
    ("abc " * 100, "the vocabulary has not|different characters"),
    (made.TEXT.replace("e", "é"), "of text.txt is characters that the vocabulary has not"),
])
def test_a_text_that_does_not_fit_is_refused(copy: Copy, text: str, words: str) -> None:
    folder = copy()
    text_of(folder).write_text(text)
    if "é" in text:
        with pytest.raises(CorpusError, match=words):
            perform(folder, text_of(folder))
        return
    for file in folder.iterdir():  # without a vocabulary of its own
        torch.save(torch.load(file, weights_only=True)["model_state_dict"], file)
    with pytest.raises(CorpusError, match=words):
        perform(folder, text_of(folder))


def test_a_few_unknown_characters_are_left_out_and_told(copy: Copy) -> None:
    folder = copy()
    text_of(folder).write_text(made.TEXT + "@@")
    found = perform(folder, text_of(folder), every=10)
    assert any("2 characters of text.txt are not in the vocabulary" in words for words in found.remarks)


def test_a_vocabulary_can_be_named(copy: Copy, tmp_path: Path) -> None:
    folder = copy()
    for file in folder.iterdir():
        torch.save(torch.load(file, weights_only=True)["model_state_dict"], file)
    (tmp_path / "chars.json").write_text(json.dumps(list(made.VOCABULARY)))
    perform(folder, text_of(folder), every=10, vocabulary=tmp_path / "chars.json")
    with pytest.raises(UsageError, match="--vocabulary"):
        perform(folder, text_of(folder), vocabulary=tmp_path / "nothing.json")


def test_bad_input_is_one_line(tmp_path: Path, copy: Copy, capsys: pytest.CaptureFixture[str]) -> None:
    folder = copy()
    for words, said in ((["autopsy", str(tmp_path / "no")], "No such file"), (["autopsy", str(folder)], "which text?"),
                        (["autopsy", str(folder / "lm_30.pt")], "is a file"),
                        (["autopsy", str(folder), "--every", "0"], "a number of 1 or more"),
                        (["autopsy", str(folder), "--corpus", str(tmp_path / "no.txt")], "no such file")):
        assert main([*words, "--no-ui"]) in (1, 2)
        err = capsys.readouterr().err
        assert said in err and err.count("\n") == 1


def test_a_folder_whose_files_are_all_broken_says_why(tmp_path: Path) -> None:
    (tmp_path / "a.pt").write_bytes(b"PK\x03\x04 x/data.pkl")
    with pytest.raises(TuitrainError, match=r"a\.pt: it is damaged or cut off"):
        perform(tmp_path, None)


def test_a_page_needs_matplotlib_and_says_so(copy: Copy, capsys: pytest.CaptureFixture[str], tmp_path: Path,
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    folder = copy()
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["autopsy", str(folder), "--html", str(tmp_path / "page.html")]) == 2
    assert "pip install 'tuitrain[export]'" in capsys.readouterr().err


def test_a_page_is_whole_and_loads_nothing(copy: Copy, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="pages are drawn with matplotlib, which is optional")
    folder, file = copy(), tmp_path / "page.html"
    assert main(["autopsy", str(folder), "--corpus", str(text_of(folder)), "--html", str(file), "--json"]) == 0
    written = file.read_text()
    assert written.count("<svg") == 7 and "first broken lm_240.pt" in written and "lr too high" in written
    assert not re.findall(r'(?:src|href)="(?!#)[^"]*', re.sub(r"xmlns:?\w*=\"[^\"]*\"", "", written))
    assert main(["autopsy", str(folder), "--html", str(tmp_path / "no" / "page.html")]) == 2
