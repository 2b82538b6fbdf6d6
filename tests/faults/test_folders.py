"""Sources and folders as they go wrong: a sentence, nothing half made, and the same command ends once it is mended."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from folder_contents import contents
from prepared_data import write_prepared
from small_study import report, small_study
from small_training import params_of, small_model

from lungkeras import cli
from lungkeras.datasets import acquisition
from lungkeras.datasets.phantoms.phantom import draw_source
from lungkeras.datasets.registry import read_records
from lungkeras.datasets.scans import opencv
from lungkeras.datasets.scans import workers as decoder
from lungkeras.preparation.folder import load_prepared
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.preparation.scan import first_steps, prepare_scan
from lungkeras.study import runs
from lungkeras.system.errors import ScanError
from lungkeras.training import one_run


def without_class(source: Path) -> str:
    for folder in source.glob("chest_xray/*/NORMAL"):
        shutil.rmtree(folder)
    return "found too few of normal (0)"


def empty(source: Path) -> str:
    shutil.rmtree(source)
    source.mkdir()
    return "found an empty folder"


def absent(source: Path) -> str:
    shutil.rmtree(source)
    return "found no such folder"


def file_in_its_place(source: Path) -> str:
    shutil.rmtree(source)
    source.write_bytes(b"a file")
    return "found a file, not a folder"


def without_scans(source: Path) -> str:
    for file in source.rglob("*.jpeg"):
        file.unlink()
    return "no scan in"


def of_empty_files(source: Path) -> str:
    for file in source.rglob("*.jpeg"):
        file.write_bytes(b"")
    return "can be read (the first: empty file)"


def of_one_patient(source: Path) -> str:
    for place, file in enumerate([*source.rglob("person*.jpeg")]):
        file.rename(file.with_name(f"person1_{('bacteria', 'virus')[place % 2]}_{place}.jpeg"))
    for place, file in enumerate([*source.rglob("*IM-*.jpeg")]):
        file.rename(file.with_name(f"IM-0001-{place:04}.jpeg"))
    return "found too few of bacterial_pneumonia (1), viral_pneumonia (1), normal (1)"


def of_another_dataset(source: Path) -> str:
    shutil.rmtree(source)
    draw_source("covid", source, scans=20)
    return "which is a source of covid"


FAULTS = [without_class, empty, absent, file_in_its_place, without_scans, of_empty_files, of_one_patient]
FAULTS += [of_another_dataset]


@pytest.mark.parametrize("spoil", FAULTS, ids=lambda fault: fault.__name__)
def test_a_source_that_holds_no_dataset_is_refused_in_a_sentence(phantom_source, tmp_path, capsys, spoil, injected):
    source, to = tmp_path / "source", tmp_path / "prepared" / "pneumonia"
    shutil.copytree(phantom_source("pneumonia"), source)
    if spoil in (without_class, of_one_patient, of_empty_files):  # an earlier result stays as it was
        prepare_dataset("pneumonia", source, to, size=16)
    before, words = contents(to), spoil(source)
    prepare = ["prepare", "pneumonia", "--to", str(to), "--size", "32"]
    for command in [["audit", "pneumonia"], prepare] if spoil is empty else [prepare]:
        assert cli.main([*command, "--source", str(source)]) == 1
        said = capsys.readouterr().err
        assert said.startswith("lungkeras: ") and said.count("\n") == 1 and "Traceback" not in said
    assert words in said
    assert contents(to) == before
    assert not to.parent.exists() or {file.name for file in to.parent.iterdir()} <= {"pneumonia"}

    shutil.rmtree(source) if source.is_dir() else source.unlink(missing_ok=True)
    shutil.copytree(phantom_source("pneumonia"), source)
    if before or spoil is absent:
        assert cli.main([*prepare, "--source", str(source)]) == 0
        assert len(load_prepared(to).records) == 60
    injected("sources that hold no such dataset", 1)


@pytest.mark.parametrize("part", [".", "chest_xray/train/PNEUMONIA"], ids=["the folder", "some scans"])
def test_a_source_that_vanishes_while_it_is_read_gives_no_half_dataset(part, prepared_while, phantom_source, injected):
    words = r"of 60 scans vanished while they were read, such as .*\.jpeg: when the"
    source, to = prepared_while(lambda source, _: shutil.rmtree(source / part), words)
    shutil.rmtree(source, ignore_errors=True)
    shutil.copytree(phantom_source("pneumonia"), source)
    assert prepare_dataset("pneumonia", source, to, size=16)["quarantined"] == 0
    injected("sources that vanish or change while they are read", 1)


def test_a_broken_scan_is_quarantined_however_early_it_comes(phantom_source, tmp_path):
    """A file that is there and can't be read is no vanished one; nor is one whose name is no UTF-8."""
    source = tmp_path / "source"
    shutil.copytree(phantom_source("covid"), source)
    folder = next(source.glob("*/COVID/images"))
    first = min(folder.iterdir())
    shutil.copy(first, bytes(folder) + b"/COVID-\xff.png")
    first.write_bytes(b"\x89PNG broken")
    summary = prepare_dataset("covid", source, tmp_path / "prepared", size=32)
    assert summary["quarantined"] == 2
    scans = [first, folder / "absent.png", max(folder.iterdir())]
    np.testing.assert_array_equal(first_steps(scans, 32)["resized"], prepare_scan(scans[2], 32))
    with pytest.raises(ScanError, match="absent"):
        first_steps(scans[:2], 32)


