"""`lungkeras clean`: list the files of a study that no result needs, and remove them."""

import argparse
import os

from lungkeras.cli.arguments import add_study
from lungkeras.cli.entry import Command
from lungkeras.system.text import say


def options(sub: argparse.ArgumentParser) -> None:
    add_study(sub)
    sub.add_argument("--yes", action="store_true", help="remove the listed files")
    sub.add_argument("--unnamed", action="store_true", help="also list runs, prepared datasets and drawn sources "
                       "that the params no longer name; the report shows them as long as they exist")  # fmt: skip


def run(options) -> None:
    from lungkeras.study import cleaning
    from lungkeras.study.params_files import study_folder

    folder = study_folder(options.study)
    found = cleaning.leftovers(folder, backend=options.backend)
    is_kept = found["kind"].isin(cleaning.UNNAMED) & (not options.unnamed)
    chosen, kept = found[~is_kept], found[is_kept]
    for row in chosen.itertuples():
        say(f"{row.bytes / 1e6:9.1f} MB  {row.kind}: {os.path.relpath(row.path)}")
    total = f"{len(chosen)} leftovers, {chosen['bytes'].sum() / 1e6:.1f} MB"
    if options.yes:
        cleaning.remove(folder, chosen["path"])
        say(f"removed {total}")
    else:
        say(f"{total}; --yes removes them" if len(chosen) else "nothing to remove")
    if len(kept):
        say(f"{len(kept)} more, {kept['bytes'].sum() / 1e6:.1f} MB, that the params do not name: --unnamed adds them")


COMMAND = Command(
    group="a study",
    about="list the files of a study that no result needs, and remove them",
    example="clean demo --yes",
    details="Lists what killed or changed studies left behind and no result needs: temporary files, failed notebooks "
    "of steps that have succeeded since, checkpoints of finished runs, old logs of Snakemake. Nothing is "
    "removed without --yes.",
    outputs="One line per leftover with its size, and the total size, on stdout.",
    page="commands.md",
    options=options,
    run=run,
)
