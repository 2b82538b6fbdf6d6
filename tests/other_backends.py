"""Marks of tests that start another backend than the one they run on: CI runs them there, on JAX and PyTorch."""

import os

import pytest

from lungkeras.system.backends import BACKENDS

HERE = os.environ["KERAS_BACKEND"]
each_backend = pytest.mark.parametrize(
    "backend", [pytest.param(name, marks=() if name == HERE else pytest.mark.slow) for name in BACKENDS]
)


def starts_another(test):
    """Slow where TensorFlow runs the tests, and as quick as any where another backend does."""
    return pytest.mark.slow(test) if HERE == "tensorflow" else test
