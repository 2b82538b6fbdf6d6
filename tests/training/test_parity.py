"""The backends agree, on real scans where they are; and a table of differences says where they do not."""

import numpy as np
import pandas as pd
import pytest

from lungkeras.preparation.prepare import prepare_dataset
from lungkeras.system.errors import RunError
from lungkeras.training import parity


@pytest.mark.parity
def test_the_installed_backends_agree_on_the_same_scans(request, tmp_path):
    pythons = parity.backend_pythons()
    if len(pythons) < 2:
        pytest.skip(f"only {', '.join(pythons)} is installed, here and in .venv-<backend>")
    try:
        prepared = tmp_path / "prepared"
        prepare_dataset("pneumonia", request.getfixturevalue("real_scans") / "kermany", prepared, size=64)
    except pytest.skip.Exception:
        prepared = parity.draw_prepared(tmp_path)
    table = parity.parity(prepared, pythons)
    print(table.to_string(index=False))
    assert len(table) == 3 * (len(pythons) - 1)
    assert parity.beyond_bounds(table).empty, table.to_string()


def table_of(**changes) -> pd.DataFrame:
    row = {"backbone": "resnet34", "backend": "jax", "reference": "torch", "scans": 32, "steps": 20}
    return pd.DataFrame([row | {"logits": 1e-5, "grey_levels": 1.0, "losses": 1e-4} | changes])


@pytest.mark.parametrize(
    "changes", [{"logits": 2e-4}, {"grey_levels": 2.0}, {"losses": 0.002}, {"losses": np.nan}], ids=str
)
def test_a_difference_beyond_its_bound_or_without_a_number_is_found(changes):
    assert parity.beyond_bounds(table_of()).empty
    assert len(parity.beyond_bounds(table_of(**changes))) == 1


def test_differences_are_the_largest_ones_from_the_first_backend(monkeypatch):
    generator = np.random.default_rng(0)
    arrays = {f"{what}-resnet34": generator.normal(size=(4, 3)) for what in parity.BOUNDS}
    moved = {name: values + 0.5 * (np.arange(12).reshape(4, 3) == 7) for name, values in arrays.items()}
    found = {"tensorflow": arrays, "jax": moved}
    monkeypatch.setattr(parity, "_in_process", lambda python, backend, *rest: found[backend])
    table = parity.parity(".", {"tensorflow": "python", "jax": "python"}, backbones=["resnet34"])
    assert table[["backend", "reference", "scans"]].to_numpy().tolist() == [["jax", "tensorflow", 4]]
    np.testing.assert_allclose(table[list(parity.BOUNDS)], 0.5)


@pytest.mark.slow
def test_a_backend_that_fails_is_named_with_its_last_words(tmp_path):
    backend, python = next(iter(parity.backend_pythons().items()))
    with pytest.raises(RunError, match=f"{backend} could not be measured with .*is not a prepared dataset"):
        parity.parity(tmp_path, {backend: python})
