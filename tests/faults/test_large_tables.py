"""Tables, lists and notes of a stranger: few bytes that would fill memory, or words that would forge a line."""

import io
import json
import os
import zipfile

import numpy as np
import openpyxl
import pandas as pd
import pyarrow
import pytest
from layouts import NIH_HEADER, write_xray8
from measuring import measured
from pyarrow import parquet

from lungkeras.datasets.collections import xray8
from lungkeras.datasets.registry import read_records
from lungkeras.evaluation.judged_claims import read_claims
from lungkeras.evaluation.unseen import read_mapping
from lungkeras.preparation.audit.summary import _few
from lungkeras.system.errors import RunError
from lungkeras.system.files import write_csv, write_parquet
from lungkeras.system.provenance import changed_files
from lungkeras.system.text import csv_cell, say
from lungkeras.system.untrusted import json_files, parquet_pages, table_files

PARQUET = "from lungkeras.system.untrusted.table_files import read_parquet\nprint(len(read_parquet(sys.argv[1])))"
CSV = "from lungkeras.system.untrusted.table_files import read_csv\nprint(len(read_csv(sys.argv[1])))"
JSON = "import pathlib\nfrom lungkeras.system.untrusted import json_files\n"
JSON += "print(len(json_files.read(pathlib.Path(sys.argv[1]))))"


PARQUET_FILES = ("many rows", "many columns", "one long text", "packed", "lists", "wide bytes", "long bytes")


def parquet_of(file, name: str) -> None:
    match name:
        case "many rows":
            frame = pd.DataFrame({"a": np.zeros(30_000_000, np.int8)})
        case "many columns":
            frame = pd.DataFrame(np.zeros((300_000, 100), np.int8), columns=[str(place) for place in range(100)])
        case "one long text":
            texts = pyarrow.DictionaryArray.from_arrays(np.zeros(1_000_000, np.int32), ["x" * 10_000])
            parquet.write_table(pyarrow.table({"a": texts}), file, store_schema=False)
            return
        case "wide bytes":
            same = np.zeros(300_000, np.int32)
            texts = pyarrow.array([b"x" * 5000], pyarrow.binary(5000)).take(pyarrow.array(same))
            parquet.write_table(pyarrow.table({"a": texts}), file)
            return
        case "long bytes":
            texts = pyarrow.array([b"x" * 100_000], pyarrow.large_binary()).take(np.zeros(20_000, np.int32))
            parquet.write_table(pyarrow.table({"a": texts}), file)
            return
        case "packed":
            frame = pd.DataFrame({"a": ["x" * 300_000_000]})
        case "lists":
            frame = pd.DataFrame({"a": [[0] * 1_000_000] * 3})
    frame.to_parquet(file, index=False, compression="zstd" if name == "packed" else "snappy")


@pytest.mark.parametrize("name", PARQUET_FILES)
def test_a_parquet_file_of_few_bytes_and_many_cells_is_an_error(name, tmp_path, injected):
    file = tmp_path / "table.parquet"
    parquet_of(file, name)
    assert file.stat().st_size < 1_000_000
    done = measured(PARQUET, file)
    assert done.said.startswith("ValueError: it") and done.megabytes < 300, done
    injected("tables that would fill memory", 1)


@pytest.mark.parametrize("compression", ["none", "snappy", "gzip", "brotli", "lz4", "zstd"])
@pytest.mark.parametrize(
    "options",
    [{}, {"use_dictionary": False, "data_page_size": 100}, {"row_group_size": 70, "data_page_version": "2.0"}],
)
def test_a_parquet_file_of_any_compression_is_read_and_its_pages_are_measured(tmp_path, compression, options):
    """The footer of an honest file counts the unpacked pages and their headers, of at least 10 bytes each."""
    frame = pd.DataFrame({"scan": [f"{n}.png" for n in range(200)], "label": ["a", "b"] * 100, "p": np.arange(200) / 7})
    file = tmp_path / "a.parquet"
    parquet.write_table(pyarrow.Table.from_pandas(frame), file, compression=compression, **options)
    pd.testing.assert_frame_equal(table_files.read_parquet(file), pd.read_parquet(file))
    about = parquet.ParquetFile(file).metadata
    columns = [about.row_group(row).column(place) for row in range(about.num_row_groups) for place in range(3)]
    with file.open("rb") as opened:
        unpacked = parquet_pages.unpacked_bytes(opened, map(table_files._extent, columns))
    claimed = sum(column.total_uncompressed_size for column in columns)
    assert 200 * 8 < unpacked < claimed - 10 * len(columns)


