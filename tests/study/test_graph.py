"""What Snakemake reads of the graph of notebooks. Its runs are tested in test_study.py."""

from urllib.parse import unquote

import pytest
import yaml

from lungkeras.study import graph
from lungkeras.study.params import Params
from lungkeras.system.errors import ParamsError
from lungkeras.system.places import project_folder


@pytest.mark.parametrize("name", ["{a}", "a\nb"])
def test_a_path_that_the_graph_can_not_hold_is_refused_by_its_name(tmp_path, name):
    with pytest.raises(ParamsError):
        graph.require_plain_paths(tmp_path / name, Params(), {})


def test_caches_go_to_the_project_if_the_home_can_not_hold_them(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "not" / "there"))
    assert graph._cache(tmp_path) == {}
    monkeypatch.setattr(graph.os, "access", lambda *_: False)
    assert graph._cache(tmp_path) == {"XDG_CACHE_HOME": str(tmp_path / ".snakemake" / "cache")}


def test_a_step_is_named_by_the_file_that_the_graph_makes_of_it():
    shared = Params(runs="reports/mine/runs")
    run = Params(runs="reports/mine/runs", dataset="covid", backbone="resnet34")
    files = graph._results(project_folder(), shared, {run.run: run})
    assert files["05_report"] == "reports/mine/notebooks/05_report.ipynb"
    assert files[run.run].endswith("runs/covid-resnet34-random/metrics.json")
    assert files["covid"].endswith("covid/statistics.json")


def test_the_snakefile_reads_back_its_config(tmp_path):
    """As Snakemake does: it reads each value as YAML."""
    sources = {"covid": "my scans/50 %"}
    config = graph._config(tmp_path, tmp_path / "2024 #1", sources, ["covid"], backend=None, threads=2)
    read = {key: yaml.safe_load(str(value)) for key, value in config.items()}
    assert unquote(read["study"]) == "./2024 #1" and read["again"] == ["covid"] and read["threads"] == 2
    assert {name: unquote(path) for name, path in read["sources"].items()} == sources and "backend" not in read
