"""Studies built so that each claim is true, false, or tied; the paper's own tables judged by the same predicates.

In a built study every patient has the same scans, so that no draw of patients changes a score, unless a case says so.
"""

import functools
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from oracles import import_torchvision

from lungkeras.evaluation.paper import claims, predicates, truth
from lungkeras.evaluation.paper.claims import verdicts
from lungkeras.evaluation.paper.evidence import BACKBONES, Evidence, PaperEvidence
from lungkeras.evaluation.paper.published import published
from lungkeras.evaluation.paper.truth import CANNOT_TELL, FAILS, HOLDS, NOT_RUN, judge
from lungkeras.evaluation.run_evidence import RunEvidence
from lungkeras.study.runs import Run

CLASSES = {
    "P": ("bacterial_pneumonia", "viral_pneumonia", "normal"),
    "C": ("covid", "viral_pneumonia", "normal"),
    "X": ("atelectasis", "effusion", "mass", "nodule", "pneumothorax", "consolidation", "no_finding"),
}
DATASETS = {"P": "pneumonia", "C": "covid", "X": "xray8"}
WEIGHTS = {"R": "random", "M": "random", "E": "random", "T": "imagenet"}
EACH = 100  # scans of each class a patient has
EPOCHS = 12
MEASURES = ("f1", "confusion", "seconds", "epoch", "jump", "loss", "first", "best", "earliest")


@functools.cache
def confusion_of(dataset: str, right: int) -> np.ndarray:
    """So many of each class decided rightly, the others for the next class: a macro F1 of right / 100."""
    classes = len(CLASSES[dataset])
    return right * np.eye(classes, dtype=int) + (EACH - right) * np.roll(np.eye(classes, dtype=int), 1, axis=1)


@functools.cache
def predictions(dataset: str, confusions: tuple) -> pd.DataFrame:
    """A patient a confusion matrix, as nested tuples."""
    frames = []
    for patient, confusion in enumerate(confusions):
        counts = np.array(confusion)
        truth, decided = np.nonzero(counts)
        truth, decided = (np.repeat(part, counts[counts > 0]) for part in (truth, decided))
        columns = {
            "split": "test",
            "scan": [f"{patient}_{scan}" for scan in range(len(truth))],
            "patient": str(patient),
        }
        for place, name in enumerate(CLASSES[dataset]):
            columns[f"label_{name}"] = (truth == place).astype(int)
            columns[f"probability_{name}"] = np.where(decided == place, 0.9, 0.01).astype(np.float32)
        frames.append(pd.DataFrame(columns))
    return pd.concat(frames, ignore_index=True)


def build(dataset: str, model: str, *, suffix="", weights=None, rate=0.01, f1=80, confusion=None, seconds=10.0,
          epoch=20, jump=0.1, loss=1.0, first=0.3, best=0.8, earliest=6) -> Run:  # fmt: skip
    """A finished run; f1 in hundredths, a tuple for patients that differ."""
    if confusion is None:
        levels = f1 if isinstance(f1, tuple) else (f1, f1)
        confusion = [confusion_of(dataset, level) for level in levels]
    else:
        confusion = [confusion, confusion]
    nested = tuple(tuple(map(tuple, np.asarray(part).tolist())) for part in confusion)
    history = pd.DataFrame({"epoch": range(1, EPOCHS + 1)})
    history["val_loss"] = loss * (1 + jump * (history["epoch"] % 2))
    history["val_macro_f1"] = np.where(history["epoch"] < earliest, first, best)
    history["seconds"] = float(seconds)
    backbone, weights = BACKBONES[model], weights or WEIGHTS[model]
    params = {"dataset": DATASETS[dataset], "backbone": backbone, "weights": weights, "learning_rate": rate}
    name = f"{DATASETS[dataset]}-{backbone}-{weights}{suffix}"
    task = "multilabel" if dataset == "X" else "multiclass"
    found = predictions(dataset, nested)
    return Run(name, params, history, found, {"best_epoch": epoch}, CLASSES[dataset], task)


