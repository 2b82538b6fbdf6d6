"""Params files as they go wrong by hand or by design: each is refused in a sentence before TensorFlow loads."""

import ast
import json
import re
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest

from lungkeras.datasets.own_description import load_description
from lungkeras.study.params import Params
from lungkeras.study.params_files import load_params
from lungkeras.system.errors import ParamsError

LAUGHS = "a: &a [x, x]\n" + "".join(f"{name}: &{name} [*{last}, *{last}]\n" for last, name in pairwise("abcdefghi"))

# What the file holds -> what the sentence must name.
WRONG = {
    # keys
    "learning_rat: 0.1": "learning_rate", "Epochs: 3": "epochs", "batchsize: 4": "batch_size", "sed: 1": "seed",
    "image-size: 64": "image_size", "back_bone: resnet34": "backbone", "wieghts: random": "weights",
    "data_set: covid": "dataset", "sorce: x": "source", "aquire: draw": "acquire", "run: x": "runs",
    "final_learning_rte: 0.1": "final_learning_rate", "batch_norm_momentun: 0.9": "batch_norm_momentum",
    "__class__: x": "__class__", "print: 1": "print", "1: 2": "unknown key 1", "true: 1": "unknown key True",
    "? [a, b]\n: 1": "line 1", "x; import os: 1": "unknown key",
    "epochs: 3\nepochs: 4": "line 2 repeats the key 'epochs'", "epochs: 3\nepoch: 4": "line 2: unknown key 'epoch'",
    # values
    "epochs: 0": "epochs", "epochs: -3": "epochs", "epochs: 2.5": "epochs", "epochs: '3'": "epochs",
    "epochs: true": "epochs", "epochs:": "epochs", "epochs: [3]": "epochs", "epochs: {a: 3}": "epochs",
    f"epochs: {'9' * 5000}": "", f"epochs: {'9' * 400}": "epochs", "seed: -1": "seed", "seed: 99999999999": "seed",
    "learning_rate: .nan": "learning_rate", "learning_rate: .inf": "learning_rate", "learning_rate: 0": "learning_rate",
    "learning_rate: 1e-3": "write 0.001", "learning_rate: fast": "learning_rate",
    f"learning_rate: {'9' * 400}": "learning_rate", "learning_rate: 0.00001": "final_learning_rate",
    "batch_size: 0": "batch_size", "batch_size: 1000000": "batch_size", "image_size: 8": "image_size",
    "image_size: 100000": "image_size", "batch_norm_momentum: 1": "batch_norm_momentum",
    "dataset: mnist": "dataset", "dataset: [covid]": "dataset", "backbone: resnet": "resnet34",
    "weights: image_net": "weights", "weights: model.pkl": "weights", "acquire: steal": "acquire",
    "suffix: ../../x": "suffix", "suffix: '-$(id)'": "suffix", "scans: 3": "scans", 'title: "a\\e[2Jb"': "title",
    'title: "\\u202Egnp"': "title", 'source: "a\\0b"': "source", 'source: "\\ud800"': "",
    f"title: {'x' * 1000}": "title",
    # YAML
    "- a\n- b": "found a list", "epochs": "found a str", "a: [": "line", "epochs: 3\n\tseed: 1": "line 2",
    "title: !!python/object/apply:os.system ['touch canary']": "line 1", "title: !!python/name:os.system": "line 1",
    "title: !exec x": "line 1", "a: &a [x]\nb: *a": "line 2 uses an alias", LAUGHS: "line 2 uses an alias",
    "title: &t x\n<<: *t": "alias", "a: " + "[" * 5000: "nested too deep", "epochs: 3\n---\nepochs: 4": "line 2",
    "title: " + "x" * 200_000: "larger than 100 kB", "title: \x07": "", "title: 2020-99-99": "",
}  # fmt: skip
BYTES = {b"\xff\xfe\x00\x01": "not UTF-8", b"title: \xe9": "not UTF-8", b"\x00": ""}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[Path, str]:
    folder = tmp_path_factory.mktemp("params")
    made = {}
    for place, (text, words) in enumerate([*WRONG.items(), *BYTES.items()]):
        path = folder / f"wrong-{place:02d}.yaml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        made[path] = words
    return made


