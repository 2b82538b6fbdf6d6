"""Params: what is merged, what is refused, and the words of the study."""

import subprocess
import sys

import pytest

from lungkeras.datasets.registry import DATASETS
from lungkeras.study.params import Params, dump
from lungkeras.study.params_files import load_params, load_study, read_yaml, study_folder
from lungkeras.system.errors import ParamsError
from lungkeras.system.places import project_folder

STUDIES = sorted(file.parent.name for file in (project_folder() / "params").glob("*/study.yaml"))


def write(folder, name, text):
    file = folder / name
    file.write_text(text)
    return file


def test_a_later_file_wins_key_by_key(tmp_path):
    study = write(tmp_path, "study.yaml", "epochs: 100\nbatch_size: 32\n")
    run = write(tmp_path, "run.yaml", "epochs: 3\n")
    params = load_params([study, run])
    assert (params.epochs, params.batch_size) == (3, 32)


def test_an_unknown_key_is_refused_with_file_key_and_nearest_name(tmp_path):
    file = write(tmp_path, "run.yaml", "learning_rat: 0.1\n")
    with pytest.raises(ParamsError, match=r"run.yaml.*'learning_rat'.*did you mean learning_rate"):
        load_params([file])


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("learning_rate: 1e-3", "learning_rate.*'1e-3'.*write 0.001"),
        ("epochs: 0", "epochs.*found 0"),
        ("epochs: ten", "epochs.*found 'ten'"),
        ("backbone: resnet", "backbone.*did you mean resnet34"),
        ("dataset: mnist", "dataset.*found 'mnist'"),
        ("uncertain: half", "uncertain: expected one of zeros, ones, ignore.*found 'half'"),
        ("blank: ones", "blank: expected one of zeros, ignore"),
        ("blank: zeros, nodul=ignore", "blank: expected classes of a dataset.*did you mean nodule"),
        ("weights: image_net", "weights.*imagenet"),
        ("learning_rate: 0.0001", "final_learning_rate 0.001 is above"),
        ("- a\n- b", "found a list"),
        ("a: [", "readable YAML"),
        ("suffix: ../../x", "suffix"),
        ("backend: tensorflw", "backend.*did you mean tensorflow"),
        ("devices: two", "devices: expected a whole number above 0, or all, found 'two'"),
        ("precision: float16", "precision"),
    ],
)
def test_a_wrong_value_is_one_sentence_that_names_file_and_key(tmp_path, text, words):
    file = write(tmp_path, "run.yaml", text)
    with pytest.raises(ParamsError, match=f"(?s)run.yaml.*{words}") as raised:
        load_params([file])
    assert "\n" not in str(raised.value)


def test_a_whole_number_is_a_learning_rate():
    assert Params.collect({"learning_rate": 1, "final_learning_rate": 1}).learning_rate == 1.0


@pytest.mark.parametrize(
    ("text", "meant"),
    [("dataset: pneumnia", "pneumonia"), ("split: oficial", "official"), ("weights: imagent", "imagenet")],
)
def test_a_misspelt_value_gets_the_nearest_as_a_suggestion(tmp_path, text, meant):
    with pytest.raises(ParamsError, match=f"did you mean {meant}"):
        load_params([write(tmp_path, "run.yaml", text)])


def test_a_run_is_named_after_what_it_trains():
    params = Params(dataset="covid", backbone="efficientnet_b1", suffix="-lr0.05")
    assert params.run == "covid-efficientnet_b1-random-lr0.05"
    assert Params(weights="xray8-efficientnet_b1-random/best.keras").run.endswith("-transfer")
    assert Params(weights="/weights/efficientnetb1_notop.h5").weights_word == "imagenet"


def test_dumped_params_load_to_the_same_params(tmp_path):
    params = Params(dataset="xray8", learning_rate=0.05, suffix="-lr0.05")
    assert load_params([write(tmp_path, "params.yaml", dump(params))]) == params


def test_the_ablations_have_the_runs_that_claims_need_and_change_one_setting():
    _, runs = load_study(study_folder("ablations"))
    plain, other = (runs[f"xray8-efficientnet_b1-random{suffix}"] for suffix in ("", "-unweighted"))
    changed = {key for key, value in plain.model_dump().items() if other.model_dump()[key] != value}
    assert changed == {"class_weights", "suffix"} and plain.class_weights


@pytest.mark.parametrize("study", [study for study in STUDIES if study != "ablations" and study not in DATASETS])
def test_every_study_has_the_twelve_models_and_the_ablation(study):
    _, runs = load_study(study_folder(study))
    main = [run for run in runs.values() if not run.suffix]
    ablation = [run for run in runs.values() if run.suffix]
    assert len({(run.dataset, run.backbone, run.weights_word) for run in main}) == 12 + 3 * (study == "extended")
    assert sorted(run.learning_rate for run in ablation) == [0.001, 0.005, 0.01, 0.05, 0.1]
    assert {(run.dataset, run.backbone, run.weights_word) for run in ablation} == {
        ("covid", "efficientnet_b1", "random")
    }


def test_the_paper_study_is_the_published_one():
    shared, runs = load_study(study_folder("paper"))
    assert (shared.epochs, shared.batch_size, shared.learning_rate, shared.final_learning_rate) == (
        100,
        32,
        0.01,
        0.001,
    )
    assert shared.batch_norm_momentum is None
    assert {run.dataset: run.image_size for run in runs.values()} == {"covid": 299, "pneumonia": 224, "xray8": 384}
    assert {run.weights for run in runs.values()} == {"random", "imagenet"}


