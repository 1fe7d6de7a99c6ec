"""TensorBoard's event files by its own writer, in the run's folder: one for each branch, so that none hides another."""

from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from tuitrain.exporting.live.target import About, Row, Sample
from tuitrain.exporting.texts import config_text, text_event

FOLDER = "tensorboard"
FLUSH = 10
"""Seconds after which what was written can be seen."""


class TensorBoard:
    """Writers, one for each branch."""

    def __init__(self, about: About) -> None:
        self._about = about
        self._writers: dict[int, EventFileWriter] = {}
        self.remark = f"tensorboard --logdir {about.folder / FOLDER}"

    def numbers(self, row: Row) -> None:
        """Write a row."""
        values = [Summary.Value(tag=name, simple_value=value) for name, value in row.values.items()]
        self._writer(row.branch, row.time).add_event(
            Event(wall_time=row.time, step=row.step, summary=Summary(value=values)))

    def sample(self, sample: Sample) -> None:
        """Write a sample."""
        self._writer(sample.branch, sample.time).add_event(
            text_event("sample", sample.text, sample.time, sample.step))

    def close(self) -> None:
        """Write what is left and close."""
        for writer in self._writers.values():
            writer.close()

    def _writer(self, branch: int, when: float) -> EventFileWriter:
        if branch not in self._writers:
            folder = self._about.folder / FOLDER / f"branch-{branch}"
            self._writers[branch] = EventFileWriter(str(folder), flush_secs=FLUSH)
            self._writers[branch].add_event(config_text(self._about.config, when))
        return self._writers[branch]


def open_log(about: About) -> TensorBoard:
    """Open the log."""
    return TensorBoard(about)
