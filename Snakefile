# The graph of notebooks: what each step of a study needs and makes. `lungkeras report STUDY` starts it.
#
#     sources -> 01 prepare (a dataset) -> 02 train (a run) -> 03 evaluate, 04 visualize -> 05 report
#
# Dates don't count: `lungkeras report` finds by hashes what must be made again (lungkeras/study/freshness.py) and passes
# it in `again`; Snakemake adds what is missing. All other inputs are marked as ancient.

import os
import shlex
import sys
from pathlib import Path
from urllib.parse import unquote

import yaml

from lungkeras.preparation.audit import TABLES as AUDIT_TABLES
from lungkeras.report import further
from lungkeras.study import figure_names, status, table_names
from lungkeras.study.made_from import RESULTS
from lungkeras.study.params_files import load_study, study_folder
from lungkeras.study.runs import main_runs
from lungkeras.system import places
from lungkeras.system.places import from_project, project_folder

# The default backend of the machine that starts the study applies on all machines.
envvars:
    "KERAS_BACKEND",


STUDY = os.path.relpath(study_folder(unquote(config["study"])), project_folder())
SHARED, RUNS = load_study(project_folder() / STUDY, backend=config.get("backend"))
SOURCES = {dataset: unquote(path) for dataset, path in config.get("sources", {}).items()}
DATASETS = sorted({run.dataset for run in RUNS.values()})
REPORT = os.path.relpath(SHARED.study_folder, project_folder())
PREPARED = os.path.relpath(from_project(SHARED.prepared), project_folder())
RUN = os.path.relpath(from_project(SHARED.runs), project_folder())
TABLES = expand(REPORT + "/tables/{table}.csv", table=table_names.EVALUATION)
FIGURE = REPORT + "/figures/figure_{number}.png"
PAIRS = any(run.backbone == "efficientnet_b1" and not run.suffix and run.weights != "random" for run in RUNS.values())
MAIN = list(main_runs(RUNS))
SOURCES_OF_WEIGHTS = {Path(run.weights).parent.name for run in RUNS.values() if run.weights.endswith("/best.keras")}
ABLATION = [name for name, run in RUNS.items() if run.suffix.startswith("-lr")]
AUDIT = expand(REPORT + "/tables/audit_{table}.csv", table=AUDIT_TABLES)
CURVES = expand(FIGURE, number=["03", *(["04"] if PAIRS else []), *(["09", "10"] if ABLATION else [])])
CURVES += [REPORT + "/figures/reliability.png"]
CURVES += [os.fspath(entry.file(Path(REPORT), name)) for name, entry in further.entries().items()]
PICTURES = expand(FIGURE, number=["01", "02"])
PICTURED = figure_names.pictured(DATASETS)
PICTURES += [
    f"{REPORT}/figures/{figure_names.figure_name(kind, dataset)}.png" for kind in figure_names.KINDS for dataset in PICTURED
]
MEASURES = expand(REPORT + "/tables/{table}.csv", table=table_names.FEATURES)
PICTURES += MEASURES if PICTURED else []
PICTURES += expand(REPORT + "/tables/{table}.csv", table=table_names.EXPLANATIONS)
PICTURES += expand(REPORT + "/figures/{name}.png", name=["pointing", "cascade"])
NOT_SHARED = ("dataset", "backbone", "weights", "suffix", "source", "acquire", "scans")
AGAIN = set(config.get("again", []))  # datasets, runs and notebooks

# Limits of a step on a cluster: `runtime` in minutes, `mem_mb` in MB for the first attempt. A study of small scans takes
# minutes. A study of published sizes takes days, and a run several jobs: one that ran out of time resumes at its
# checkpoint. A profile requests GPUs (set-resources, train: gpu=1).
STATUS = f"{REPORT}/{status.NAME}"
THREADS = int(config.get("threads", 4))
SMALL = max(run.image_size for run in RUNS.values()) <= 128
HOUR = 60

