"""The documentation: each block of code runs, each command is one that the program knows, and the site has no fault."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from urllib.parse import quote, unquote

import pytest
import yaml
from doc_blocks import CHECKOUT, DOCS, blocks, commands, execute, parsed, run_page

import lungkeras
from lungkeras.cli import program
from lungkeras.report import figures

if not (CHECKOUT / "mkdocs.yml").is_file():
    pytest.skip("no docs beside the package: it runs from an installed copy", allow_module_level=True)

PAGES = sorted([*DOCS.glob("*.md"), *(CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md"))])
PAGES.append(CHECKOUT / "benchmarks" / "README.md")
ELSEWHERE = {"adding.md"}  # test_adding.py
# Smaller numbers for those of the tutorial; other pages continue from its folder.
TINY = {
    "--scans 2400": "--scans 60",
    "--size 64": "--size 32",
    "epochs=6": "epochs=1",
    "batch_size=32": "batch_size=16",
}
TINY |= {"image_size=64": "image_size=32", "dpi=150": "dpi=40"}
FIRST = {
    name.format("demo"): name.format("first") for name in ("sources/{}/pneumonia", "prepared/{}/", "reports/{}/runs")
}
FIRST["sources/first/pneumonia"] = FIRST["sources/demo/pneumonia"] = "sources/first"
RUN = "pneumonia-mobilenet_v3_large-random"
SHELL = {"git", "cd", "export", "mkdir", "python3", "python3.11", ".", "source", "tensorboard", "mlflow"}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """The folder that the tutorial leaves, and the names; the working directory as long as these tests run."""
    folder = tmp_path_factory.mktemp("docs")
    for name in ("notebooks", "params"):
        shutil.copytree(CHECKOUT / name, folder / name)
    shutil.copy(CHECKOUT / "Snakefile", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        run_page("tutorial.md", TINY)
        yield folder


@pytest.fixture(scope="module")
def variants(project):
    """Copies of the tutorial's run that stand for EfficientNet-B1 and for the ablation."""
    for name, changed in {
        "pneumonia-efficientnet_b1-random": {"backbone": "efficientnet_b1"},
        "pneumonia-efficientnet_b1-transfer": {"backbone": "efficientnet_b1", "weights": "other/best.keras"},
        "pneumonia-efficientnet_b1-random-lr0.1": {"backbone": "efficientnet_b1", "learning_rate": 0.1},
    }.items():
        folder = project / "reports" / "first" / "runs" / name
        shutil.copytree(folder.with_name(RUN), folder)
        (folder / "fingerprint.json").unlink()
        params = yaml.safe_load((folder / "params.yaml").read_text())
        (folder / "params.yaml").write_text(yaml.safe_dump(params | changed))


def test_the_tutorial_ends_with_a_picture(project):
    assert (project / "what-it-looks-at.png").stat().st_size > 10_000
    assert (project / "answers.csv").is_file()


@pytest.mark.parametrize("page", ["reference.md", "coming-from.md"])
def test_a_page_that_continues_from_the_tutorial_runs(page, project):
    from lungkeras.datasets.phantoms.phantom import draw_source

    draw_source("xray8", project / "sources" / "demo" / "xray8", scans=60)
    run_page(page, FIRST)


def test_the_page_on_trackers_runs_and_the_finished_run_is_in_tensorboard(project):
    pytest.importorskip("tensorboard", reason='needs lungkeras[tensorboard]: pip install ".[tensorboard]"')
    run_page("tracking.md", FIRST)
    (events,) = (project / "reports" / "first" / "tensorboard" / RUN).iterdir()
    assert b"test_macro_f1" in events.read_bytes()


def test_what_is_printed_on_the_page_about_sureness_is_what_its_blocks_print(project):
    run_page("how-sure.md", {})


SLOW = {"do-heat-maps-point-at-the-finding", "do-they-change-with-the-weights"}


def gallery() -> str:
    page = (DOCS / "gallery.md").read_text(encoding="utf-8")
    for demo, first in FIRST.items():
        page = page.replace(demo, first)
    return page


@pytest.mark.parametrize("parts", ["quick", pytest.param("all", marks=pytest.mark.slow)])
def test_each_picture_of_the_gallery_is_drawn_by_its_lines(parts, project, variants, monkeypatch):
    monkeypatch.syspath_prepend(str(DOCS))
    from draw_gallery import drawn, slug

    page = gallery()
    if parts == "quick":
        page = page.partition("### Do heat maps")[0]
    expected = [slug(heading) for heading in re.findall(r"^### (.+)$", page, flags=re.M)]
    found = dict(drawn(page, {"__name__": "__gallery__"}))
    assert list(found) == expected and (set(found) >= SLOW) == (parts == "all")
    assert all(figure.get_axes() for figure in found.values())
    assert all(f"](gallery/{name}.png)" in page for name in expected)


def test_the_gallery_shows_every_figure_of_the_package():
    page = gallery()
    assert not [name for name in figures.__all__ if name not in page]


def test_the_reference_has_every_public_name():
    page = (DOCS / "reference.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^::: [\w.]*?(\w+)$", page, flags=re.M))
    assert named | {"DATASETS"} == set(lungkeras.__all__)


def test_every_block_of_python_of_the_other_pages_runs(project):
    """From top to bottom of a page; a block that several start pages share runs once."""
    done, seen = {"tutorial.md", "reference.md", "coming-from.md", "how-sure.md", "gallery.md", *ELSEWHERE}, set()
    done.add("tracking.md")
    for page in (page for page in PAGES if page.name not in done):
        names = {"__name__": "__page__"}
        for block in blocks(page.read_text(encoding="utf-8")):
            if block.language == "python" and block.text not in seen:
                seen.add(block.text)
                text = block.text
                for long, short in FIRST.items():
                    text = text.replace(long, short)
                execute(text, names, f"{page.name}, line {block.line}")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(CHECKOUT).as_posix())
