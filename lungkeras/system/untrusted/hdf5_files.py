"""Checks an HDF5 file of weights before it is read: its arrays lie in it, and claim no more bytes than it holds."""

import io
import math
from pathlib import Path

from lungkeras.system.errors import Refused, RunError
from lungkeras.system.text import printable
from lungkeras.system.untrusted.plain_files import size_of

MOST_ATTRIBUTE_BYTES = 32 * 2**20
MOST_RATIO = 10  # of claimed size to actual size


def check_weights_file(path: Path | str) -> None:
    """Checks an .h5 file of weights. Raises RunError if it points elsewhere or claims more than its size."""
    try:
        size_of(path)
        with Path(path).open("rb") as file:
            check_hdf5(file)
    except Refused as reason:
        raise RunError(
            f"{path} is refused before Keras opens it: {printable(reason)}. Download the weights again."
        ) from None
    except Exception as error:
        raise RunError(f"{path} could not be read as a file of weights. Download the weights again.") from error


def check_hdf5(file: io.IOBase) -> int:
    """Walks an HDF5 file by its own groups and arrays only. Returns how many numbers its arrays hold."""
    import h5py

    size = file.seek(0, io.SEEK_END)
    numbers = claimed = 0
    seen: set[int] = set()
    with h5py.File(file, "r") as opened:
        waiting = [("", opened)]
        while waiting:
            name, group = waiting.pop()
            _check_attributes(group, name)
            for key in group:
                inner = f"{name}/{key}"
                if not isinstance(group.get(key, getlink=True), h5py.HardLink):
                    raise Refused(f"{inner[:80]!r} of its weights is a link")
                member = group[key]
                address = h5py.h5o.get_info(member.id).addr
                if address in seen:
                    raise Refused(f"{inner[:80]!r} of its weights occurs twice")
                seen.add(address)
                if isinstance(member, h5py.Group):
                    waiting.append((inner, member))
                    continue
                if not isinstance(member, h5py.Dataset):
                    raise Refused(f"{inner[:80]!r} of its weights is not an array")
                _check_array(member, inner)
                numbers += member.size
                claimed += member.nbytes
                if claimed > MOST_RATIO * size:
                    raise Refused(f"the {size:,} bytes of its weights claim to be {claimed:,} or more")
    return numbers


def _check_array(array, name: str) -> None:
    _check_attributes(array, name)
    if array.is_virtual or array.external:
        raise Refused(f"{name[:80]!r} of its weights is in another file")
    if array.dtype.kind not in "fiub" and array.dtype.name != "bfloat16" and array.dtype.kind != "S":
        raise Refused(f"{name[:80]!r} of its weights is not an array of numbers")
    if array.id.get_create_plist().get_nfilters():
        raise Refused(f"{name[:80]!r} of its weights is compressed")
    if array.id.get_storage_size() < array.nbytes:
        raise Refused(f"{name[:80]!r} of its weights claims {array.nbytes:,} bytes and has fewer")


def _check_attributes(thing, name: str) -> None:
    for key in thing.attrs:
        attribute = thing.attrs.get_id(key)
        # Not get_storage_size, which raises for the empty list of weights that a layer without any has.
        if math.prod(attribute.shape) * attribute.dtype.itemsize > MOST_ATTRIBUTE_BYTES:
            raise Refused(f"{name[:80]!r} of its weights has an attribute larger than any model's")