def test_pages_that_unpack_to_too_much_or_have_no_header_are_an_error(tmp_path, monkeypatch):
    file = tmp_path / "a.parquet"
    pd.DataFrame({"a": [f"{n:090}" for n in range(3000)]}).to_parquet(file, compression="zstd")
    assert len(table_files.read_parquet(file)) == 3000
    monkeypatch.setattr(table_files, "MOST_BYTES", 250_000)
    assert file.stat().st_size < 250_000
    with pytest.raises(ValueError, match="it unpacks to"):
        table_files.read_parquet(file)
    with pytest.raises(ValueError, match=r"broken header|no size"):
        parquet_pages.unpacked_bytes(io.BytesIO(b"\x99" * 5000), [(0, 5000)])


def test_a_parquet_file_of_ours_is_read_as_pandas_reads_it(tmp_path):
    frame = pd.DataFrame(
        {
            "scan": ["a.png", "b.png", None],
            "patient": pd.Series(["1", "2", "3"], dtype="str"),
            "label": np.array([0, 1, 1]),
            "age": pd.Series([58, None, 3], dtype="Int64"),
            "probability": np.array([0.1, 0.2, np.nan], np.float32),
            "is_it": [True, False, True],
        }
    )
    for table in (frame, frame.iloc[:0]):
        write_parquet(tmp_path / "a.parquet", table)
        pd.testing.assert_frame_equal(
            table_files.read_parquet(tmp_path / "a.parquet"), pd.read_parquet(tmp_path / "a.parquet")
        )


@pytest.mark.parametrize("content", [b"a," * 5000 + b"\n" + b"1\n" * 10_000, b"a\n" * 3_000_000])
def test_a_csv_file_of_few_bytes_and_many_cells_is_an_error(content, tmp_path, injected):
    file = tmp_path / "table.csv"
    file.write_bytes(content)
    done = measured(CSV, file)
    assert done.said.startswith("ValueError: it holds") and done.megabytes < 200
    injected("tables that would fill memory", 1)


XLSX = "from lungkeras.system.untrusted.table_files import read_xlsx\nprint(len(read_xlsx(sys.argv[1])))"
CELL = '<c r="{}" t="inlineStr"><is><t>{}</t></is></c>'
SHEETS = {
    "a far cell": '<dimension ref="A1:XFD1048576"/><sheetData><row r="1">' + CELL.format("A1", "scan")
    + CELL.format("B1", "label") + '</row><row r="1048576"><c r="XFD1048576"/></row></sheetData>',
    "wide empty rows": "<sheetData>" + '<row><c r="XFD1"/></row>' * 20_000 + "</sheetData>",
    "a row beyond all": '<sheetData><row r="999999999999"><c r="A1"/></row></sheetData>',
}  # fmt: skip


def write_sheet(file, content: str) -> None:
    """An xlsx file whose only sheet holds this XML."""
    book = openpyxl.Workbook()
    book.save(file)
    with zipfile.ZipFile(file) as archive:
        members = {member.filename: archive.read(member) for member in archive.infolist()}
    space = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
    members["xl/worksheets/sheet1.xml"] = f'<worksheet xmlns="{space}">{content}</worksheet>'.encode()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


@pytest.mark.parametrize("sheet", SHEETS)
def test_a_spreadsheet_of_few_bytes_and_endless_cells_is_an_error(sheet, tmp_path, injected):
    file = tmp_path / "table.xlsx"
    write_sheet(file, SHEETS[sheet])
    assert file.stat().st_size < 1_000_000
    done = measured(XLSX, file)
    assert done.said.startswith("ValueError: ") and done.megabytes < 400, done
    injected("tables that would fill memory", 1)


MAPPING = "from lungkeras.evaluation.unseen import read_mapping\nprint(read_mapping(sys.argv[1]).shape)"


def test_a_mapping_whose_rows_have_other_keys_each_fills_no_table(tmp_path, injected):
    file = tmp_path / "mapping.json"
    file.write_text(json.dumps([{f"{row} {key}": "x" for key in range(1000)} for row in range(300)]))
    done = measured(MAPPING, file)
    assert "it holds 300 rows of 300,000 columns" in done.said and done.megabytes < 500, done
    file.write_text('{"a": ["x"], "b": ["y"]}')
    with pytest.raises(RunError, match="it is not a list of objects"):
        read_mapping(file)
    injected("tables that would fill memory", 1)


def test_a_claim_of_many_digits_is_read_at_once(tmp_path, at_once):
    """A pattern that reads a row of digits in several ways tries them all: the square of their number."""
    digits = "1" * 90_000
    (tmp_path / "claims.yaml").write_text(f"- {{id: a, claim: b, predicate: 'macro_f1 of mine > {digits}x'}}\n")
    assert len(read_claims(tmp_path / "claims.yaml")) == 1