def study(case: dict, repeat: str = "") -> dict[str, Run]:
    """The twelve models, the ablation and variants; `case` is {quantity: {dataset and model, or rate: value}}."""

    def chosen(key):
        return {name: case[name][key] for name in MEASURES if key in case.get(name, {})}

    runs = [build(d, m, suffix=repeat, **chosen(d + m)) for d in DATASETS for m in "RMET"]
    start = case.get("ablation", ["random"] * 5)
    for rate, weights in zip(predicates.RATES, start, strict=False):
        runs.append(build("C", "E", suffix=f"-lr{rate:g}{repeat}", weights=weights, rate=rate, **chosen(rate)))
    for suffix, (key, f1) in case.get("variants", {}).items():
        runs.append(build(*key, suffix=suffix + repeat, f1=f1))
    return {run.name: run for run in runs}


def evidence(case: dict, runs: dict[str, Run] | None = None) -> RunEvidence:
    runs = study(case) | study(case, "-seed1") | study(case, "-seed2") if runs is None else runs
    sizes = {"M": (5, 1), "E": (8, 3), "R": (22, 15)} | case.get("sizes", {})
    complexity = pd.DataFrame(
        [
            {"backbone": BACKBONES[m], "parameters_millions": size, "giga_operations": work}
            for m, (size, work) in sizes.items()
        ]
    )
    name = {d + m: RunEvidence(runs).run_name(m, DATASETS[d]) for d in DATASETS for m in "RMET"}
    tables = {}
    if "features" in case:
        rows = [{"run": name[key], "patient": "0", "purity": v, "silhouette": v} for key, v in case["features"].items()]
        tables["features"] = pd.DataFrame(rows)
    if "heatmaps" in case:
        rows = [
            {"run": name[d + m], "patient": "0", "label": label, "correct": 1, "asymmetry": v, "area": v, "row": row}
            for d, kinds in case["heatmaps"].items()
            for label, (v, row) in kinds.items()
            for m in "RMET"
        ]
        tables["heatmaps"] = pd.DataFrame(rows)
    if "areas" in case:
        rows = [
            {"run": name[key], "patient": "0", "label": "covid", "correct": 1, "asymmetry": 0, "area": v, "row": 0}
            for key, v in case["areas"].items()
        ]
        tables["heatmaps"] = pd.DataFrame(rows)
    if "agreement" in case:
        rows = []
        for pair, value in case["agreement"].items():
            first, second = sorted(name["P" + m] for m in pair)
            rows.append({"first": first, "second": second, "patient": "0", "correlation": value})
        tables["agreement"] = pd.DataFrame(rows)
    if "external" in case:
        rows = [{"run": name["C" + m], "macro_f1": v} for m, v in case["external"].items()]
        tables["external"] = pd.DataFrame(rows)
    cards = {BACKBONES[m]: v for m, v in case["cards"].items()} if "cards" in case else None
    return RunEvidence(runs, complexity=complexity, cards=cards, draws=40, **tables)


def of(keys: str, value) -> dict:
    """ "PM CM" -> the value for each; a lone model letter means all datasets, a lone dataset all models."""
    found = {}
    for key in keys.split():
        if key in DATASETS:
            found |= {key + m: value for m in "RMET"}
        elif len(key) == 1:
            found |= {d + key: value for d in DATASETS}
        else:
            found[key] = value
    return found


def rates(value, *others) -> dict:
    """Values of the ablation's rates, lowest rate first."""
    return dict(zip(predicates.RATES, (value, *others), strict=True))


