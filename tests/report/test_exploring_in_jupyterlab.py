"""The widget of `lungkeras.explore` in JupyterLab and a real browser, where its callbacks run in a kernel.

Needs chromium (Debian's, or $CHROMIUM), playwright and JupyterLab; skipped without.
"""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

TESTS = Path(__file__).resolve().parents[1]
CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
PATIENCE = 300  # seconds: a kernel imports Keras
SOURCE = """import boxed_study as study
import lungkeras

models, runs, prepared, _ = study.boxed_study()
lungkeras.explore(runs[study.NAME], model=models[study.NAME], prepared=prepared)"""

pytestmark = [pytest.mark.slow, pytest.mark.skipif(not CHROMIUM, reason="no chromium: set CHROMIUM to its program")]


def free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


@pytest.fixture
def lab(tmp_path):
    """The address of a JupyterLab with a notebook that explores a run."""
    pytest.importorskip("jupyterlab", reason="needs lungkeras[jupyter]")
    (tmp_path / "notebooks").mkdir()
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(SOURCE)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(notebook, tmp_path / "notebooks" / "explore.ipynb")
    address = f"http://127.0.0.1:{free_port()}"
    options = ["--no-browser", f"--port={address.rpartition(':')[2]}", f"--ServerApp.root_dir={tmp_path / 'notebooks'}"]
    options += ["--allow-root", "--IdentityProvider.token=of-this-test"]
    own = {f"JUPYTER_{kind}_DIR": str(tmp_path / kind) for kind in ("CONFIG", "DATA", "RUNTIME")}
    own |= {
        "JUPYTERLAB_SETTINGS_DIR": str(tmp_path / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(tmp_path / "spaces"),
    }
    own["PYTHONPATH"] = f"{TESTS.parent}{os.pathsep}{TESTS}"
    with (tmp_path / "lab.log").open("w") as log:
        command = [sys.executable, "-m", "jupyterlab", *options]
        server = subprocess.Popen(command, env=os.environ | own, stdout=log, stderr=subprocess.STDOUT)
    try:
        until = time.monotonic() + PATIENCE
        while server.poll() is None and time.monotonic() < until:
            try:
                urllib.request.urlopen(f"{address}/api", timeout=10).close()
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail((tmp_path / "lab.log").read_text())
        yield f"{address}/lab/tree/explore.ipynb?token=of-this-test"
    finally:
        server.terminate()
        server.wait()


def test_the_widget_shows_a_scan_answers_its_controls_and_fits_a_narrow_window(lab, tmp_path):
    playwright = pytest.importorskip("playwright.sync_api", reason="needs lungkeras[test]")
    with playwright.sync_playwright() as started:
        options = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        browser = started.chromium.launch(executable_path=CHROMIUM, args=options)
        page = browser.new_page(viewport={"width": 1280, "height": 1400})
        page.set_default_timeout(PATIENCE * 1000)
        faults = []
        page.on("pageerror", lambda fault: faults.append(str(fault)))
        page.goto(lab, wait_until="domcontentloaded")
        page.wait_for_selector("text=| Idle")
        page.click(".jp-Notebook .jp-Cell .cm-content")
        page.keyboard.press("Shift+Enter")
        page.wait_for_selector(".widget-select option")
        assert page.locator(".widget-select option").count() == 90
        shown = page.locator(".lungkeras")
        assert shown.locator("strong").inner_text() == "test-0.png"
        pictures = shown.locator("img").evaluate_all("all => all.map(one => one.complete && one.naturalWidth)")
        assert len(pictures) == 8 and all(pictures)
        before = shown.locator("img").nth(1).get_attribute("src")
        page.locator(".widget-dropdown select").nth(4).select_option("LayerCAM")
        page.wait_for_selector("figcaption:has-text('LayerCAM')")
        assert shown.locator("img").nth(1).get_attribute("src") != before
        page.locator(".widget-text input").fill("test-7.png")
        page.keyboard.press("Enter")
        page.wait_for_selector("strong:text-is('test-7.png')")
        page.set_viewport_size({"width": 700, "height": 1400})
        page.wait_for_function("document.querySelector('.jp-OutputArea-output .widget-vbox').clientWidth < 400")
        wide = "all => all.filter(one => one.scrollWidth > one.clientWidth + 1).length"
        assert page.locator(".widget-vbox, .widget-hbox").evaluate_all(wide) == 0
        page.screenshot(path=tmp_path / "explorer.png")
        browser.close()
    assert not faults
