"""Checks a model file before Keras opens it.

Keras' safe mode has been bypassed repeatedly: a config that names a function runs it, an unconnected operation runs at
once, an HDF5 file may point at other files on disk, and a few bytes may claim terabytes. So a file passes only if
everything in it is known: the members of the archive, the layers of the graph and their connections, every array of the
weights.
"""

import io
import re
import zipfile
from pathlib import Path

from lungkeras.system.errors import Refused, RunError
from lungkeras.system.text import printable
from lungkeras.system.untrusted import json_files
from lungkeras.system.untrusted.archives import plain_zip, read_member
from lungkeras.system.untrusted.hdf5_files import check_hdf5
from lungkeras.system.untrusted.keras_graphs import check_graph

MEMBERS = {"metadata.json", "config.json", "model.weights.h5"}
MOST_BYTES = 4 * 2**30
MOST_JSON_BYTES = 32 * 2**20
MOST_RATIO = 10  # of claimed size to actual size
LOWEST_KERAS = (3, 15, 1)  # older versions have known holes in loading


def check_model_file(path: Path | str) -> None:
    """Checks a .keras file without Keras. Raises RunError, in one sentence, if it holds anything unknown.

    Flat functional models of plain layers pass, as written by `save_model`, whose arrays are in the file.
    """
    path = Path(path)
    try:
        # Keras packs nothing, and reads a packed member to its end, whatever that claims.
        with plain_zip(path, methods=(zipfile.ZIP_STORED,)) as archive:
            _check_members(archive, path.stat().st_size)
            _plain_json(read_member(archive, "metadata.json", MOST_JSON_BYTES))
            config = _plain_json(read_member(archive, "config.json", MOST_JSON_BYTES))
            numbers = check_hdf5(io.BytesIO(read_member(archive, "model.weights.h5", MOST_BYTES)))
        check_graph(config, numbers)
    except Refused as reason:
        raise RunError(
            f"{path} is refused before Keras opens it: {printable(reason)}. Give a .keras file that lungkeras has "
            "written, or train the run again."
        ) from None
    except Exception as error:
        # A damaged archive or config raises any of a dozen exceptions, depending on the damage.
        words = printable(" ".join(str(error).split())[:100])
        reason = f"{type(error).__name__}: {words}".rstrip(". :")
        raise RunError(f"{path} could not be read as a Keras model ({reason}). Train the run again.") from error


def check_keras_version(version: str) -> None:
    """Raises RunError if this Keras is older than the first that is known to load files safely."""
    if tuple(int(part) for part in re.findall(r"\d+", version)[:3]) < LOWEST_KERAS:
        lowest = ".".join(map(str, LOWEST_KERAS))
        raise RunError(f"Keras {version} is too old to open model files safely: install {lowest} or newer.")


def _check_members(archive: zipfile.ZipFile, size: int) -> None:
    names = [member.filename for member in archive.infolist()]
    if sorted(names) != sorted(MEMBERS):
        strange = next((name for name in names if name not in MEMBERS or names.count(name) > 1), None)
        raise Refused(f"it holds {strange!r}" if strange else f"it lacks {min(MEMBERS - set(names))}")
    claimed = sum(member.file_size for member in archive.infolist())
    if claimed > min(MOST_BYTES, MOST_RATIO * size):
        raise Refused(f"its {size:,} bytes claim to be {claimed:,}")
    if any(archive.getinfo(name).file_size > MOST_JSON_BYTES for name in ("metadata.json", "config.json")):
        raise Refused("its config is larger than any model's")


def _plain_json(data: bytes) -> dict:
    """JSON whose objects name each key once. Raises ValueError, or RecursionError if it is nested too deep."""

    def once(pairs: list[tuple[str, object]]) -> dict:
        if len(dict(pairs)) < len(pairs):
            raise Refused("its config names a key twice")
        return dict(pairs)

    return json_files.loads(data, object_pairs_hook=once)
