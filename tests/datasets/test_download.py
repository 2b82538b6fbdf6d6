"""A collection arrives whole in its folder or not at all, and no archive writes anywhere else."""

import io
import sys
import tarfile
import types
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
from layouts import write_covid, write_pneumonia, write_xray8

from lungkeras import cli
from lungkeras.datasets import manifest
from lungkeras.datasets.download import fetch
from lungkeras.datasets.registry import DATASETS, read_records
from lungkeras.system.errors import LungkerasError, SourceError
from lungkeras.system.provenance import file_digest

WRITE = {
    "covid": write_covid,
    "pneumonia": write_pneumonia,
    "xray8": lambda source: write_xray8(source, {"00000001_000.png": "Mass", "00000002_000.png": "No Finding"}),
}


def pack(source, archive, kind):
    files = sorted(path for path in source.rglob("*") if path.is_file())
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as opened:
            for file in files:
                opened.write(file, file.relative_to(source))
    else:
        with tarfile.open(archive, f"w:{kind}") as opened:
            opened.add(source, ".")
    return archive


@pytest.fixture
def kagglehub(monkeypatch):
    """Stands for the client: `kagglehub.dataset_download` is for the test to set."""
    module = types.ModuleType("kagglehub")
    monkeypatch.setitem(sys.modules, "kagglehub", module)
    return module


@pytest.mark.parametrize("kind", ["zip", "", "gz", "xz"])
@pytest.mark.parametrize("dataset", WRITE)
def test_an_archive_becomes_a_source(dataset, kind, tmp_path):
    source = WRITE[dataset](tmp_path / "published")
    archive = pack(source, tmp_path / "archive", kind)
    to = fetch(dataset, tmp_path / "new" / "source", archive=archive)
    assert read_records(dataset, to).equals(read_records(dataset, source))
    assert {path.name for path in to.parent.iterdir()} == {"source"}
    assert to.stat().st_mode & 0o777 == source.stat().st_mode & 0o777


@pytest.mark.parametrize(
    ("gate", "said"), [("a signature", "asks for a signature: do that at"), ("", "is open to all")]
)
def test_what_no_client_fetches_is_one_sentence_that_names_the_page(gate, said, tmp_path, monkeypatch):
    asked = replace(DATASETS["covid"], handle="", page="https://example.org/covid", gate=gate)
    monkeypatch.setitem(DATASETS, "covid", asked)
    with pytest.raises(LungkerasError, match=rf"^covid: .*{said}.* https://example\.org/covid, then .*--archive FILE"):
        fetch("covid", tmp_path / "new")
    assert not list(tmp_path.iterdir())
    assert fetch("covid", tmp_path / "new", archive=pack(write_covid(tmp_path / "covid"), tmp_path / "zip", "zip"))


@pytest.mark.parametrize("dataset", [name for name, known in DATASETS.items() if not known.handle])
def test_a_collection_that_is_gated_or_lies_elsewhere_says_where_to_get_it(dataset, tmp_path, capsys):
    assert cli.main(["fetch", dataset, "--to", str(tmp_path / "new")]) == 1
    said = capsys.readouterr().err
    known = DATASETS[dataset]
    assert said.startswith(f"lungkeras: {dataset}: {known.title} ") and known.page in said and known.gate in said
    assert said.count("\n") == 1 and known.page.startswith("https://")


def test_a_collection_that_is_there_is_not_fetched_again(tmp_path):
    assert fetch("covid", write_covid(tmp_path), archive=tmp_path / "absent.zip") == tmp_path


def test_other_files_are_not_written_over(tmp_path):
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(LungkerasError, match=r"found thesis\.tex: name another"):
        fetch("covid", tmp_path, archive=tmp_path / "archive.zip")


def hostile_zip(archive, name, mode=0):
    member = zipfile.ZipInfo(name)
    member.external_attr = mode << 16
    with zipfile.ZipFile(archive, "w") as opened:
        opened.writestr("COVID/COVID-1.png", b"")
        opened.writestr(member, b"/etc/hostname")


