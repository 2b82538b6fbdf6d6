"""Made-up numbers in the shapes that figures, tables and the report take: for tests alone."""

import itertools

import numpy as np
import pandas as pd

from lungkeras.evaluation import comparison

CLASSES = {
    "pneumonia": ("bacterial_pneumonia", "viral_pneumonia", "normal"),
    "covid": ("covid", "viral_pneumonia", "normal"),
    "xray8": ("atelectasis", "effusion", "mass", "nodule", "pneumothorax", "consolidation", "no_finding"),
}
BACKBONES = ("resnet34", "mobilenet_v3_large", "efficientnet_b1")
SETTINGS = {"image_size": 64, "epochs": 10, "batch_size": 16, "learning_rate": 0.002, "seed": 0}
RATES = (0.001, 0.005, 0.01, 0.05, 0.1)


def run_table(datasets=tuple(CLASSES), pretrained: str = "transfer", ablation: bool = True) -> pd.DataFrame:
    """run, dataset, backbone, weights, learning_rate: the four models of each dataset, then the ablation."""
    rows = [
        (f"{dataset}-{backbone}-{weights}", dataset, backbone, weights, 0.01)
        for dataset in datasets
        for backbone, weights in [*((name, "random") for name in BACKBONES), ("efficientnet_b1", pretrained)]
    ]
    if ablation:
        rows += [
            (f"covid-efficientnet_b1-random-lr{rate:g}", "covid", "efficientnet_b1", "random", rate) for rate in RATES
        ]
    return pd.DataFrame(rows, columns=["run", "dataset", "backbone", "weights", "learning_rate"])