PAIRS = ("RM", "RE", "RT", "ME", "MT", "ET")
TANGLED = [[60, 40, 0], [40, 60, 0], [0, 0, 100]]
HALF = [[80, 20, 0], [20, 80, 0], [20, 20, 60]]
RISING = dict(zip("RMET", (0.1, 0.2, 0.3, 0.4), strict=True))
ONE_SIDED = {"bacterial_pneumonia": (0.6, 0), "viral_pneumonia": (0.3, 0)}
EQUAL = {}
CASES = {  # true, false, tied
    "mobilenet-fastest-epoch": ({"seconds": of("M", 5)}, {"seconds": of("XM", 20)}, {"seconds": of("PM CM", 5)}),
    "efficientnet-slowest-epoch": ({"seconds": of("E T", 20)}, {"seconds": of("PE", 5)}, EQUAL),
    "mobilenet-not-fastest-to-best": ({"epoch": of("XR", 5)}, {"epoch": of("M", 5)}, EQUAL),
    "mobilenet-least-training-time": ({"seconds": of("M", 5)}, {"seconds": of("PM", 20)}, EQUAL),
    "resnet-fewest-epochs": ({"epoch": of("R", 10)}, {"epoch": of("XR", 30)}, EQUAL),
    "resnet-half-the-epochs": ({"epoch": of("R", 10)}, EQUAL, {"epoch": of("R", 11)}),
    "efficientnet-best-covid-xray8": ({"f1": of("CE XE", 90)}, {"f1": of("CE", 60)}, {"f1": of("CE", 90)}),
    "efficientnet-family-best-but-pneumonia": ({"f1": of("CE XT PM", 90)}, {"f1": of("PM", 60)}, EQUAL),
    "pneumonia-architectures-similar": ({"f1": of("CR XR", 90)}, {"f1": of("PR", 90)}, EQUAL),
    "pneumonia-below-covid": ({"f1": of("C", 90)}, {"f1": of("CR", 60)}, EQUAL),
    "xray8-lowest": ({"f1": of("X", 40)}, {"f1": of("XR", 90)}, EQUAL),
    "headline-f1": (
        {"f1": of("C", 98) | of("X", 46)},
        EQUAL,
        {"f1": of("P", 85) | of("C", 98) | of("X", 46)},
    ),
    "mobilenet-most-epochs": ({"epoch": of("M", 30)}, {"epoch": of("XM", 10)}, EQUAL),
    "bigger-overfits-earlier": ({"epoch": of("M", 30) | of("R", 10)}, {"epoch": of("XE", 40)}, EQUAL),
    "mobilenet-most-unstable": ({"jump": of("M", 0.5)}, {"jump": of("XM", 0.01)}, EQUAL),
    "transfer-quicker-than-scratch": ({"epoch": of("CT XT", 10) | of("PT", 30)}, {"epoch": of("CT", 30)}, EQUAL),
    "transfer-quicker-than-all": ({"epoch": of("CT XT", 10)}, {"epoch": of("XT", 30)}, EQUAL),
    "transfer-much-quicker": ({"epoch": of("T", 10)}, EQUAL, {"epoch": of("T", 15)}),
    "transfer-better-start": ({"first": of("T", 0.6)}, {"first": of("PT", 0.1)}, {"first": of("T", 0.4)}),
    "scratch-never-catches-up-pneumonia": ({"best": of("PT", 0.9)}, {"best": of("PT", 0.5)}, EQUAL),
    "mobilenet-speed-below-expectation": (EQUAL, {"seconds": of("PR", 100)}, {"seconds": of("PR", 44)}),
    "architecture-ranking": ({"cards": {"R": 80, "M": 90, "E": 95}}, {"sizes": {"R": (4, 15)}}, EQUAL),
    "efficientnet-third-of-resnet": (EQUAL, {"sizes": {"E": (20, 3)}}, {"sizes": {"E": (8.8, 3)}}),
    "class-weights-rescue-xray8": (
        {"variants": {"-unweighted": ("XE", 0)}},
        {"variants": {"-unweighted": ("XE", 80)}},
        {"variants": {"-unweighted": ("XE", 5)}},
    ),
    "preprocessing-gains-four-points": (
        {"variants": {"-unprepared": ("CE", 76)}},
        {"variants": {"-unprepared": ("CE", 80)}},
        {"variants": {"-unprepared": ("CE", (82, 70))}},
    ),
    "pneumonia-normal-vs-rest-easy": ({"confusion": of("P", TANGLED)}, EQUAL, {"confusion": of("P", HALF)}),
    "pneumonia-mobilenet-and-transfer-best": ({"f1": of("PM PT", 90)}, {"f1": of("PM", 60)}, EQUAL),
    "covid-transfer-best": ({"f1": of("CT", 90)}, {"f1": of("CT", 60)}, EQUAL),
    "transfer-better-separation": (
        {"features": of("P C", 0.4) | of("PT CT", 0.8)},
        {"features": of("P C", 0.4) | of("CT", 0.2)},
        {"features": of("P C", 0.4)},
    ),
    "separation-implies-generalisation": (
        {"external": RISING, "features": {"C" + m: v for m, v in RISING.items()}, "f1": {"CR": 90, "CT": 60}},
        {"external": RISING, "features": {"C" + m: -v for m, v in RISING.items()}, "f1": {"CR": 60, "CT": 90}},
        {"external": RISING, "features": {"C" + m: v for m, v in RISING.items()},
         "f1": {"CR": 60, "CM": 70, "CE": 80, "CT": 90}},
    ),
    "resnet-low-on-pneumonia": (
        {"f1": of("PR", 60), "agreement": {pair: 0.1 if "R" in pair else 0.5 for pair in PAIRS}},
        {"f1": of("PR", 90)},
        {"f1": of("PR", 60), "agreement": dict.fromkeys(PAIRS, 0.5)},
    ),
    "mobilenet-low-on-covid": (
        {"f1": of("CM", 60), "areas": of("C", 0.3) | of("CM", 0.6)},
        {"f1": of("CM", 90)},
        {"f1": of("CM", 60), "areas": of("C", 0.3)},
    ),
    "cam-bacterial-one-sided": (
        {"heatmaps": {"P": ONE_SIDED}},
        {"heatmaps": {"P": {"bacterial_pneumonia": (0.1, 0), "viral_pneumonia": (0.3, 0)}}},
        {"heatmaps": {"P": dict.fromkeys(ONE_SIDED, (0.3, 0))}},
    ),
    "cam-covid-wider": (
        {"heatmaps": {"C": {"covid": (0.6, 0.4), "viral_pneumonia": (0.3, 0.7)}}},
        {"heatmaps": {"C": {"covid": (0.2, 0.4), "viral_pneumonia": (0.3, 0.7)}}},
        {"heatmaps": {"C": {"covid": (0.3, 0.4), "viral_pneumonia": (0.3, 0.7)}}},
    ),
    "lr-0001-best": (
        {"f1": rates(90, 89, 89, 50, 50)},
        {"f1": rates(90, 95, 89, 50, 50)},
        {"f1": rates(90, 90, 89, 50, 50)},
    ),
    "lr-high-worst": ({"f1": rates(90, 89, 89, 50, 50)}, {"f1": rates(90, 89, 89, 50, 95)}, EQUAL),
    "lr-01-unstable": (
        {"jump": {0.1: 0.5}, "loss": {0.05: 2.0}},
        {"jump": {0.1: 0.01}, "loss": {0.05: 2.0}},
        {"jump": {0.1: 0.5}, "loss": {0.05: 1.5}},
    ),
    "lr-0001-earliest": ({"earliest": {0.001: 3}, "jump": {0.001: 0.05}}, {"earliest": {0.001: 9}}, EQUAL),
    "lr-001-lower-loss": ({"loss": {0.01: 0.95}}, {"loss": {0.01: 2.0}}, EQUAL),
    "lr-conclusion-names-transfer": (
        {"ablation": ["imagenet"] * 5},
        EQUAL,
        {"ablation": ["imagenet", "imagenet", "random", "random"]},
    ),
}  # fmt: skip


