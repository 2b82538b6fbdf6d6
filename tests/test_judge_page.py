"""docs/judge.md: its example runs as it stands, and its tables name the columns and files that are there."""

import re
import shlex
from pathlib import Path

import pytest

import lungkeras
from lungkeras import cli
from lungkeras.evaluation.foreign_columns import understand
from lungkeras.evaluation.judged_claims import OF_A_CLASS, OF_ALL
from lungkeras.evaluation.judgement import TABLES

PAGE = Path(lungkeras.__file__).parent.parent / "docs" / "judge.md"


@pytest.fixture(scope="module")
def page() -> str:
    if not PAGE.is_file():
        pytest.skip("no docs beside the package: it runs from an installed copy")
    return PAGE.read_text(encoding="utf-8")


def test_the_example_runs(page, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    exec(re.search(r"```python\n(.*?)```", page, flags=re.S)[1], {})
    Path("claims.yaml").write_text(re.search(r"```yaml\n(.*?)```", page, flags=re.S)[1], encoding="utf-8")
    command = re.findall(r"```sh\n(.*?)```", page, flags=re.S)[1].strip()
    assert cli.main(shlex.split(command)[1:]) == 0
    said = capsys.readouterr().out
    assert "effusion_prob is probability of effusion" in said and "linear: macro AUROC 0." in said
    for name in re.findall(r"^\| [^|]* \| ((?:`\w+`(?:, )?)+) \|", page, flags=re.M):
        for table in re.findall(r"`(\w+)`", name):
            # One finding of known patients with metadata and val: every table is there.
            assert (tmp_path / "judged" / "tables" / f"{table}.csv").is_file(), table


def test_every_table_and_every_score_of_a_claim_is_named(page):
    assert all(f"`{name}`" in page for name in TABLES)
    assert all(f"`{name}`" in page for name in OF_ALL) and all(f"`{name}(CLASS)`" in page for name in OF_A_CLASS)


def test_columns_that_the_page_names_are_found(page):
    rows = dict(re.findall(r"^\| (scan|patient|label|probability) \| (.*?) \|$", page, flags=re.M))
    for role in ("scan", "patient"):
        names = [name for name in re.findall(r"`([^`]*)`", rows[role]) if "/" not in name]
        for name in names:
            assert understand([name]).roles == {role: name}, name
    for kind, found in (("label", "labels"), ("probability", "probabilities")):
        for name in re.findall(r"`(\w*<class>\w*)`", rows[kind]):
            if name != "<class>":
                column = name.replace("<class>", "mass")
                assert getattr(understand([column]), found) == {"mass": ("mass", column)}, column
