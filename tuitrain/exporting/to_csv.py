"""CSV (RFC 4180, UTF-8): the header has the units; an empty cell was not told, `nan` and `inf` were."""

import csv
from typing import Any, TextIO

from tuitrain.exporting.rows import Sheet


def write(sheet: Sheet, out: TextIO) -> int:
    """Write the table; returns the number of rows."""
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow([column.head for column in sheet.columns])
    count = 0
    for row in sheet.rows():
        writer.writerow([_cell(value) for value in row])
        count += 1
    return count


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, bool) else repr(value)
