"""Texts as TensorBoard shows them."""

import json
from collections.abc import Mapping
from typing import Any

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary, SummaryMetadata
from tensorboard.compat.proto.tensor_pb2 import TensorProto
from tensorboard.compat.proto.types_pb2 import DT_STRING


def config_text(config: Mapping[str, Any], when: float) -> Event:
    """Return the event that shows the settings of a run."""
    return text_event("config", json.dumps(dict(config), indent=2, default=str), when)


def text_event(tag: str, text: str, when: float, step: int = 0) -> Event:
    """Return an event that TensorBoard shows under Text."""
    about = SummaryMetadata(plugin_data=SummaryMetadata.PluginData(plugin_name="text"))
    tensor = TensorProto(dtype=DT_STRING, string_val=[f"```\n{text}\n```".encode()])
    tensor.tensor_shape.dim.add(size=1)
    return Event(wall_time=when, step=step,
                 summary=Summary(value=[Summary.Value(tag=tag, metadata=about, tensor=tensor)]))
