"""pandas tables in the forms that they do not offer themselves: a sample as JSON, HTML of a Series.

pandas is never imported here; a table can only come from a snippet that did.
"""

import math
import sys
from typing import Any

ROWS_SAMPLED = 20
COLUMNS_SAMPLED = 50
CELL_CAP = 200


def is_table(value: object) -> bool:
    """Whether `value` is a DataFrame or a Series."""
    pandas = sys.modules.get("pandas")
    kinds = tuple(
        kind
        for kind in (getattr(pandas, "DataFrame", None), getattr(pandas, "Series", None))
        if isinstance(kind, type)
    )
    return issubclass(type(value), kinds)


def html_of(table: Any) -> object:
    """The HTML of a table; of a Series as a table of one column."""
    return (table.to_frame() if len(table.shape) == 1 else table)._repr_html_()


def sample_of(table: Any) -> dict[str, object]:
    """Full shape, and names, types and cells of the first rows and columns."""
    shape = [int(length) for length in table.shape]
    if len(shape) == 1:
        dtypes = [table.dtype]
        columns = [table.name]
        rows = [[cell] for cell in table.iloc[:ROWS_SAMPLED]]
    else:
        head = table.iloc[:ROWS_SAMPLED, :COLUMNS_SAMPLED]
        dtypes = list(head.dtypes)
        columns = list(head.columns)
        rows = [list(row) for row in head.itertuples(index=False, name=None)]
    return {
        "shape": shape,
        "columns": [_label(column) for column in columns],
        "dtypes": [str(dtype)[:CELL_CAP] for dtype in dtypes],
        "index": [_cell(label) for label in table.index[:ROWS_SAMPLED]],
        "rows": [[_cell(cell) for cell in row] for row in rows],
    }


def _label(label: object) -> str | None:
    return None if label is None else str(label)[:CELL_CAP]


def _cell(cell: Any) -> str | int | float | bool | None:
    """A cell as a JSON scalar; what is missing is null, what JSON does not know is text."""
    if type(cell).__module__ == "numpy":
        cell = cell.item()
    if cell is None or type(cell) in (bool, int):
        return cell  # type: ignore[no-any-return]
    if type(cell) is float:
        return cell if math.isfinite(cell) else None if math.isnan(cell) else str(cell)
    pandas = sys.modules["pandas"]
    if cell is pandas.NA or cell is pandas.NaT:
        return None
    if hasattr(cell, "isoformat"):
        return str(cell.isoformat())[:CELL_CAP]
    return str(cell)[:CELL_CAP]
