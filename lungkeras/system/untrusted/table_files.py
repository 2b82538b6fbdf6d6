"""Untrusted tables: no more rows and columns than a study has, even if the file is small."""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from lungkeras.system.untrusted import parquet_pages
from lungkeras.system.untrusted.plain_files import size_of

if TYPE_CHECKING:
    import pandas as pd

MOST_BYTES = 256_000_000  # of a file, and of the unpacked pages of a parquet file
MOST_ROWS = 2_000_000
MOST_CELLS = 20_000_000
MOST_TEXT = 1_000_000_000  # bytes of a column's texts, written out
MOST_RATIO = 100  # of a spreadsheet's unpacked size to its packed size
ALWAYS_FIT = 100_000_000  # bytes below which the ratio is not checked
MOST_LOOKED_AT = 10 * MOST_CELLS  # cells of a spreadsheet, empty ones to the right of its table included
SPREADSHEETS = (".xlsx", ".xlsm")
PARQUET = (".parquet", ".pq")
MOST_TITLE = 10  # rows among which the heading of a table is


def read_parquet(file: Path | str) -> pd.DataFrame:
    """`pd.read_parquet` of a file whose size is checked first, from its footer, pages and texts; a named index is a
    column.

    Raises OSError, or ValueError if it is not such a file or holds more than a table of lungkeras.
    """
    import pyarrow

    try:
        return _read_parquet(Path(file))
    except pyarrow.ArrowNotImplementedError as error:  # which is no ValueError
        raise ValueError(" ".join(str(error).split())[:200]) from None


def _read_parquet(file: Path) -> pd.DataFrame:
    from pyarrow import parquet, types

    if size_of(file) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES // 1_000_000} MB")
    # Arrow takes names of files in UTF-8 alone; Python opens any.
    with file.open("rb") as opened, parquet.ParquetFile(opened) as table:
        about, schema = table.metadata, table.schema_arrow
        groups = [about.row_group(place) for place in range(about.num_row_groups)]
    columns = [group.column(place) for group in groups for place in range(group.num_columns)]
    if about.num_rows > MOST_ROWS or about.num_rows * about.num_columns > MOST_CELLS:
        raise ValueError(f"it claims {about.num_rows:,} rows of {about.num_columns:,} columns")
    with file.open("rb") as opened:
        filled = (column for column in columns if column.num_values)  # of the others no page is read
        unpacked = parquet_pages.unpacked_bytes(opened, map(_extent, filled))
    if unpacked > MOST_BYTES:
        raise ValueError(f"it unpacks to {unpacked // 1_000_000:,} MB")
    # Equal values may be held once: then the type is a dictionary.
    kinds = {field.name: getattr(field.type, "value_type", field.type) for field in schema}
    is_text = (types.is_string, types.is_binary, types.is_large_string)
    is_one = (*is_text, types.is_primitive, types.is_null, types.is_decimal)
    nested = (field.name for field in schema if types.is_nested(field.type))
    strange = (name for name, kind in kinds.items() if not any(known(kind) for known in is_one))
    if (name := next(itertools.chain(nested, strange), None)) is not None:
        raise ValueError(f"its column {name[:80]!r} holds more than a text or one number per row")
    texts = [name for name, kind in kinds.items() if any(known(kind) for known in is_text)]
    # Equal texts are held once, until it is known how long all of them are.
    with file.open("rb") as opened:
        table = parquet.ParquetFile(opened, read_dictionary=texts).read()
    for name in texts:
        if (length := _length(table[name])) > MOST_TEXT:
            raise ValueError(f"its column {name[:80]!r} holds {length:,} bytes of text")
        place = table.schema.get_field_index(name)
        table = table.set_column(place, schema.field(name), table[name].cast(schema.field(name).type))
    frame = table.to_pandas()
    return frame if frame.index.names == [None] else frame.reset_index()


def _extent(column) -> tuple[int, int]:
    """(the first byte of a column chunk, its length): from its dictionary on, if it has one before its data."""
    start, first = column.data_page_offset, column.dictionary_page_offset
    return min(start, first) if column.has_dictionary_page and first else start, column.total_compressed_size


def _length(column) -> int:
    """The bytes of all texts of a column of an Arrow table that holds equal ones once."""
    from pyarrow import compute

    total = 0
    for chunk in column.chunks:
        lengths = compute.take(compute.binary_length(chunk.dictionary), chunk.indices)
        total += compute.sum(compute.cast(lengths, "int64")).as_py() or 0
    return total


