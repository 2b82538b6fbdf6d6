"""The report in a real browser: what its script does, by pointer and by keyboard, and an audit of accessibility.

Needs chromium (Debian's, or $CHROMIUM) and the Python packages playwright and axe-playwright-python; skipped without.
"""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic
from PIL import Image
from prepared_data import CLASSES, COUNTS, write_prepared

from lungkeras import cli
from lungkeras.evaluation.paper import tables
from lungkeras.report.figures import explanations, paper
from lungkeras.report.figures.errors import COLUMNS, PICTURES
from lungkeras.report.figures.files import save_figure, webp
from lungkeras.report.page import write_report
from lungkeras.system.files import write_csv, write_parquet

CHROMIUM = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
RUNS = synthetic.run_table(("pneumonia",), ablation=False)
NAMES = RUNS["run"].tolist()
PANEL = "#figure_05 svg.plot"


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The report of four models of one small dataset, with each kind of what the script draws anew."""
    folder = tmp_path_factory.mktemp("reports") / "small"
    scored = synthetic.results(RUNS)
    write_csv(folder / "tables" / "table_3.csv", tables.table_3(scored))
    write_csv(
        folder / "tables" / "baselines.csv",
        tables.baselines(scored, {"pneumonia": 0.62}, synthetic.best_of(scored)),
    )
    evidence = synthetic.evidence(synthetic.run_table(ablation=False))
    for name in ("model_pairs", "class_scores", "calibration"):
        write_csv(folder / "tables" / f"{name}.csv", evidence[name].query("dataset == 'pneumonia'"))
    curves = synthetic.histories(RUNS)
    for row in scored.itertuples():
        synthetic._run(folder / "runs" / row.run, row, curves[curves["run"] == row.run], str)
    prepared = write_prepared(folder.parent / "prepared")
    labels = np.arange(COUNTS["test"]) % 3
    points = synthetic.points(NAMES, CLASSES, each=3)
    points = points.assign(label=np.tile(np.array(CLASSES)[labels], len(NAMES)))
    for name in NAMES:
        write_parquet(folder / "runs" / name / "predictions.parquet", predictions(labels))
    for name, data in (("figure_03", curves), ("figure_05", points), ("reliability", synthetic.reliability(RUNS))):
        write_csv(folder / "figures" / f"{name}.csv", data)
    for name in ("figure_03", "figure_05", "reliability", "failures_pneumonia"):
        Image.new("RGB", (320, 200), "white").save(folder / "figures" / f"{name}.png")
    write_errors(folder)
    write_explanations(folder)
    facts = {"dataset": "pneumonia", "drawn": True, "task": "multiclass", "classes": [*CLASSES], "size": 32}
    facts |= {"scans": COUNTS, "quarantine": [], "flow": [["found", 42]], "absent": 0, "folder": prepared}
    return write_report(
        folder, title="A small study", settings=synthetic.SETTINGS, datasets=[facts], versions={"keras": "3"}
    )


def predictions(labels: np.ndarray) -> pd.DataFrame:
    """Of the test split; the first scan is answered wrongly."""
    given = 0.1 + 0.7 * np.eye(3)[labels]
    given[0] = [0.1, 0.8, 0.1]
    table = {"split": "test", "scan": [f"test-{place}.png" for place in range(len(labels))]}
    for column, name in enumerate(CLASSES):
        table |= {f"label_{name}": (labels == column).astype(int), f"probability_{name}": given[:, column]}
    return pd.DataFrame(table)


def write_errors(folder: Path) -> None:
    """Two errors of each of two models: black as published, grey as prepared, white under the heat map."""
    rows = [
        {"run": run, "dataset": "pneumonia", "class": name, "rank": 1, "error": "missed", "scan": f"{name}.png",
         "true": name, "predicted": "normal", "probability": 0.9, "confidence": 0.9,
         "explained": "normal", "chosen": chosen}
        for run, chosen in ((NAMES[0], True), (NAMES[1], False))
        for name in CLASSES[:2]
    ]  # fmt: skip
    write_csv(folder / "figures" / "errors_pneumonia.csv", pd.DataFrame(rows))
    sheet = np.tile(np.repeat(np.uint8([0, 127, 255]), 16), (16, COLUMNS))
    assert sheet.shape[1] == COLUMNS * PICTURES * 16
    (folder / "figures" / "errors_pneumonia.webp").write_bytes(webp(sheet))


def write_explanations(folder: Path) -> None:
    """Figure 10, maps and boxes, and the cascade, drawn; each scan is grey under a map without evidence."""
    tested = synthetic.explanations(RUNS)
    grey, nothing = np.full((32, 32), 127, np.uint8), np.zeros((32, 32))
    boxed = {"title": "Mass", "scan": grey, "map": nothing, "point": (0.5, 0.5), "edges": []}
    fallen = tested["randomisation"].query("dataset == 'pneumonia'")
    rates = synthetic.results(RUNS).assign(rate=[0.1, 0.01, 0.001, 0.0001])
    drawn = {
        10: (paper.ablation_bars(rates), rates),
        "pointing": (explanations.pointing(tested["localisation"], {"pneumonia": [boxed]}), tested["localisation"]),
        "cascade": (explanations.cascade(fallen, {"pneumonia": {"scan": grey, "maps": [nothing] * 4}}), fallen),
        1: (paper.sample_scans({"pneumonia": dict.fromkeys(CLASSES, grey)}), None),
    }
    for name, (figure, data) in drawn.items():
        save_figure(figure, folder / "figures", name, data)


@pytest.fixture(scope="module")
def judged(tmp_path_factory) -> Path:
    """The page on two predictors of two findings, on 120 scans of 60 patients with metadata."""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("judged")
    for name, noise in (("steady", 1), ("noisy", 4)):
        table = pd.DataFrame({"scan": np.arange(120), "patient": np.repeat(np.arange(60), 2)})
        table["age"], table["sex"] = np.repeat(random.integers(20, 90, 60), 2), np.repeat(["M", "F"], 60)
        for finding in ("mass", "nodule"):
            table[f"label_{finding}"] = np.arange(120) % (2 if finding == "mass" else 3) == 0
            given = table[f"label_{finding}"] + noise * np.random.default_rng(noise).random(120)
            table[f"probability_{finding}"] = given / (1 + noise)
        table.astype({"label_mass": int, "label_nodule": int}).to_csv(folder / f"{name}.csv", index=False)
    assert cli.main(["judge", *(str(folder / f"{name}.csv") for name in ("steady", "noisy")), "--to", str(folder)]) == 0
    return folder / "report.html"


@pytest.fixture(scope="module")
def browser():
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed: pip install playwright")
    if not CHROMIUM:
        pytest.skip("no chromium on this machine: apt-get install chromium, or set CHROMIUM")
    with sync.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--disable-gpu"])
        yield started
        started.close()


@pytest.fixture
def visit(browser, report):
    """A function: opens the report, without a network, at a width and in a theme; nothing may appear on the console."""
    contexts, said = [], []

    def open_page(width: int = 1400, theme: str = "light", file: Path = report, **device):
        size = {"width": width, "height": 900}
        contexts.append(browser.new_context(viewport=size, color_scheme=theme, offline=True, **device))
        page = contexts[-1].new_page()
        page.set_default_timeout(10_000)
        # That a test reads pixels back is a remark on the test.
        page.on("console", lambda message: "getImageData" in message.text or said.append(message.text))
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", lambda request: said.append(request.url) if request.url.startswith("http") else None)
        page.goto(file.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert said == []


def open_all(page) -> None:
    """Unfolds the page and waits until all that is drawn is drawn."""
    page.evaluate("document.querySelectorAll('main details').forEach((folded) => { folded.open = true; })")
    for figure in page.locator("figure.live").all():
        figure.scroll_into_view_if_needed()
        figure.locator(".stage-live > *").first.wait_for()


@pytest.mark.parametrize("width", [390, 820, 1400])
def test_nothing_is_wider_than_the_window(visit, width):
    page = visit(width)
    open_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_table_needs_no_scroll_in_a_window_of_1280_pixels_nor_on_paper(visit):
    wider = "boxes => boxes.filter((box) => box.scrollWidth > box.clientWidth + 1).map((box) => box.ariaLabel)"
    for width, media in ((1280, "screen"), (680, "print")):
        page = visit(width)
        open_all(page)
        page.emulate_media(media=media)
        assert page.locator(".item .scroll").evaluate_all(wider) == []


def faults(page) -> list[tuple[str, str]]:
    """What axe finds: rules and elements."""
    axe = pytest.importorskip("axe_playwright_python", reason="axe is missing: pip install axe-playwright-python")
    page.evaluate(next(Path(axe.__file__).parent.rglob("axe.min.js")).read_text(encoding="utf-8"))
    found = page.evaluate("axe.run().then(({ violations }) => violations)")
    return [(rule["id"], node["html"][:200]) for rule in found for node in rule["nodes"]]


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1400])
def test_an_audit_of_accessibility_finds_nothing(visit, theme, width):
    page = visit(width, theme)
    open_all(page)
    assert faults(page) == []


@pytest.mark.parametrize(("width", "theme"), [(390, "dark"), (820, "light"), (1400, "light")])
def test_the_page_of_a_judgement_fits_and_is_accessible(visit, judged, width, theme):
    page = visit(width, theme, judged)
    open_all(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert faults(page) == []
    panel = page.locator("#reliability svg.plot").first
    panel.focus()
    page.keyboard.press("ArrowRight")
    assert "as given" in page.locator("#tip").inner_text()
    page.emulate_media(media="print")
    assert page.locator("#reliability img").is_visible() and not page.locator("#theme").is_visible()


def test_the_first_page_answers_and_says_how_far_to_trust_it(visit):
    page = visit()
    first = page.locator("#key")
    best = synthetic.results(RUNS)["macro_f1"].max()
    assert f"{best:.3f}" in first.locator(".cards").inner_text()
    assert first.locator(".lights li").count() == 5
    assert first.locator(".lights").inner_text().count("unaudited") == 1
    assert first.locator(".forest tbody tr:not(.group)").count() == len(RUNS) + 1


def test_contents_follow_the_reader(visit):
    page = visit()
    for target in ("figure_03", "calibration"):
        page.evaluate("(id) => document.getElementById(id).scrollIntoView()", target)
        page.locator(f'#contents a[aria-current][href="#{target}"]').wait_for()


def test_on_a_telephone_the_contents_are_a_bar_that_closes_after_a_choice(visit):
    page = visit(390)
    assert not page.locator('#toc a[href="#audit"]').is_visible()
    page.locator("#toc summary").click()
    page.locator('#toc a[href="#audit"]').click()
    assert not page.locator('#toc a[href="#audit"]').is_visible()
    assert page.url.endswith("#audit")


def test_rows_are_sorted_and_filtered_by_keyboard(visit):
    page = visit()
    table = page.locator("#model_pairs table")
    heading = table.locator("thead th[data-place='2']")
    heading.locator("button").focus()
    values = []
    for way in ("ascending", "descending"):
        page.keyboard.press("Enter")
        assert heading.get_attribute("aria-sort") == way
        values.append([float(text) for text in table.locator("tbody td:nth-child(3)").all_inner_texts()])
    assert values[0] == sorted(values[0]) and values[1] == values[0][::-1]
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") is None
    page.locator("#model_pairs input[type=search]").fill("resnet mobilenet")
    assert table.locator("tbody tr:not(.group):visible").count() == 1
    assert page.locator("#model_pairs .tools [role=status]").inner_text() == f"1 of {len(values[0])} rows"


def test_a_row_leads_to_its_run_and_unfolds_it(visit):
    page = visit()
    assert not page.locator("#runs .run").first.is_visible()
    page.locator("#table_3 tbody a").first.click()
    page.locator(f"[id='run-{NAMES[0]}'][open]").wait_for()


def test_values_stand_beside_the_pointer_and_are_read_by_arrow_keys(visit):
    page = visit()
    page.locator("#figure_03").scroll_into_view_if_needed()
    panel = page.locator("#figure_03 svg.plot").first
    curve = synthetic.histories(RUNS).query("run == @NAMES[0]").set_index("epoch")["val_macro_f1"]
    panel.focus()
    for epoch in (1, 2):
        page.keyboard.press("ArrowRight")
        assert f"epoch {epoch}" in page.locator("#tip").inner_text()
        assert f"{curve[epoch]:.3g}" in page.locator("#tip").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()
    panel.hover()
    assert "epoch" in page.locator("#tip").inner_text()


def test_ticks_of_a_logarithmic_axis_are_round_numbers(visit):
    page = visit()
    decades = "([low, high]) => window.lungkerasLive.decades(low, high)"
    ranges = {(0.2, 3.5): [0.2, 0.5, 1, 2], (0.08, 20): [0.1, 0.3, 1, 3, 10], (0.001, 40): [0.001, 0.01, 0.1, 1, 10]}
    for ends, ticks in ranges.items():
        assert page.evaluate(decades, ends) == pytest.approx(ticks)


def test_scores_hit_rates_and_the_cascade_are_read_by_arrow_keys(visit):
    page = visit()
    score = synthetic.results(RUNS)["macro_f1"].iloc[-1]
    hits = synthetic.explanations(RUNS)["localisation"].query("dataset == 'pneumonia' and method == 'prior'")["hit"]
    for name, first, value in (
        ("figure_10", "initial learning rate 0.0001", score),
        ("pointing", "all findings, 12 findings", hits.iloc[0]),
        ("cascade", "trained", 0.2),
    ):
        panel = page.locator(f"#{name} svg.plot").first
        page.locator(f"#{name}").scroll_into_view_if_needed()
        panel.focus()
        page.keyboard.press("ArrowRight")
        said = page.locator("#tip").inner_text()
        assert said.startswith(first) and f"{value:.3g}" in said, (name, said)
    page.keyboard.press("ArrowRight")
    assert "randomised down to head" in page.locator("#tip").inner_text() and page.locator("#tip canvas").count() == 1
    assert page.locator("#cascade .strip li").count() == 4


def test_on_a_dark_ground_lines_turn_light_and_scans_stay_as_they_are(visit):
    page = visit(theme="dark")
    figure = page.locator("#figure_01 .enlarge")
    figure.scroll_into_view_if_needed()
    figure.locator("canvas").wait_for()
    pixels = np.asarray(Image.open(io.BytesIO(figure.screenshot())).convert("L")).astype(int)
    counts = np.bincount(pixels.ravel(), minlength=256)
    assert counts[127] > 10_000  # the scans
    assert (pixels < 40).sum() > 10_000 and (pixels > 240).sum() == 0  # the ground
    page.get_by_role("button", name="Light").click()
    pixels = np.asarray(Image.open(io.BytesIO(figure.screenshot())).convert("L")).astype(int)
    assert abs((pixels == 127).sum() / counts[127] - 1) < 0.01 and (pixels > 240).sum() > 10_000


def test_the_rows_that_are_left_are_saved_by_keyboard(visit):
    page = visit()
    pairs = page.locator("#model_pairs")
    pairs.locator("input[type=search]").fill("resnet mobilenet")
    with page.expect_download() as saved:
        pairs.get_by_role("button", name="Save these rows").press("Enter")
    assert saved.value.suggested_filename == "model_pairs_shown.csv"
    rows = pd.read_csv(saved.value.path())
    shown = pairs.locator("tbody tr:not(.group):visible")
    assert len(rows) == shown.count() == 1
    assert rows.columns[0] == "group" and len(rows.columns) == 1 + shown.locator("th, td").count()
    number = shown.locator("td.number").first.inner_text()
    assert number in [str(value) for value in rows.iloc[0]]


def test_what_is_drawn_around_or_chosen_by_class_is_listed_and_marked_in_every_panel(visit):
    page = visit()
    figure = page.locator("#figure_05")
    figure.scroll_into_view_if_needed()
    panel = page.locator(PANEL).first
    panel.wait_for()
    box = panel.bounding_box()
    corners = [(0, 0), (0.5, 0), (1, 0), (1, 1), (0, 1), (0, 0)]
    page.mouse.move(box["x"] + 2, box["y"] + 2)
    page.mouse.down()
    for across, down in corners:
        page.mouse.move(box["x"] + 2 + across * (box["width"] - 4), box["y"] + 2 + down * (box["height"] - 4), steps=3)
    page.mouse.up()
    assert figure.locator(".wall li").count() == COUNTS["test"]
    assert figure.locator(".plot path.kept").count() == COUNTS["test"] * len(NAMES)
    figure.get_by_label("Called").select_option("wrongly")
    assert figure.locator(".wall li").all_inner_texts()[0].split()[-1] == "test-0.png"
    assert figure.locator(".tools [role=status]").inner_text() == f"1 of {COUNTS['test']} scans"
    figure.get_by_role("button", name="Clear").press("Enter")
    assert figure.locator(".wall li").count() == figure.locator("path.kept").count() == 0
    figure.get_by_label("Class").select_option("viral pneumonia")
    assert figure.locator(".wall li").count() == COUNTS["test"] // 3


def drag_a_finger(page, corners: list[tuple[float, float]]) -> None:
    """From corner to corner of the first panel of t-SNE, in shares of it."""
    box = page.locator(PANEL).first.bounding_box()
    places = [{"x": box["x"] + across * box["width"], "y": box["y"] + down * box["height"]} for across, down in corners]
    touch = page.context.new_cdp_session(page)
    for place, kind in zip([places[0], *places], ["touchStart"] + ["touchMove"] * len(places), strict=True):
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [place]})
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})


def test_a_finger_scrolls_the_page_and_draws_around_points_once_it_is_asked_to(visit):
    page = visit(390, has_touch=True, is_mobile=True)
    figure = page.locator("#figure_05")
    figure.scroll_into_view_if_needed()
    page.locator(PANEL).first.wait_for()
    page.locator(PANEL).first.evaluate("(panel) => panel.scrollIntoView({ block: 'center' })")
    before = page.evaluate("scrollY")
    drag_a_finger(page, [(0.5, 0.9), (0.5, 0.6), (0.5, 0.3), (0.5, 0.1)])
    page.wait_for_function("(before) => scrollY > before", arg=before)
    assert figure.locator(".wall li").count() == 0

    finger = figure.get_by_role("button", name="Draw with a finger")
    finger.tap()
    assert finger.get_attribute("aria-pressed") == "true"
    page.locator(PANEL).first.evaluate("(panel) => panel.scrollIntoView({ block: 'center' })")
    page.wait_for_timeout(300)  # until the page lies still
    before = page.evaluate("scrollY")
    drag_a_finger(page, [(0.01, 0.01), (0.99, 0.01), (0.99, 0.99), (0.01, 0.99), (0.01, 0.05)])
    figure.locator(".wall li").first.wait_for()
    assert figure.locator(".wall li").count() == COUNTS["test"]
    assert page.evaluate("scrollY") == before
    assert finger.get_attribute("aria-pressed") == "false"  # the next finger scrolls again


def test_a_mouse_needs_no_button_to_draw(visit):
    page = visit()
    page.locator("#figure_05").scroll_into_view_if_needed()
    page.locator(PANEL).first.wait_for()
    assert not page.locator("#figure_05 .for-touch").is_visible()


def test_a_point_shows_its_scan_and_what_it_was_called(visit):
    page = visit()
    page.locator("#figure_05").scroll_into_view_if_needed()
    page.locator(PANEL).first.focus()
    tips = []
    for _ in range(COUNTS["test"]):
        page.keyboard.press("ArrowRight")
        assert page.locator("#tip canvas").count() == 1
        tips.append(page.locator("#tip").inner_text())
    assert len({text.split()[-1] for text in tips}) == COUNTS["test"]
    wrong = next(text for text in tips if "test-0.png" in text)
    assert "bacterial pneumonia" in wrong and "called viral pneumonia" in wrong and "0.80" in wrong
    assert page.locator(f"{PANEL} >> nth=0 >> path.wrong").count() == 1
    assert page.locator("#figure_05 .matrix").first.locator("tbody td").all_inner_texts()[:3] == ["2", "1", "0"]


def test_the_wall_is_filtered_and_its_slider_goes_from_the_scan_to_the_heat_map(visit):
    page = visit()
    figure = page.locator("#failures_pneumonia")
    figure.scroll_into_view_if_needed()
    figure.locator(".wall li").first.wait_for()
    assert figure.locator(".wall li").count() == 2  # of the model that validation chose
    figure.get_by_label("Model").select_option("-1")
    assert figure.locator(".wall li").count() == 4
    figure.get_by_label("Class").select_option(label="Viral pneumonia")
    assert figure.locator(".wall li").count() == 2
    assert figure.locator(".wall li").last.locator("a").get_attribute("href") == f"#run-{NAMES[1]}"
    picture = figure.locator(".wall button").first
    narrow = picture.bounding_box()["width"]
    picture.press("Enter")
    assert picture.bounding_box()["width"] > 1.8 * narrow and picture.get_attribute("aria-expanded") == "true"
    slider = figure.get_by_label("Picture")
    middle = "(canvas) => canvas.getContext('2d').getImageData(64, 64, 1, 1).data[0]"
    for key, grey, words in (("Home", 0, "as published"), ("End", 255, "heat map")):
        slider.press(key)
        assert abs(figure.locator("canvas").first.evaluate(middle) - grey) < 12
        assert slider.get_attribute("aria-valuetext") == words


def test_the_saved_figure_is_one_button_away_and_enlarges(visit):
    page = visit()
    figure = page.locator("#figure_03")
    figure.get_by_role("button", name="As printed").click()
    figure.locator("a.enlarge").press("Enter")
    assert page.locator("#lightbox").is_visible()
    page.keyboard.press("ArrowRight")
    assert "Figure 5" in page.locator("#lightbox-title").inner_text()
    page.keyboard.press("Escape")
    assert page.locator("#lightbox").is_hidden()


def test_the_theme_is_switched_and_paper_is_always_light(visit):
    page = visit(theme="dark")
    ground = "getComputedStyle(document.documentElement).colorScheme"
    page.get_by_role("button", name="Light").click()
    assert page.evaluate(ground) == "light"
    page.get_by_role("button", name="Dark").click()
    page.emulate_media(media="print")
    assert page.evaluate(ground) == "light"


def test_on_paper_the_first_page_is_one_page_and_what_is_folded_is_left_out(visit):
    page = visit(680)  # A4 less its margins, at 96 dots an inch
    open_all(page)
    page.emulate_media(media="print")
    assert page.locator("#key").bounding_box()["height"] < 1000
    assert page.locator("#figure_03 img").is_visible() and not page.locator("#figure_03 .stage-live").is_visible()
    assert page.locator("#table_3 thead th").first.inner_text().strip() == "model"
    assert not page.locator("#runs").is_visible() and page.locator("#settings").is_visible()
    assert page.locator(".print-only").is_visible()
