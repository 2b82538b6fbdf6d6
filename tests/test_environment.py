"""What a checkout says of its environment: environment.yml and constraints.txt name what pyproject.toml declares."""

import re
import runpy
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

CHECKOUT = Path(__file__).resolve().parents[1]
if not (CHECKOUT / "environment.yml").is_file():
    pytest.skip("no environment.yml beside the package: it runs from an installed copy", allow_module_level=True)

PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
# JAX and PyTorch have environments of their own; TensorFlow with CUDA is named beside the extras.
APART = {"jax", "torch", "gpu"}


def name_of(requirement: str) -> str:
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")


def test_the_environment_has_the_python_of_the_project_and_every_extra():
    environment = yaml.safe_load((CHECKOUT / "environment.yml").read_text(encoding="utf-8"))
    assert environment["name"] == "lungkeras" and environment["channels"] == ["conda-forge"]
    conda = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    (python,) = (entry.removeprefix("python=") for entry in conda if entry.startswith("python"))
    assert "pip" in conda and SpecifierSet(PROJECT["requires-python"]).contains(python)
    assert "--constraint constraints.txt" in pip and (CHECKOUT / "constraints.txt").is_file()
    installed = set(re.search(r"--editable \.\[([\w,-]+)\]", " ".join(pip))[1].split(","))
    assert installed == set(EXTRAS) - APART
    assert {name_of(entry) for entry in pip if not entry.startswith("--")} == {name_of(e) for e in EXTRAS["gpu"]}


def test_constraints_pin_every_declared_package_once():
    lines = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [name_of(line) for line in lines if line and not line.startswith("#")]
    assert len(pins) == len(set(pins)) and all("==" in line for line in lines[1:] if line)
    declared = {
        name_of(text) for text in (*PROJECT["dependencies"], *(text for own in EXTRAS.values() for text in own))
    }
    assert declared - {"setuptools"} <= set(pins)


def test_every_pin_lies_within_the_bounds_of_each_declaration():
    lines = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {name_of(line): line.partition("==")[2] for line in lines if "==" in line}
    environment = yaml.safe_load((CHECKOUT / "environment.yml").read_text(encoding="utf-8"))
    pip = next(entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict))
    declared = [*PROJECT["dependencies"], *(text for own in EXTRAS.values() for text in own)]
    declared += [entry for entry in pip if not entry.startswith("--")]
    bounds = [Requirement(text) for text in declared if name_of(text) != "setuptools"]
    assert len(bounds) > 40
    assert not [str(bound) for bound in bounds if not bound.specifier.contains(pins[name_of(bound.name)])]


def locked() -> dict[str, tuple[str, list[str]]]:
    """{package: (version, hashes)} of the lock file."""
    text = (CHECKOUT / "requirements.lock").read_text(encoding="utf-8")
    pins = re.findall(r"^([\w.-]+)==([\w.+]+)([^\\\n]*)((?: ?\\\n +--hash=sha256:[0-9a-f]{64})*)$", text, re.MULTILINE)
    found = {name_of(name): (version, re.findall(r"sha256:(\w+)", hashes)) for name, version, _, hashes in pins}
    assert len(found) == len(pins) == len(re.findall(r"^\S", text, re.MULTILINE))
    return found


def test_the_lock_file_has_the_pinned_version_and_a_hash_of_every_package():
    lines = (CHECKOUT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {name_of(line): line.partition("==")[2] for line in lines if "==" in line}
    lock = locked()
    assert not {name for name, (_, hashes) in lock.items() if not hashes}
    assert not {name: pins[name] for name, (version, _) in lock.items() if name in pins and pins[name] != version}
    declared = {name_of(text) for own in (PROJECT["dependencies"], *EXTRAS.values()) for text in own}
    assert declared - {"setuptools", "lungkeras"} <= set(lock)
    assert "://" not in (CHECKOUT / "requirements.lock").read_text(encoding="utf-8")


def test_an_audit_fails_for_a_vulnerability_alone_and_says_when_it_could_not_ask():
    verdict = runpy.run_path(str(CHECKOUT / ".ci" / "audit.py"))["verdict"]
    fault = {"id": "PYSEC-1", "fix_versions": ["2.0"]}
    clean, hit = {"name": "a", "version": "1", "vulns": []}, {"name": "b", "version": "1", "vulns": [fault]}
    absent = {"name": "c", "skip_reason": "not found"}
    assert verdict({"dependencies": [clean, absent]}) == (0, ["1 of 2 packages audited, 0 known vulnerabilities"])
    status, lines = verdict({"dependencies": [clean, hit]})
    assert status == 1 and lines[1:] == ["b 1: PYSEC-1, mended in 2.0"]
    for found in (None, {"dependencies": [absent]}):
        assert verdict(found) == (0, ["audit skipped: the database of vulnerabilities can't be reached from here"])
