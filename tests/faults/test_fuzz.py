"""Twenty thousand damaged files, one after another: each an image or a sentence, and whoever asks stays as it was."""

import random
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from mutations import MUTATIONS, chest, encoded, whole_files
from PIL import Image
from pydicom.data import get_testdata_files

from lungkeras.datasets.scans.workers import MOST_SECONDS, Decoder
from lungkeras.system.errors import ScanError

COUNT, SEED = 20_000, 20
ENDED = ("took longer", "needed more", "decoder died")
LARGEST_SEED = 500_000  # bytes


def seeds() -> list[bytes]:
    """Whole files: our own PNG and JPEG, TIFF, and the DICOM files that pydicom is tested with."""
    grey = Image.fromarray(chest())
    tiffs = [encoded(grey, "TIFF", compression=how) for how in (None, "tiff_lzw", "tiff_adobe_deflate", "jpeg")]
    folder = Path(get_testdata_files.__code__.co_filename).parent / "test_files"
    files = [file for file in sorted(folder.rglob("*.dcm")) if file.stat().st_size <= LARGEST_SEED]
    return [*whole_files(), *tiffs, *(file.read_bytes() for file in files)]


def damaged(count: int, seed: int):
    draw, files = random.Random(seed), seeds()
    for number in range(count):
        yield MUTATIONS[number % len(MUTATIONS)](draw.choice(files), draw)


def fuzz(count: int, seed: int, folder: Path) -> tuple[Counter, float, float]:
    """(outcomes, the longest in seconds, megabytes that this process has gained) of so many damaged files."""
    one, outcomes, longest = Decoder(), Counter(), 0.0
    file, here = folder / "scan", psutil.Process()
    one._start()
    held, children = here.memory_info().rss, len(here.children())
    try:
        for data in damaged(count, seed):
            file.write_bytes(data)
            started = time.monotonic()
            try:
                one.decode(file)
                outcomes["image"] += 1
            except ScanError as error:
                reason = str(error).removeprefix(f"{file}: ")
                assert "\n" not in reason and len(reason) < 200, (reason, data[:100])
                known = next(
                    (word for word in ("took longer", "needed more", "decoder died") if word in reason), "refused"
                )
                outcomes[known] += 1
            longest = max(longest, time.monotonic() - started)
            assert len(here.children()) <= children
    finally:
        one.close()
    return outcomes, longest, (here.memory_info().rss - held) / 1e6


@pytest.mark.parametrize("count", [200, pytest.param(COUNT, marks=pytest.mark.faults)])
def test_damaged_files_are_images_or_sentences(count, tmp_path, injected):
    outcomes, longest, gained = fuzz(count, SEED, tmp_path)
    print(dict(outcomes), f"{longest:.2f} s at most, {gained:.1f} MB gained")
    assert sum(outcomes.values()) == count and outcomes["image"] and outcomes["refused"]
    assert longest < 3 * MOST_SECONDS and gained < 100
    assert outcomes["decoder died"] <= count / 1000
    injected("damaged files of every kind", count)
