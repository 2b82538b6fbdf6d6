"""A run in TensorBoard or MLflow: its params, the scores of each epoch, and at the end those of the test split.

reports/<study>/tensorboard/<run>/   files of events; the params are those of TensorBoard's HParams page
reports/<study>/mlflow/              a file store: the study is its experiment, and a run its run

Both copy what the run's own folder holds, so nothing is lost without them: a tracker that can't be written is reported
once an epoch, and training goes on. A run of equal params, data and code has one track: an interrupted run goes on in
its own, and so does a finished one. Files are written here, and nothing is sent.
"""

import importlib.util
import math
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from lungkeras.study.params import Params
from lungkeras.system.errors import RunError
from lungkeras.system.files import as_json, open_plain
from lungkeras.system.locks import alone
from lungkeras.system.provenance import digest, read
from lungkeras.system.text import say
from lungkeras.system.untrusted import table_files

NEEDS = {"tensorboard": ("TensorBoard", "tensorboard"), "mlflow": ("MLflow", "mlflow")}  # title, module; an extra each
# Params of places and names: runs are compared by the others.
NOT_COMPARED = {"title", "source", "acquire", "prepared", "runs", "seeds", "tracker"}

_written: dict[Path, tuple[str, int, Path]] = {}  # by folder: inputs, epochs and file of events, of this process


def require(params: Params) -> None:
    """Raises RunError where the package of the params' tracker is not installed."""
    if params.tracker != "none":
        title, module = NEEDS[params.tracker]
        if importlib.util.find_spec(module) is None:
            raise RunError(
                f"tracker: {params.tracker} needs {title}, which is not installed: "
                f"pip install 'lungkeras[{params.tracker}]', or give tracker: none"
            )


def epoch(params: Params, rows: Sequence[Mapping], made_from: Mapping | None) -> None:
    """Adds the last epoch of a run to its track, and earlier ones that it lacks.

    `rows` are those of history.csv so far, `made_from` is `training_made_from`.
    """
    _track(params, rows, made_from, {})


def finished(params: Params) -> None:
    """Completes the track of a finished run from its folder: all epochs, and the scores of the test split."""
    if params.tracker != "none":
        rows = table_files.read_csv(params.run_folder / "history.csv").to_dict("records")
        about = read(params.run_folder / "metrics.json")
        scores = {f"test_{name}": value for name, value in about["test"].items() if isinstance(value, float)}
        made_from = read(params.run_folder / "fingerprint.json").get("made_from")
        _track(params, rows, made_from, scores | {"best_epoch": float(about["best_epoch"])})


def _track(params: Params, rows: Sequence[Mapping], made_from: Mapping | None, scores: Mapping[str, float]) -> None:
    if params.tracker == "none":
        return
    write = {"tensorboard": _write_events, "mlflow": _write_mlflow}[params.tracker]
    try:
        write(params, rows, digest(as_json(made_from)), scores)
    except Exception as error:
        # A full disk, or whatever a tracker raises: days of training count for more than their picture.
        say(f"{params.run}: {params.tracker} could not be written ({error}); training goes on", file=sys.stderr)


def _compared(params: Params) -> dict[str, str | int | float | bool]:
    """The params by which runs are compared; null as text, as TensorBoard takes an absent value for equal to any."""
    held = params.model_dump(exclude=NOT_COMPARED)
    return {key: "null" if value is None else value for key, value in held.items()}


def _ends(rows: Sequence[Mapping]) -> list[float]:
    """When each epoch ended, in seconds since 1970, if the last one ends now and no time passed between them."""
    now = time.time()
    return [now - math.fsum(row["seconds"] for row in rows[place + 1 :]) for place in range(len(rows))]


