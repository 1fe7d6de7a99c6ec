"""Parquet through pyarrow: a null was not told, nan and inf were; units and meanings are the fields' metadata."""

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tuitrain.exporting.rows import Row, Sheet

KINDS = {"whole": pa.int64(), "number": pa.float64(), "flag": pa.bool_()}
GROUP = 1 << 16
"""Rows that are written at a time."""


def write(sheet: Sheet, path: Path) -> int:
    """Write the file; returns the number of rows."""
    schema = pa.schema([
        pa.field(column.name, KINDS[column.kind], metadata={"unit": column.unit, "meaning": column.meaning})
        for column in sheet.columns], metadata={"tuitrain": json.dumps({
            "run": sheet.run.path.name, "loss": sheet.unit.name, "config": sheet.config}, default=str)})
    count, rows = 0, list[Row]()
    with pq.ParquetWriter(path, schema) as writer:
        def flush() -> None:
            arrays = [pa.array(cells, type=field.type) for cells, field in zip(zip(*rows, strict=True), schema,
                                                                            strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            rows.clear()

        for row in sheet.rows():
            rows.append(row)
            count += 1
            if len(rows) == GROUP:
                flush()
        if rows:
            flush()
    return count
