"""What the site has beside the pages of docs/: files of the project, the help of every command, and the finished demo.

A link to a file of the project leads to its page here; README.md links to docs/ in the other direction.
"""

import argparse
import re
import shutil
from pathlib import Path
from urllib.parse import unquote

from mkdocs.structure.files import File

PROJECT = Path(__file__).resolve().parents[1]
PAGES = {
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "benchmarks/README.md": "benchmarks.md",
    "benchmarks/results/README.md": "benchmark-results.md",
}
ARTICLES = {
    "01_data_preparation": "Data preparation",
    "02_training": "Training",
    "03_evaluation": "Evaluation",
    "04_visualization": "Visualization",
    "05_report": "Report",
}
LINKED = re.compile(r"""<a\b[^>]*?\shref=["']?([^"'#?:>\s]+)""")  # to a file beside the report
LINK = re.compile(r"(\]\()([^)#:\s]+)(#[^)\s]*)?\)")


def on_files(files, config):
    for source, page in PAGES.items():
        text = (PROJECT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_for_the_site(text, Path(source).parent)))
    for picture in sorted((PROJECT / "benchmarks" / "results").glob("*.png")):
        files.append(File.generated(config, f"results/{picture.name}", abs_src_path=str(picture)))
    files.append(File.generated(config, "command-line.md", content=command_line()))
    demo = PROJECT / config.extra["demo"]
    files.append(File.generated(config, "demo.md", content=demo_page(demo)))
    for page in demo_pages(demo):
        files.append(File.generated(config, f"demo/{page.relative_to(demo).as_posix()}", abs_src_path=str(page)))
    return files


def on_post_build(config):
    """Copies what the demo's report links to, so that its links hold: tables, figures, cards."""
    demo, site = PROJECT / config.extra["demo"], Path(config.site_dir) / "demo"
    for file in linked_files(demo):
        copy = site / file.relative_to(demo.resolve())
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, copy)


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


def demo_pages(demo: Path) -> list[Path]:
    """The report of a finished study and the pages of its executed notebooks; none where it has no report."""
    report = demo / "report.html"
    notebooks = sorted(page for page in (demo / "notebooks").glob("*.html") if page.stem.partition("-")[0] in ARTICLES)
    return [report, *notebooks] if report.is_file() else []


def linked_files(demo: Path) -> list[Path]:
    """The files below a study's folder that its report links to, without weights, which are large, and pages."""
    report = demo / "report.html"
    text = report.read_text(encoding="utf-8") if report.is_file() else ""
    files = {(demo / unquote(link)).resolve() for link in LINKED.findall(text)}
    return sorted(
        file
        for file in files
        if file.is_relative_to(demo.resolve()) and file.is_file() and file.suffix not in (".keras", ".html")
    )


def demo_page(demo: Path) -> str:
    """A page that leads to the demo's report and its executed notebooks, or says how to make them."""
    title, pages = "# The demo, executed", demo_pages(demo)
    if not pages:
        return (
            f"{title}\n\nThis copy of the documentation was built where no demo was finished. `make report` makes one, "
            "in 15 to 35 minutes on two cores; `make docs` after it puts the report and every executed notebook here.\n"
        )
    lines = [
        title,
        "",
        "The report and the notebooks as `make report` left them. The scans are drawings: the numbers show that the "
        "software works, and say nothing about disease. Links to weights lead nowhere here.",
        "",
        "- [The report](demo/report.html)",
    ]
    for name, words in ARTICLES.items():
        own = {page.stem.partition("-")[2]: page for page in pages if page.stem.partition("-")[0] == name}
        title = f"{name[:2]} {words}"
        links = [f"[{of or title}](demo/notebooks/{page.name})" for of, page in own.items()]
        if links:
            lines.append(f"- {title}: {', '.join(links)}" if any(own) else f"- {', '.join(links)}")
    return "\n".join(lines) + "\n"
