"""lungkeras: a published comparison of CNNs on chest X-rays, regenerated whole, and each step of it by hand.

The map. A folder reads only what stands above it, which `make test` checks (pyproject.toml, importlinter):

    system           the computer: files, locks, processes, hashes, the backend of Keras and its devices
        untrusted    looks through what comes from others, before anything opens it
    scores           arrays in, numbers out: F1, AUROC, confidence intervals, temperatures
    datasets         folders as published -> one table of records
        scans        one file -> one grey image
        collections  one module for each: its entry, its reader, its drawing
        phantoms     draws sources in the published layouts
    splits           70:15:15 by patient
    preparation      equalise, blur, resize -> the prepared folder, and that folder opened
        audit        what to know before training: leaks, copies, shortcuts, wrong labels
    models           uint8 greyscale in, logits out
        own          backbones that are in no library
    study            params, the folders of runs, what is to be made again; without Keras
    augmentation     three random transforms of each batch
    training         one run: history, best model, predictions
    evaluation       runs -> tables
        paper        what the published study reports and claims, and whether it holds here
    explanation      heat maps and features, and both put to the test
    prediction       probabilities for any scan, and files for other runtimes
    report           tables, figures and runs -> one HTML file
        figures, readings  one function for each figure; the sentences that read results
        further      tables and figures of one's own
    cli              the command line
        commands     one module for each command

    >>> import lungkeras
    >>> lungkeras.Params(dataset="covid", backbone="resnet34").run
    'covid-resnet34-random'
"""

import os

from lungkeras.system.backends import default_backend
from lungkeras.system.lazy import lend
from lungkeras.system.notebooks import shown_by

# Read once, at the import of Keras and of its backend. oneDNN halves a training step of TensorFlow on processors where
# it is not on by itself; the last two let runs side by side share a GPU, which TensorFlow and JAX would take whole.
os.environ.setdefault("KERAS_BACKEND", default_backend())
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

# Loaded when first asked for, so that the command line answers before Keras is there.
__getattr__, __dir__, __all__ = lend(
    __name__,
    {
        "system.backends": ("use_backend",),
        "datasets": ("DATASETS", "read_records"),
        "splits": ("split_records",),
        "preparation": ("Prepared", "load_prepared", "prepare_dataset", "prepare_scan"),
        "preparation.audit": ("audit_source",),
        "augmentation": ("Augmentation", "adjust_sharpness", "autocontrast", "flip_horizontal"),
        "models": ("build_model", "load_model", "save_model"),
        "study": ("Params", "load_params", "read_run", "read_runs"),
        "training": ("range_test", "train"),
        "evaluation.summaries": ("class_counts", "flow", "per_class"),
        "explanation": ("grad_cam", "grad_cam_plus_plus", "layer_cam"),
        "prediction": ("export_run", "load_predictor", "predict_images", "predict_scan"),
        "report": ("explore", "show", "write_report"),
    },
)

shown_by(
    "lungkeras.report.shown:html",
    ("lungkeras.study.runs:Run", "lungkeras.preparation.folder:Prepared", "lungkeras.prediction.one_scan:Prediction"),
)
