"""Gets a published collection from Kaggle or a local archive into a folder that read_records takes as its source.

The folder appears whole or not at all. An archive with anything but plain files below that folder is refused as a whole
(lungkeras.system.untrusted.archives), wherever it comes from.
"""

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from lungkeras.datasets.manifest import differences
from lungkeras.datasets.registry import Dataset, known_dataset
from lungkeras.system.errors import LungkerasError, SourceError
from lungkeras.system.files import atomic_folder, glance
from lungkeras.system.text import say
from lungkeras.system.untrusted.archives import only_unpacker, unpack


def fetch(dataset: str, to: Path | str, *, archive: Path | str | None = None) -> Path:
    """Unpacks `archive` (zip, tar, tar.gz), or downloads from Kaggle, to the folder `to`; returns `to`.

    If `to` already holds the collection, nothing is done. An interrupted call leaves nothing behind and starts again
    (Kaggle's client can't resume a download to a chosen folder). Differences from the published collection
    (lungkeras.datasets.manifest) are reported on stderr: part of a collection is a valid source too.

    Raises LungkerasError, in one sentence that says what to do instead, if the archive is broken or unsafe, the
    download fails, no client can fetch the collection, or `to` holds something else; SourceError if the result is not
    the collection.
    """
    wanted, to = known_dataset(dataset), Path(to)
    if wanted.described:
        raise SourceError(
            f"{dataset} is a collection of your own, which nobody publishes: give its folder to lungkeras report as "
            f"--source {dataset}=DIR"
        )
    if to.exists() and wanted.find(to):
        return to
    if to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise LungkerasError(f"{dataset}: expected {to} to be a new or empty folder, found {glance(to)}: name another")
    if archive is None and not wanted.handle:
        raise LungkerasError(_by_hand(wanted))
    with _whole_folder(to) as folder:
        if archive is None:
            _download(wanted, folder)
        else:
            unpack(Path(archive), folder)
        if not wanted.find(folder):
            raise SourceError(
                f"{dataset}: expected {wanted.layout} in {archive or wanted.handle}, found {glance(folder)}: "
                f"get {_page(wanted)}, or draw a source: lungkeras phantom {dataset} --to {to}"
            )
    for difference in differences(dataset, to):
        say(f"{dataset}: {difference}", file=sys.stderr)
    return to


def _page(dataset: Dataset) -> str:
    return dataset.page or f"kaggle.com/datasets/{dataset.handle}"


def _by_hand(dataset: Dataset) -> str:
    """The error sentence for a collection that no client can fetch."""
    how = f"asks for {dataset.gate}: do that at" if dataset.gate else "is open to all and not on Kaggle: get it from"
    return (
        f"{dataset.name}: {dataset.title} {how} {dataset.page}, then give its folder with --source, or an "
        f"archive of it with --archive FILE, or draw a source: lungkeras phantom {dataset.name} --to DIR"
    )


@contextlib.contextmanager
def _whole_folder(to: Path) -> Iterator[Path]:
    """A temporary folder next to `to`, renamed to it when the block succeeds, and removed otherwise."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(atomic_folder(to))
        except OSError as error:
            raise LungkerasError(
                f"expected a place to write in {to.parent}, found: {error.strerror}: name another folder"
            ) from None
        yield folder


def _download(dataset: Dataset, folder: Path) -> None:
    try:
        import kagglehub

        with only_unpacker():
            kagglehub.dataset_download(dataset.handle, output_dir=str(folder))
    except LungkerasError:
        raise
    except Exception as error:
        # The client fails in a dozen ways, and its texts may quote signed addresses: only the kind is passed on.
        raise LungkerasError(
            f"{dataset.name}: the download of {dataset.handle} from Kaggle failed ({type(error).__name__}): get it by "
            f"hand from kaggle.com/datasets/{dataset.handle} and give it with --archive FILE, or draw a source: "
            f"lungkeras phantom {dataset.name} --to DIR"
        ) from None
