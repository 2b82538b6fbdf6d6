"""Numbers in prose (pages, captions, notebooks) that a constant, a table or a params file decides."""

import re

import pytest
import yaml
from doc_blocks import CHECKOUT, DOCS

from lungkeras.evaluation import external_rules, failures, image_gain, operating_points, run_evidence, subgroups
from lungkeras.evaluation.paper import claims, published, truth
from lungkeras.explanation import localisation, measures, other_methods
from lungkeras.models import architectures
from lungkeras.prediction import export
from lungkeras.report import checklists, explored_scans, trust
from lungkeras.scores import calibration_error, intervals
from lungkeras.study.params_files import load_study
from lungkeras.study.runs import ABLATION

if not (CHECKOUT / "mkdocs.yml").is_file():
    pytest.skip("no docs beside the package: it runs from an installed copy", allow_module_level=True)

WORDS = {"two": 2, "three": 3, "five": 5, "six": 6, "ten": 10, "eleven": 11, "twelve": 12, "fourteen": 14}
WORDS |= {"fifteen": 15, "twenty": 20, "forty": 40, "a quarter": 0.25}


def study(name: str):
    return load_study(CHECKOUT / "params" / name)


def settings(name: str, *keys: str) -> list[float]:
    return [getattr(study(name)[0], key) for key in keys]


def models(name: str) -> int:
    return sum(not ABLATION.search(params.run) for params in study(name)[1].values())


def sizes() -> list[int]:
    return [published.published()["datasets"][name]["image_size"] for name in ("covid", "pneumonia", "xray8")]


def items(checklist: str) -> int:
    return len(
        [item for each in checklists.checklists()["checklists"] if checklist in each["name"] for item in each["items"]]
    )


def claims_that(*verdicts) -> list[int]:
    return [sum(claim["holds_in_paper"] == verdict for claim in claims.claims().values()) for verdict in verdicts]


def best_epochs(*runs: str) -> list[int]:
    return [published.published_run(*run.split("-"))["best_epoch"] for run in runs]


def steps() -> list[int]:
    return [len(re.findall(r"ancient\(.notebooks/", SNAKEFILE.read_text(encoding="utf-8")))]


def captioned(pattern: str) -> int:
    captions = yaml.safe_load(CAPTIONS.read_text(encoding="utf-8"))
    return sum(bool(re.fullmatch(pattern, name)) for name in (*captions["tables"], *captions["figures"]))


TEMPLATES = CHECKOUT / "lungkeras" / "report" / "templates"
CAPTIONS, GAPS = TEMPLATES / "captions.yaml", TEMPLATES / "gaps.yaml"
NOTEBOOKS = {number: next((CHECKOUT / "notebooks").glob(f"0{number}_*.py"), None) for number in range(1, 7)}
COMMANDS, CHOICES, REPORT = DOCS / "commands.md", DOCS / "choices.md", DOCS / "the-report.md"
JUDGE, README, SNAKEFILE = DOCS / "judge.md", CHECKOUT / "README.md", CHECKOUT / "Snakefile"

