"""What a checkout says of its environment: environment.yml and constraints.txt name what pyproject.toml declares."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

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
    assert "pip" in conda and any(entry.startswith("python=3.11") for entry in conda)
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
