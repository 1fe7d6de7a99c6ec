"""Runs with something wrong with them, for the why screen: what a run would have said, with the verdict judged."""

import math
from dataclasses import replace

from tests.builders import healthy, steps
from tuitrain import troubles
from tuitrain.diagnosis.acts import Raised
from tuitrain.diagnosis.signs import Signs
from tuitrain.diagnosis.verdict import judge
from tuitrain.protocol import events as e
from tuitrain.protocol import findings as f

LAYER = {"saturation": {"i": 0.42, "f": 0.7, "g": 0.31, "o": 0.5}, "dead": 0.0, "recurrent_norm": 20.0, "radius": 2.1,
         "first": 1e-5, "peak": 1.0, "worst": 1.4, "memory": 11, "flow": [-3.0, -2.0, -1.0, 0.0]}
ILLS = {
    "lr too high": (Signs("adam", raised=(Raised("lr", 40.0, 1580, 1580, 0.003, "your lr x40 at step 1,580"),),
                          loss_jump=1.0, val_jump=0.9, spike=2.0,
                          update_jump=31.0, norm_jump=0.8, surprise=6.2, growth=0.41, saturation_jump=0.38), 1.0, 1.0),
    "explosion": (Signs("adam", loss_jump=0.6, val_jump=0.7, spike=84.0, early_spikes=3, growth=0.02, worst_flow=31.0,
                        update_jump=1.3, norm_jump=3.0), 84.0, 0.6),
    "bad data": (Signs("adam", loss_jump=2.1, val_jump=0.2, spike=3.0, replay_jump=2.0, growth=0.004, update_jump=1.4,
                       saturation_jump=0.0), 3.0, 2.1),
    "dead": (Signs("adam", rule=troubles.NO_PROGRESS, dead=0.88, saturation=0.97), 1.0, 1.2),
    "non finite": (Signs("adam", rule=troubles.NOT_FINITE, skipped=30), math.nan, 0.0),
    "overfitting": (Signs("adam", rule=None, overfits=True), 1.0, 0.0)}


REASON = "the loss left its level at step 1,601: 2.74 bpc over 50 steps, the best was 1.91"


def measured(last: int) -> list[e.Event]:
    """Weights that grow, one probe in fifty steps."""
    told: list[e.Event] = []
    for step in range(50, last + 1, 50):
        row = {"embedding": (12.0,), "layer 1": (30.0 + step / 80,), "head": (9.0,)}
        told.append(f.Measured(branch=0, first_step=step, every=5, weights=row, update_ratio={n: (0.002,) for n in row},
                               rms={"W_ih 1": (0.9,), "W_hh 1": (0.8 + step % 150 / 500,)}, gates={"i 1": (0.25,)}))
        layer = {**LAYER, "saturation": {"i": 0.4, "f": 0.7, "g": 0.2 + step / 8000, "o": 0.5}}
        told.append(f.Probed(branch=0, step=step, loss=1.6, entropy=1.5, layers=(layer,), reason="interval",
                             seconds=0.05))
    return told


def well() -> list[e.Event]:
    """Nothing is wrong."""
    return [*healthy(), *measured(600)]


def ill(name: str) -> list[e.Event]:
    """A run of 1,640 steps that broke at 1,600."""
    signs, norm, rise = ILLS[name]
    alarming = name != "overfitting"
    found = judge(replace(signs, reason=REASON if alarming else ""))
    story = [*well(), *(steps(first, 50) for first in range(601, 1600, 50)), *measured(1600)]
    story.append(steps(1601, 40, loss=1.31 + rise, norm=0.3 * norm))
    if alarming:
        story += [
            f.WarningRaised(branch=0, step=1580, onset=1580, rule="spike", value=24.0, threshold=20.0,
                            sentence="one gradient norm of 7.2, 24 times the usual 0.3: the text still reads well, but "
                                     "the recurrence can explode"),
            f.AlarmRaised(branch=0, step=1640, onset=1601, rule=(signs.rule or troubles.LEVEL).name, value=1.9,
                          threshold=1.5, sentence=REASON),
            f.BlackBoxKept(branch=0, step=1640, onset=1601, path="blackbox/b0-s1640.json", replayed={}, shares={},
                           streams=({"step": 1603, "stream": 3, "offset": 41_288, "loss": 4.1,
                                     "text": "and the lamp went out.\n\n\n     CHAPTER"},))]
    story.append(f.VerdictReached(
        branch=0, step=1640, onset=1601, cause=found.cause, sentence=found.sentence, evidence=found.evidence,
        runner_up=found.runner_up, against=found.against, remedy=found.remedy, alarming=alarming))
    story.append(f.AdviceGiven(branch=0, step=1640, knob="clip", value=1.5, low=0.36, high=1.5, sentence=""))
    return story
