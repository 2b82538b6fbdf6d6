"""lungkeras: a published comparison of CNNs on chest X-rays, regenerated whole, and each step of it by hand.

The map, in the order in which data flows; a module reads what stands above it:

    backends        which of TensorFlow, PyTorch and JAX Keras runs on
    devices         one or several that share each batch
    datasets        folders as published -> one table of records
    audit           what to know before training: leaks, duplicates, shortcuts, wrong labels
    splits          70:15:15 by patient
    preparation     equalise, blur, resize -> the prepared dataset
    pipeline        prepared dataset -> batches
    augmentation    three random transforms, inside the training step
    models          uint8 greyscale in, logits out
    params          what a study and its runs are made with
    fingerprints    hashes of what was made from what; freshness tells what of a study to make again
    training        one run: history, best model, predictions
    replicas        devices of PyTorch that train one model, a process each
    divergence      whether a training went astray
    metrics         logits -> F1, AUROC, confusion
    intervals       how sure a score is: bootstrap over patients, DeLong
    comparison      runs beside each other and beside what others published
    evaluation      run folders -> tables
    baselines       answers that need no network
    temperature     what makes a model's probabilities mean what they say
    calibration     reliability, calibration error, thresholds from validation
    operating_points   sensitivity at a specificity that is asked for
    failures        the most confident errors
    subgroups       scores by view, sex and age
    external        models asked about another collection, on scans that are none of their own
    transfer        test scans of which transferred weights have seen copies
    explanation     Grad-CAM, Grad-CAM++, LayerCAM, features, t-SNE
    runtimes        an exported file -> logits
    onnx_graph      a model file -> an ONNX model, without Keras
    inference       a model file -> logits and slopes, by ONNX Runtime
    measures        features and heat maps as numbers of a scan
    localisation    heat maps against known boxes
    randomisation   heat maps while the weights are randomised
    prediction      a run -> probabilities for any scan
    export          a run -> a file for LiteRT, ONNX, OpenVINO or a SavedModel
    evidence        what a claim of the paper can be judged by
    claims          the paper's claims, each a predicate: holds, fails, cannot tell, not run
    model_card      what a model is for, learned from and scores, as a page
    checklists      what reporting guidelines ask, and where the report answers
    parity          how far the backends are apart
    summaries       small tables for notebooks
    figures, tables one function a figure or table of the paper
    figure_files    a figure -> PNG, SVG and CSV
    table_names     what tables the notebooks write
    report          tables, figures and runs -> one HTML file
    files, locks    whole files; one process at a time in a folder
    stopping        what ends a command ends all that it has started
    cleaning        what of a study no result needs
    status          how far a study is, and how long it still takes
    graph           what of a study is made again, by Snakemake
    cli             the commands

    >>> import lungkeras
    >>> lungkeras.Params(dataset="covid", backbone="resnet34").run
    'covid-resnet34-random'
"""

import importlib
import os

from lungkeras.backends import default_backend

# Read once, at the import of Keras and of its backend. oneDNN halves a training step of TensorFlow on processors where
# it is not on by itself; the last two let runs side by side share a GPU, which TensorFlow and JAX would take whole.
os.environ.setdefault("KERAS_BACKEND", default_backend())
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

# Loaded when first asked for, so that the command line answers before Keras is there.
_HOMES = {
    "backends": ("use_backend",),
    "datasets": ("DATASETS", "read_records"),
    "audit": ("audit_source",),
    "splits": ("split_records",),
    "preparation": ("prepare_dataset", "prepare_scan"),
    "pipeline": ("Prepared", "load_prepared"),
    "augmentation": ("Augmentation", "adjust_sharpness", "autocontrast", "flip_horizontal"),
    "models": ("build_model", "load_model", "save_model"),
    "params": ("Params", "load_params"),
    "training": ("train",),
    "evaluation": ("read_run", "read_runs"),
    "explanation": ("grad_cam", "grad_cam_plus_plus", "layer_cam"),
    "prediction": ("load_predictor", "predict_images"),
    "export": ("export_run",),
    "summaries": ("class_counts", "flow", "per_class"),
    "report": ("write_report",),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}

__all__ = list(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'lungkeras' has no attribute {name!r}; its names are {', '.join(sorted(_HOME))}")
    return getattr(importlib.import_module(f"lungkeras.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
