"""Made-up numbers in the shapes that figures, tables and the report take: for tests alone."""

import numpy as np
import pandas as pd

CLASSES = {
    "pneumonia": ("bacterial_pneumonia", "viral_pneumonia", "normal"),
    "covid": ("covid", "viral_pneumonia", "normal"),
    "xray8": ("atelectasis", "effusion", "mass", "nodule", "pneumothorax", "consolidation", "no_finding"),
}
BACKBONES = ("resnet34", "mobilenet_v3_large", "efficientnet_b1")
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
    """A row a run, as lungkeras.evaluation.results gives it."""
    random = np.random.default_rng(seed)
    level = runs["dataset"].map({"pneumonia": 0.84, "covid": 0.9, "xray8": 0.66})
    return runs.assign(
        macro_f1=level + random.uniform(-0.06, 0.04, len(runs)),
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
