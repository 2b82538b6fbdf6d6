"""Memory for batches that is used again once nobody holds a batch in it.

The pages of a fresh array take the operating system longer to provide than a batch takes to copy.
"""

import math
import sys
from threading import Lock

import numpy as np

ALIGNED_BYTES = 64
KEPT = 8  # blocks; more than a stream holds at a time


def references(blocks: list) -> list[int]:
    """The reference count of each block, as seen from here."""
    return [sys.getrefcount(block) for block in blocks]


UNUSED = references([object()])[0]  # that of a block which only its list holds


class BatchMemory:
    """Uninitialised arrays, aligned so that TensorFlow uses them without a copy.

    A block is free when no array, tensor or view refers to it. Safe in several threads.
    """

    def __init__(self):
        self._blocks, self._lock = [], Lock()

    def array(self, shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
        """An array of this shape and dtype, C-contiguous, with arbitrary content."""
        size = math.prod(shape) * np.dtype(dtype).itemsize
        with self._lock:
            block = self._free(size + ALIGNED_BYTES)
            start = -block.ctypes.data % ALIGNED_BYTES
            return block[start : start + size].view(dtype).reshape(shape)

    def _free(self, size: int) -> np.ndarray:
        for count, block in zip(references(self._blocks), self._blocks, strict=True):
            if block.size >= size and count == UNUSED:
                return block
        block = np.empty(size, np.uint8)
        if len(self._blocks) < KEPT:
            self._blocks.append(block)
        return block
