"""TensorBoard's event files through its own writer: the present line as one run, each left branch as another."""

from pathlib import Path

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from tuitrain.exporting.rows import Sheet
from tuitrain.exporting.texts import config_text

LINE = "line"
"""The folder of the steps that led to the present; `branch-N` has the left steps of a branch."""
AXES = ("branch", "step", "on_line", "time")
"""Columns that are no curves."""


def write(sheet: Sheet, folder: Path) -> int:
    """Write the folders; returns the number of rows. Scalars that were not told are left out, nan is written as nan."""
    names = [column.name for column in sheet.columns]
    place = {name: i for i, name in enumerate(names)}
    writers: dict[str, EventFileWriter] = {}
    count = 0
    try:
        for row in sheet.rows():
            line = LINE if row[place["on_line"]] else f"branch-{row[place['branch']]}"
            if line not in writers:
                writers[line] = EventFileWriter(str(folder / line))
                writers[line].add_event(config_text(sheet.config, row[3]))
            values = [Summary.Value(tag=name, simple_value=float(value)) for name, value in zip(names, row, strict=True)
                      if value is not None and name not in AXES]
            writers[line].add_event(Event(wall_time=row[place["time"]], step=row[place["step"]],
                                          summary=Summary(value=values)))
            count += 1
    finally:
        for writer in writers.values():
            writer.close()
    return count
