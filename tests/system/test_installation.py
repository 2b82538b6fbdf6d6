"""What is installed, as `lungkeras info` says it, against pip's own reading of requirements."""

import json
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from lungkeras import cli
from lungkeras.cli.commands.info import as_text
from lungkeras.system import installation

PYPROJECT = Path(__file__).resolve().parents[2] / "pyproject.toml"


@pytest.mark.parametrize("text", ["a>=1", 'a[b,c]>=1,<2; extra == "d"', "a-b_c.d", "a==2.1; sys_platform == 'linux'"])
def test_requirements_are_read_as_packaging_reads_them(text):
    needs, extras = installation.requirements([text])
    (name, bounds), expected = (needs or next(iter(extras.values())))[0], Requirement(text)
    assert name.partition("[")[0] == expected.name and SpecifierSet(bounds) == expected.specifier
    assert list(extras) == re.findall(r'extra == "(\w+)"', text)


@pytest.mark.parametrize("found", ["1.9", "2.0", "2.10.1", "2.9.0.dev1", "10.0"])
@pytest.mark.parametrize("bounds", ["", ">=2", ">=2.10", "<10", ">=2,<2.10", "==2.0"])
def test_versions_are_compared_as_packaging_compares_them(found, bounds):
    assert installation.within(found, bounds) == SpecifierSet(bounds).contains(found, prereleases=True)


def test_each_extra_of_the_project_has_its_purpose():
    extras = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"]["optional-dependencies"]
    assert set(extras) == set(installation.PURPOSES)


def test_missing_packages_are_named_as_by_pip():
    needs = [("numpy", ">=1.26"), ("numpy", ">=999"), ("no-such-package", ""), ("numpy[no-such-extra]", "")]
    assert installation.missing(needs) == ["numpy>=999", "no-such-package"]


def test_the_command_prints_json_and_text(capsys):
    assert cli.main(["info", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["packages"]["numpy"] and found["devices"] and found["backend"] and not found["missing"]
    lines = as_text(found | {"nvidia_gpu": True, "devices": ["cpu:0"], "missing": ["shtab>=1.13"], "backend": None})
    said = "\n".join(lines)
    assert "Keras runs on: nothing yet" in said and "does not see it" in said and "missing: shtab>=1.13" in said