def hostile_tar(archive, name, kind=tarfile.REGTYPE):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, "/etc/hostname"
    with tarfile.open(archive, "w") as opened:
        opened.addfile(member, io.BytesIO())


@pytest.mark.parametrize("name", ["../x", "COVID/../../x", "/x", "..\\x", "C:\\x", "\\x"])
@pytest.mark.parametrize("write", [hostile_zip, hostile_tar])
def test_names_that_leave_the_folder_are_refused(write, name, tmp_path):
    write(tmp_path / "archive", name)
    with pytest.raises(LungkerasError, match="a name outside its folder"):
        fetch("covid", tmp_path / "inner" / "source", archive=tmp_path / "archive")
    assert {path.name for path in tmp_path.rglob("*")} == {"archive", "inner"}


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_refused(kind, tmp_path):
    hostile_tar(tmp_path / "archive", "COVID/COVID-1.png", kind)
    with pytest.raises(LungkerasError, match="a link or device"):
        fetch("covid", tmp_path / "source", archive=tmp_path / "archive")


def test_links_in_a_zip_are_refused(tmp_path):
    hostile_zip(tmp_path / "archive", "COVID/COVID-2.png", 0o120777)
    with pytest.raises(LungkerasError, match="a link or device"):
        fetch("covid", tmp_path / "source", archive=tmp_path / "archive")


@pytest.mark.parametrize("kind", ["zip", "gz"])
def test_a_cut_archive_leaves_nothing_behind(kind, tmp_path):
    archive = pack(write_covid(tmp_path / "published"), tmp_path / "archive", kind)
    archive.write_bytes(archive.read_bytes()[:-200])
    with pytest.raises(LungkerasError, match="to be a complete zip or tar archive"):
        fetch("covid", tmp_path / "new" / "source", archive=archive)
    assert list((tmp_path / "new").iterdir()) == []


def test_an_absent_archive_is_named(tmp_path):
    with pytest.raises(LungkerasError, match=r"expected .*absent\.zip to be .*No such file"):
        fetch("covid", tmp_path / "source", archive=tmp_path / "absent.zip")


def test_the_archive_of_another_collection_is_refused(tmp_path):
    archive = pack(write_pneumonia(tmp_path / "published"), tmp_path / "archive", "zip")
    with pytest.raises(SourceError, match=r"found chest_xray/: get kaggle\.com/datasets/tawsifurrahman"):
        fetch("covid", tmp_path / "source", archive=archive)
    assert not (tmp_path / "source").exists()


def test_kaggle_is_asked_for_the_dataset(kagglehub, tmp_path):
    asked = []

    def download(handle, *, output_dir):
        asked.append(handle)
        write_covid(Path(output_dir))

    kagglehub.dataset_download = download
    to = fetch("covid", tmp_path / "source")
    assert asked == ["tawsifurrahman/covid19-radiography-database"]
    assert len(read_records("covid", to)) == 8


def test_a_failed_download_is_one_sentence_without_secrets(kagglehub, tmp_path):
    def download(handle, *, output_dir):
        write_covid(Path(output_dir))
        raise ConnectionError("https://storage.example/?token=canary")

    kagglehub.dataset_download = download
    with pytest.raises(LungkerasError) as caught:
        fetch("xray8", tmp_path / "new" / "source")
    said = str(caught.value)
    for part in ("nih-chest-xrays/data", "ConnectionError", "--archive FILE", "lungkeras phantom xray8 --to"):
        assert part in said
    assert "canary" not in said
    assert "\n" not in said
    assert list((tmp_path / "new").iterdir()) == []


def published(monkeypatch, **known):
    """Lets other counts and hashes be those that were published: those of the miniatures."""
    for dataset, facts in known.items():
        monkeypatch.setitem(DATASETS, dataset, replace(DATASETS[dataset], **facts))


def differences(dataset, source, tmp_path, capsys):
    tmp_path.mkdir(exist_ok=True)
    archive = pack(source, tmp_path / "archive.zip", "zip")
    to = fetch(dataset, tmp_path / "fetched" / dataset, archive=archive)
    assert len(read_records(dataset, to))
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith(f"{dataset}: ")]