LONG = "n" * 200
ODD = ["quo\"te's & spaces; $(id) #?*{x}", "new\nline", "Größe, 胸部 🫁", LONG]
ODD += [
    pytest.param(name, marks=pytest.mark.faults) for name in ("$HOME `id`", "a;b & c | d > e", "*[x]~\\", "{x}", "-x")
]


@pytest.mark.parametrize("name", ODD, ids=[str(place) for place in range(len(ODD))])
def test_folders_of_any_name_hold_sources_and_prepared_datasets(phantom_source, tmp_path, capsys, name, injected):
    source, to = tmp_path / name / "source", tmp_path / name / name
    shutil.copytree(phantom_source("covid"), source)
    scans = min((folder for folder in source.glob("*/COVID/images")), key=str)
    for scan in [*scans.iterdir()][:2]:
        scan.rename(scans / f"{scan.stem} {name[:200]}.png")
    assert cli.main(["prepare", "covid", "--source", str(source), "--to", str(to), "--size", "32"]) == 0
    assert json.loads(capsys.readouterr().out)["quarantined"] == 0
    assert len(load_prepared(to).records) == 60
    assert [file.name for file in to.parent.iterdir() if file.name != "source"] == [name]
    assert len(read_records("covid", source)) == 60
    injected("folders and scans of odd names", 1)


@pytest.mark.faults
def test_a_run_trains_and_is_read_in_folders_of_odd_names(tmp_path):
    root = tmp_path / 'it\'s a "place" 胸部' / LONG
    prepared = write_prepared(root / "pneumonia")
    folder = one_run.train(params_of(prepared, root / "runs", epochs=1), small_model())
    assert len(runs.read_runs(folder.parent)) == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"runs": "reports/{study}/runs"}, "runs: expected a path without control characters and braces"),
        ({"prepared": "prepared/{x}"}, "prepared: expected a path without control characters and braces"),
        ({"runs": "reports/a\nb/runs"}, "expected text without control characters"),
    ],
    ids=["runs", "prepared", "newline"],
)
def test_a_path_that_the_graph_can_not_go_by_is_refused_before_it_starts(tmp_path, capsys, given, words):
    (tmp_path / "study.yaml").write_text("".join(f"{key}: {json.dumps(value)}\n" for key, value in given.items()))
    (tmp_path / "covid-resnet34-random.yaml").write_text("dataset: covid\nbackbone: resnet34\n")
    assert cli.main(["report", str(tmp_path)]) == 1
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1


def test_a_source_with_a_line_break_is_refused_by_a_study_and_read_by_a_step(tmp_path, capsys, phantom_source):
    source = tmp_path / "a\nsource"
    shutil.copytree(phantom_source("pneumonia"), source)
    assert cli.main(["report", "sample", "--source", f"pneumonia={source}"]) == 1
    capsys.readouterr()
    study = tmp_path / "study"
    study.mkdir()
    (study / "study.yaml").write_text("acquire: given\n")
    (study / "pneumonia-resnet34-random.yaml").write_text("backbone: resnet34\n")
    assert cli.main(["report", str(study), "--source", f"pneumonia={source}"]) == 1
    said = capsys.readouterr().err
    assert "pneumonia: expected a path without control characters" in said and "a\\nsource" in said
    assert len(read_records("pneumonia", source)) == 60


NO_MEMORY = """
from lungkeras.datasets.scans import opencv
from lungkeras.datasets.scans import workers as decoder

decoder._has_room = lambda: False

def no_memory(*_):
    error = opencv.cv2.error("Failed to allocate 64000000 bytes")
    error.code, error.err = opencv.cv2.Error.StsNoMem, "Failed to allocate 64000000 bytes"
    raise error

opencv.cv2.imdecode = no_memory
"""


