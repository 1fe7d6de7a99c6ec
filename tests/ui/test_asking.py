"""Asking by itself, without a screen: what is sent, what waits for an answer, and why something is not sent."""

from dataclasses import replace

import pytest

from tests.ui.script import Script
from tuitrain.protocol import commands as c
from tuitrain.protocol import events as e
from tuitrain.protocol.capabilities import Capabilities
from tuitrain.telemetry.run_state import RunState
from tuitrain.ui.actions.asking import READ, Asking
from tuitrain.ui.link import Link
from tuitrain.ui.view import View


def on(script: Script) -> tuple[Asking, Link, list[str]]:
    """Asking on a session that is live, and a line for each time that it was shown: what it refused."""
    link, shown = Link(RunState(), View()), list[str]()
    link.join(script)
    return Asking(link, lambda: shown.append(link.view.refused)), link, shown


def test_a_command_waits_until_an_event_carries_its_id() -> None:
    script = Script()
    asking, link, shown = on(script)
    asking.ask(c.SetKnob, "clip", 2.0, name="clip", value=2.0)
    [sent] = script.asked
    assert isinstance(sent, c.SetKnob) and link.view.asking("clip") == asking.knob("clip") == 2.0 and shown == [""]
    assert not asking.answered(e.EngineSaid(text="something else")) and link.view.asked
    assert asking.answered(e.CommandRefused(id=sent.id, by="engine", reason="too high")) and not link.view.asked
    assert link.view.refused == "too high"


@pytest.mark.parametrize(("connection", "why"), [
    ("starting", "the engine is still starting"), ("gone", "the engine is gone"),
    ("replay", "a replay: space stops, - + is its speed, , . winds it, [ ] goes to events, g to a step"),
    ("read-only", "this is a read-only look at the run: steer it where its socket can be reached")])
def test_where_nobody_hears_nothing_is_sent_and_the_reason_is_shown(connection: str, why: str) -> None:
    script = Script()
    asking, link, shown = on(script)
    link.view.connection = connection
    asking.ask(c.Pause, "pause")
    assert (script.asked, link.view.asked, shown) == ([], {}, [why])


def test_what_a_run_does_not_offer_is_not_sent_and_the_run_says_why() -> None:
    script = Script()
    offers = Capabilities(knobs={"lr": "there is no scheduler", "clip": ""})
    script.state.facts = replace(script.state.facts, capabilities=offers)
    asking, _, shown = on(script)
    assert not asking.offered("type_lr") and asking.offered("type_clip")
    asking.ask(c.ScaleKnob, "lr", 1.0, name="lr", factor=2.0)
    assert script.asked == [] and shown == ["there is no scheduler"] * 2


def test_a_stop_that_is_refused_ends_no_cockpit() -> None:
    script = Script()
    asking, _, _ = on(script)
    asking.ending = True
    asking.ask(c.Stop, "end")
    asking.answered(e.CommandRefused(id=script.asked[0].id, by="engine", reason="not now"))
    assert not asking.ending


def test_an_answer_is_shown_for_a_while_or_until_the_next_key() -> None:
    script, now = Script(), [0.0]
    link = Link(RunState(), View())
    link.join(script)
    asking = Asking(link, lambda: None, lambda: now[0])
    asking.refuse("no warning stands")
    now[0] = READ - 0.1
    assert not asking.outdated() and link.view.refused == "no warning stands"
    now[0] = READ
    assert asking.outdated() and link.view.refused == "" and not asking.outdated()
    asking.ask(c.SetKnob, "clip", 2.0, name="clip", value=2.0)
    assert asking.answered(e.EngineSaid(text="clip is 2 already", id=script.asked[0].id, by="you"))
    assert (link.view.said, link.view.refused) == ("clip is 2 already", "")
    assert asking.forget() and link.view.said == ""


def test_a_session_that_lost_events_gives_its_state_anew() -> None:
    script = Script([e.EngineSaid(text="one")])
    _, link, _ = on(script)
    before = link.state
    anew, events = link.drain()
    assert (anew, [event for event, _ in events]) == (False, [e.EngineSaid(text="one")]) and link.state is before
    script.state, script.resynchronised = RunState(), 1
    assert link.drain() == (True, []) and link.state is script.state is not before
    link.leave()
    assert script.closed and link.session is None and link.drain() == (False, [])
