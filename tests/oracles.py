"""Judges from other projects, imported so that they live beside TensorFlow in one process."""

import sys

import pytest


def import_torchvision():
    """torch and torchvision, or a skip. Triton is kept out: loaded after TensorFlow, its own LLVM ends the process."""
    sys.modules.setdefault("triton", None)
    torch = pytest.importorskip("torch", reason="torchvision is a judge: pip install torch torchvision")
    torchvision = pytest.importorskip("torchvision", reason="torchvision is a judge: pip install torch torchvision")
    return torch, torchvision