def test_a_run_file_that_describes_another_run_is_refused(tmp_path):
    write(tmp_path, "study.yaml", "epochs: 1\n")
    write(tmp_path, "covid-resnet34-random.yaml", "dataset: covid\nbackbone: mobilenet_v3_large\n")
    with pytest.raises(ParamsError, match=r"rename it to covid-mobilenet_v3_large-random\.yaml"):
        load_study(tmp_path)


def test_every_run_of_a_study_is_repeated_with_each_seed(tmp_path):
    write(tmp_path, "study.yaml", "seeds: [3, 4, 5]\n")
    write(tmp_path, "covid-resnet34-random.yaml", "dataset: covid\nbackbone: resnet34\n")
    write(tmp_path, "covid-resnet34-random-lr0.05.yaml", "dataset: covid\nbackbone: resnet34\nsuffix: -lr0.05\n")
    _, runs = load_study(tmp_path)
    assert {name.removeprefix("covid-resnet34-random"): run.seed for name, run in runs.items()} == {
        "": 3, "-seed4": 4, "-seed5": 5, "-lr0.05": 3, "-lr0.05-seed4": 4, "-lr0.05-seed5": 5,
    }  # fmt: skip
    assert "seeds" not in dump(runs["covid-resnet34-random"])
    with pytest.raises(ParamsError, match="seeds"):
        load_params([write(tmp_path, "study.yaml", "seeds: []\n")])


def test_an_unknown_study_gets_the_existing_ones_as_a_suggestion():
    with pytest.raises(ParamsError, match=r"did you mean demo.*ablations, .*demo, .*extended, .*paper, .*sample"):
        study_folder("dmeo")


def test_every_params_file_is_flat():
    for file in (project_folder() / "params").glob("*/*.yaml"):
        assert all(not isinstance(value, dict | list) for value in read_yaml(file).values()), file


def test_params_are_checked_without_keras():
    code = "import sys, lungkeras.study.params; sys.exit('keras' in sys.modules or 'tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_the_extended_study_is_the_demo_and_densenet121_on_each_dataset():
    demo, extended = (load_study(study_folder(name)) for name in ("demo", "extended"))
    assert len([*study_folder("extended").glob("*.yaml")]) == 4
    added = {f"{dataset}-densenet121-random" for dataset in ("pneumonia", "covid", "xray8")}
    assert set(extended[1]) - set(demo[1]) == added
    folders = {"title", "prepared", "runs"}
    for name, params in demo[1].items():
        assert extended[1][name].model_dump(exclude=folders) == params.model_dump(exclude=folders)


@pytest.fixture
def studies(tmp_path, monkeypatch):
    """A project of its own: {study: {file: text}} -> the folder of its params."""

    def make(**texts):
        for name in ("Snakefile", "notebooks/01.py", *(f"params/{s}/{f}.yaml" for s in texts for f in texts[s])):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            study, _, file = name.removeprefix("params/").removesuffix(".yaml").partition("/")
            (tmp_path / name).write_text(texts.get(study, {}).get(file, ""))
        monkeypatch.chdir(tmp_path)
        return tmp_path / "params"

    return make


def test_a_study_extends_another_and_its_own_params_count(studies):
    run = "dataset: covid\nbackbone: resnet34\n"
    folder = studies(
        first={"study": "epochs: 3\nbatch_size: 8\n", "covid-resnet34-random": run + "seed: 1\n"},
        second={"study": "extends: first\nepochs: 4\n", "xray8-resnet34-random": "dataset: xray8\nbackbone: resnet34"},
        third={"study": "extends: second\n", "covid-resnet34-random": run + "seed: 2\n"},
    )
    shared, runs = load_study(folder / "third")
    assert (shared.epochs, shared.batch_size) == (4, 8)
    assert {name: (params.epochs, params.seed) for name, params in runs.items()} == {
        "covid-resnet34-random": (4, 2), "xray8-resnet34-random": (4, 0),
    }  # fmt: skip
    assert load_study(folder / "second")[1]["covid-resnet34-random"].seed == 1


@pytest.mark.parametrize(
    ("extends", "words"),
    [
        ("dmeo", "expected a study in .*, one of demo, mine, other, found 'dmeo'.*did you mean demo"),
        ("../outside", "expected a study in .*found '../outside'"),
        ("[demo]", "expected a study in .*found"),
        ("other", "expected another study than those that extend this one, found mine"),
        ("mine", "expected another study than those that extend this one, found mine"),
    ],
)
def test_what_a_study_cannot_extend_is_one_sentence(studies, extends, words):
    folder = studies(
        demo={"study": "epochs: 3\n"}, mine={"study": f"extends: {extends}\n"}, other={"study": "extends: mine\n"}
    )
    with pytest.raises(ParamsError, match=f"study.yaml: extends: {words}") as raised:
        load_study(folder / "mine")
    assert "\n" not in str(raised.value)


def test_a_run_extends_nothing(studies):
    folder = studies(demo={"study": "", "covid-resnet34-random": "extends: demo\n"})
    with pytest.raises(ParamsError, match="unknown key 'extends'"):
        load_study(folder / "demo")
