# The graph of notebooks: what each step of a study needs and makes. `lungkeras report STUDY` starts it.
#
#     sources -> 01 prepare (a dataset) -> 02 train (a run) -> 03 evaluate, 04 visualize -> 05 report
#
# Steps depend on the values of their params, not on the date of the params files: a run is trained again when what
# it is trained with changes, and then alone with what builds on it.

import os
import sys

from lungkeras.params import from_project, load_study, project_folder, study_folder

STUDY = os.path.relpath(study_folder(config["study"]), project_folder())
SHARED, RUNS = load_study(project_folder() / STUDY)
SOURCES = config.get("sources", {})
DATASETS = sorted({run.dataset for run in RUNS.values()})
REPORT = os.path.relpath(SHARED.study_folder, project_folder())
PREPARED = os.path.relpath(from_project(SHARED.prepared), project_folder())
RUN = os.path.relpath(from_project(SHARED.runs), project_folder())
TABLES = expand(REPORT + "/tables/{table}.csv", table=["table_1", "table_2", "table_3", "baselines"])
FIGURE = REPORT + "/figures/figure_{number}.png"
PAIRS = [name for name, run in RUNS.items() if run.backbone == "efficientnet_b1" and not run.suffix]
ABLATION = [name for name, run in RUNS.items() if run.suffix]
CURVES = expand(FIGURE, number=["03", *(["04"] if PAIRS else []), *(["09", "10"] if ABLATION else [])])
PICTURES = expand(FIGURE, number=["01", "02"])
PICTURES += expand(FIGURE, number=["05", "07"]) if "pneumonia" in DATASETS else []
PICTURES += expand(FIGURE, number=["06", "08"]) if "covid" in DATASETS else []

# Side by side, a run needs one core; with more cores than runs, each takes its share.
CORES_A_RUN = max(1, workflow.cores // len(RUNS)) if workflow.cores else 1

# The notebook runs under another name and takes its own when it has succeeded; a failed one is kept as such.
EXECUTE = """
    export TF_NUM_INTRAOP_THREADS={threads} TF_NUM_INTEROP_THREADS=2 OMP_NUM_THREADS={threads}
    if {params.python:q} -m papermill --no-progress-bar {input.notebook:q} {params.draft:q} {params.arguments} > {log:q} 2>&1
    then mv {params.draft:q} {output.notebook:q}; rm -f {params.failed:q}; echo "  {params.done} ($SECONDS s)"
    else mv {params.draft:q} {params.failed:q}; echo "  failed: {params.done}"; exit 1
    fi
"""


def draft(name):
    return f"{REPORT}/notebooks/.running-{name}.ipynb"


def failed(name):
    return f"{REPORT}/notebooks/{name}.failed.ipynb"


def source_arguments(dataset):
    """What tells the preparation to read a folder that the user named, instead of what study.yaml says."""
    given = SOURCES.get(dataset)
    return f"-p acquire given -p source '{given}'" if given else ""


def preparation_settings(dataset):
    shared = SHARED.model_dump(include={"source", "acquire", "scans", "prepared", "image_size", "seed"})
    run = next(run for run in RUNS.values() if run.dataset == dataset)
    return shared | {"image_size": run.image_size, "source": SOURCES.get(dataset, SHARED.source)}


def best_model_to_start_from(wildcards):
    run = RUNS[wildcards.run]
    return [f"{RUN}/{run.weights}"] if run.weights.endswith("/best.keras") else []


wildcard_constraints:
    dataset="covid|pneumonia|xray8",


rule report:
    default_target: True
    input:
        *TABLES,
        *CURVES,
        *PICTURES,
        notebook="notebooks/05_report.ipynb",
    output:
        report=f"{REPORT}/report.html",
        notebook=f"{REPORT}/notebooks/05_report.ipynb",
    params:
        python=sys.executable,
        draft=draft("05_report"),
        failed=failed("05_report"),
        arguments=f"-f {STUDY}/study.yaml",
        done="wrote the report",
    log:
        f"{REPORT}/logs/05_report.log",
    shell:
        EXECUTE


rule prepare:
    input:
        notebook="notebooks/01_data_preparation.ipynb",
    output:
        expand(PREPARED + "/{{dataset}}/{name}", name=["train.npy", "val.npy", "test.npy", "records.parquet"]),
        expand(PREPARED + "/{{dataset}}/{name}", name=["statistics.json", "quarantine.csv", "flow.csv"]),
        notebook=REPORT + "/notebooks/01_data_preparation-{dataset}.ipynb",
    params:
        python=sys.executable,
        settings=lambda wildcards: preparation_settings(wildcards.dataset),
        draft=draft("01_data_preparation-{dataset}"),
        failed=failed("01_data_preparation-{dataset}"),
        arguments=lambda wildcards: f"-f {STUDY}/study.yaml -p dataset {wildcards.dataset} "
        f"-p image_size {preparation_settings(wildcards.dataset)['image_size']} {source_arguments(wildcards.dataset)}",
        done="prepared {dataset}",
    log:
        REPORT + "/logs/01_data_preparation-{dataset}.log",
    shell:
        EXECUTE


rule train:
    input:
        best_model_to_start_from,
        prepared=lambda wildcards: f"{PREPARED}/{RUNS[wildcards.run].dataset}/statistics.json",
        notebook="notebooks/02_training.ipynb",
    output:
        expand(RUN + "/{{run}}/{name}", name=["params.yaml", "environment.json", "best.keras"]),
        expand(RUN + "/{{run}}/{name}", name=["history.csv", "predictions.parquet", "metrics.json"]),
        notebook=REPORT + "/notebooks/02_training-{run}.ipynb",
    params:
        python=sys.executable,
        settings=lambda wildcards: RUNS[wildcards.run].model_dump(exclude={"title", "source", "acquire", "scans"}),
        draft=draft("02_training-{run}"),
        failed=failed("02_training-{run}"),
        arguments=lambda wildcards: f"-f {STUDY}/study.yaml -f {STUDY}/{wildcards.run}.yaml",
        done="trained {run}",
    threads: CORES_A_RUN
    log:
        REPORT + "/logs/02_training-{run}.log",
    shell:
        EXECUTE


rule evaluate:
    input:
        expand(RUN + "/{run}/metrics.json", run=RUNS),
        expand(PREPARED + "/{dataset}/statistics.json", dataset=DATASETS),
        notebook="notebooks/03_evaluation.ipynb",
    output:
        *TABLES,
        *CURVES,
        notebook=f"{REPORT}/notebooks/03_evaluation.ipynb",
    params:
        python=sys.executable,
        draft=draft("03_evaluation"),
        failed=failed("03_evaluation"),
        arguments=f"-f {STUDY}/study.yaml",
        done="evaluated the runs",
    log:
        f"{REPORT}/logs/03_evaluation.log",
    shell:
        EXECUTE


rule visualize:
    input:
        expand(RUN + "/{run}/best.keras", run=[name for name, run in RUNS.items() if not run.suffix]),
        expand(PREPARED + "/{dataset}/statistics.json", dataset=DATASETS),
        notebook="notebooks/04_visualization.ipynb",
    output:
        *PICTURES,
        notebook=f"{REPORT}/notebooks/04_visualization.ipynb",
    params:
        python=sys.executable,
        draft=draft("04_visualization"),
        failed=failed("04_visualization"),
        arguments=f"-f {STUDY}/study.yaml",
        done="drew features and heat maps",
    log:
        f"{REPORT}/logs/04_visualization.log",
    shell:
        EXECUTE