def test_each_wrong_file_is_refused_by_its_name_key_and_the_nearest_known_one(files, injected):
    assert len(files) >= 60
    for path, words in files.items():
        with pytest.raises(ParamsError) as caught:
            load_params([path])
        said = str(caught.value)
        assert str(path) in said and words in said, (path.read_bytes()[:80], said)
        assert "\n" not in said and len(said) < len(str(path)) + 700, path.read_bytes()[:80]
    injected("wrong params files", len(files))


def test_the_line_is_that_of_the_file_that_has_it(tmp_path):
    study, run = tmp_path / "study.yaml", tmp_path / "run.yaml"
    study.write_text("epochs: 3\nlearning_rate: 0.1\n")
    run.write_text("# a run\nepochs: 0\n")
    with pytest.raises(ParamsError, match=r"run\.yaml, line 2: epochs: .*found 0"):
        load_params([study, run])
    with pytest.raises(ParamsError, match=r"study\.yaml, line 1: epochs: .*found -3"):
        study.write_text("epochs: -3\n")
        run.write_text("seed: 1\n")
        load_params([study, run])


def test_the_command_refuses_each_within_a_second_and_without_tensorflow(files):
    code = """
import contextlib, io, json, sys, time
from lungkeras.cli import main
answers = []
for path in sys.argv[1:]:
    words, start = io.StringIO(), time.process_time()
    with contextlib.redirect_stderr(words):
        status = main(["train", "--params", path])
    answers.append([status, time.process_time() - start, words.getvalue()])
print(json.dumps([answers, sorted({"keras", "tensorflow", "torch"} & set(sys.modules))]))
"""
    done = subprocess.run([sys.executable, "-c", code, *map(str, files)], capture_output=True, text=True, check=True)
    answers, loaded = json.loads(done.stdout)
    assert len(answers) == len(files) and not loaded
    for status, seconds, words in answers:
        assert status == 1 and seconds < 1
        assert words.startswith("lungkeras: ") and words.count("\n") == 1 and "Traceback" not in words


@pytest.mark.faults
def test_the_command_as_a_whole_takes_less_than_a_second(files):
    usage = []
    for path in files:
        start = time.monotonic()
        command = [sys.executable, "-m", "lungkeras", "train", "--params", str(path)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        usage.append(time.monotonic() - start)
        assert done.returncode == 1 and done.stderr.count("\n") == 1 and "Traceback" not in done.stderr
    assert sorted(usage)[len(usage) // 2] < 1


@pytest.mark.parametrize("content", [None, b"title: \xe9", b"a: &a [x]\nb: *a"])
def test_the_description_of_a_collection_is_refused_for_what_params_are(tmp_path, content):
    """A file that is not there, no text, or no plain YAML, in the same words."""
    file = tmp_path / "file.yaml"
    if content:
        file.write_bytes(content)
    said = []
    for read, expected in ((load_params, "a readable YAML file of params"), (load_description, "the description of a")):
        with pytest.raises(ParamsError, match=f"^{re.escape(str(file))}: expected {expected}") as refused:
            read([file] if read is load_params else file)
        said.append(str(refused.value).partition("; ")[2])
    assert said[0] == said[1] != ""


HOSTILE = [
    "'\"\"\"\n import os", "\\", "\\\"", "{{7*7}}", "'; import os; os.system('touch canary'); '", "#", "\n\nimport os",
    "__import__('os').system('id')", "${HOME}", "`id`", "%matplotlib inline", "!id", "\u2028import os", "é漢",
]  # fmt: skip


def test_params_reach_a_notebook_as_values_only():
    from papermill.translators import PythonTranslator

    for value in HOSTILE:
        cell = PythonTranslator.codify({"title": value, "source": value, "scans": None, "epochs": 3})
        statements = ast.parse(cell).body
        assert all(isinstance(statement, ast.Assign) for statement in statements)
        found = {statement.targets[0].id: ast.literal_eval(statement.value) for statement in statements}
        assert found == {"title": value, "source": value, "scans": None, "epochs": 3}


def test_an_unknown_name_never_becomes_a_variable(tmp_path):
    path = tmp_path / "study.yaml"
    for key in ("x = __import__('os').system('id')\ny", "print", "__builtins__", "import os; epochs"):
        path.write_text(json.dumps({key: 1}))
        with pytest.raises(ParamsError, match="unknown key"):
            load_params([path])
    assert all(name.isidentifier() and name not in dir(__builtins__) for name in Params.model_fields)
