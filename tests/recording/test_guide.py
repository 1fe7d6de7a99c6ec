"""A replay seeks and jumps by a guide beside the journal: to the same picture as without, never by a stale one."""

import asyncio
import threading
from dataclasses import asdict, replace
from itertools import pairwise
from pathlib import Path

import pytest

from tests.builders import FACTS, START, steps
from tests.ui.script import screen, until
from tuitrain.charlstm.config import Config
from tuitrain.cli.main import main
from tuitrain.protocol import events as e
from tuitrain.recording import guide
from tuitrain.recording.guide import Guide
from tuitrain.recording.past import Past
from tuitrain.recording.sessions import Replay
from tuitrain.run import journal
from tuitrain.run.directory import RunDirectory
from tuitrain.run.folder import Folder
from tuitrain.run.journal import Journal
from tuitrain.telemetry.run_state import RunState
from tuitrain.ui.app import CockpitApp

BEGAN = 1_700_000_000.0


def note(step: int, branch: int = 0) -> e.NoteAdded:
    return e.NoteAdded(branch=branch, step=step, id="n", by="you", text=f"at {step}")


def story() -> list[e.Event]:
    """1,000 steps, back to 500, 300 others; notes at 200, 700, and 600 of the second branch."""
    told: list[e.Event] = [replace(START, config=asdict(Config()), facts={**FACTS, "corpus": "text", "warmup": 0})]
    for first in range(1, 1001, 20):
        told.append(steps(first, 20))
        if first in (181, 681):
            told.append(note(first + 19))
    told.append(e.RolledBack(branch=1, from_branch=0, from_step=1000, to_step=500, point="b0-s500", id="r", by="you",
                             knobs={"lr": 0.001, "clip": 1.0}, asked=None, parent=0))
    for first in range(501, 801, 20):
        told.append(steps(first, 20, branch=1))
        if first == 581:
            told.append(note(600, 1))
    return told


def write(run: RunDirectory, events: list[e.Event], begin: float = BEGAN) -> None:
    book = Journal(run.journal)
    for i, event in enumerate(events):
        book.write(event, begin + i)
    book.close()


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunDirectory:
    monkeypatch.setattr(guide, "SPACING", 4096)  # a frame about every five lines
    run = RunDirectory(tmp_path / "run")
    run.create()
    run.write_config({"v": 1})
    write(run, story())
    return run


def indexed(run: RunDirectory) -> Replay:
    replay = Replay(run)
    replay.index()
    if replay._indexing is not None:
        replay._indexing.join(60)
    return Replay(run)


def folded(run: RunDirectory, count: int) -> RunState:
    state = RunState()
    for event, when in list(journal.read(run.journal))[:count]:
        state.fold(event, when)
    return state


def test_a_step_is_found_with_and_without_a_guide_and_looks_the_same(run: RunDirectory) -> None:
    plain, guided = Replay(run), indexed(run)
    assert len(guided.guide.frames) > 5 and not plain.guide.frames
    for step, branch in ((250, 0), (990, 0), (700, 1), (1, 0)):
        assert plain.to_step(step) and guided.to_step(step)
        assert guided.state.branch == branch and step <= guided.state.step < step + 20
        assert guided.state.to_wire() == plain.state.to_wire()
        assert "stopped" in guided.words and guided.now == plain.now
    before = guided.state.to_wire()
    assert not guided.to_step(5000) and "never at step 5,000" in guided.words and guided.state.to_wire() == before


def test_winding_with_a_guide_shows_what_winding_without_one_shows(run: RunDirectory) -> None:
    plain, guided = Replay(run), indexed(run)
    for share in (0.5, 0.3, -0.6, 1.0, -1.0):
        plain.jump(share)
        guided.jump(share)
        assert guided.state.to_wire() == plain.state.to_wire()


