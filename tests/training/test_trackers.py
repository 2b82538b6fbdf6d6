"""A run in TensorBoard and in MLflow, read back by TensorFlow, by TensorBoard and by MLflow themselves."""

import importlib.util
import json
import math

import pandas as pd
import pytest
from prepared_data import write_prepared
from small_training import interrupted, params_of, small_model

from lungkeras.preparation.made_from import of_prepared
from lungkeras.study.made_from import training_made_from
from lungkeras.study.params import dump
from lungkeras.system.errors import RunError
from lungkeras.training import one_run, trackers

SCORES = ["loss", "macro_f1", "val_loss", "val_macro_f1", "learning_rate", "seconds"]
TRACKERS = ("tensorboard", "mlflow")


def needs(tracker: str) -> None:
    pytest.importorskip(tracker, reason=f'{tracker} is not installed: pip install ".[{tracker}]"')


@pytest.fixture(scope="module")
def prepared_folder(tmp_path_factory):
    return write_prepared(tmp_path_factory.mktemp("prepared") / "pneumonia")


@pytest.fixture
def params(prepared_folder, tmp_path):
    """A function: a tracker, and changes -> the params of a run of the study `small`."""
    return lambda tracker, **changes: params_of(
        prepared_folder, tmp_path / "small" / "runs", tracker=tracker, **changes
    )


def history(params) -> dict[str, dict[int, float]]:
    """{score: {epoch: value}} of history.csv, and the test scores at the best epoch."""
    rows = pd.read_csv(params.run_folder / "history.csv").set_index("epoch")
    about = json.loads((params.run_folder / "metrics.json").read_text())
    at = about["best_epoch"]
    test = {f"test_{name}": {at: about["test"][name]} for name in ("macro_f1", "macro_auroc", "loss")}
    return {name: rows[name].to_dict() for name in SCORES} | test | {"best_epoch": {at: at}}


