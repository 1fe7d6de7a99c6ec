"""The numbers around an onset that a verdict weighs."""

from dataclasses import dataclass

from tuitrain.diagnosis.acts import Raised
from tuitrain.troubles import LEVEL, Rule


@dataclass(slots=True)
class Signs:
    """Numbers around an onset, None where unknown. Losses in nats per character."""

    optimizer: str
    rule: Rule | None = LEVEL
    """The rule that fired; None where none did, as with overfitting."""
    reason: str = ""
    """The sentence of the alarm."""
    raised: tuple[Raised, ...] = ()
    """Knobs that a person raised shortly before; the signs then compare with the time before that."""
    loss_jump: float | None = None
    val_jump: float | None = None
    spike: float | None = None
    """Largest norm since 20 steps before the onset, in medians of the time before."""
    early_spikes: int = 0
    """Number of norms above 20 medians in the 4,000 steps before that."""
    update_jump: float | None = None
    """Largest update ratio of a recurrent layer since the onset, divided by its median before."""
    norm_jump: float | None = None
    """Median norm since the onset divided by the median before."""
    surprise: float | None = None
    """Largest RMS of g / sqrt(v) of a recurrent matrix since the onset."""
    growth: float | None = None
    """Largest relative growth of a recurrent layer's weights in the first steps since the onset."""
    span: str = "in a few dozen steps"
    """The time of that growth, in words."""
    radius: float | None = None
    """Largest spectral radius of a candidate block before the onset, where no norms of single steps are known."""
    saturation_jump: float | None = None
    """Largest rise of the saturation of a gate that writes, in any layer, since the last probe before the onset."""
    saturation: float | None = None
    dead: float | None = None
    worst_flow: float | None = None
    flow: float | None = None
    """Largest share of the last step's gradient that reaches the first one, of any layer."""
    replay_jump: float | None = None
    """Loss of the text at the onset minus that of the text before it, under earlier weights, in nats."""
    recurrent_share: float | None = None
    """Share of the recurrent layers in the squared gradient norm since the onset."""
    skipped: int = 0
    made: bool = False
    """Whether those steps were made all the same."""
    own: bool = True
    """Whether the model is one of ours, which learns text; of another nothing is known but its numbers."""
    overfits: bool = False
    unchanged: bool = False
    """Whether the weights have hardly moved."""
