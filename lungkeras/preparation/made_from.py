"""The inputs of a prepared dataset, as hashes, and whether an existing one was made from the same inputs.

prepared/<study>/<dataset>/statistics.json   "fingerprint": of arrays, records and statistics
                                             "made_from": {"params", "sources", "code"}
                                             "files": of each of the other files, byte for byte
"""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lungkeras.datasets.scans.arrays import file_of
from lungkeras.system.files import as_json
from lungkeras.system.progress import progress
from lungkeras.system.provenance import agree, code_digest, digest, file_digest, pairs, read
from lungkeras.system.untrusted import json_files, table_files

PREPARATION = (
    *(f"datasets/scans/{name}" for name in ("arrays", "compressed", "decoding", "headers", "jpeg", "opencv", "png")),
    *(f"datasets/scans/{name}" for name in ("dicom", "dicom_elements", "dicom_levels")),
    *(
        f"datasets/{name}"
        for name in ("ages", "boxes", "chexpert_labels", "drawn", "folders", "listed", "listed_files")
    ),
    *(f"datasets/{name}" for name in ("lists", "packed", "policies", "records", "registry", "tables")),
    "splits",
    *(f"preparation/{name}" for name in ("alignment", "duplicates", "prepare", "prints", "reading", "scan")),
)
# The modules that read a collection of one's own, instead of a module of datasets/collections.
OWN = (
    *(f"datasets/{name}" for name in ("label_tables", "own", "own_description", "own_labels", "own_names")),
    *(f"datasets/{name}" for name in ("own_records", "scans/dicom_headers", "user_tables")),
)
STATISTICS = ("task", "classes", "size", "mean", "std")


def of_sources(records, source: Path) -> str:
    """SHA-256 of a source as read: its records (a DataFrame with the column `path`), and each scan's bytes.

    A file that holds many scans is hashed once.
    """
    paths = [file_of(source / path) for path in records["path"]]
    files = list(dict.fromkeys(paths))
    with ThreadPoolExecutor() as pool:
        hashed = progress(pool.map(_scan_digest, files), total=len(files), description="hashing scans")
        of_file = dict(zip(files, hashed, strict=True))
    return digest(records.to_csv(index=False), *(of_file[path] for path in paths))


def _scan_digest(path: Path) -> str:
    try:
        return file_digest(path)
    except OSError:  # it ends in the quarantine
        return "not to be read"


def of_prepared(folder: Path, statistics: dict | None = None) -> str | None:
    """SHA-256 of a prepared dataset's arrays, records and statistics; None if one of them is missing or broken.

    `statistics` are those of statistics.json, if it is not written yet.
    """
    try:
        records = table_files.read_parquet(folder / "records.parquet").to_csv(index=False)
        statistics = statistics or json_files.read(folder / "statistics.json")
        arrays = [file_digest(folder / f"{split}.npy") for split in ("train", "val", "test")]
        return digest(records, as_json([statistics[key] for key in STATISTICS]), *arrays)
    except (OSError, ValueError, KeyError):
        return None


def preparation_made_from(
    dataset: str,
    source: Path | None,
    *,
    size: int,
    seed: int,
    split: str = "patients",
    votes: str | None = None,
    records=None,
) -> dict[str, str | None]:
    """The hashes of the inputs of a prepared dataset; that of the source is None if the source is missing.

    `records` are those of the source if the caller has read them already. Raises SourceError for a broken source.
    """
    from lungkeras.datasets.boxes import read_boxes
    from lungkeras.datasets.registry import known_dataset, read_records

    if records is None and source is not None and source.is_dir():
        records = read_records(dataset, source, seed=seed, votes=votes)
    known = known_dataset(dataset)
    test_scans = known.official_test if split == "official" else None
    of_split = ["official"] if test_scans else [split] if split == "given" else []
    chosen = [votes] if known.votes and votes not in (None, known.votes[0]) else []
    described = [known.described] if known.described else []
    sources = None
    if records is not None:
        boxes = read_boxes(dataset, source, records).to_csv(index=False)
        sources = digest(of_sources(records, source), boxes)
    return {
        "params": digest(dataset, str(size), str(seed), *of_split, *chosen, *described),
        "sources": digest(sources, *test_scans(source)) if test_scans and sources else sources,
        "code": code_digest((*PREPARATION, *(OWN if known.described else [f"datasets/collections/{dataset}"]))),
    }


def is_prepared(
    folder: Path,
    dataset: str,
    source: Path | None,
    *,
    size: int,
    seed: int,
    split: str = "patients",
    votes: str | None = None,
) -> bool:
    """Whether a prepared dataset exists that was made from this source, by this code, with the same settings."""
    recorded = dict(pairs(read(folder / "statistics.json").get("made_from")))
    now = preparation_made_from(dataset, source, size=size, seed=seed, split=split, votes=votes)
    return bool(recorded) and agree(recorded, now)
