"""Nothing is cut off in the middle: labels, legends, long lines of the log; marks lie below the curves."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from textual.geometry import Region
from textual.widgets import Static

from tests.builders import healthy, steps
from tests.ui.ills import ill, measured
from tests.ui.script import Script, drive, screen, until
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f
from tuitrain.telemetry.run_state import RunState
from tuitrain.telemetry.sentences import headline
from tuitrain.telemetry.units import LN2
from tuitrain.ui.app import CockpitApp
from tuitrain.ui.panes.gradients import GradientsPane
from tuitrain.ui.panes.log import LogPane
from tuitrain.ui.panes.loss import LossPane
from tuitrain.ui.panes.machine import MachinePane
from tuitrain.ui.plot import Chart, Curve, faces, nice_ticks
from tuitrain.ui.why import Why

LONG = "the recurrent weights grow and could make a gradient 31 times as large with each step back through time; " * 3
GROWTH = f.WarningRaised(branch=0, step=600, onset=600, rule="growth", value=31.0, threshold=30.0, sentence=LONG)
TURN = e.KnobChanged(branch=0, step=560, name="lr", old=0.003, new=0.0015, id="", by="you")


def back(asked: int | None) -> e.RolledBack:
    return e.RolledBack(from_branch=0, from_step=658, to_step=460, branch=1, id="", by="you", asked=asked, point="s",
                        knobs={"lr": 0.001, "clip": 0.0})


def knob(name: str, old: float, new: float) -> e.KnobChanged:
    return e.KnobChanged(branch=0, step=1, name=name, old=old, new=new, id="", by="you")


def advice(sentence: str) -> f.AdviceGiven:
    return f.AdviceGiven(branch=0, step=600, knob="clip", value=1.5, low=1.2, high=3.0, sentence=sentence)


@pytest.mark.parametrize(("event", "words"), [
    (knob("clip_auto", 1.0, 0.0), "automatic clip off"), (knob("clip_auto", 0.0, 1.0), "automatic clip on"),
    (knob("clip", 1.6, 1.6), ""), (knob("clip", 1.6, 2.0), "clip 1.6 → 2"), (knob("clip", 1.0, 0.0), "clip 1 → off"),
    (knob("clip", 0.0, 1.6), "clip off → 1.6"), (knob("clip", 0.0, 0.0), ""),
    (back(486), "back from step 658 to 460, the last point before 486: branch 1, lr 0.001, clip off"),
    (back(460), "back from step 658 to 460: branch 1, lr 0.001, clip off"),
    (advice("five medians"), "advice: clip 1.5; five medians"), (advice(""), "advice: clip 1.5")])
def test_the_log_says_it_plainly(event: e.Event, words: str) -> None:
    assert headline(event) == words


@pytest.mark.parametrize(("low", "high"), [(0, 30), (0, 12), (2.0, 2.5), (1.9, 2.1), (0, 5), (10, 250)])
def test_labels_of_an_axis_are_whole_and_alike(low: float, high: float) -> None:
    said = [face for _, face in faces(nice_ticks(low, high, 5))]
    assert all(float(face) == pytest.approx(tick) for face, tick in zip(said, nice_ticks(low, high, 5), strict=True))
    assert len({len(face.partition(".")[2]) for face in said}) == 1 and not any(face.endswith(".") for face in said)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
def test_a_long_line_of_the_log_is_read_whole_where_there_is_room(size: tuple[int, int]) -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        log = app.cockpit.query_one(LogPane)

        def rows() -> list[str]:
            return [line.text for line in log.lines]

        if size[0] == 80:
            await until(lambda: any(row.rstrip().endswith("…") for row in rows()))
            newest = rows()[-2:]
            assert newest[0][:8].count(":") == 2, "the newest entry is read from its beginning"
            said = " ".join(" ".join(newest).split()).partition("warning: ")[2]
            assert LONG.startswith(said.rstrip("…")[:40])
            await pilot.press("7", "z")
            await pilot.pause()
            app.redraw(at_once=True)
        await until(lambda: LONG.strip() in " ".join(" ".join(rows()).split()))
        assert max(len(row.rstrip()) for row in rows()) <= log.size.width

    drive(Script([*healthy(), GROWTH]), act, size=size)


@pytest.mark.parametrize("validated", [1.6, None])
def test_the_line_of_an_epoch_is_read_whole_at_80_columns(validated: float | None) -> None:
    done = e.EpochEnded(branch=0, step=12_600, epoch=21, loss=1.7, val_loss=validated, val_step=12_250, seconds=9.0)

    async def act(app: CockpitApp, pilot: Any) -> None:
        log = app.cockpit.query_one(LogPane)
        await until(lambda: any("epoch 21" in line.text for line in log.lines))
        said = " ".join(" ".join(line.text for line in log.lines[-2:]).split())
        assert said.endswith("validation 2.308 bpc of 350 steps ago" if validated else "train 2.453 bpc"), said
        assert max(len(line.text.rstrip()) for line in log.lines) <= log.size.width

    drive(Script([*healthy(), done]), act, size=(80, 24))


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
def test_marks_lie_below_the_curve_and_a_legend_says_what_they_are(size: tuple[int, int]) -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        loss = app.cockpit.query_one("#loss")
        rows = [loss.render_line(y).text for y in range(loss.content_size.height)]
        [marked] = [row for row in rows[:-1] if "▲" in row]
        assert not any(0x2800 < ord(char) < 0x2900 for char in marked), "the curve has rows of its own"
        if size[0] == 120:
            assert "▲ act or alarm" in rows[-1] and "▲ act" in screen(app).partition("on disk")[2]
            assert "! warning" in screen(app)

    drive(Script([*healthy(), TURN]), act, size=size)


@pytest.mark.parametrize("size", [(80, 24), (76, 24), (120, 40)])
def test_the_numbers_below_the_loss_are_whole_parts(size: tuple[int, int]) -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        loss = app.cockpit.query_one("#loss")
        words = loss.render_line(loss.content_size.height - 1).text.strip()
        for part in words.split("  "):
            assert part.strip() in ("─ train 2.061", "○ val 2.308", "best 2.308", "best 2.308 at 512",
                                    "▲ act or alarm"), words

    drive(Script([*healthy(), TURN]), act, size=size)


def test_the_worst_flow_is_whole_in_a_narrow_column() -> None:
    probe = next(x for x in measured(50) if isinstance(x, f.Probed))
    worst = f.Probed(branch=0, step=600, loss=1.6, entropy=1.5, reason="interval", seconds=0.1,
                     layers=({**probe.layers[0], "worst": 2.4e7},))

    async def act(app: CockpitApp, pilot: Any) -> None:
        assert "worst 2.4e+07" in screen(app)

    drive(Script([*healthy(), worst]), act, size=(160, 60))


def test_why_does_not_call_a_run_well_in_which_a_gradient_stands_out() -> None:
    story = healthy()
    torn = story[5]
    assert isinstance(torn, e.StepsDone)
    story[5] = e.StepsDone(**{name: getattr(torn, name) for name in torn.__dataclass_fields__ if name != "grad_norm"},
                           grad_norm=(22_800.0, *torn.grad_norm[1:]))

    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("w")
        assert isinstance(app.screen, Why)
        words = app.export_screenshot()
        assert "medians" in words.replace("&#160;", " ")
        assert "nothing&#160;is&#160;wrong" not in words and "stands&#160;out" in words

    drive(Script(story), act)


def test_a_drill_says_that_it_is_one_and_its_note_names_the_faults() -> None:
    start = healthy()[0]
    assert isinstance(start, e.RunStarted)
    script = Script([replace(start, facts={**start.facts, "drill": True}), *healthy()[1:]])

    async def act(app: CockpitApp, pilot: Any) -> None:
        assert "DRILL: m names the fault, q ends it" in screen(app)
        await pilot.press("w")
        words = app.export_screenshot().replace("&#160;", " ")
        assert "the analyst is silent" in words and "nothing is wrong" not in words and "q ends the drill" in words
        await pilot.press("escape", "m")
        words = app.export_screenshot().replace("&#160;", " ")
        assert "name the fault" in words and "lr too high, exploding gradient" in words

    drive(script, act, size=(80, 24))


def evaluated(step: int, loss: float, part: bool) -> e.Evaluated:
    return e.Evaluated(branch=0, step=step, loss=loss, bpc=loss / LN2, best=False, characters=9, reason="interval",
                       seconds=1.0, part=part)


@pytest.mark.parametrize(("size", "words"), [
    ((80, 24), "∙ part"), ((120, 40), "∙ part of val"),
    ((200, 60), "∙ small part of val, oftener")])
def test_a_part_of_the_validation_text_has_dots_and_a_legend_at_every_size(size: tuple[int, int], words: str) -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        loss = app.cockpit.query_one("#loss")
        rows = [loss.render_line(y).text for y in range(loss.content_size.height)]
        assert words in rows[-1] and "○ val 2.308" in rows[-1] and any("∙" in row for row in rows[:-1]), rows

    drive(Script([*healthy(), evaluated(520, 1.5, True), evaluated(560, 1.5, True)]), act, size=size)


def test_steps_that_were_left_are_dim_in_the_plot_of_the_gradients_as_in_that_of_the_loss() -> None:
    left = e.RolledBack(from_branch=0, from_step=600, to_step=300, branch=1, id="", by="you", asked=None,
                        point="b0-s300", knobs={"lr": 0.001, "clip": 1.0})

    async def act(app: CockpitApp, pilot: Any) -> None:
        for pane in (app.cockpit.query_one(LossPane), app.cockpit.query_one(GradientsPane)):
            dim = pane.palette().dim
            [gone] = [c for c in pane._chart(app.state, app.view).curves if c.colour == dim]
            assert gone.x[0] == 301 and gone.x[-1] >= 599 and len(gone.y) >= 150

    drive(Script([*healthy(), left]), act)


def test_what_the_alarm_said_is_not_said_again_by_the_verdict_below_it() -> None:
    state = RunState()
    for event in ill("explosion"):
        state.fold(event)
    entries = [entry.words for entry in state.story.entries]
    [alarm] = [words for words in entries if words.startswith("ALARM: ")]
    [verdict] = [words for words in entries if words.startswith("why: ")]
    assert alarm.removeprefix("ALARM: ") not in verdict and "a gradient 84 times the median at the onset" in verdict


@pytest.mark.parametrize(("reason", "told"), [("interval", False), ("best", True), ("kept", True), ("end", True)])
def test_the_log_tells_the_checkpoints_that_are_no_routine(reason: str, told: bool) -> None:
    saved = e.CheckpointSaved(branch=0, step=9, id="", by="", reason=reason, path="checkpoints/b0-s9.safetensors",
                              bytes=10, seconds=0.1, params_sha256="0")
    assert bool(headline(saved)) is told


def test_a_value_that_is_asked_for_is_whole_in_the_pane_of_the_knobs() -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        app.view.asked = {"1": ("lr", 0.00625), "2": ("clip", 1.25)}
        app.redraw(at_once=True)
        await pilot.pause()
        assert "asked 0.00625 …" in screen(app) and "asked 1.25 …" in screen(app)

    drive(Script(healthy()), act)


def test_evidence_goes_on_below_its_own_beginning() -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("w")
        assert isinstance(app.screen, Why)
        rows = [row.text for row in app.screen.query_one("#why", Static).render_lines(Region(0, 0, 70, 20))]
        at = next(i for i, row in enumerate(rows) if "+ in the worst example" in row)
        assert len(rows[at + 1]) - len(rows[at + 1].lstrip()) == rows[at].index("in the worst"), rows[at:at + 2]

    drive(Script(ill("explosion")), act, size=(80, 24))


def test_what_undo_would_undo_is_read_whole() -> None:
    back = e.RolledBack(from_branch=0, from_step=10_458, to_step=10_418, branch=1, id="", by="you", asked=10_420,
                        point="b0-s300", knobs={"lr": 0.000625, "clip": 1.25})

    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("u")
        await pilot.pause()
        assert "lr 0.000625, clip 1.25?" in " ".join(app.export_screenshot().replace("&#160;", " ").split())

    drive(Script([*healthy(), back]), act)


@pytest.mark.parametrize("last", [450, 600, 999, 1000, 3100, 9000])
def test_the_axis_of_steps_has_two_places_at_least_in_a_narrow_plot(last: int) -> None:
    x = np.arange(1.0, last)
    rows = Chart([Curve(x, x / last, "#ffffff")], (0.0, 1.0), [], (0.0, float(last))).draw(39, 8, True)
    assert len(rows[-1].plain.split()) >= 2, rows[-1].plain


def test_facts_of_the_machine_go_on_below_themselves() -> None:
    start = healthy()[0]
    assert isinstance(start, e.RunStarted)
    timed = "2 threads 0.23 s, 1 thread 0.0048 s; bf16 0.45 s on a busy machine, so 2 threads and timed again"
    script = Script([replace(start, facts={**start.facts, "timed": timed}), *healthy()[1:]])

    async def act(app: CockpitApp, pilot: Any) -> None:
        rows = [row.plain for row in app.cockpit.query_one(MachinePane).lines(app.state, app.view, 40, 20)]
        assert max(map(len, rows)) <= 40 and timed in " ".join(" ".join(rows).split())

    drive(script, act)


@pytest.mark.parametrize(("size", "most"), [((80, 24), "max"), ((120, 40), "largest")])
def test_the_clip_is_told_beside_the_largest_norm_at_every_size(size: tuple[int, int], most: str) -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        [told] = [row for row in screen(app).splitlines() if f" · {most} 16.4 at 61" in row]
        assert " · clip 1" in told

    drive(Script([*healthy(), steps(601, 20, norm=12.6), steps(621, 100, norm=0.2345)]), act, size=size)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 60)])
def test_a_refusal_is_read_whole(size: tuple[int, int]) -> None:
    async def act(app: CockpitApp, pilot: Any) -> None:
        await pilot.press("R")
        await pilot.pause()
        pane = app.cockpit.query_one("#knobs")
        rows = [pane.render_line(y).text.strip(" │") for y in range(pane.size.height)]
        assert "nothing is broken that R could answer; r picks a point to roll back to" in " ".join(rows), rows
        assert rows[0].startswith("lr") or size[0] == 80 or rows[1].startswith("lr"), rows

    drive(Script(healthy()), act, size=size)
