"""`lungkeras new`: what it writes, says and refuses, and a whole study of a collection of one's own."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from layouts import write_scans

from lungkeras import cli
from lungkeras.datasets.registry import known_dataset, read_records, title
from lungkeras.preparation.audit.dataset import audit_prepared
from lungkeras.preparation.made_from import is_prepared
from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.study.new import settings_for
from lungkeras.study.params_files import load_study
from lungkeras.system.errors import ParamsError, SourceError

CHECKOUT = Path(cli.__file__).resolve().parents[2]


def run(*arguments):
    return cli.main([str(argument) for argument in arguments])


@pytest.fixture
def project(tmp_path, monkeypatch) -> Path:
    """A project of its own, in whose params/ a study may be written."""
    folder = tmp_path / "project"
    (folder / "notebooks").mkdir(parents=True)
    (folder / "Snakefile").touch()
    monkeypatch.chdir(folder)
    return folder


def draw(source: Path, *, scans: int = 20, side: int = 64, classes=("Lung Tumour", "Healthy")) -> Path:
    """Scans in a folder a class: noise, and in those of the first class a bright square somewhere."""
    rng = np.random.default_rng(0)
    for place, name in enumerate(classes):
        (source / name).mkdir(parents=True)
        for number in range(scans):
            image = rng.normal(110, 20, (side, side))
            x, y = rng.integers(side // 4, side // 2, 2)
            image[y : y + 12, x : x + 12] += 80 * (place == 0)
            cv2.imwrite(str(source / name / f"{place}{number:03d}.png"), np.clip(image, 0, 255).astype(np.uint8))
    return source


def test_a_study_is_written_that_the_params_understand(project, tmp_path, capsys):
    source = draw(tmp_path / "my scans", side=16)
    assert run("new", "my hospital", "--source", source) == 0
    said = capsys.readouterr().out
    assert "40 scans of 40 patients" in said and "Lung Tumour" in said and "Not understood:" in said
    assert said.rstrip().endswith("Next: lungkeras report my hospital")
    assert len(re.findall(r"^ +[01]\d{3}\.png ", said, flags=re.M)) == 10
    shared, runs = load_study(project / "params" / "my hospital")
    assert list(runs) == [
        f"my_hospital-{name}-random" for name in ("efficientnet_b1", "mobilenet_v3_large", "resnet34")
    ]
    assert (shared.acquire, shared.source, shared.image_size) == ("given", str(source), 64) and shared.names_source
    known = known_dataset("my_hospital")
    assert known.classes == ("healthy", "lung_tumour") and known.clear == "healthy"
    assert title("lung_tumour") == "Lung Tumour" and title("my_hospital") == "my hospital"
    assert len(read_records("my_hospital", source)) == 40
    assert run("report", "my hospital", "--source", "nothing=x") == 1


def test_an_existing_study_is_never_touched(project, tmp_path, capsys):
    source = draw(tmp_path / "scans", side=16)
    assert run("new", "mine", "--source", source, "--backbone", "resnet34") == 0
    before = {file: file.read_bytes() for file in (project / "params").rglob("*.yaml")}
    capsys.readouterr()
    assert run("new", "mine", "--source", source) == 1
    error = capsys.readouterr().err
    assert "exists already" in error and error.count("\n") == 1
    assert {file: file.read_bytes() for file in (project / "params").rglob("*.yaml")} == before


@pytest.mark.parametrize("study", ["", "a/b", "..", ".hidden", "a{b}", "profiles", "x" * 200])
def test_an_invalid_folder_name_is_refused(project, tmp_path, study, capsys):
    assert run("new", study, "--source", tmp_path) == 1
    assert capsys.readouterr().err.count("\n") == 1
    assert not (project / "params").exists()


@pytest.mark.parametrize("labels", [["--labels", "a.csv", "b.csv"], ["--labels", "a.csv", "--labels", "b.csv"]])
def test_several_tables_of_labels_are_refused(project, tmp_path, labels, capsys):
    assert cli.main(["new", "mine", "--source", str(tmp_path), *labels]) == 1
    assert "expected one table, found a.csv, b.csv: join them to one" in capsys.readouterr().err


def test_nothing_is_written_where_the_folder_is_not_understood(project, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    assert run("new", "mine", "--source", tmp_path / "empty") == 1
    assert run("new", "mine", "--source", tmp_path / "absent") == 1
    assert run("new", "mine", "--source", draw(tmp_path / "scans", side=16), "--backbone", "resnet35") == 1
    assert capsys.readouterr().err.count("\n") == 3
    assert not list((project / "params").glob("*")) if (project / "params").exists() else True


def test_two_studies_of_one_name_and_the_name_of_a_published_collection_differ(project, tmp_path):
    source = draw(tmp_path / "scans", side=16)
    for study in ("covid", "A b", "a-b", "2024"):
        assert run("new", study, "--source", source, "--backbone", "resnet34") == 0
    names = {file.parent.name: file.name.partition(".")[0] for file in (project / "params").glob("*/*.collection.yaml")}
    assert names == {"covid": "covid_2", "A b": "a_b", "a-b": "a_b_2", "2024": "scans_2024"}


def test_a_policy_may_name_a_class_of_ones_own(project, tmp_path):
    assert run("new", "mine", "--source", draw(tmp_path / "scans", side=16), "--backbone", "resnet34") == 0
    study = project / "params" / "mine" / "study.yaml"
    text = study.read_text()
    study.write_text(f"{text}blank: zeros, lung_tumour=ignore\n")
    assert load_study(study.parent)[0].blank == "zeros, lung_tumour=ignore"
    study.write_text(f"{text}blank: zeros, helthy=ignore\n")
    with pytest.raises(ParamsError, match="did you mean healthy"):
        load_study(study.parent)


def test_the_title_is_the_name_of_the_study_in_words(project, tmp_path):
    source = draw(tmp_path / "scans", side=16)
    assert run("new", "my_hospital", "--source", source, "--backbone", "resnet34") == 0
    assert run("new", "other_hospital", "--source", source, "--backbone", "resnet34", "--title", "St_Mary") == 0
    assert (title("my_hospital"), title("other_hospital")) == ("my hospital", "St_Mary")


def test_settings_grow_with_the_scans():
    sizes = [settings_for(scans)[1]["image_size"] for scans in (40, 499, 500, 4999, 5000, 300_000)]
    assert sizes == sorted(sizes) and sizes[0] == 64 and sizes[-1] == 224


def test_phantom_and_fetch_refuse_a_collection_of_your_own_in_a_sentence(project, tmp_path, capsys):
    assert run("new", "mine", "--source", draw(tmp_path / "scans", side=16), "--backbone", "resnet34") == 0
    capsys.readouterr()
    for command in ("phantom", "fetch"):
        assert run(command, "mine", "--to", tmp_path / "to") == 1
        error = capsys.readouterr().err
        assert error.count("\n") == 1 and "mine" in error
    shutil.rmtree(tmp_path / "scans")
    with pytest.raises(SourceError, match="mine: no scan in"):
        read_records("mine", tmp_path / "scans")


def test_a_broken_description_is_named_and_stops_no_other_collection(project, tmp_path, capsys):
    source = draw(tmp_path / "scans", side=16)
    assert run("new", "mine", "--source", source, "--backbone", "resnet34") == 0
    file = project / "params" / "mine" / "mine.collection.yaml"
    file.write_text(file.read_text().replace("multiclass", "both"))
    capsys.readouterr()
    assert run("audit", "mine", "--source", source) == 1
    assert "mine.collection.yaml: task:" in capsys.readouterr().err
    assert title("covid") == "COVID-19" and title("mine") == "mine"


def test_a_given_split_is_kept_and_its_leaks_are_reported(project, tmp_path):
    source, rows = tmp_path / "scans", []
    for number in range(48):
        split = ("train", "train", "train", "test")[number % 4]
        rows.append(
            {
                "file": f"{number}.png",
                "patient": f"p{number // 2}",
                "label": ("x", "y")[number % 3 == 0],
                "split": split,
            }
        )
    write_scans(source, *(row["file"] for row in rows))
    pd.DataFrame(rows).to_csv(source / "labels.csv", index=False)
    assert run("new", "mine", "--source", source, "--backbone", "resnet34") == 0
    study = yaml.safe_load((project / "params" / "mine" / "study.yaml").read_text())
    assert study["split"] == "given"
    summary = prepare_dataset("mine", source, tmp_path / "prepared", size=16, split="given")
    records = pd.read_parquet(tmp_path / "prepared" / "records.parquet").set_index("scan")
    assert summary["split"] == "given" and summary["scans"]["test"] == 12 and summary["scans"]["val"] > 0
    for row in rows:  # val is dealt from train, by patient
        assert (records.loc[row["file"], "split"] == "test") == (row["split"] == "test")
    audited = audit_prepared(tmp_path / "prepared")
    assert (
        audited["leakage"]["shared_patients"]["train and test"] + audited["leakage"]["shared_patients"]["val and test"]
        == 12
    )
    assert audited["leakage"]["shared_patients"]["train and val"] == 0
    assert any("leaks: 12 patients" in note for note in audited["notes"])
    assert is_prepared(tmp_path / "prepared", "mine", source, size=16, seed=0, split="given")
    assert not is_prepared(tmp_path / "prepared", "mine", source, size=16, seed=0)
    (source / "0.png").unlink()
    assert not is_prepared(tmp_path / "prepared", "mine", source, size=16, seed=0, split="given")


@pytest.fixture
def command(tmp_path):
    """Runs a command of lungkeras in a process of its own, in a project in tmp_path; returns its output."""
    for name in ("notebooks", "Snakefile"):
        (shutil.copytree if (CHECKOUT / name).is_dir() else shutil.copy)(CHECKOUT / name, tmp_path / name)
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(CHECKOUT), os.environ.get("PYTHONPATH", "")])}

    def run(*words: str) -> str:
        done = subprocess.run([sys.executable, "-m", "lungkeras", *words], check=False, capture_output=True, text=True,
                              cwd=tmp_path, env=environment)  # fmt: skip
        assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done.stdout

    return run


def shorten(study: Path, more: str = "") -> None:
    """One epoch of small scans."""
    text = study.read_text().replace("image_size: 64", "image_size: 32")
    study.write_text(re.sub("epochs: .*", "epochs: 1", text) + more)


@pytest.mark.study
def test_unknown_labels_of_a_table_are_ignored_through_a_whole_study(tmp_path, command):
    random, rows = np.random.default_rng(0), []
    draw(tmp_path / "scans", scans=60, classes=("one",))
    for number in range(60):
        cells = {name: str(random.choice(["1", "0", "-1", ""], p=(0.35, 0.4, 0.1, 0.15))) for name in ("Mass", "Edema")}
        rows.append({"file": f"0{number:03d}.png", "patient": f"p{number // 2}"} | cells)
    table = pd.DataFrame(rows)
    table.to_csv(tmp_path / "labels.csv", index=False)
    places = ("--source", str(tmp_path / "scans"), "--labels", str(tmp_path / "labels.csv"))
    command("new", "mine", *places, "--backbone", "mobilenet_v3_large")
    shorten(tmp_path / "params" / "mine" / "study.yaml", "uncertain: ignore\nblank: ignore\n")
    command("report", "mine")
    folder = tmp_path / "reports" / "mine"
    counted = pd.read_csv(folder / "tables" / "labels.csv").groupby("class")[["positive", "negative"]].sum()
    for name in ("Mass", "Edema"):
        assert counted.loc[name.lower()].tolist() == [(table[name] == "1").sum(), (table[name] == "0").sum()]
    splits = pd.read_parquet(tmp_path / "prepared" / "mine" / "mine" / "records.parquet")
    tested = splits[splits["split"] == "test"]
    scores = pd.read_csv(folder / "tables" / "class_scores.csv").set_index("class")
    for name in ("mass", "edema"):
        assert scores.loc[name, "known"] == tested[name].isin([0, 1]).sum()
        assert scores.loc[name, "support"] == (tested[name] == 1).sum()
    html = (folder / "report.html").read_text(encoding="utf-8")
    assert "Blank labels were left out" in html and "uncertain: ignore; blank: ignore" in html


@pytest.mark.study
def test_a_study_of_ones_own_ends_in_a_report_without_a_word_of_the_paper(tmp_path, command):
    source = draw(tmp_path / "private-place" / "scans")
    command("new", "mine", "--source", str(source), "--backbone", "mobilenet_v3_large")
    shorten(tmp_path / "params" / "mine" / "study.yaml")
    command("report", "mine")
    html = (tmp_path / "reports" / "mine" / "report.html").read_text(encoding="utf-8")
    text = re.sub(r"<script.*?</script>|<style.*?</style>|data:image/[^\"]*|<[^>]*>", " ", html, flags=re.DOTALL)
    assert "Lung Tumour" in text and "mine-mobilenet_v3_large-random" in text
    for words in (
        "the paper",
        "The paper",
        "ChestX-ray8",
        "Not made in this study",
        "Claims",
        "nan",
        "published study",
    ):
        assert words not in text, words
    assert set(re.findall(r'href="#([^"]+)"', html)) <= set(re.findall(r'id="([^"]+)"', html))
    held = [file for file in (tmp_path / "reports" / "mine").rglob("*.html") if "private-place" in file.read_text()]
    assert not held
    assert "trained" not in command("report", "mine")