def _write_events(params: Params, rows: Sequence[Mapping], inputs: str, scores: Mapping[str, float]) -> None:
    """Appends to the file of events of this process, or writes a new one with all epochs in place of older files."""
    from tensorboard.summary.writer.record_writer import RecordWriter

    folder = params.study_folder / "tensorboard" / params.run
    folder.mkdir(parents=True, exist_ok=True)
    before, known, file = _written.pop(folder, ("", 0, folder))
    events = []
    if before != inputs or not file.is_file() or known not in (len(rows) - 1, len(rows)):
        known, file = 0, folder / f"events.out.tfevents.{time.time_ns()}"
        events += _start_of_session(params, _ends(rows)[0] - rows[0]["seconds"])
    for row, ended in list(zip(rows, _ends(rows), strict=True))[known:]:
        values = {name: value for name, value in row.items() if name != "epoch"}
        events.append(_scalars(values, int(row["epoch"]), ended))
    if scores:
        events += _end_of_session(scores, time.time())
    with os.fdopen(open_plain(file, os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as opened:
        writer = RecordWriter(opened)
        for event in events:
            writer.write(event.SerializeToString())
    for other in folder.glob("events.out.tfevents.*"):
        if other != file:
            other.unlink()
    _written[folder] = (inputs, len(rows), file)


def _start_of_session(params: Params, began: float) -> list:
    """The events at the start of a file: its version, and the params for TensorBoard's page HParams."""
    from tensorboard.compat.proto.event_pb2 import Event, SessionLog
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    start = plugin_data_pb2.SessionStartInfo(start_time_secs=began)
    for name, value in _compared(params).items():
        kind = {str: "string_value", bool: "bool_value"}.get(type(value), "number_value")
        setattr(start.hparams[name], kind, value)
    return [
        Event(wall_time=began, file_version="brain.Event:2"),
        # An open TensorBoard then drops the events that it has.
        Event(wall_time=began, step=1, session_log=SessionLog(status=SessionLog.START)),
        _about_session(metadata.SESSION_START_INFO_TAG, began, session_start_info=start),
    ]


def _end_of_session(scores: Mapping[str, float], now: float) -> list:
    """The scores of a finished run, and the event that says it has finished."""
    from tensorboard.plugins.hparams import api_pb2, metadata, plugin_data_pb2

    end = plugin_data_pb2.SessionEndInfo(status=api_pb2.STATUS_SUCCESS, end_time_secs=now)
    about = _about_session(metadata.SESSION_END_INFO_TAG, now, session_end_info=end)
    return [_scalars(scores, int(scores["best_epoch"]), now), about]


def _scalars(values: Mapping[str, float], step: int, when: float):
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary

    numbers = [Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
    return Event(wall_time=when, step=step, summary=Summary(value=numbers))


def _about_session(tag: str, when: float, **content):
    from tensorboard.compat.proto.event_pb2 import Event
    from tensorboard.compat.proto.summary_pb2 import Summary
    from tensorboard.plugins.hparams import metadata, plugin_data_pb2

    data = metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(**content))
    value = Summary.Value(tag=tag, metadata=data, tensor=metadata.NULL_TENSOR)
    return Event(wall_time=when, summary=Summary(value=[value]))


def _write_mlflow(params: Params, rows: Sequence[Mapping], inputs: str, scores: Mapping[str, float]) -> None:
    """Adds to the MLflow run of these inputs what it lacks; the first call begins it."""
    os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
    os.environ["MLFLOW_ALLOW_FILE_STORE"] = "true"  # a database needs a server once jobs of a cluster share it
    from mlflow.entities import Metric, Param, RunTag
    from mlflow.tracking import MlflowClient

    study = params.study_folder
    study.mkdir(parents=True, exist_ok=True)
    with alone(study / ".mlflow.lock", f"{study / 'mlflow'} is being written"):
        client = MlflowClient(tracking_uri=(study / "mlflow").as_uri())
        experiment = client.get_experiment_by_name(study.name)
        place = experiment.experiment_id if experiment else client.create_experiment(study.name)
        found = client.search_runs([place], filter_string=f"tags.inputs = '{inputs}'", max_results=1)
        run = found[0] if found else client.create_run(place, run_name=params.run, tags={"inputs": inputs})
    name = run.info.run_id
    known = {metric.step for metric in client.get_metric_history(name, "seconds")} if found else set()
    given = [
        Metric(key, value, round(1000 * ended), int(row["epoch"]))
        for row, ended in zip(rows, _ends(rows), strict=True)
        if row["epoch"] not in known
        for key, value in row.items()
        if key != "epoch"
    ]
    if scores and run.info.status == "RUNNING":
        now = round(1000 * time.time())
        given += [Metric(key, value, now, int(scores["best_epoch"])) for key, value in scores.items()]
    held = [] if found else [Param(key, str(value)) for key, value in _compared(params).items()]
    client.log_batch(name, metrics=given[:1000], params=held, tags=[RunTag("folder", f"runs/{params.run}")])
    for start in range(1000, len(given), 1000):  # the most that MLflow takes at once
        client.log_batch(name, metrics=given[start : start + 1000])
    if scores and run.info.status == "RUNNING":
        client.set_terminated(name, "FINISHED")