# Runs of a study are timed one after another, which tells no difference.
TIMED = {
    "mobilenet-fastest-epoch", "efficientnet-slowest-epoch", "mobilenet-not-fastest-to-best",
    "mobilenet-least-training-time", "mobilenet-speed-below-expectation",
}  # fmt: skip


def verdict_of(name: str, found: Evidence) -> str:
    return judge(predicates.PREDICATES[name](found), missing=bool(found.missing))


def test_there_is_a_predicate_and_a_case_for_each_of_the_forty_claims():
    assert len(claims.claims()) == 40
    assert set(claims.claims()) == set(predicates.PREDICATES) == set(CASES)


@pytest.mark.parametrize("name", CASES)
def test_a_claim_holds_fails_or_stays_open_as_its_runs_are_built(name):
    found = [verdict_of(name, evidence(case)) for case in CASES[name]]
    assert found == ([CANNOT_TELL] * 3 if name in TIMED else [HOLDS, FAILS, CANNOT_TELL])


def test_the_papers_own_tables_give_what_holds_in_the_paper():
    table = verdicts(PaperEvidence()).set_index("id")
    expected = {"true": HOLDS, "false": FAILS, "not checkable": NOT_RUN}
    assert table["verdict"].to_dict() == table["holds_in_paper"].map(expected).to_dict()
    assert table["holds_in_paper"].value_counts().to_dict() == {"not checkable": 15, "true": 14, "false": 11}


