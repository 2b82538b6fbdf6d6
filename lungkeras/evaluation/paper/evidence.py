"""The evidence for the study's claims, and that of the paper's own tables (run_evidence: of a study's runs).

Models go by the letters of claims.yaml: R ResNet-34, M MobileNetV3-Large and E EfficientNet-B1 from random weights, T
EfficientNet-B1 from pretrained ones. An answer is an array (seeds, draws), so a claim can be evaluated for every seed
and every draw of patients.
"""

import numpy as np

from lungkeras.datasets.registry import title
from lungkeras.evaluation.paper.published import published
from lungkeras.study.words import heading

P, C, X = "pneumonia", "covid", "xray8"
BACKBONES = {"R": "resnet34", "M": "mobilenet_v3_large", "E": "efficientnet_b1", "T": "efficientnet_b1"}
NAMES = {"R": "ResNet", "M": "MobileNet", "E": "EfficientNet", "T": "pretrained"}
# {kind: what figures call it}, of a model trained on a dataset, of a backbone, of its test scans, of a learning rate.
MODEL = {
    "f1": "macro F1",
    "seconds": "seconds an epoch",
    "best_epoch": "best epoch",
    "epochs": "epochs trained",
    "instability": "change of the validation loss from epoch to epoch",
    "first_validation_f1": "validation F1 after one epoch",
    "best_validation_f1": "best validation F1",
    "normal_f1": "F1 of normal against the rest",
    "share_between_pneumonias": "share of errors between the pneumonias",
    "external_f1": "macro F1 on a held-out source",
}
BACKBONE = {
    "parameters": "parameters (million)",
    "operations": "multiply-accumulates (giga)",
    "top5": "ImageNet top-5 (%)",
}
SCANS = {
    "asymmetry": "one-sidedness of heat maps",
    "area": "area of heat maps",
    "row": "depth of heat maps",
    "purity": "purity of 10 neighbours",
    "silhouette": "silhouette",
}
RATE = {
    "f1": MODEL["f1"],
    "instability": MODEL["instability"],
    "lowest_loss": "lowest validation loss",
    "earliest": "first epoch near the best validation F1 of all rates",
}


class Evidence:
    """The quantities that predicates use. An answer is an array (seeds, draws), either of length 1 if it does not vary.

    This base class has no values: every answer is NaN, and each request is recorded in `missing`. `figures` collects
    the values returned, {quantity: {name: value}}; `thin` lists what exists but is too little to judge.
    """

    seeds = 1
    of_the_paper = True  # whether it is about collections of the paper

    def __init__(self):
        self.figures: dict[str, dict[str, float]] = {}
        self.missing: list[str] = []
        self.thin: list[str] = []

    def forget(self) -> None:
        """Clears what was noted, before the next claim."""
        self.figures, self.missing, self.thin = {}, [], []

    def lacks(self, need: str) -> str:
        """What a claim `needs` ("imagenet weights", "100 epochs") that the runs lack, in words; empty if nothing."""
        return ""

    def answer(self, quantity: str, name: str, values: np.ndarray | None, point: float | None = None) -> np.ndarray:
        """Records a figure, or its absence if `values` is None, and returns it."""
        if values is None:
            self.missing.append(f"{quantity} ({name})")
            return np.full((1, 1), np.nan)
        values = np.asarray(values, dtype=float)
        self.figures.setdefault(quantity, {})[name] = float(np.mean(values)) if point is None else float(point)
        return values

    def of_model(self, kind: str, model: str, dataset: str) -> tuple[np.ndarray, float] | None:
        """(values, point) of f1, seconds, best_epoch, epochs, instability, first or best validation F1 of a model."""
        return None

    def of_backbone(self, kind: str, backbone: str) -> np.ndarray | None:
        """parameters, operations or top5."""
        return None

    def of_rate(self, kind: str, rate: float) -> tuple[np.ndarray, float] | None:
        """f1, instability, lowest_loss or earliest (epoch) of the ablation's run at a learning rate."""
        return None

    def of_variant(self, model: str, dataset: str, suffix: str) -> tuple[np.ndarray, float] | None:
        """Test macro F1 of a variant of the model's run, named by its suffix.

        -unweighted   trained with `class_weights: false`
        -unprepared   on scans that were neither equalised nor blurred
        """
        return None

    def of_test_scans(self, kind: str, model: str, dataset: str, **which) -> tuple[np.ndarray, float] | None:
        """A mean over test scans of a measure of heat maps or features."""
        return None

    def value(self, kind: str, model: str, dataset: str = "", *, label: str = "") -> np.ndarray:
        """A quantity of MODEL, BACKBONE or SCANS for a model; `label` limits the test scans to a class.

        A backbone needs no dataset. NaN if the quantity is unknown.
        """
        if kind in BACKBONE:
            return self.answer(BACKBONE[kind], self.name(model), self.of_backbone(kind, BACKBONES[model]))
        name = f"{heading(dataset)}{f', {title(label)}' if label else ''}: {self.name(model)}"
        if kind in MODEL:
            return self._asked(MODEL[kind], name, self.of_model(kind, model, dataset))
        which = {"label": label} if label else {}
        return self._asked(SCANS[kind], name, self.of_test_scans(kind, model, dataset, **which))

    def at_rate(self, kind: str, rate: float) -> np.ndarray:
        """A quantity of RATE for the ablation's run at a learning rate."""
        return self._asked(RATE[kind], f"{rate:g}", self.of_rate(kind, rate))

    def share_pretrained(self) -> np.ndarray:
        """The share of the ablation's runs that started from ImageNet weights."""
        return self._asked("share of the ablation's runs", "from ImageNet weights", self.of_rate("pretrained", 0.0))

    def variant_f1(self, model: str, dataset: str, suffix: str, about: str) -> np.ndarray:
        name = f"{heading(dataset)}: {self.name(model)} {about}"
        return self._asked(MODEL["f1"], name, self.of_variant(model, dataset, suffix))

    def heatmap_agreement(self, first: str, second: str, dataset: str) -> np.ndarray:
        """The correlation of the heat maps of two models on the same scans."""
        name = f"{heading(dataset)}: {self.name(first)} and {self.name(second)}"
        answer = self.of_test_scans("agreement", first, dataset, other=second)
        return self._asked("correlation of heat maps", name, answer)

    def name(self, model: str) -> str:
        """What figures call a model: the paper's short words."""
        return NAMES[model]

    def _asked(self, quantity: str, name: str, answer: tuple[np.ndarray, float] | None) -> np.ndarray:
        return self.answer(quantity, name, *(answer or (None,)))


class PaperEvidence(Evidence):
    """The paper's own Tables 2 and 3, and its statements on the ablation: no draws, one seed."""

    def of_model(self, kind, model, dataset):
        keys = {"f1": "macro_f1", "seconds": "seconds_per_epoch", "best_epoch": "best_epoch"}
        if kind == "epochs":
            value = published()["training"]["epochs"]
        elif kind in keys:
            weights = "imagenet" if model == "T" else "random"
            value = published()["runs"][f"{dataset}-{BACKBONES[model]}-{weights}"][keys[kind]]
        else:
            return None
        return np.full((1, 1), float(value)), value

    def of_backbone(self, kind, backbone):
        keys = {"parameters": "parameters_millions", "operations": "giga_operations", "top5": "imagenet_top5"}
        return np.full((1, 1), published()["complexity"][backbone][keys[kind]])

    def of_rate(self, kind, rate):
        if kind != "pretrained":
            return None
        value = float(published()["ablation"]["weights"] == "imagenet")
        return np.full((1, 1), value), value
