"""A pipe or a device in a file's place is refused at once: the reader neither waits nor fills memory."""

import os

import pytest

from lungkeras.datasets.split_lists import read_sides
from lungkeras.evaluation.foreign_cells import read_table
from lungkeras.evaluation.judged_claims import read_claims
from lungkeras.evaluation.unseen import read_mapping
from lungkeras.system.errors import FolderError, LungkerasError
from lungkeras.system.files import refuse_links
from lungkeras.system.provenance import file_digest
from lungkeras.system.untrusted import archives, array_files, hdf5_files, json_files, table_files, yaml_files
from lungkeras.system.untrusted.keras_files import check_model_file
from lungkeras.system.untrusted.plain_files import size_of

READERS = {
    "csv": table_files.read_csv,
    "xlsx": table_files.read_xlsx,
    "parquet": table_files.read_parquet,
    "json": json_files.read,
    "yaml": yaml_files.read_yaml,
    "npz": array_files.load,
    "keras": check_model_file,
    "h5": hdf5_files.check_weights_file,
    "zip": lambda file: archives.unpack(file, file.parent / "unpacked"),
    "a digest": file_digest,
    "a table to judge": read_table,
    "claims": read_claims,
    "a mapping": read_mapping,
    "a mapping.json": read_mapping,
    "a side.txt": lambda file: read_sides([file]),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("kind", ["a pipe", "a link to a device"])
def test_what_is_no_plain_file_is_refused_at_once(reader, kind, tmp_path, at_once, injected):
    file = tmp_path / f"file.{reader.rpartition('.')[2]}"
    if kind == "a pipe":
        os.mkfifo(file)
    else:
        file.symlink_to("/dev/zero")
    with pytest.raises((OSError, ValueError, LungkerasError)):
        READERS[reader](file)
    injected("pipes and devices in the place of files", 1)


def test_the_size_is_that_of_the_file(tmp_path):
    file = tmp_path / "a.csv"
    file.write_bytes(b"12345")
    (tmp_path / "link").symlink_to(file)
    assert size_of(file) == size_of(tmp_path / "link") == 5
    with pytest.raises(IsADirectoryError):
        size_of(tmp_path)


def test_a_pipe_in_a_study_is_refused_by_name(tmp_path, at_once):
    (tmp_path / "runs").mkdir()
    os.mkfifo(tmp_path / "runs" / "params.yaml")
    with pytest.raises(FolderError, match=r"runs/params\.yaml is a pipe or a device, expected a plain file"):
        refuse_links(tmp_path)