# A page, words of it with `#` for each number, and what decides the numbers.
NUMBERS = [
    (README, "It trains # models (", lambda: [models("demo")]),
    (README, "draws chests, trains # models", lambda: [len(study("demo")[1])]),
    (README, "Each of the # models is", lambda: [models("demo")]),
    (README, "makes # tables, # figures", lambda: [captioned(r"table_\d"), captioned(r"figure_\d\d")]),
    (README, "the story, # articles that papermill", steps),
    (COMMANDS, "executes the first #.", steps),
    (DOCS / "index.md", "# backbones, # models", lambda: [len(published.published()["complexity"]), models("paper")]),
    (DOCS / "your-scans.md", "This trains # models on scans of # x",
     lambda: [len(study("sample")[1]), *settings("sample", "image_size")]),
    (DOCS / "your-scans.md", "collections, #, # and # pixels, # epochs",
     lambda: [*sizes(), *settings("paper", "epochs")]),
    (CHOICES, "| #, # and # pixels |", sizes),
    (CHOICES, "| Adam, # falling to # along a cosine, # epochs of batches of # |",
     lambda: settings("paper", "learning_rate", "final_learning_rate", "epochs", "batch_size")),
    (CHOICES, "| `image_size` | #, #, # | # |", lambda: [*sizes(), *settings("demo", "image_size")]),
    (CHOICES, "| `epochs` | # |", lambda: settings("paper", "epochs")),
    (CHOICES, "`final_learning_rate` | #, # | #, # |",
     lambda: [rate for name in ("paper", "demo") for rate in settings(name, "learning_rate", "final_learning_rate")]),
    (CHOICES, "torchvision's | # | statistics", lambda: settings("demo", "batch_norm_momentum")),
    (CHOICES, "| `warmup` | none | # |", lambda: settings("demo", "warmup")),
    (CHOICES, "| `clip_norm` | none | # |", lambda: settings("demo", "clip_norm")),
    (COMMANDS, "at most # training scans", lambda: [explored_scans.NEIGHBOURS_AMONG]),
    (COMMANDS, "a float file, by more than # in", lambda: [export.FLOAT_DIFFERENCE]),
    (COMMANDS, "by more than # on average, or if fewer than # % of decisions agree,",
     lambda: [export.INT8_MEAN_DIFFERENCE, 100 * export.INT8_AGREEMENT]),
    (COMMANDS, "with a margin of more than # in Keras", lambda: [export.CLEAR]),
    (REPORT, "and # lights", lambda: [len(trust.lights(DOCS, {}, {}))]),
    (REPORT, "The paper's # claims", lambda: [len(claims.claims())]),
    (REPORT, "fewer than # patients has none", lambda: [intervals.FEWEST_PATIENTS]),
    (REPORT, "the # most confident ones", lambda: [failures.MOST]),
    (REPORT, "a specificity of # and # %", lambda: [100 * share for share in operating_points.SPECIFICITIES]),
    (REPORT, "If more than # of the scans", lambda: [external_rules.MOST_COPIES]),
    (COMMANDS, "If more than # of the scans", lambda: [external_rules.MOST_COPIES]),
    (REPORT, "a grid of # x # cells or more", lambda: 2 * [architectures.LEAST_CELLS]),
    (JUDGE, "a specificity of # and # % |", lambda: [100 * share for share in operating_points.SPECIFICITIES]),
    (JUDGE, "With more than # patients, the bootstrap", lambda: [intervals.MOST_BLOCKS]),
    (JUDGE, "divided into # folds", lambda: [image_gain.FOLDS]),
    (JUDGE, "With up to # patients, the interval", lambda: [image_gain.FEW]),
    (JUDGE, "in at least # % of # draws", lambda: [100 * truth.CONFIDENT, intervals.DRAWS]),
    (NOTEBOOKS[4], "at most # test scans", lambda: [localisation.MOST_SCANS]),
    (NOTEBOOKS[4], "of a scan's # nearest neighbours", lambda: [measures.NEIGHBOURS]),
    (NOTEBOOKS[4], "with # x # cells or more", lambda: 2 * [architectures.LEAST_CELLS]),
    (NOTEBOOKS[5], "in # bootstrap draws", lambda: [intervals.DRAWS]),
    (NOTEBOOKS[5], "true in at least # % of the draws", lambda: [100 * truth.CONFIDENT]),
    (NOTEBOOKS[6], "grid of # x # cells or more", lambda: 2 * [architectures.LEAST_CELLS]),
    (NOTEBOOKS[6], "with the # channels that vary", lambda: [other_methods.FEW_CHANNELS]),
    (GAPS, "# of the # claims differ", lambda: [*claims_that(False), len(claims.claims())]),
    (CAPTIONS, "# of the # claims hold in the paper’s own tables, # do not, and # rest on",
     lambda: [*claims_that(True), len(claims.claims()), *claims_that(False, "not checkable")]),
    (CAPTIONS, "evaluated on # bootstrap draws", lambda: [intervals.DRAWS]),
    (CAPTIONS, "true in at least # % of the draws", lambda: [100 * truth.CONFIDENT]),
    (CAPTIONS, "losses from fewer than # seeds", lambda: [run_evidence.FEWEST_SEEDS]),
    (CAPTIONS, "With fewer than # patients with the class", lambda: [intervals.FEWEST_PATIENTS]),
    (CAPTIONS, "on the test split (# bins)", lambda: [calibration_error.BINS]),
    (CAPTIONS, "in at most # scans per dataset", lambda: [localisation.MOST_SCANS]),
    (CAPTIONS, "by more than #, # or # (intersection", lambda: localisation.OVERLAPS),
    (CAPTIONS, "the # most confident errors of each class", lambda: [failures.MOST]),
    (CAPTIONS, "up to # per true class", lambda: [failures.MOST]),
    (CAPTIONS, "fewer than # scans or # patients, or no class that # scans have and # lack",
     lambda: [subgroups.FEWEST_SCANS, intervals.FEWEST_PATIENTS, *2 * [subgroups.FEWEST_OF_A_CLASS]]),
    (CAPTIONS, "CLAIM (#, update", lambda: [items("CLAIM")]),
    (CAPTIONS, "TRIPOD+AI (27 in # rows", lambda: [items("TRIPOD")]),
    (CAPTIONS, "STARD-AI (40 in # rows", lambda: [items("STARD")]),
    (CAPTIONS, "epoch # on pneumonia, # on COVID-19 and # on ChestX-ray8",
     lambda: best_epochs(*(f"{name}-resnet34-random" for name in ("pneumonia", "covid", "xray8")))),
    (CAPTIONS, "less: # against # on COVID-19, # against # on ChestX-ray8, and later, # against #, on pneumonia",
     lambda: best_epochs(*(f"{name}-efficientnet_b1-{weights}" for name in ("covid", "xray8", "pneumonia")
                           for weights in ("imagenet", "random")))),
]  # fmt: skip


@pytest.mark.parametrize(
    ("page", "words", "decided"), NUMBERS, ids=[f"{page.name}: {words}" for page, words, _ in NUMBERS]
)
def test_a_number_in_prose_is_the_one_that_the_code_uses(page, words, decided):
    text = " ".join(page.read_text(encoding="utf-8").replace("\n# ", " ").split())
    number = rf"\b(\d[\d,.]*|{'|'.join(WORDS)})"
    found = re.findall(re.escape(words).replace("\\#", number), text, flags=re.I)
    assert found, f"{page.name}: expected {words!r}"
    for each in found:
        given = [each] if isinstance(each, str) else each
        values = [WORDS.get(word.lower()) or float(word.rstrip(".,").replace(",", "")) for word in given]
        assert values == pytest.approx([float(value) for value in decided()])