def test_the_ledger_tells_figures_and_reasons():
    table = verdicts(evidence({"f1": of("CT", 90)})).set_index("id")
    assert list(table.columns) == claims.COLUMNS[1:]
    row = table.loc["covid-transfer-best"]
    assert row["verdict"] == HOLDS and row["share_true"] == 1 and row["reason"] == ""
    assert row["figures"].startswith("Macro F1: COVID-19 pretrained 0.900, ResNet 0.800, MobileNet 0.800")
    assert "true in 50% of the draws" in table.loc["resnet-fewest-epochs", "reason"]
    assert "Pneumonia" in table.loc["cam-bacterial-one-sided", "reason"]
    assert table.loc["cam-bacterial-one-sided", "verdict"] == NOT_RUN


def test_a_study_without_a_collection_has_not_run_what_needs_it():
    runs = {name: run for name, run in study({}).items() if run.dataset == "covid"}
    table = verdicts(evidence({}, runs)).set_index("id")["verdict"]
    assert table["covid-transfer-best"] == CANNOT_TELL
    assert table["xray8-lowest"] == table["pneumonia-below-covid"] == NOT_RUN


def test_transferred_features_stand_for_imagenet_weights():
    runs = {}
    for run in study({"f1": of("CT", 90)}).values():
        params = run.params | {"weights": run.params["weights"].replace("imagenet", "a/best.keras")}
        runs[run.name.replace("imagenet", "transfer")] = replace(
            run, name=run.name.replace("imagenet", "transfer"), params=params
        )
    found = evidence({}, runs)
    assert verdict_of("covid-transfer-best", found) == HOLDS
    assert found.run_name("T", "covid") == "covid-efficientnet_b1-transfer"


def test_one_training_tells_nothing_of_epochs_and_curves():
    runs = study({"epoch": of("R", 10), "best": of("PT", 0.9), "loss": {0.01: 0.5}})
    table = verdicts(evidence({}, runs)).set_index("id")
    for name in ("resnet-fewest-epochs", "lr-001-lower-loss"):
        assert table.loc[name, "verdict"] == CANNOT_TELL
        assert "trained with 1 seed, 3 are needed" in table.loc[name, "reason"]


def test_a_model_at_chance_tells_nothing_by_its_curves():
    three = {}
    for repeat in ("", "-seed1", "-seed2"):
        three |= study({"best": of("PT", 0.9), "f1": of("PT PE", 33)}, repeat)
    found = evidence({}, three)
    assert verdict_of("scratch-never-catches-up-pneumonia", found) == CANNOT_TELL
    assert "no better than chance" in " ".join(found.thin)


def test_a_claim_whose_runs_lack_what_it_needs_is_not_run():
    table = verdicts(evidence({"best": of("PT", 0.9)})).set_index("id")
    row = table.loc["scratch-never-catches-up-pneumonia"]
    assert row["verdict"] == NOT_RUN and "100 epochs (some had 12)" in row["reason"]


STUDIES = 200