# The notebook runs under a temporary name and is renamed when it has succeeded; a failed one is kept as such. An existing
# file under the temporary name is removed first, as it may be a link.
EXECUTE = """
    export JUPYTER_PREFER_ENV_PATH=1  # the kernel is this environment's, whatever the user's home says
    export TF_NUM_INTRAOP_THREADS={threads} TF_NUM_INTEROP_THREADS=2 OMP_NUM_THREADS={threads} NPROC={threads}
    mkdir -p "$(dirname {params.page:q})"
    rm -f {params.draft:q} {log:q}
    if {params.python:q} -P -m papermill --no-progress-bar {input.notebook:q} {params.draft:q} {params.arguments} > {log:q} 2>&1
    then mv {params.draft:q} {params.page:q}; rm -f {params.failed:q}; {params.python:q} -P -m lungkeras.study.status {STATUS:q} {params.done:q} $SECONDS || echo "  {params.done} ($SECONDS s)"
    else mv {params.draft:q} {params.failed:q}; echo "  failed: {params.done}"; exit 1
    fi
"""


def of(name, files):
    """The files of a dataset, run or notebook as an input: their date counts only if it is made again."""
    return files if name in AGAIN else ancient(files)


def page(name):
    return f"{REPORT}/notebooks/{name}.ipynb"


def draft(name):
    return f"{REPORT}/notebooks/.running-{name}.ipynb"


def failed(name):
    return f"{REPORT}/notebooks/{name}.failed.ipynb"


def stated(params, *but):
    """All params of a notebook, also those that no file names, as the notebook's own defaults are the demo's."""
    return f"-y {shlex.quote(yaml.safe_dump(params.model_dump(exclude=set(but)), sort_keys=False))}"


def source_arguments(dataset):
    """What tells the preparation to read a given folder: its name for results, as an executed notebook is shared."""
    given = given_source(dataset)
    return f"-p acquire given -r source {shlex.quote(places.recorded_name(from_project(given)))}" if given else ""


def given_source(dataset):
    """The folder that the user named on the command line, or in study.yaml; empty if it is drawn or fetched."""
    return SOURCES.get(dataset) or (SHARED.source if SHARED.acquire == "given" else "")


def prepared_as(dataset):
    """The params of the first run of a dataset: image_size, split and votes are those of the dataset."""
    return next(run for run in RUNS.values() if run.dataset == dataset)


def megabytes(small, large):
    """More for each attempt: a job that ran out of memory is submitted again with more."""
    return lambda wildcards, attempt: attempt * (small if SMALL else large)


def best_model_to_start_from(wildcards):
    run = RUNS[wildcards.run]
    return of(Path(run.weights).parent.name, [f"{RUN}/{run.weights}"]) if run.weights.endswith("/best.keras") else []


def prepared(dataset):
    return of(dataset, f"{PREPARED}/{dataset}/statistics.json")


def planned(job):
    """Rule, kind and nominal seconds of a step, to estimate the time left."""
    step = job.rule.name
    if step == "prepare":
        return step, step, status.nominal_seconds(step, scans=prepared_as(job.wildcards.dataset).scans or 500)
    if step != "train":
        return step, step, status.nominal_seconds(step)
    run = RUNS[job.wildcards.run]
    learned = {"scans": run.scans or 500, "epochs": run.epochs, "size": run.image_size}
    return step, run.backbone, status.nominal_seconds(step, backbone=run.backbone, **learned)


onstart:
    status.plan(Path(REPORT), {job.params.done: planned(job) for job in workflow.dag.needrun_jobs()})


def urgency(wildcards):
    """Runs that others start from go first, then the main runs, as the figures need only these. One of the other runs,
    and then the evaluation, run beside the figures, so that no core is idle at the end."""
    name = wildcards.run
    return 4 if name in SOURCES_OF_WEIGHTS else 3 if name in MAIN else 0 if [name] == ABLATION[-1:] else 2


wildcard_constraints:
    dataset="|".join(DATASETS),


rule report:
    default_target: True
    input:
        of("03_evaluation", [*TABLES, *CURVES]),
        of("04_visualization", PICTURES),
        [of(dataset, f"{PREPARED}/{dataset}/audit.json") for dataset in DATASETS],
        notebook=ancient("notebooks/05_report.ipynb"),
    output:
        *AUDIT,
        report=f"{REPORT}/report.html",
        claims=f"{REPORT}/tables/claims.csv",
        notebook=page("05_report"),
    params:
        python=sys.executable,
        page=page("05_report"),
        draft=draft("05_report"),
        failed=failed("05_report"),
        arguments=lambda wildcards: stated(SHARED, *NOT_SHARED),
        done="wrote the report",
    threads: 1
    resources:
        mem_mb=megabytes(2000, 8000),
        runtime=HOUR,
    log:
        f"{REPORT}/logs/05_report.log",
    shell:
        EXECUTE