@pytest.mark.parametrize("content", [b"[" * 100_000, b"[" + b"[],[" * 3_000_000, b'{"a":' * 50_000])
def test_json_that_is_nested_or_long_is_an_error(content, tmp_path, injected):
    file = tmp_path / "statistics.json"
    file.write_bytes(content)
    done = measured(JSON, file)
    assert done.said.startswith("ValueError: it ") and done.megabytes < 100
    injected("notes that would fill memory", 1)


def test_json_of_ours_is_read(tmp_path):
    held = {"a": [1, 2.5, None, "ü"], "b": {"c": True}}
    (tmp_path / "a.json").write_text(json.dumps(held, ensure_ascii=False), encoding="utf-8")
    assert json_files.read(tmp_path / "a.json") == json_files.loads(json.dumps(held)) == held


FINDINGS = """
import pandas as pd
from pathlib import Path
from lungkeras.datasets.collections import xray8
entries = xray8.read_entries(Path(sys.argv[1]))
print(xray8._keep_findings(entries).attrs["flow"])
"""


def test_findings_that_are_free_text_fill_no_matrix(tmp_path, injected):
    rows = [f"{place:08}_000.png,seen in {place},0,{place},058Y,M,PA,1,1,1,1," for place in range(8000)]
    (tmp_path / "Data_Entry_2017.csv").write_text("\n".join([NIH_HEADER, *rows, ""]))
    done = measured(FINDINGS, tmp_path / "Data_Entry_2017.csv")
    assert "left out: labels that are none of the collection's (seen in 0 1" in done.said.replace('"', "'")
    assert done.megabytes < 200
    injected("tables that would fill memory", 1)


def test_known_findings_are_those_that_pandas_finds():
    labels = ["Mass|Nodule", "No Finding", "Hernia", "", "Mass|Hernia", "Effusion", "Masses"]
    entries = pd.DataFrame({"scan": [str(place) for place in range(len(labels))], "label": labels})
    entries.attrs["flow"] = []
    expected = pd.Series(labels).str.get_dummies("|").reindex(columns=list(xray8.LABELS), fill_value=0)
    kept = xray8._keep_findings(entries)
    assert kept["scan"].tolist() == ["0", "1", "5"]
    assert (kept[list(xray8.CLASSES)].to_numpy() == expected.loc[kept.index].to_numpy()).all()
    assert (kept[list(xray8.CLASSES)].dtypes == "int64").all()


def test_names_of_a_source_forge_no_line_of_a_terminal(tmp_path, capsys):
    source = write_xray8(tmp_path / "source", {f"{place:08}_000.png": "Mass" for place in range(1, 9)})
    image = next(source.rglob("*.png"))
    image.rename(image.with_name("\x1b[2J\a\nlungkeras: all is well.png"))
    for _ in range(2):
        read_records("xray8", source)
    said = capsys.readouterr().err
    assert "\x1b" not in said and "\a" not in said
    assert all(line.startswith("xray8: ") for line in said.splitlines()) and r"\x1b[2J\x07\nlungkeras" in said


def test_a_printed_line_is_one_line_whatever_it_holds(capsys):
    say("\x1b]0;title\a", "a\nb", "ü – 胸")
    assert capsys.readouterr().out == "\\x1b]0;title\\x07\na\\nb\nü – 胸\n"
    with open(os.devnull, "w", encoding="ascii") as terminal:
        say("ü", file=terminal)


def test_cells_are_not_formulas_for_a_reader_of_semicolons(tmp_path):
    hostile = ["a;=1+1;b.png", "＝1+1", " =1+1", "\u00a0@x", "a;\u2003+1", "a|-1", "﹢1"]
    write_csv(tmp_path / "a.csv", pd.DataFrame({"scan": hostile, "number": -1.5}))
    cells = [
        cell for line in (tmp_path / "a.csv").read_text().splitlines()[1:] for cell in line.replace("|", ";").split(";")
    ]
    assert not [cell for cell in cells if csv_cell(cell) != cell], cells
    assert csv_cell("a; b = c, -1") == "a; b = c, -1"


def test_only_plain_names_are_looked_up_in_a_copied_folder(tmp_path):
    outside = tmp_path / "outside.npy"
    outside.write_bytes(b"secret")
    folder = tmp_path / "study"
    folder.mkdir()
    (folder / "a.npy").write_bytes(b"a")
    recorded = {"../outside.npy": "0", str(outside): "0", "a.npy": "0", "\x1b[2J": "0", "..": "0", "b.npy": ["0"]}
    assert changed_files(folder, recorded) == {"a.npy": None}
    assert changed_files(folder, ["a.npy"]) == {}


def test_the_audit_lists_names_as_text():
    assert _few(["a"]) == ["  a"]