def read_csv(file: Path | str, *, sep: str = ",", **options) -> pd.DataFrame:
    """`pd.read_csv` of a file. Raises OSError, or ValueError if it would have more cells than a study's.

    A reader pads short rows to the longest, so cells are rows times columns.
    """
    import pandas as pd

    check_csv(Path(file).read_bytes() if size_of(file) <= MOST_BYTES else None, sep.encode())
    return pd.read_csv(file, sep=sep, **options)


def parse_csv(text: str, *, sep: str = ",", **options) -> pd.DataFrame:
    """`read_csv` of a text. Raises ValueError."""
    import pandas as pd

    check_csv(text.encode(errors="surrogatepass"), sep.encode())
    return pd.read_csv(io.StringIO(text), sep=sep, **options)


def check_csv(content: bytes | None, separators: bytes = b",") -> None:
    """Raises ValueError if the bytes of a CSV file, None for too many, would be more than a study's table."""
    if content is None or len(content) > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES // 1_000_000} MB")
    rows = content.count(b"\n") + content.count(b"\r") + 1
    columns = max(content[: _end_of_line(content)].count(bytes([separator])) for separator in separators) + 1
    if rows > MOST_ROWS or rows * columns > MOST_CELLS:
        raise ValueError(f"it holds {rows:,} rows of {columns:,} columns")


def read_xlsx(file: Path | str) -> pd.DataFrame:
    """The first sheet that holds a table, its heading as the names of the columns, every cell a text, "" for none.

    A title above the heading is skipped. Raises OSError, ValueError or zipfile.BadZipFile if it is not such a file or
    holds more than a table of lungkeras.
    """
    import openpyxl
    import pandas as pd

    from lungkeras.system.untrusted.archives import plain_zip

    with plain_zip(file) as archive:
        size = sum(member.file_size for member in archive.infolist())
        if size > min(MOST_TEXT, max(ALWAYS_FIT, MOST_RATIO * size_of(file))):
            raise ValueError(f"it unpacks to {size // 1_000_000:,} MB")
    book = openpyxl.load_workbook(file, read_only=True, data_only=True)
    try:
        sheets = map(_rows, book.worksheets)
        rows = next((rows for rows in sheets if len(rows) > 1 and len(rows[0]) > 1), None)
    finally:
        book.close()
    if rows is None:
        raise ValueError("no row below its heading")
    names, *below = rows
    known = [place for place, name in enumerate(names) if name or any(row[place] for row in below)]
    names = [names[place] or f"column {place + 1}" for place in known]
    return pd.DataFrame([[row[place] for place in known] for row in below], columns=names, dtype="str")


def _rows(sheet) -> list[list[str]]:
    """The rows of a sheet from its heading on, as texts, all of one length."""
    rows, width, looked_at = [], 0, 0
    sheet.reset_dimensions()  # else each row, also one that is not there, is as wide as the sheet claims to be
    for cells in sheet.iter_rows(values_only=True):
        looked_at += len(cells)
        last = next((place for place in range(len(cells), 0, -1) if cells[place - 1] is not None), 0)
        width = max(width, last)
        rows.append([_cell(value) for value in cells[:last]])
        if len(rows) > MOST_ROWS or len(rows) * width > MOST_CELLS or looked_at > MOST_LOOKED_AT:
            raise ValueError(f"it holds more than {len(rows):,} rows of {width:,} columns")
    while rows and not any(rows[-1]):
        rows.pop()
    title = rows_of_title([sum(map(bool, row)) for row in rows[:MOST_TITLE]])
    return [row + [""] * (width - len(row)) for row in rows[title:]]


def rows_of_title(filled: Sequence[int]) -> int:
    """How many of a table's first rows are a title above its heading, by the filled cells of each.

    >>> rows_of_title([1, 0, 6, 6, 5]), rows_of_title([5, 6, 6]), rows_of_title([1, 1, 1])
    (2, 0, 0)
    """
    most = max(filled, default=0)
    return next((place for place, cells in enumerate(filled) if cells > 1 and 2 * cells > most), 0)


def _cell(value: object) -> str:
    """A cell as a text: 3 and 3.0 as "3", a date as 2020-01-31; a number that has lost digits shows it, as 1.23E+20."""
    if value is None:
        return ""
    if isinstance(value, float) and value.is_integer():
        return str(int(value)) if abs(value) < 2**53 else f"{value:E}"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _end_of_line(content: bytes) -> int:
    end = content.find(b"\n")
    return len(content) if end < 0 else end