@pytest.mark.parametrize("step", ["imdecode", "equalizeHist"])
def test_what_runs_out_of_memory_says_so_and_quarantines_nothing(phantom_source, tmp_path, monkeypatch, capsys, step):
    if step == "imdecode":  # in the decoder's process
        monkeypatch.setattr(decoder, "SERVE", NO_MEMORY + decoder.SERVE)
    else:
        error = opencv.cv2.error("Failed to allocate 64000000 bytes")
        error.code, error.err = opencv.cv2.Error.StsNoMem, "Failed to allocate 64000000 bytes"

        def no_memory(*_):
            raise error

        monkeypatch.setattr(opencv.cv2, step, no_memory)
    to = tmp_path / "prepared" / "covid"
    assert cli.main(["prepare", "covid", "--source", str(phantom_source("covid")), "--to", str(to)]) == 1
    said = capsys.readouterr().err
    assert said.startswith("lungkeras: not enough memory") and said.count("\n") == 1
    assert not list(to.parent.iterdir())


class ResourceExhaustedError(Exception):
    """As TensorFlow calls it."""


def test_a_training_that_runs_out_of_memory_names_what_takes_it(tmp_path, monkeypatch):
    def no_memory(*_, **__):
        raise ResourceExhaustedError("OOM when allocating tensor with shape[16,64,512,512]")

    monkeypatch.setattr(one_run, "fit", no_memory)
    params = params_of(write_prepared(tmp_path / "prepared" / "pneumonia"), tmp_path / "runs")
    with pytest.raises(one_run.RunError, match="not enough memory for batches of 8 scans of 32 pixels: give a smaller"):
        one_run.train(params, small_model())


def test_a_source_that_another_process_draws_is_waited_for_and_taken(tmp_path, monkeypatch):
    """A source that exists once `acquire` holds the lock is not drawn again."""
    from lungkeras.system import locks

    source, waited = tmp_path / "covid", []
    acquired = locks._acquired

    def slow(file, work, patience):
        draw_source("covid", source, scans=20)  # the other process ends
        waited.append(work)
        return acquired(file, work, patience)

    monkeypatch.setattr(locks, "_acquired", slow)
    monkeypatch.setattr(acquisition, "draw_source", None)
    assert acquisition.acquire("covid", source, "draw") == source
    assert waited == [f"{source} is being made"]


@pytest.mark.faults
def test_a_study_in_a_folder_of_an_odd_name_goes_through_the_graph_and_the_notebooks(tmp_path, injected):
    root = tmp_path / f'it\'s "a" place: #1 $x 胸部 {"n" * 170}'
    root.mkdir()
    study, results = small_study(root, "pneumonia-mobilenet_v3_large-random")
    source = draw_source("pneumonia", root / "a 'given' source", scans=48)
    done = report(study, "--source", f"pneumonia={source}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (results / "report.html").is_file()
    injected("folders and scans of odd names", 1)


@pytest.mark.faults
def test_a_notebook_that_fails_half_way_is_named_and_the_study_resumes(tmp_path, injected):
    study, results = small_study(tmp_path, "pneumonia-mobilenet_v3_large-random")
    source = tmp_path / "source"
    draw_source("covid", source, scans=20)
    done = report(study, "--source", f"pneumonia={source}")
    assert done.returncode == 1 and "Traceback" not in done.stdout + done.stderr
    assert done.stderr.count("\n") == 1 and "which is a source of covid" in done.stderr
    assert [file.name for file in results.glob("notebooks/*")] == ["01_data_preparation-pneumonia.failed.ipynb"]
    assert not list(tmp_path.rglob("metrics.json")) and not list(tmp_path.rglob("statistics.json"))
    prepared = tmp_path / "prepared" / "pneumonia"
    shutil.rmtree(source)
    draw_source("pneumonia", source, scans=48)
    prepare_dataset("pneumonia", source, prepared, size=32)
    pixels = np.load(prepared / "val.npy")
    np.save(prepared / "val.npy", pixels[:-1])  # a cell of the second notebook fails
    done = report(study, "--source", f"pneumonia={source}")
    assert done.returncode in (0, 1) and "Traceback" not in done.stdout + done.stderr
    shutil.rmtree(prepared)
    done = report(study, "--source", f"pneumonia={source}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(results.glob("notebooks/*.failed.ipynb"))
    assert len(pd.read_csv(results / "tables" / "table_3.csv")) == 1
    injected("notebooks that fail half way", 2)
