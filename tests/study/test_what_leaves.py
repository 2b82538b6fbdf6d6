"""What a finished study holds tells nothing of the machine: no path, no user, no name of the host.

SECURITY.md lists what leaves in results; a study is made, asked and judged in folders of private names.
"""

import base64
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pandas as pd
import pytest
import yaml
from PIL import Image
from pyarrow import parquet
from small_study import report, small_study

from lungkeras.datasets.phantoms.phantom import draw_source
from lungkeras.system.processes import ROOT, variables

RUN = "pneumonia-mobilenet_v3_large-random"
PRIVATE = ("private-home", "private-disk", "private-user", "private-host")
PICTURE = re.compile(r"image/png;base64,([A-Za-z0-9+/=]+)|\"image/png\": \"([A-Za-z0-9+/=\\n]+)\"")
OWN = {".lock"}  # which is there while a study is being made


def words_in(file: Path) -> str:
    """All that a file tells: its bytes as text, its members, its columns and the notes of its pictures."""
    held = file.read_bytes().decode(errors="ignore")
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as archive:
            held += "".join(archive.read(name).decode(errors="ignore") for name in archive.namelist())
    if file.suffix == ".parquet":
        held += f"{parquet.read_metadata(file).metadata} {pd.read_parquet(file).to_csv()}"
    if file.suffix == ".png":
        with Image.open(file) as picture:
            held += str(picture.info)
    for found in PICTURE.finditer(held):
        held += base64.b64decode((found[1] or found[2]).replace("\\n", "")).decode(errors="ignore")
    return held


def private_words(folder: Path, private: tuple[str, ...]) -> dict[str, list[str]]:
    """The private words in each file below a folder that holds some."""
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and file.name not in OWN]
    assert files
    found = {}
    for file in files:
        held = words_in(file)
        if words := [word for word in private if word in held]:
            found[file.relative_to(folder).as_posix()] = words
    return found


def test_a_word_is_found_wherever_it_hides(tmp_path):
    word = "private-home"
    with zipfile.ZipFile(tmp_path / "model.keras", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("config.json", word * 9)
    pd.DataFrame({"scan": [word] * 9}).to_parquet(tmp_path / "records.parquet")
    (tmp_path / "page.html").write_text(f"<p>{word}</p>")
    (tmp_path / "plain.csv").write_text("scan\n1.png\n")
    assert set(private_words(tmp_path, (word,))) == {"model.keras", "records.parquet", "page.html"}


@pytest.mark.study
def test_a_study_its_predictions_and_a_judgement_reveal_nothing_of_the_machine(tmp_path):
    home, disk = tmp_path / "private-home", tmp_path / "private-disk"
    project, source = home / "project", draw_source("pneumonia", disk / "chests", scans=48)
    shutil.copytree(ROOT / "notebooks", project / "notebooks")
    shutil.copy(ROOT / "Snakefile", project)
    study, results = small_study(project, RUN)
    shared = yaml.safe_load((study / "study.yaml").read_text())
    shared |= {"source": "sources", "prepared": "prepared", "runs": "results/runs"}
    (study / "study.yaml").write_text(yaml.safe_dump(shared))
    where = {"cwd": project, "env": variables(HOME=str(home), USER="private-user", LOGNAME="private-user")}
    named = ["unshare", "--uts", "sh", "-c", 'hostname private-host && exec "$@"', "sh"]
    is_able = shutil.which("unshare") and not subprocess.run([*named, "true"], check=False).returncode
    before = named if is_able else []  # else the host's own name stays, which is no word to look for

    done = report(study, "--source", f"pneumonia={source}", before=before, **where)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    private = (*PRIVATE, str(tmp_path), str(ROOT), sys.prefix, str(Path.home()) + "/")
    assert private_words(results, private) == {} and private_words(project / "prepared", private) == {}
    notebook = json.loads((results / "notebooks" / "01_data_preparation-pneumonia.ipynb").read_text())
    assert re.fullmatch(r"chests~[0-9a-f]{6}", notebook["metadata"]["papermill"]["parameters"]["source"])

    asked, run = home / "asked", results / "runs" / RUN
    command = [*before, sys.executable, "-P", "-m", "lungkeras"]
    asks = [
        ["predict", str(run), str(source), "--csv", str(asked / "table.csv"), "--heatmaps", str(asked / "maps")],
        ["judge", str(run / "best.keras"), "--source", str(source), "--labels", str(asked / "labels.csv"),
         "--to", str(asked / "judged")],
        ["judge", str(run / "predictions.parquet"), "--to", str(asked / "of-run")],
        ["export", str(run), "--format", "onnx"],
    ]  # fmt: skip
    asked.mkdir()
    for arguments in asks:
        if arguments[0] == "judge" and "--labels" in arguments:
            scans = pd.read_csv(asked / "table.csv")["file"]
            labels = pd.DataFrame({"scan": scans, "normal": (pd.RangeIndex(len(scans)) % 3 == 0).astype(int)})
            labels["bacterial_pneumonia"], labels["viral_pneumonia"] = 1 - labels["normal"], 0
            labels.to_csv(asked / "labels.csv", index=False)
        done = subprocess.run([*command, *arguments], check=False, capture_output=True, text=True, **where)
        assert done.returncode == 0, done.stdout + done.stderr
    assert private_words(asked, private) == {} and private_words(run / "export", private) == {}
    assert set(pd.read_csv(asked / "table.csv")["file"]) == {
        file.relative_to(source).as_posix() for file in source.rglob("*.jpeg")
    }
    printed = subprocess.run([*command, "predict", str(run), str(source)], check=True, capture_output=True, text=True,
                             **where)  # fmt: skip
    assert not [word for word in private if word in printed.stdout + printed.stderr]