rule prepare:
    input:
        notebook=ancient("notebooks/01_data_preparation.ipynb"),
    output:
        expand(PREPARED + "/{{dataset}}/{name}", name=["train.npy", "val.npy", "test.npy", "records.parquet"]),
        expand(PREPARED + "/{{dataset}}/{name}", name=["statistics.json", "quarantine.csv", "flow.csv"]),
        expand(PREPARED + "/{{dataset}}/{name}", name=["duplicates.csv", "boxes.parquet", "fingerprints.npz", "audit.json"]),
    params:
        python=sys.executable,
        page=page("01_data_preparation-{dataset}"),
        draft=draft("01_data_preparation-{dataset}"),
        failed=failed("01_data_preparation-{dataset}"),
        arguments=lambda wildcards: f"{stated(SHARED, 'backend')} -p dataset {wildcards.dataset} "
        f"-p image_size {prepared_as(wildcards.dataset).image_size} -p split {prepared_as(wildcards.dataset).split} "
        f"-p votes {prepared_as(wildcards.dataset).votes} "
        f"{source_arguments(wildcards.dataset)}",
        given=lambda wildcards: given_source(wildcards.dataset),
        done="prepared {dataset}",
    priority: 5
    threads: THREADS
    resources:
        mem_mb=megabytes(2000, 8000),
        runtime=HOUR if SMALL else 12 * HOUR,
    log:
        REPORT + "/logs/01_data_preparation-{dataset}.log",
    shell:
        f"export {places.GIVEN}={{params.given:q}}" + EXECUTE


rule train:
    input:
        best_model_to_start_from,
        prepared=lambda wildcards: prepared(RUNS[wildcards.run].dataset),
        notebook=ancient("notebooks/02_training.ipynb"),
    output:
        expand(RUN + "/{{run}}/{name}", name=[*RESULTS, "fingerprint.json"]),
    params:
        python=sys.executable,
        page=page("02_training-{run}"),
        draft=draft("02_training-{run}"),
        failed=failed("02_training-{run}"),
        arguments=lambda wildcards: stated(RUNS[wildcards.run], "title", "source", "acquire", "scans", "seeds"),
        done="trained {run}",
    priority: urgency
    threads: THREADS
    resources:
        mem_mb=megabytes(4000, 32000),
        runtime=HOUR if SMALL else 24 * HOUR,
    log:
        REPORT + "/logs/02_training-{run}.log",
    shell:
        EXECUTE


rule evaluate:
    input:
        [of(run, f"{RUN}/{run}/metrics.json") for run in RUNS],
        [prepared(dataset) for dataset in DATASETS],
        notebook=ancient("notebooks/03_evaluation.ipynb"),
    output:
        *TABLES,
        *CURVES,
        page("03_evaluation"),
    params:
        python=sys.executable,
        page=page("03_evaluation"),
        draft=draft("03_evaluation"),
        failed=failed("03_evaluation"),
        arguments=lambda wildcards: stated(SHARED, *NOT_SHARED),
        done="evaluated the runs",
    threads: 1
    resources:
        mem_mb=megabytes(4000, 16000),
        runtime=HOUR if SMALL else 4 * HOUR,
    log:
        f"{REPORT}/logs/03_evaluation.log",
    shell:
        EXECUTE


rule visualize:
    input:
        [of(name, f"{RUN}/{name}/best.keras") for name in MAIN],
        [prepared(dataset) for dataset in DATASETS],
        notebook=ancient("notebooks/04_visualization.ipynb"),
    output:
        *PICTURES,
        page("04_visualization"),
    params:
        python=sys.executable,
        page=page("04_visualization"),
        draft=draft("04_visualization"),
        failed=failed("04_visualization"),
        arguments=lambda wildcards: stated(SHARED, *NOT_SHARED),
        done="drew features and heat maps",
    priority: 1  # it needs the main runs alone, and leaves a core to the others
    threads: 1
    resources:
        mem_mb=megabytes(4000, 16000),
        runtime=HOUR if SMALL else 4 * HOUR,
    log:
        f"{REPORT}/logs/04_visualization.log",
    shell:
        EXECUTE