def equal_models(random, patients: int = 150, repeat: str = "") -> dict[str, Run]:
    """Twelve models of the same skill on the same scans of each collection; only chance parts them."""
    runs = {}
    for d in DATASETS:
        classes = len(CLASSES[d])
        truth = random.integers(classes, size=patients)
        for m in "RMET":
            wrong = random.random(patients) < 0.2
            decided = np.where(wrong, (truth + random.integers(1, classes, patients)) % classes, truth)
            run = build(d, m, suffix=repeat)
            frame = pd.DataFrame({"split": "test", "scan": np.arange(patients), "patient": np.arange(patients)})
            for place, name in enumerate(CLASSES[d]):
                frame[f"label_{name}"] = (truth == place).astype(int)
                frame[f"probability_{name}"] = np.where(decided == place, 0.9, 0.01).astype(np.float32)
            runs[run.name] = replace(run, predictions=frame)
    return runs


OF_EQUALS = (
    "efficientnet-family-best-but-pneumonia", "efficientnet-best-covid-xray8", "xray8-lowest", "pneumonia-below-covid",
    "covid-transfer-best", "pneumonia-mobilenet-and-transfer-best", "pneumonia-architectures-similar",
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("patients", [60, 150])
def test_of_equal_models_no_claim_fails_in_more_than_one_study_of_twenty(patients):
    random = np.random.default_rng(11)
    found = {name: [] for name in OF_EQUALS}
    for _ in range(STUDIES):
        runs = RunEvidence(equal_models(random, patients), draws=400)
        for name in found:
            found[name].append(verdict_of(name, runs))
    fails = {name: np.mean(np.array(verdicts) == FAILS) for name, verdicts in found.items()}
    error = 2 * np.sqrt(0.05 * 0.95 / STUDIES)
    assert all(share <= 0.05 + error * (patients < 100) for share in fails.values()), fails


def test_a_claim_fails_where_one_comparison_is_true_in_no_more_than_its_part_of_a_fortieth():
    def draws(true):
        return np.r_[np.ones(true), np.zeros(10_000 - true)]

    certain = draws(9990)
    for parts in (1, 2, 5):
        limit = 250 // parts
        for true, expected in ((limit, FAILS), (limit + 1, CANNOT_TELL)):
            assert judge(truth.every([draws(true)] + [certain] * (parts - 1))) == expected


def test_a_score_elsewhere_is_as_unsure_as_its_interval():
    scores = pd.DataFrame({"run": ["covid-resnet34-random"], "macro_f1": [0.7], "low": [0.6], "high": [0.8]})
    drawn, point = RunEvidence(study({}), external=scores).of_model("external_f1", "R", "covid")
    assert point == 0.7 and np.quantile(drawn, [0.025, 0.975]) == pytest.approx([0.6, 0.8], abs=0.01)


def test_an_order_that_changes_with_the_seed_is_not_claimed():
    runs = (
        study({"epoch": of("R", 10)}) | study({"epoch": of("R", 30)}, "-seed1") | study({"epoch": of("R", 9)}, "-seed2")
    )
    found = verdicts(evidence({}, runs)).set_index("id").loc["resnet-fewest-epochs"]
    assert found["verdict"] == CANNOT_TELL and 0.2 < found["share_true"] < 0.95


def test_an_order_that_changes_with_the_patients_is_not_claimed():
    close = {"f1": of("CT", (90, 60)) | of("CR CM CE", (60, 80))}
    assert verdict_of("covid-transfer-best", evidence(close)) == CANNOT_TELL


def test_cards_of_imagenet_weights_are_those_of_torchvision():
    models = import_torchvision()[1].models
    weights = {
        "resnet34": models.ResNet34_Weights, "mobilenet_v3_large": models.MobileNet_V3_Large_Weights,
        "efficientnet_b1": models.EfficientNet_B1_Weights,
    }  # fmt: skip
    for backbone, known in weights.items():
        card = known.IMAGENET1K_V1.meta["_metrics"]["ImageNet-1K"]["acc@5"]
        assert published()["imagenet_cards"][backbone] == pytest.approx(card, abs=0.005)
