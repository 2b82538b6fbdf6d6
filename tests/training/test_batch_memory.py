from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from lungkeras.training.batch_memory import BatchMemory


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_arrays_are_aligned_and_of_the_shape_and_dtype(dtype):
    memory = BatchMemory()
    for shape in ((3, 5, 7), (9, 5, 7), (1, 5, 7)):
        array = memory.array(shape, dtype)
        assert array.ctypes.data % 64 == 0 and array.flags.c_contiguous
        assert (array.shape, array.dtype) == (shape, dtype)


def test_memory_is_reused_only_after_the_last_view_is_gone():
    memory = BatchMemory()
    first = memory.array((4, 8), np.uint8)
    place, view = first.ctypes.data, first[1:, ::2]
    del first
    second = memory.array((4, 8), np.uint8)
    assert second.ctypes.data != place
    del view
    assert memory.array((4, 8), np.uint8).ctypes.data == place


def test_a_larger_array_gets_memory_of_its_own():
    memory = BatchMemory()
    memory.array((2, 8), np.uint8)
    array = memory.array((400, 8), np.uint8)
    array[:] = 7
    assert array.sum() == 7 * 400 * 8


def test_two_threads_never_share_an_array():
    memory = BatchMemory()

    def fill(number: int) -> bool:
        array = memory.array((64, 64), np.int64)
        array[:] = number
        return bool((array == number).all())

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(fill, range(400)))
