"""The application: a table of runs, filled as they are read; below it curves, differences and samples of the chosen."""

import time
from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.console import Group
from rich.text import Text
from textual import work
from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import VerticalScroll
from textual.widgets import DataTable, Static
from textual.worker import get_current_worker

from tuitrain.comparing import choosing, report
from tuitrain.comparing.records import AXES, NUMBERS, Record, Unreadable, read
from tuitrain.errors import UsageError
from tuitrain.run.directory import RunDirectory
from tuitrain.telemetry.units import many
from tuitrain.ui.dialogs import AskValue
from tuitrain.ui.driver import Driver

PACE = 0.5
"""Seconds between two drawings of the table while runs are read."""
KEYS = (("␣", "mark"), ("s", "sort"), ("r", "reverse"), ("/", "filter"), ("a", "axis"), ("q", "quit"))
HEIGHT = 14
Reader = Callable[[RunDirectory], Record | Unreadable]


class CompareApp(App[int]):
    """Shows these runs; `where` are conditions and `sort` a key, as on the command line."""

    CSS_PATH = "compare.tcss"
    TITLE = "tuitrain compare"
    BINDINGS: ClassVar = [
        Binding("space", "mark", "mark", show=False), Binding("s", "sort", "sort", show=False),
        Binding("r", "reverse", "reverse", show=False), Binding("slash", "filter", "filter", show=False),
        Binding("a", "axis", "axis", show=False),
        Binding("q,ctrl+c,ctrl+q", "leave", "quit", show=False)]

    def __init__(self, folders: Sequence[RunDirectory], *, by: str = "step", where: Sequence[str] = (), sort: str = "",
                 braille: bool = True, reader: Reader | None = None) -> None:
        super().__init__(driver_class=Driver)
        self._folders, self._by, self._where, self._sort = folders, by, tuple(where), sort
        self._braille = braille
        self._reader: Reader = reader or (lambda folder: read(folder, clock=True))
        self.records: dict[str, Record] = {}
        self.bad: list[Unreadable] = []
        self.marked: dict[str, None] = {}
        """Names of the runs that are compared with the one under the cursor, in the order in which they were marked."""
        self._drawn = 0.0

    def compose(self) -> ComposeResult:
        """Called by Textual."""
        yield Static("", id="header", markup=False)
        yield DataTable(id="runs", cursor_type="row", zebra_stripes=False)
        with VerticalScroll(id="below"):
            yield Static("", id="detail")
        yield Static(Text("  ").join(Text.assemble((face, "bold"), " ", words) for face, words in KEYS), id="footer")

    def on_mount(self) -> None:
        """Called by Textual."""
        table = self.query_one(DataTable)
        table.add_columns("", "run", "state", *(spec.head for spec in NUMBERS.values()))
        table.focus()
        self.begin()

    def on_resize(self) -> None:
        """Called by Textual."""
        self.call_after_refresh(self._detail)

    @work(thread=True, exit_on_error=False)
    def begin(self) -> None:
        """Read the runs without blocking the screen."""
        worker = get_current_worker()
        for folder in self._folders:
            if worker.is_cancelled:
                return
            self.call_from_thread(self._take, self._reader(folder))
        self.call_from_thread(self.show)

    def chosen(self) -> list[Record]:
        """Return the runs of the table: those of which every condition holds, in their order. Raises UsageError."""
        known = list(self.records.values())
        tests = [choosing.condition(text, known) for text in self._where]
        found = [record for record in known if all(holds(record) for holds in tests)]
        return choosing.ordered(found, self._sort) if self._sort else found

    def compared(self) -> list[Record]:
        """Return the runs that are drawn: the marked ones and the one under the cursor."""
        names = [*self.marked, *([here] if (here := self._here()) and here not in self.marked else [])]
        return [self.records[name] for name in names if name in self.records]

    def show(self) -> None:
        """Fill the table anew; the cursor stays on its run."""
        self._drawn = time.monotonic()
        here, table, wrong = self._here(), self.query_one(DataTable), ""
        try:
            records = self.chosen()
        except UsageError as error:
            records, wrong = list(self.records.values()), str(error)
        names = report.labels(records) if records else []
        table.clear()
        for record, name in zip(records, names, strict=True):
            mark = "●" if self._braille else "*"
            table.add_row(mark if record.name in self.marked else "", Text(name), Text(record.state),
                          *(Text("-" if record.numbers[key] != record.numbers[key] else spec.show(record.numbers[key]),
                                 justify="right") for key, spec in NUMBERS.items()), key=record.name)
        if here in {record.name for record in records}:
            table.move_cursor(row=table.get_row_index(here))
        self._head(len(records), wrong)
        self._detail()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Called by Textual: draw the run under the cursor."""
        self._detail()

    def action_mark(self) -> None:
        """Mark the run under the cursor, or take the mark away."""
        here = self._here()
        if here in self.marked:
            del self.marked[here]
        elif here:
            self.marked[here] = None
        self.show()

    def action_sort(self) -> None:
        """Ask for a number or setting to sort by."""
        def preview(text: str) -> tuple[bool, str]:
            try:
                choosing.check(text.strip().removeprefix("-"), list(self.records.values()), "sort")
            except UsageError as error:
                return not text.strip(), str(error) if text.strip() else "as they were found"
            return True, "the largest first" if text.strip().startswith("-") else "the smallest first; - in front turns"

        def answered(text: str | None) -> None:
            if text is not None:
                self._sort = text.strip()
                self.show()

        self.push_screen(AskValue("sort by a number or a setting", self._sort, preview), answered)

    def action_reverse(self) -> None:
        """Turn the order round."""
        if self._sort:
            self._sort = self._sort[1:] if self._sort.startswith("-") else f"-{self._sort}"
            self.show()

    def action_filter(self) -> None:
        """Ask for conditions."""
        def conditions(text: str) -> tuple[str, ...]:
            return tuple(part.strip() for part in text.split(",") if part.strip())

        def preview(text: str) -> tuple[bool, str]:
            known = list(self.records.values())
            try:
                tests = [choosing.condition(part, known) for part in conditions(text)]
            except UsageError as error:
                return False, str(error)
            return True, f"{sum(all(t(record) for t in tests) for record in known)} of {many(len(known), 'run')}"

        def answered(text: str | None) -> None:
            if text is not None:
                self._where = conditions(text)
                self.show()

        self.push_screen(AskValue("only runs of which this holds: val<2, hidden=256", ", ".join(self._where), preview),
                         answered)

    def action_axis(self) -> None:
        """Draw the curves over the next axis."""
        axes = list(AXES)
        self._by = axes[(axes.index(self._by) + 1) % len(axes)]
        self.show()

    def action_leave(self) -> None:
        """Leave."""
        self.workers.cancel_all()
        self.exit(0)

    def _take(self, found: Record | Unreadable) -> None:
        if isinstance(found, Record):
            self.records[found.name] = found
        else:
            self.bad.append(found)
        if time.monotonic() - self._drawn >= PACE:
            self.show()

    def _here(self) -> str:
        table = self.query_one(DataTable)
        if not table.row_count:
            return ""
        return str(table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value)

    def _head(self, count: int, wrong: str) -> None:
        done = len(self.records) + len(self.bad)
        words = [f"{count} of {many(len(self.records), 'run')}"]
        words += [f"reading {done} of {len(self._folders)}"] if done < len(self._folders) else []
        words += [f"sorted by {self._sort}"] if self._sort else []
        words += [f"where {', '.join(self._where)}"] if self._where else []
        words += [f"{len(self.bad)} unreadable: {self.bad[0].name}: {self.bad[0].why}"] if self.bad else []
        self.query_one("#header", Static).update(wrong or " · ".join(words))

    def _detail(self) -> None:
        records, width = self.compared(), max(20, self.query_one("#below").size.width - 4)
        if not records:
            self.query_one("#detail", Static).update(Text("no run to show", style="dim"))
            return
        parts: list[object] = []
        for unit in dict.fromkeys(record.unit for record in records):
            mine = [(i, record) for i, record in enumerate(records) if record.unit == unit]
            parts += report.curves(mine, self._by, width, HEIGHT, self._braille)
        if len(records) > 1:
            parts += report.settings(records, width)
        parts += report.samples(records, width)
        self.query_one("#detail", Static).update(Group(*parts))  # type: ignore[arg-type]