def test_a_collection_as_published_is_taken_in_silence_and_differences_are_reported(tmp_path, monkeypatch, capsys):
    source = WRITE["covid"](tmp_path / "published")
    today = {"COVID": 3, "Normal": 5, "Viral Pneumonia": 2, "Lung_Opacity": 1}
    published(monkeypatch, covid={"releases": [{"COVID-19": 1, "NORMAL": 1, "Viral Pneumonia": 1}, today]})
    assert differences("covid", source, tmp_path / "whole", capsys) == []
    next(source.rglob("Normal-3.png")).unlink()
    (source / "COVID-19_Radiography_Dataset" / "COVID" / "images" / "COVID-9.png").write_bytes(b"more")
    assert differences("covid", source, tmp_path / "other", capsys) == [
        "covid: COVID has 4 scans, 3 were published",
        "covid: Normal has 4 scans, 5 were published",
    ]


def test_scans_are_counted_by_what_they_hold_and_each_real_folder_once(tmp_path):
    release = WRITE["covid"](tmp_path) / "COVID-19_Radiography_Dataset"
    for file in (release / "COVID" / "images").iterdir():
        file.rename(file.with_suffix(""))
    (release / "COVID" / "images" / "notes").write_text("a note")
    (release / "again").symlink_to(release / "COVID")
    assert manifest.scans_by_folder(release)["COVID"] == 3


def test_a_changed_or_absent_list_and_a_part_of_the_scans_are_reported_and_stop_nothing(tmp_path, monkeypatch, capsys):
    source = WRITE["xray8"](tmp_path / "published")
    entries = source / "Data_Entry_2017.csv"
    (source / "test_list.txt").write_text("00000001_000.png\n")
    hashes = {name: file_digest(source / name) for name in ("Data_Entry_2017.csv", "test_list.txt")}
    published(monkeypatch, xray8={"scans": 2, "lists": hashes})
    assert differences("xray8", source, tmp_path / "whole", capsys) == []
    entries.write_bytes(entries.read_bytes().replace(b",058,", b",059,"))
    (source / "test_list.txt").unlink()
    next(source.rglob("00000002_000.png")).unlink()
    assert differences("xray8", source, tmp_path / "other", capsys) == [
        "xray8: the folder has 1 scans, 2 were published",
        "xray8: Data_Entry_2017.csv is not the published one, by its SHA-256",
        "xray8: test_list.txt is absent",
    ]


def test_a_part_of_the_pneumonia_collection_is_counted_over_its_published_folders(tmp_path, capsys):
    source = WRITE["pneumonia"](tmp_path / "published")
    assert differences("pneumonia", source, tmp_path, capsys) == [
        "pneumonia: NORMAL has 3 scans, 1,583 were published",
        "pneumonia: PNEUMONIA has 4 scans, 4,273 were published",
    ]


def test_the_lists_of_the_real_collection_are_the_published_ones(real_scans):
    assert [line for line in manifest.differences("xray8", real_scans / "nih") if "scans" not in line] == []


def test_a_zip_with_backslashes_is_unpacked_into_folders(tmp_path):
    source = write_covid(tmp_path / "published")
    with zipfile.ZipFile(tmp_path / "archive.zip", "w") as opened:
        for file in source.rglob("*.png"):
            opened.writestr(str(file.relative_to(source)).replace("/", "\\"), file.read_bytes())
    to = fetch("covid", tmp_path / "source", archive=tmp_path / "archive.zip")
    assert read_records("covid", to).equals(read_records("covid", source))


def test_a_web_page_in_place_of_an_archive_is_named(tmp_path):
    (tmp_path / "archive.zip").write_text("<!DOCTYPE html><html>Sign in</html>")
    with pytest.raises(LungkerasError, match="found a web page"):
        fetch("covid", tmp_path / "source", archive=tmp_path / "archive.zip")
