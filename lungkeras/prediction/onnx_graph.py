"""ONNX operations under construction, with what their backward steps need."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from onnx import helper, numpy_helper


@dataclass
class Graph:
    """ONNX operations under construction, their output shapes without N, and the backward steps.

    `back` holds (output, inputs, backward) of each step: backward takes the gradient of the output, by its name, and
    the place of an input, and returns the gradient of that input.
    """

    nodes: list = field(default_factory=list)
    arrays: list = field(default_factory=list)
    shapes: dict[str, tuple[int, ...]] = field(default_factory=dict)
    back: list[tuple[str, Sequence[str], Callable[[str, int], str]]] = field(default_factory=list)

    def add(self, operation: str, *inputs: str, **settings) -> str:
        """The name of an operation's output."""
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operation, inputs, [name], **settings))
        return name

    def array(self, values, dtype=np.float32) -> str:
        name = f"c{len(self.arrays)}"
        self.arrays.append(numpy_helper.from_array(np.ascontiguousarray(values, dtype), name))
        return name

    def step(self, output: str, shape: Sequence[int], inputs: Sequence[str], backward: Callable[[str, int], str]):
        """Records shape and backward step of an output, and returns its name."""
        self.shapes[output] = tuple(shape)
        self.back.append((output, inputs, backward))
        return output