def histories(runs: pd.DataFrame, epochs: int = 10, seed: int = 0) -> pd.DataFrame:
    """Curves that rise and fall as curves do."""
    random, epoch = np.random.default_rng(seed), np.arange(1, epochs + 1)
    parts = []
    for row in runs.itertuples():
        pace = random.uniform(2, 5)
        parts.append(
            pd.DataFrame(
                {
                    "run": row.run,
                    "dataset": row.dataset,
                    "backbone": row.backbone,
                    "weights": row.weights,
                    "rate": row.learning_rate,
                    "epoch": epoch,
                    "loss": 1.1 * np.exp(-epoch / pace),
                    "macro_f1": 1 - 0.7 * np.exp(-epoch / pace),
                    "val_loss": 1.1 * np.exp(-epoch / pace) + 0.03 * epoch + 0.05 * random.random(epochs),
                    "val_macro_f1": 0.9 - 0.6 * np.exp(-epoch / pace) - 0.05 * random.random(epochs),
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


def results(runs: pd.DataFrame, seed: int = 0) -> pd.DataFrame:
    """One row per run, as lungkeras.evaluation.results gives it."""
    random = np.random.default_rng(seed)
    level = runs["dataset"].map({"pneumonia": 0.84, "covid": 0.9, "xray8": 0.66})
    return runs.assign(
        macro_f1=(f1 := level + random.uniform(-0.06, 0.04, len(runs))),
        macro_f1_low=f1 - 0.06,
        macro_f1_high=f1 + 0.05,
        macro_auroc=level + 0.05,
        seconds_per_epoch=random.uniform(4, 20, len(runs)),
        best_epoch=random.integers(4, 10, len(runs)),
        test_scans=60,
    )


def scan(size: int = 96, seed: int = 0) -> np.ndarray:
    """A uint8 image with a bright middle."""
    random, axis = np.random.default_rng(seed), np.linspace(-1, 1, size)
    glow = np.exp(-3 * (axis[:, None] ** 2 + axis[None, :] ** 2))
    return np.clip(200 * glow + random.normal(30, 12, (size, size)), 0, 255).astype(np.uint8)


def heatmap(size: int = 96, seed: int = 0) -> np.ndarray:
    """Floats in [0, 1] with one warm place."""
    x, y = np.random.default_rng(seed).uniform(-0.6, 0.6, 2)
    axis = np.linspace(-1, 1, size)
    return np.exp(-8 * ((axis[:, None] - y) ** 2 + (axis[None, :] - x) ** 2))


def points(runs, classes, each: int = 20, seed: int = 0) -> pd.DataFrame:
    """run, x, y, label: a cloud a class."""
    random = np.random.default_rng(seed)
    return pd.concat(
        [
            pd.DataFrame(
                {
                    "run": run,
                    "x": random.normal(3 * place, 1, each),
                    "y": random.normal(2 * (place % 2), 1, each),
                    "label": name,
                }
            )
            for run in runs
            for place, name in enumerate(classes)
        ],
        ignore_index=True,
    )


def confusion(classes, each: int = 20, seed: int = 0) -> pd.DataFrame:
    """Counts, mostly right: true classes as rows."""
    random = np.random.default_rng(seed)
    shares = np.eye(len(classes)) * 0.8 + 0.2 / len(classes)
    counts = np.stack([random.multinomial(each, row / row.sum()) for row in shares])
    return pd.DataFrame(counts, index=pd.Index(classes, name="true"), columns=pd.Index(classes, name="predicted"))


def evidence(runs: pd.DataFrame, seed: int = 0) -> dict[str, pd.DataFrame]:
    """{table: rows} of intervals, comparisons, calibration and claims, with numbers that are made up."""
    random = np.random.default_rng(seed)

    def scored(rows: list[dict], *scores: str) -> pd.DataFrame:
        table = pd.DataFrame(rows)
        for score in scores:
            table[score] = random.uniform(0.4, 0.9, len(table))
            table[f"{score}_low"], table[f"{score}_high"] = table[score] - 0.05, table[score] + 0.05
        return table

    about = runs[["run", "dataset", "backbone", "weights"]].to_dict("records")
    pairs = [
        {"dataset": one["dataset"], "first": one["run"], "second": other["run"], "p": 0.2}
        for one, other in itertools.combinations(about, 2)
        if one["dataset"] == other["dataset"]
    ]
    pairs = scored(pairs, "difference", "auroc").rename(columns={"difference_low": "low", "difference_high": "high"})
    pairs = pairs.assign(p_holm=random.random(len(pairs)), auroc_difference=pairs["auroc"], auroc_p_holm=0.0004)
    classes = [
        row | {"class": name, "support": 20, "prevalence": 0.3} for row in about for name in CLASSES[row["dataset"]]
    ]
    classes = scored(classes, "auroc", "f1", "average_precision")
    trivial = [
        {"dataset": dataset, "baseline": name}
        for dataset in CLASSES
        for name in ("majority", "every class", "metadata", "linear")
    ]
    ids = ("mobilenet-fastest-epoch", "covid-transfer-best", "lr-0001-best")
    claims = pd.DataFrame({"id": ids, "claim": ids, "verdict": ["holds", "cannot tell", "not run"]})
    calibration = scored(about, "ece", "ece_scaled", "brier", "brier_scaled")
    thresholds = [row for row in about if row["dataset"] == "xray8"]
    thresholds = scored(thresholds, "macro_f1", "macro_f1_tuned", "difference")
    thresholds = thresholds.rename(columns={"difference_low": "low", "difference_high": "high"})
    groups = [
        {"run": row["run"], "dataset": "xray8", "attribute": name, "group": group, "scans": scans, "patients": 9}
        for row in about
        if row["dataset"] == "xray8"
        for name, group, scans in (("view", "AP", 40), ("view", "PA", 50), ("age", "under 18", 3))
    ]
    unrecorded = [
        {"dataset": dataset, "attribute": name, "note": "the collection does not record it"}
        for dataset in ("pneumonia", "covid")
        for name in ("view", "sex", "age")
    ]
    groups = scored(groups, "macro_f1", "macro_auroc").assign(classes=5, note="")
    groups.loc[groups["scans"] < 20, "note"] = "too few"
    errors = [row | {"class": name, "scans": 20} for row in about for name in CLASSES[row["dataset"]]]
    elsewhere = [row | {"other": "covid", "measure": "recall", "class": "normal"} for row in about]
    elsewhere = pd.DataFrame([row for row in elsewhere if row["dataset"] == "pneumonia"])
    scores = {"value": 0.7, "low": 0.6, "high": 0.8, "own_scans": 20, "own_value": 0.8, "own_low": 0.7, "own_high": 0.9}
    asked = {"dataset": "pneumonia", "other": "covid", "class": "normal", "scans": 30, "allowed": 30, "copies": 9}
    asked = [asked | {"left": 21, "note": "why"}, {"dataset": "xray8", "note": "no class is shared"}]
    prevalence = scored([row for row in about if row["dataset"] != "pneumonia"], "macro_f1_natural")
    against = scored([row | {"baseline": "linear"} for row in about], "difference")
    against = against.rename(columns={"difference_low": "low", "difference_high": "high"})
    seeds = [{"run": row["run"], "dataset": row["dataset"], "seeds": 3} for row in about]
    spread = {f"{key}_{kind}": 0.7 for key in ("macro_f1", "best_epoch") for kind in ("mean", "least", "most")}
    return {
        "model_pairs": pairs,
        "class_scores": classes,
        "prevalence": prevalence.assign(normal_share=0.42, natural_share=0.67, macro_f1=0.8),
        "published_auroc": comparison.auroc_beside_published(classes),
        "trivial_baselines": scored(trivial, "macro_f1", "macro_auroc", "macro_average_precision"),
        "against_baselines": against.assign(macro_f1=0.8, baseline_macro_f1=0.7, p_holm=0.01, better="yes"),
        "seeds": pd.DataFrame(seeds).assign(**spread),
        "failure_counts": pd.DataFrame(errors).assign(missed=3, called=2),
        "subgroups": pd.concat([groups, pd.DataFrame(unrecorded)], ignore_index=True),
        "external": elsewhere.assign(scans=21, patients=21, **scores),
        "external_scans": pd.DataFrame(asked),
        "transfer": scored([row for row in about if row["weights"] != "random"], "macro_f1", "macro_f1_without").assign(
            sources="xray8", test_scans=60, copies=[3, 0, np.nan], note=""
        ),
        "calibration": calibration.assign(
            temperature=1.4, ece_null=0.1, ece_scaled_null=0.1, ece_class=0.1, ece_class_scaled=0.1
        ),
        "operating_points": scored(
            [row | {"asked": asked} for row in classes.to_dict("records") for asked in (0.9, 0.95)],
            "sensitivity",
            "specificity",
            "balanced_accuracy",
            *("ppv_1", "npv_1", "ppv_10", "npv_10"),
        ).assign(chosen=True, scans=20, note=""),
        "thresholds": thresholds.assign(contradictory=0.1, contradictory_tuned=0.05),
        "claims": claims.assign(
            holds_in_paper=["true", "false", "not checkable"],
            share_true=[0.99, 0.4, np.nan],
            figures="",
            reason="because",
        ),
    }


def explanations(runs: pd.DataFrame, seed: int = 0) -> dict[str, pd.DataFrame]:
    """{table: rows} of how explanations were tested; covid has no boxes."""
    from lungkeras.explanation import localisation, randomisation

    random = np.random.default_rng(seed)
    asked = [*(("", method) for method in localisation.BASELINES), ("randomised", "grad_cam")]
    asked += [(run, method) for run in runs["run"] for method in localisation.METHODS]
    rows = [
        {"dataset": dataset, "run": run, "method": method, "class": name, "findings": 12, "boxed": 40, "patients": 9}
        for dataset in ("pneumonia", "xray8")
        for run, method in asked
        for name in ("all", *CLASSES[dataset][:2])
        if run in ("", "randomised") or run.startswith(dataset)
    ]
    located = pd.DataFrame(rows)
    for score in ("hit", "above_prior", *localisation.IOUS):
        located[score] = random.uniform(0.2, 0.9, len(located))
        located[f"{score}_low"], located[f"{score}_high"] = located[score] - 0.3, located[score] + 0.1
    located = located.assign(chosen=located["run"].str.contains("resnet34"), cells="2 × 2", empty=0.0)
    located.loc[located["class"] == "effusion", "published_iou_01"] = 0.66
    nothing = {"dataset": "covid", "run": "", "method": "", "chosen": False, "class": "all"}
    located = pd.concat([located, pd.DataFrame([nothing | dict.fromkeys(("findings", "boxed", "patients"), 0)])])
    located = located.reindex(columns=localisation.SUMMARY)
    alike = [
        {"dataset": dataset, "run": f"{dataset}-resnet34-random", "method": method, "step": step, "stage": stage}
        for dataset in CLASSES
        for method in randomisation.METHODS
        for step, stage in enumerate(("trained", "head", "2 × 2", "4 × 4"))
    ]
    alike = pd.DataFrame(alike).assign(
        scans=12, rank_correlation=0.5, other_ssim=0.2, other_rank_correlation=0.3, empty=0.0
    )
    alike["ssim"] = 1 - 0.3 * alike["step"]
    alike["ssim_low"], alike["ssim_high"] = alike["ssim"] - 0.05, alike["ssim"] + 0.05
    return {
        "localisation": located,
        "localisation_classes": localisation.by_class(located),
        "randomisation": alike[randomisation.SUMMARY],
    }


def reliability(runs: pd.DataFrame) -> pd.DataFrame:
    """Points of reliability diagrams, as lungkeras.evaluation.calibration gives them."""
    parts = [
        runs.assign(scaled=scaled, bin=place, confidence=place / 5, share=place / 5 - 0.1, answers=7)
        for scaled in (False, True)
        for place in (2, 4)
    ]
    return pd.concat(parts, ignore_index=True)


def records(dataset: str, scans: int = 100, seed: int = 0) -> pd.DataFrame:
    """Records of a prepared dataset: scan, patient, split, a 0-or-1 column a class."""
    random, classes = np.random.default_rng(seed), CLASSES[dataset]
    chosen = random.integers(0, len(classes), scans)
    table = pd.DataFrame(
        {"scan": [f"scan_{n}.png" for n in range(scans)], "patient": [f"p{n // 2}" for n in range(scans)]}
    )
    table["split"] = np.repeat(["train", "val", "test"], [scans - 2 * (scans // 6), scans // 6, scans // 6])
    for place, name in enumerate(classes):
        table[name] = (chosen == place).astype(int)
    return table


def study(folder, *, drawn: bool = True, images=None, rename=str, dpi: int = 60) -> dict:
    """Fills a study's folder, as its notebooks would, and returns what `write_report` takes beside it.

    `images` gives a scan by its number; `rename` spoils the names of classes and files, to see them escaped.
    """
    from lungkeras.evaluation.paper import tables
    from lungkeras.report.figures import explanations as explanation_figures
    from lungkeras.report.figures import paper
    from lungkeras.report.figures.files import save_figure
    from lungkeras.report.figures.reliability import reliability_diagrams
    from lungkeras.system.files import write_csv

    images = images or (lambda number: scan(64, number))
    runs = run_table()
    main, ablation, curves = runs.iloc[:12], runs.iloc[12:], histories(runs)
    scored = results(runs)
    write_csv(folder / "tables" / "table_1.csv", tables.table_1({name: records(name) for name in CLASSES}))
    sizes = {
        "resnet34": (21.3e6, 34, 4.77e9),
        "mobilenet_v3_large": (3.0e6, 18, 0.28e9),
        "efficientnet_b1": (6.5e6, 25, 0.75e9),
    }
    counted = {
        name: dict(zip(("parameters", "layers", "multiply_accumulates"), size, strict=True)) | {"image_size": 256}
        for name, size in sizes.items()
    }
    write_csv(folder / "tables" / "table_2.csv", tables.table_2(counted))
    write_csv(folder / "tables" / "table_3.csv", tables.table_3(scored))
    linear = {"pneumonia": 0.62, "covid": 0.71, "xray8": 0.4}
    write_csv(folder / "tables" / "baselines.csv", tables.baselines(scored, linear, best_of(scored)))

    for name, table in evidence(main).items():
        write_csv(folder / "tables" / f"{name}.csv", table)

    tested = explanations(main)
    for name, table in tested.items():
        write_csv(folder / "tables" / f"{name}.csv", table)
    of = {name: main.loc[main["dataset"] == name, "run"].tolist() for name in CLASSES}
    drawings = {
        "reliability": reliability_diagrams(reliability(main), evidence(main)["calibration"]),
        "pointing": explanation_figures.pointing(
            tested["localisation"],
            {
                "xray8": [
                    {
                        "title": "Mass",
                        "scan": images(1),
                        "map": heatmap(len(images(1))),
                        "point": (0.4, 0.4),
                        "edges": [(0.2, 0.3, 0.5, 0.6)],
                    }
                ]
            },
        ),
        "cascade": explanation_figures.cascade(
            tested["randomisation"],
            {name: {"scan": images(0), "maps": [heatmap(len(images(0)))] * 4} for name in CLASSES},
        ),
        1: paper.sample_scans({name: {rename(c): images(n) for n, c in enumerate(CLASSES[name])} for name in CLASSES}),
        2: paper.preprocessing_effect(
            {
                name: {step: images(n) for n, step in enumerate(("original", "equalised", "blurred", "resized"))}
                for name in CLASSES
            }
        ),
        3: paper.learning_curves(curves[curves["run"].isin(main.loc[main["weights"] == "random", "run"])]),
        4: paper.transfer_curves(curves[curves["run"].isin(main.loc[main["backbone"] == "efficientnet_b1", "run"])]),
        9: paper.ablation_curves(curves[curves["run"].isin(ablation["run"])]),
        10: paper.ablation_bars(scored.iloc[12:].rename(columns={"learning_rate": "rate"})),
    }
    for number, name in ((5, "pneumonia"), (6, "covid")):
        confusions = {run: confusion(CLASSES[name], seed=place) for place, run in enumerate(of[name])}
        drawings[number] = paper.embeddings_and_confusions(points(of[name], CLASSES[name]), confusions)
        scans = {c: images(n) for n, c in enumerate(CLASSES[name])}
        maps = {
            run: {c: heatmap(scans[c].shape[0], n + 7 * m) for n, c in enumerate(scans)}
            for m, run in enumerate(of[name])
        }
        drawings[number + 2] = paper.grad_cams(scans, maps, {run: dict.fromkeys(scans, 0.83) for run in of[name]})
    for number, figure in drawings.items():
        data = curves if number in (3, 4, 9) else None
        save_figure(figure, folder / "figures", number, data, dpi=dpi)

    for row in scored.itertuples():
        _run(folder / "runs" / row.run, row, curves[curves["run"] == row.run], rename)
    facts = [
        {
            "dataset": name,
            "drawn": drawn,
            "task": "multilabel" if name == "xray8" else "multiclass",
            "classes": list(CLASSES[name]),
            "size": 64,
            "mean": 121.4,
            "std": 60.2,
            "scans": {"train": 210, "val": 45, "test": 45},
            "absent": 0,
            "quarantine": [{"scan": rename("broken.png"), "reason": rename("an empty file")}]
            if name == "covid"
            else [],
            "quarantined": {"normal": 1} if name == "covid" else {},
            "flow": [["scans found", 320], ["of classes that the study uses", 300]],
        }
        for name in CLASSES
    ]
    return {
        "title": "The synthetic study",
        "settings": SETTINGS,
        "datasets": facts,
        "versions": {"lungkeras": "0.1.0", "keras": "3.15.1", "tensorflow": "2.21.0"},
        "notebooks": {name: f"notebooks/{name}.ipynb" for name in [*runs["run"], "05_report"]},
        "notes": ["A note."],
        "date": "2026-01-01",
    }  # fmt: skip


def _run(folder, row, curve: pd.DataFrame, rename) -> None:
    import yaml

    from lungkeras.system.files import write_csv, write_json, write_text

    classes = [rename(name) for name in CLASSES[row.dataset]]
    scores = {"f1": row.macro_f1, "precision": 0.8, "recall": 0.8, "auroc": float("nan"), "support": 20}
    write_csv(folder / "history.csv", curve[["epoch", "loss", "macro_f1", "val_loss", "val_macro_f1"]])
    write_text(folder / "params.yaml", yaml.safe_dump({"dataset": row.dataset, "backbone": row.backbone, "epochs": 10}))
    write_json(
        folder / "environment.json", {"backend": "tensorflow", "devices": ["cpu:0"], "versions": {"keras": "3.15.1"}}
    )
    test = {
        "macro_f1": row.macro_f1,
        "macro_auroc": row.macro_auroc,
        "loss": 0.4,
        "per_class": dict.fromkeys(classes, scores),
    }
    write_json(
        folder / "metrics.json", {"test": test, "best_epoch": row.best_epoch, "classes": classes, "task": "multiclass"}
    )


def best_of(results: pd.DataFrame) -> dict[str, str]:
    """{dataset: its main run of the highest score}, where a test has no validation split to choose by."""
    main = results[~results["run"].str.contains("-lr") & results["macro_f1"].notna()]
    return {dataset: own.loc[own["macro_f1"].idxmax(), "run"] for dataset, own in main.groupby("dataset")}
