"""What happened, in the past tense: one frozen class each. Knows nothing of who caused or reads an event.

Losses are nats per character, norms are global L2 norms before clipping, `seconds` are wall time, `bytes` bytes.
`step` counts optimizer updates from 1, `branch` the lineages that rollbacks open, from 0. An event that opens a
branch names its `parent`, the branch that it continues; None if it opens none, and in journals of older versions.
An event that answers a command carries its `id` and `by` (who sent it); otherwise `id` is empty.
"""

from tuitrain.protocol.events.base import *
from tuitrain.protocol.events.learning import *
from tuitrain.protocol.events.races import *
from tuitrain.protocol.events.run import *
from tuitrain.protocol.events.saving import *
from tuitrain.protocol.events.steering import *
