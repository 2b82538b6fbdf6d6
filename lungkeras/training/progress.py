"""What happens around each epoch: validation, the best weights, checkpoints, a line of progress."""

import json
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import keras
import numpy as np
from keras import ops

from lungkeras.preparation.folder import Prepared
from lungkeras.scores import metrics
from lungkeras.study.params import Params, dump
from lungkeras.system import devices, replicas
from lungkeras.system.files import write_arrays
from lungkeras.system.text import say
from lungkeras.training import trackers
from lungkeras.training.checkpoints import CHECKPOINTS, read_checkpoint
from lungkeras.training.losses import class_weights
from lungkeras.training.outputs import predict_logits

SECONDS_BETWEEN_CHECKPOINTS = 60.0


class Progress(keras.callbacks.Callback):
    """Validates after each epoch, keeps the best weights, writes checkpoints, and prints a line."""

    def __init__(self, model: keras.Model, params: Params, prepared: Prepared, made_from: dict | None = None):
        super().__init__()
        self.made_from = made_from
        self.bare_model = model
        self.run_params = params
        self.images = prepared.images["val"]
        self.labels = prepared.labels("val")
        self.task = prepared.task
        self.class_weights = class_weights(prepared, params)
        self.rows: list[dict] = []
        self.best_weights = model.get_weights()
        self.best_loss = np.inf
        self.saved = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter()
        seed_random_layers(self.model, self.run_params.seed, epoch)

    def on_epoch_end(self, epoch, logs=None):
        logs = replicas.scores(self.model, logs)
        logits = predict_logits(self.bare_model, self.images, self.run_params.batch_size)
        probabilities = metrics.probabilities(logits, self.task)
        row = {
            "epoch": epoch + 1,
            "loss": float(logs["loss"]),
            "macro_f1": float(logs["macro_f1"]),
            "val_loss": metrics.cross_entropy(self.labels, logits, self.task, self.class_weights),
            "val_macro_f1": metrics.macro_f1(self.labels, probabilities, self.task),
            "learning_rate": float(self.model.optimizer.learning_rate),
            "seconds": time.perf_counter() - self.started,
        }
        self.rows.append(row)
        weights = self.bare_model.get_weights()
        if not are_numbers(weights):
            # The loss may still look finite, as relu turns NaN into 0.
            row |= dict.fromkeys(("loss", "macro_f1", "val_loss", "val_macro_f1"), float("nan"))
            self.model.stop_training = True
            say("weights are NaN or infinite: training stops, the best model so far is kept")
        if row["val_loss"] < self.best_loss:
            self.best_loss, self.best_weights = row["val_loss"], weights
        is_over = self.model.stop_training or row["epoch"] == self.run_params.epochs
        if not is_over and time.monotonic() - self.saved > SECONDS_BETWEEN_CHECKPOINTS:
            self.save()
        say(
            f"epoch {row['epoch']}/{self.run_params.epochs}: loss {row['loss']:.3f}, macro F1 {row['macro_f1']:.3f}; "
            f"validation {row['val_loss']:.3f}, {row['val_macro_f1']:.3f}; {row['seconds']:.1f} s",
        )
        trackers.epoch(self.run_params, self.rows, self.made_from)

    def save(self) -> None:
        """Writes everything that the next epoch depends on as one file."""
        state = {"params": dump(self.run_params), "made_from": self.made_from}
        state |= {"rows": self.rows, "best_loss": self.best_loss}
        arrays = {"state": np.frombuffer(json.dumps(state).encode(), dtype=np.uint8)}
        for name, values in (
            ("weights", self.model.get_weights()),
            ("best", self.best_weights),
            ("optimizer", [ops.convert_to_numpy(variable) for variable in self.model.optimizer.variables]),
        ):
            arrays |= {f"{name}_{index:04d}": value for index, value in enumerate(values)}
        last, before = self.checkpoints
        with suppress(FileNotFoundError):
            last.replace(before)
        write_arrays(last, arrays)
        self.saved = time.monotonic()

    @property
    def checkpoints(self) -> list[Path]:
        return [self.run_params.run_folder / name for name in CHECKPOINTS]

    def restore(self) -> int:
        """Loads the last checkpoint of an interrupted run with equal params; returns the number of finished epochs.

        A damaged checkpoint is reported and removed, and the previous one is used; without any, the run starts again.
        """
        for file in filter(Path.is_file, self.checkpoints):
            try:
                state, groups = read_checkpoint(file)
            except Exception as error:
                # A damaged file raises any of a dozen exceptions.
                words = "training resumes at the previous checkpoint, or starts again"
                say(f"{file} is damaged ({error or type(error).__name__}): {words}", file=sys.stderr)
                file.unlink()  # or it would take the place of the one before
                continue
            if (state["params"], state["made_from"]) == (dump(self.run_params), self.made_from):
                self.model.set_weights(groups["weights"])
                for variable, value in zip(self.model.optimizer.variables, groups["optimizer"], strict=True):
                    variable.assign(value)
                self.rows, self.best_loss, self.best_weights = state["rows"], state["best_loss"], groups["best"]
                return len(self.rows)
        return 0


class Follower(keras.callbacks.Callback):
    """`Progress` in a follower process: it draws its own random numbers, and stops when the first one does."""

    def __init__(self, seed: int):
        super().__init__()
        self.seed = seed

    def on_epoch_begin(self, epoch, logs=None):
        seed_random_layers(self.model, self.seed, epoch, devices.share())

    def on_epoch_end(self, epoch, logs=None):
        replicas.scores(self.model, logs)
        self.model.stop_training = not are_numbers(self.model.get_weights())


def are_numbers(weights: Iterable[np.ndarray]) -> bool:
    """Whether no weight is NaN or infinite."""
    return all(np.isfinite(weight).all() for weight in weights)


def seed_random_layers(model: keras.Model, seed: int, epoch: int, *share: int) -> None:
    """Sets every random layer's generator from (seed, epoch), so that no generator has to be saved to resume.

    If processes train together, all but the first pass their `share`, so their draws differ.
    """
    generators = [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]
    for place, generator in enumerate(generators):
        draw = np.random.default_rng([seed, epoch, place, *share]).integers(2**31)
        generator.assign(np.array([draw, 0]))
