"""What the site has beside the pages of docs/: files of the project, and the help of every command.

A link to a file of the project leads to its page here; README.md links to docs/ in the other direction.
"""

import argparse
import re
from pathlib import Path

from mkdocs.structure.files import File

PROJECT = Path(__file__).resolve().parents[1]
PAGES = {
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "benchmarks/results/README.md": "benchmark-results.md",
}
LINK = re.compile(r"(\]\()([^)#:\s]+)(#[^)\s]*)?\)")


def on_files(files, config):
    for source, page in PAGES.items():
        text = (PROJECT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_for_the_site(text, Path(source).parent)))
    for picture in sorted((PROJECT / "benchmarks" / "results").glob("*.png")):
        files.append(File.generated(config, f"results/{picture.name}", abs_src_path=str(picture)))
    files.append(File.generated(config, "command-line.md", content=command_line()))
    return files


def on_page_markdown(markdown, page, config, files):
    return _for_the_site(markdown, Path("docs"))


def _for_the_site(text: str, folder: Path) -> str:
    """A page whose links to files of the project lead to pages of the site."""

    def changed(found) -> str:
        target = (PROJECT / folder / found[2]).resolve()
        if not target.is_relative_to(PROJECT) or not target.is_file():
            return found[0]
        name = target.relative_to(PROJECT).as_posix()
        return f"{found[1]}{PAGES.get(name, name.removeprefix('docs/').removeprefix('benchmarks/'))}{found[3] or ''})"

    return LINK.sub(changed, text)


def command_line() -> str:
    """A page with the help of the program and of each command, as they print it."""
    from lungkeras.cli import program

    top = program.parser()
    verbs = next(action for action in top._actions if isinstance(action, argparse._SubParsersAction))
    parts = [
        "# Command line",
        "What `lungkeras --help` and `lungkeras COMMAND --help` print. `lungkeras completion SHELL` makes the tab key "
        "complete all of it.",
        f"```text\n{top.format_help()}```",
    ]
    for name, command in verbs.choices.items():
        parts.append(f"## lungkeras {name}\n\n```text\n{command.format_help()}```")
    return "\n\n".join(parts) + "\n"
