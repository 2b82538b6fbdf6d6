"""The inputs of a run, as hashes, and whether a finished run was made from the same inputs.

runs/<run>/fingerprint.json   "made_from": {"params", "prepared", "weights", "code"}, and "labels": the policies of
                              uncertain and blank labels, where the dataset has any
                              "results": of each file
"""

from pathlib import Path

from lungkeras.datasets.policies import effect
from lungkeras.models import architectures
from lungkeras.study.params import Params
from lungkeras.system.files import as_json
from lungkeras.system.provenance import agree, code_digest, digest, file_digest, pairs, read

TRAINING = (
    "datasets/scans/opencv",
    *(f"scores/{name}" for name in ("divergence", "metrics", "temperature")),
    *(f"models/{name}" for name in ("architectures", "backbones", "build", "depthwise", "entry", "files", "layers")),
    *("models/residuals", "models/resnet", "models/own/resnet34"),
    *(f"system/{name}" for name in ("devices", "replicas")),
    "augmentation",
    *(
        f"training/{name}"
        for name in ("losses", "one_run", "optimizers", "outputs", "pipeline", "progress", "checkpoints", "results")
    ),
    "preparation/folder",
    "datasets/policies",
)
# Params with paths or names, which do not affect the computation. For `weights` the file counts, for `split` and
# `votes` the data, for `seeds` the run's own seed, for POLICIES the resulting labels.
POLICIES = {"uncertain", "blank"}
PLACES = {"title", "source", "acquire", "scans", "prepared", "runs", "weights", "seeds", "split", "votes", "tracker"}
PLACES |= POLICIES
# Params that came later: a run made before them was made with these values.
LATER = {"warmup": 0.0, "zero_init_residual": False}
RESULTS = ("params.yaml", "environment.json", "best.keras", "history.csv", "predictions.parquet", "metrics.json")


def training_made_from(params: Params, prepared: str | None) -> dict[str, str | None]:
    """The hashes of a run's inputs. `prepared` is that of its dataset (`of_prepared`)."""
    named = params.weights in ("random", "imagenet")
    file = None if named else params.transfer_file
    unknown = read(params.prepared_folder / "statistics.json").get("unknown", {})
    made = effect(unknown, params.uncertain, params.blank)
    own = {f"models/own/{params.backbone}"} if params.backbone in architectures.OWN else set()
    return {
        "params": digest(as_json(_counted(params))),
        "prepared": prepared,
        "weights": params.weights if named else file_digest(file) if file.is_file() else None,
        "code": code_digest({*TRAINING, *own}),
    } | ({"labels": digest(as_json(made))} if made else {})


def _counted(params: Params) -> dict[str, object]:
    """The params that affect the computation."""
    kept = {name for name, value in LATER.items() if getattr(params, name) == value}
    return params.model_dump(exclude=PLACES | kept)


def of_results(folder: Path) -> dict[str, str]:
    """SHA-256 of each result file of a run. Raises OSError if one is missing."""
    return {name: file_digest(folder / name) for name in RESULTS}


def is_trained(folder: Path, params: Params, prepared: str | None) -> bool:
    """Whether a complete, unchanged run exists that was made from these params and these data."""
    recorded = read(folder / "fingerprint.json")
    try:
        unchanged = recorded.get("results") == of_results(folder)
    except OSError:
        return False
    return unchanged and agree(dict(pairs(recorded.get("made_from"))), training_made_from(params, prepared))