def in_tensorboard(params) -> dict[str, dict[int, float]]:
    """What TensorBoard shows: {tag: {step: value}}, an event for each step."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(params.study_folder / "tensorboard" / params.run)).Reload()
    shown = {tag: events.Scalars(tag) for tag in events.Tags()["scalars"]}
    assert all(len({event.step for event in each}) == len(each) for each in shown.values())
    return {tag: {event.step: event.value for event in each} for tag, each in shown.items()}


def store(params):
    from mlflow.tracking import MlflowClient

    return MlflowClient(tracking_uri=(params.study_folder / "mlflow").as_uri())


def mlflow_runs(params) -> list:
    client = store(params)
    return client.search_runs([client.get_experiment_by_name("small").experiment_id], order_by=["attribute.start_time"])


def in_mlflow(params) -> dict[str, dict[int, float]]:
    (run,) = mlflow_runs(params)
    kept = {name: store(params).get_metric_history(run.info.run_id, name) for name in run.data.metrics}
    assert all(len({metric.step for metric in each}) == len(each) for each in kept.values())
    return {name: {metric.step: metric.value for metric in each} for name, each in kept.items()}


SHOWN = {"tensorboard": in_tensorboard, "mlflow": in_mlflow}


def agree(shown: dict, expected: dict) -> None:
    assert shown.keys() == expected.keys()
    for name, values in expected.items():
        assert shown[name] == pytest.approx(values, rel=1e-6, nan_ok=True), name


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_run_is_shown_with_each_epoch_and_the_scores_of_the_test_split(tracker, params):
    needs(tracker)
    run = params(tracker)
    one_run.train(run, small_model())
    agree(SHOWN[tracker](run), history(run))
    assert {file.name for file in run.study_folder.iterdir()} == {"runs", tracker}


@pytest.mark.parametrize("tracker", TRACKERS)
@pytest.mark.parametrize("lost", [False, True])
def test_an_interrupted_run_goes_on_in_the_same_track(tracker, lost, params, monkeypatch):
    needs(tracker)
    run = params(tracker)
    with interrupted(monkeypatch, before=1):
        one_run.train(run, small_model())
    assert sorted(SHOWN[tracker](run)["val_loss"]) == [1]
    trackers._written.clear()  # as in another process
    if lost:
        (run.run_folder / "checkpoint.npz").unlink()  # killed before its first checkpoint: epoch 1 comes again
    one_run.train(run, small_model())
    shown = SHOWN[tracker](run)
    seconds = shown.pop("seconds")
    expected = history(run)
    assert sorted(seconds) == [1, 2] and expected.pop("seconds")
    agree(shown, expected)


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_finished_run_is_shown_too_once_and_without_training(tracker, params, monkeypatch):
    needs(tracker)
    one_run.train(params("none"), small_model())
    assert not (params("none").study_folder / tracker).exists()
    monkeypatch.setattr(one_run, "fit", lambda *_: pytest.fail("trained again"))
    for _ in range(2):
        one_run.train(params(tracker))
        trackers._written.clear()
    agree(SHOWN[tracker](params(tracker)), history(params(tracker)))


def test_a_tracker_is_no_part_of_what_a_run_is(params):
    without, data = params("none"), of_prepared(params("none").prepared_folder)
    for tracker in TRACKERS:
        assert training_made_from(params(tracker), data) == training_made_from(without, data)
        assert dump(params(tracker)) == dump(without)  # which a checkpoint is compared by


def test_tensorboard_compares_runs_by_the_params_that_differ(params):
    needs("tensorboard")
    from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
    from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
    from tensorboard.context import RequestContext
    from tensorboard.plugins.base_plugin import TBContext
    from tensorboard.plugins.hparams import metadata
    from tensorboard.plugins.hparams.backend_context import Context

    first, second = params("tensorboard"), params("tensorboard", clip_norm=1.0, learning_rate=0.02, suffix="-lr0.02")
    for run in (first, second):
        one_run.train(run, small_model())
    folder = str(first.study_folder / "tensorboard")
    events = EventMultiplexer().AddRunsFromDirectory(folder).Reload()
    page = Context(TBContext(data_provider=MultiplexerDataProvider(events, folder)))
    about = page.hparams_metadata(RequestContext(), "")
    assert about.keys() == {first.run, second.run}
    assert all(metadata.SESSION_END_INFO_TAG in tags for tags in about.values())
    compared = page.experiment_from_metadata(RequestContext(), "", True, about, [], None)
    assert {each.name for each in compared.hparam_infos if each.differs} == {"learning_rate", "clip_norm", "suffix"}
    assert {"test_macro_f1", "val_loss"} <= {each.name.tag for each in compared.metric_infos}
    given = metadata.parse_session_start_info_plugin_data(about[first.run][metadata.SESSION_START_INFO_TAG]).hparams
    assert given["learning_rate"].number_value == 0.01 and given["class_weights"].bool_value
    assert (given["backbone"].string_value, given["clip_norm"].string_value) == ("resnet34", "null")
    assert not {"prepared", "runs", "title", "tracker"} & set(given)


def test_events_are_records_that_tensorflow_reads(params):
    needs("tensorboard")
    tf = pytest.importorskip("tensorflow", reason="TensorFlow reads the events")
    run = params("tensorboard")
    one_run.train(run, small_model())
    (file,) = (run.study_folder / "tensorboard" / run.run).iterdir()
    events = [tf.compat.v1.Event.FromString(record.numpy()) for record in tf.data.TFRecordDataset(str(file))]
    assert events[0].file_version == "brain.Event:2"
    found = {event.step: value.simple_value for event in events for value in event.summary.value if value.tag == "loss"}
    assert found == pytest.approx(history(run)["loss"], rel=1e-6)
    times = [event.wall_time for event in events]
    assert times == sorted(times)


def test_mlflow_has_the_study_as_experiment_the_run_by_name_and_its_params(params):
    needs("mlflow")
    first, second = params("mlflow"), params("mlflow", learning_rate=0.02, suffix="-lr0.02")
    for run in (first, second):
        one_run.train(run, small_model())
    runs = mlflow_runs(second)
    assert [run.info.run_name for run in runs] == [first.run, second.run]
    assert {run.info.status for run in runs} == {"FINISHED"}
    given = [run.data.params for run in runs]
    assert {key for key in given[0] if given[0][key] != given[1][key]} == {"learning_rate", "suffix"}
    assert (given[0]["epochs"], given[0]["backbone"]) == ("2", "resnet34")
    assert not {"prepared", "runs", "title", "tracker"} & given[0].keys()
    # Trained anew with other params, a run of the same name is another one.
    one_run.train(params("mlflow", seed=1), small_model())
    assert [run.info.run_name for run in mlflow_runs(second)].count(first.run) == 2


@pytest.mark.parametrize("tracker", TRACKERS)
def test_an_epoch_that_diverged_is_shown_as_not_a_number(tracker, params):
    needs(tracker)
    run = params(tracker)
    rows = [{"epoch": 1, "loss": 0.5, "seconds": 1.0}, {"epoch": 2, "loss": math.nan, "seconds": 1.0}]
    trackers.epoch(run, rows, None)
    assert SHOWN[tracker](run)["loss"] == pytest.approx({1: 0.5, 2: math.nan}, nan_ok=True)


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_track_that_cannot_be_written_ends_no_training(tracker, params, capsys):
    needs(tracker)
    run = params(tracker)
    run.study_folder.mkdir(parents=True)
    (run.study_folder / tracker).write_text("in the way")
    one_run.train(run, small_model())
    assert len(history(run)["loss"]) == 2
    assert f"{run.run}: {tracker} could not be written" in capsys.readouterr().err


@pytest.mark.parametrize("tracker", TRACKERS)
def test_without_its_package_a_run_is_refused_before_it_begins(tracker, params, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *of: None if name == tracker else find(name, *of))
    with pytest.raises(RunError, match=rf"^tracker: {tracker} needs .*pip install 'lungkeras\[{tracker}\]'"):
        one_run.train(params(tracker), small_model())
    assert not params(tracker).run_folder.exists()