def test_every_command_is_one_that_its_program_takes(page):
    text = page.read_text(encoding="utf-8")
    for block in blocks(text):
        if block.language in ("sh", "bash", "shell", "console"):
            for words in commands(block.text):
                check(words)
        elif block.language == "yaml":
            yaml.safe_load(block.text)
    inline = set(re.findall(r"`lungkeras ([a-z]+)", text))
    assert inline <= set(program.COMMANDS), inline - set(program.COMMANDS)
    targets = set(re.findall(r"`make ([a-z-]+)", text))
    assert targets <= make_targets(), targets - make_targets()


def check(words: list[str]) -> None:
    """Raises where a command of a page is unknown to the program that it names."""
    name = Path(words[0]).name or words[0]
    if name == "lungkeras":
        parsed(words)
    elif name == "make":
        asked = {word for word in words[1:] if "=" not in word}
        assert asked <= make_targets(), asked - make_targets()
    elif name == "pip":
        extras = re.findall(r"\[([\w,-]+)\]", " ".join(words))
        assert {extra for found in extras for extra in found.split(",")} <= set(
            project_table()["optional-dependencies"]
        )
    elif name == "papermill":
        assert all((CHECKOUT / word).is_file() for word in words[1:] if word.startswith(("notebooks/", "params/")))
    else:
        assert name in SHELL, f"{' '.join(words)}: a command that no test knows"


def project_table() -> dict:
    return tomllib.loads((CHECKOUT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def make_targets() -> set[str]:
    text = (CHECKOUT / "Makefile").read_text(encoding="utf-8").replace("$(VENV)", ".venv")
    return {*re.findall(r"^([\w./-]+):(?!=)", text, flags=re.M), "test-jax", "test-torch", "ci-jax", "ci-torch"}


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    """A finished study in small: a report that links to a table, weights, a page and a file elsewhere."""
    folder = tmp_path_factory.mktemp("finished") / "demo"
    files = ["tables/table_2.csv", "runs/covid-a b/best.keras", "runs/covid-a b/params.yaml", "../elsewhere.csv"]
    pages = [
        "01_data_preparation-covid",
        "01_data_preparation-xray8",
        "02_training-covid-resnet34-random",
        "03_evaluation",
    ]
    pages = [f"notebooks/{name}.html" for name in [*pages, "04_visualization", "mine"]]
    for file in [*files, *pages]:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_text(f"<p>{file}</p>")
    links = [f'<a class="x" href="{quote(file)}">{file}</a>' for file in [*files, pages[0], "#key", "tables/none.csv"]]
    (folder / "report.html").write_text("".join(links))
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory, demo):
    pytest.importorskip("mkdocs", reason='needs lungkeras[docs]: pip install ".[docs]"')
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(folder)]
    environment = os.environ | {"LUNGKERAS_DEMO": str(demo)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=CHECKOUT, env=environment)
    assert done.returncode == 0, done.stderr
    return folder


def test_the_site_holds_the_finished_demo_and_all_that_its_report_links_to_but_weights(site, demo):
    held = {file.relative_to(site / "demo").as_posix() for file in (site / "demo").rglob("*") if file.is_file()}
    pages = {f"notebooks/{page.name}" for page in (demo / "notebooks").glob("0*.html")}
    assert held == {"report.html", "tables/table_2.csv", "runs/covid-a b/params.yaml", *pages} and len(pages) == 5
    assert all((site / "demo" / name).read_bytes() == (demo / name).read_bytes() for name in held)
    page = (site / "demo.html").read_text(encoding="utf-8")
    links = re.findall(r'href="?(demo/[^">\s]+)', page)
    assert not re.search(r"<li>\s*</li>", page)
    assert {unquote(link).removeprefix("demo/") for link in links} == {"report.html", *pages}


def test_where_no_demo_is_finished_the_page_says_how_to_make_one(tmp_path, monkeypatch):
    pytest.importorskip("mkdocs", reason='needs lungkeras[docs]: pip install ".[docs]"')
    monkeypatch.syspath_prepend(str(DOCS))
    import hooks

    page = hooks.demo_page(tmp_path / "none")
    assert "`make report`" in page and "](" not in page
    assert hooks.demo_pages(tmp_path / "none") == hooks.linked_files(tmp_path / "none") == []


def test_the_site_is_built_without_a_warning_and_fetches_nothing(site):
    pages = {page.relative_to(site).as_posix(): page.read_text(encoding="utf-8") for page in site.rglob("*.html")}
    assert {"index.html", "tutorial.html", "reference.html", "command-line.html", "security.html"} <= set(pages)
    for name, html in pages.items():
        fetched = re.findall(r"<(?:script|img|iframe|link)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//[^\s\"'>]+", html)
        assert not [tag for tag in fetched if 'rel="canonical"' not in tag], name
    assert "lungkeras predict" in pages["command-line.html"] and "exit status" in pages["command-line.html"]
    assert "read_records" in pages["reference.html"] and "Raises SourceError" in pages["reference.html"]


def test_every_picture_says_what_it_shows():
    for page in PAGES:
        for alt, file in re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", page.read_text(encoding="utf-8")):
            assert len(alt) > 12, f"{page.name}: {file}"
