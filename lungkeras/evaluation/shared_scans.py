"""Several prepared collections: which scans of one have a copy in another, and which a model has seen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from lungkeras.datasets.policies import labels_under
from lungkeras.preparation.duplicates import across
from lungkeras.preparation.folder import Prepared
from lungkeras.preparation.prints import Fingerprints, load_fingerprints
from lungkeras.study.runs import Run


@dataclass(frozen=True)
class Collection:
    """A prepared dataset, and the copies across collections that `duplicates.across` has found."""

    prepared: Prepared
    pairs: pd.DataFrame = field(compare=False, repr=False)

    @property
    def records(self) -> pd.DataFrame:
        return self.prepared.records

    def labels(self, classes: Sequence[str]) -> np.ndarray:
        """float32 (scans, classes) under the policies of the prepared dataset; NaN for unknown labels."""
        return labels_under(self.records, classes, self.prepared.uncertain, self.prepared.blank)

    def images(self, rows: np.ndarray) -> np.ndarray:
        """The prepared scans of these rows of the records, uint8 (rows, size, size)."""
        splits = self.records["split"].to_numpy(str)
        places = self.records.groupby("split").cumcount().to_numpy()
        return np.stack([self.prepared.images[splits[row]][places[row]] for row in rows])


def open_collections(
    datasets: Mapping[str, Prepared], folders: Mapping[str, Path], kept: Path | None = None
) -> dict[str, Collection]:
    """{dataset: collection} of prepared datasets and their folders; one without fingerprints is left out.

    `kept` is where `duplicates.across` caches its results.
    """
    files = {name: Path(folders[name]) / "fingerprints.npz" for name in datasets}
    return beside(datasets, {name: load_fingerprints(file) for name, file in files.items() if file.is_file()}, kept)


def beside(
    datasets: Mapping[str, Prepared], prints: Mapping[str, Fingerprints], kept: Path | None = None
) -> dict[str, Collection]:
    """{dataset: collection} of the datasets with fingerprints, row by row of their records, searched for copies."""
    pairs = across({name: (own, datasets[name].records) for name, own in prints.items()}, kept)
    return {name: Collection(datasets[name], pairs) for name in prints}


def copies(collection: Collection, other: Collection, asked: np.ndarray, among: np.ndarray | None = None) -> np.ndarray:
    """Which of the scans `asked`, bool (scans of other,), have a copy in `collection`: bool (scans of other,).

    `among`, bool (scans of collection,), limits the search to these scans, by default all.
    """
    names, pairs = (collection.prepared.name, other.prepared.name), collection.pairs
    ends = {"dataset": "other_dataset", "scan": "other"}
    turned = pairs.rename(columns=ends | {end: start for start, end in ends.items()})
    both = pd.concat([pairs, turned], ignore_index=True)
    both = both[(both["dataset"] == names[0]) & (both["other_dataset"] == names[1])]
    if among is not None:
        both = both[both["scan"].isin(collection.records.loc[among, "scan"])]
    return asked & other.records["scan"].isin(both["other"]).to_numpy()


def chain(run: Run, runs: Mapping[str, Run]) -> list[Run] | None:
    """A run, then the run that its weights come from, and so on; None if one is missing or of unknown origin.

    ImageNet weights have seen none of our collections.
    """
    found = [run]
    while run.weights == "transfer":
        origin = Path(str(run.params["weights"])).parent.name
        if origin not in runs or origin in [seen.name for seen in found]:
            return None
        run = runs[origin]
        found.append(run)
    return found


def datasets_seen(run: Run, runs: Mapping[str, Run]) -> list[str] | None:
    """The datasets that a run's weights have seen, its own first; None if their origin is unknown."""
    seen = chain(run, runs)
    return seen and list(dict.fromkeys(run.dataset for run in seen))