def test_only_what_lies_behind_the_nearest_frame_is_read(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    replay = indexed(run)
    read: list[int] = []
    real = journal.decode_event
    monkeypatch.setattr(journal, "decode_event", lambda line: read.append(1) or real(line))
    replay.to_step(780)
    assert replay.state.step == 780 and len(read) < 20


def test_jumps_go_from_event_to_event(run: RunDirectory) -> None:
    replay = indexed(run)
    steps_of = []
    while replay.to_event(1):
        steps_of.append((replay.state.branch, replay.state.step))
    assert steps_of == [(0, 200), (0, 700), (1, 500), (1, 600)] and "no event after" in replay.words
    back = []
    while replay.to_event(-1):
        back.append((replay.state.branch, replay.state.step))
    assert back == [(1, 500), (0, 700), (0, 200)] and "no event before" in replay.words


def test_a_damaged_line_before_an_event_moves_nothing(run: RunDirectory) -> None:
    lines = run.journal.read_bytes().splitlines(keepends=True)
    at = next(i for i, line in enumerate(lines) if b'"at 700"' in line)
    lines[at - 1] = lines[at - 1].replace(b'"branch":0', b'"branch":7')
    run.journal.write_bytes(b"".join(lines))
    replay = Replay(run)
    assert replay.to_event(1) and replay.to_event(1)
    assert replay.state.step == 680 and [entry.words for entry in replay.state.story.entries][-1].endswith("at 700")


@pytest.mark.parametrize("harm", ["grown", "another", "shorter", "damaged", "other layout"])
def test_a_stale_guide_is_never_believed(run: RunDirectory, harm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    indexed(run)
    known = len(guide.load(run).frames)
    assert known and guide.load(run).survey.size == run.journal.stat().st_size
    match harm:
        case "grown":
            write(run, [steps(801, 20, branch=1), note(820, 1)], BEGAN + 500)
            assert len(guide.load(run).frames) == known
        case "another":
            run.journal.unlink()
            write(run, [START, *(steps(first, 50, loss=1.0) for first in range(1, 1501, 50))])
        case "shorter":
            run.journal.write_bytes(b"".join(run.journal.read_bytes().splitlines(keepends=True)[:20]))
        case "damaged":
            raw = bytearray((run.path / guide.FILE).read_bytes())
            raw[len(raw) // 2] ^= 1
            (run.path / guide.FILE).write_bytes(raw)
        case "other layout":
            monkeypatch.setattr(guide, "LAYOUT", -1)
    if harm != "grown":
        assert not guide.load(run).frames
    replay = indexed(run)
    replay.jump(1.0)
    assert replay.state.to_wire() == folded(run, 1000).to_wire()
    assert guide.load(run).survey.size == run.journal.stat().st_size


def test_what_a_guide_holds_is_bounded_however_long_the_journal_is(
        run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guide, "FRAMES", 4)
    found = Guide()
    assert found.read_on(run.journal)
    assert 4 <= len(found.frames) <= 8 and found.spacing > 4096
    gaps = [b.offset - a.offset for a, b in pairwise(found.frames)]
    assert max(gaps) < 2 * found.spacing and found.reaches(run.journal.stat().st_size)


def test_a_run_makes_the_guide_as_it_goes(run: RunDirectory) -> None:
    run.journal.unlink()
    past = Past(run, guides=True)
    told = story()
    for begin in range(0, len(told), 10):
        write(run, told[begin:begin + 10], BEGAN + begin)
        past.read_on()
    assert not (run.path / guide.FILE).exists()
    with Folder(run.path) as folder:
        past.keep(folder, now=True)
    made = guide.load(run)
    assert len(made.frames) > 5 and made.survey.size == run.journal.stat().st_size
    replay = Replay(run)
    replay.index()
    assert replay._indexing is None  # nothing is left to be read
    replay.to_step(700)
    (run.path / guide.FILE).unlink()
    plain = Replay(run)
    plain.to_step(700)
    assert replay.state.to_wire() == plain.state.to_wire()


def test_a_run_without_the_beginning_of_a_guide_leaves_it_to_the_first_replay(run: RunDirectory) -> None:
    with Folder(run.path) as folder:
        Past(run).keep(folder, now=True)  # an index, by a version without guides
        past = Past(run, guides=True)
        write(run, [note(800, 1)], BEGAN + 500)
        past.keep(folder, now=True)
    assert not (run.path / guide.FILE).exists()


def test_who_leaves_early_keeps_what_was_indexed_and_the_next_replay_goes_on_there(run: RunDirectory) -> None:
    replay = Replay(run)
    replay._leaving = True  # as after `close`
    replay.index()
    assert replay._indexing is not None
    replay._indexing.join(60)
    assert len(guide.load(run).frames) == 1
    assert len(indexed(run).guide.frames) > 5


def test_a_jump_that_the_index_has_not_come_to_waits_and_the_screen_does_not(
        run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    may_read, real = threading.Event(), Guide.read_on

    def read_on(self: Guide, *arguments: object) -> bool:
        may_read.wait(60)
        return real(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Guide, "read_on", read_on)
    replay = Replay(run)
    replay.index()
    thread = replay._indexing
    assert thread is not None
    assert replay.to_step(700) and replay.drain_timed() == []
    assert replay.state.step == 0 and "going to step 700 (indexed: 0%)" in replay.words
    may_read.set()
    thread.join(60)
    replay.drain_timed()
    assert replay.state.step == 700 and replay.state.branch == 1 and "going" not in replay.words


def test_the_keys_of_a_replay_go_to_steps_and_events(run: RunDirectory) -> None:
    replay = indexed(run)
    app = CockpitApp(run.path, lambda: replay, at_once=True)

    async def sitting() -> None:
        async with app.run_test(size=(160, 50)) as pilot:
            await pilot.press("space", "]")
            await until(lambda: app.state.step == 200)
            await pilot.press("]", "]")
            await until(lambda: (app.state.branch, app.state.step) == (1, 500))
            await pilot.press("[")
            await until(lambda: (app.state.branch, app.state.step) == (0, 700))
            await pilot.press("g", *"990", "enter")
            await until(lambda: app.state.step == 1000)
            app.redraw_plots()
            for label in ("[ event before", "] next event", "g go to step"):
                assert label in screen(app)

    asyncio.run(sitting())


def test_in_plain_lines_a_step_and_the_list_of_events(run: RunDirectory, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(run.path), "--events"]) == 0
    listed = capsys.readouterr().out.splitlines()
    assert len(listed) == 4 and "step 700" in listed[1] and "at 700" in listed[1]
    assert main(["replay", str(run.path), "--no-ui", "--step", "700"]) == 0
    shown = capsys.readouterr().out
    assert "700" in shown and "at 600" in shown
    assert main(["replay", str(run.path), "--no-ui", "--step", "7000"]) == 2
    assert "never there" in capsys.readouterr().err
