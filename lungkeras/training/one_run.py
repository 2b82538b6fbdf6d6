"""One run: a model trained as the study trains, its history, its best weights, its predictions.

Adam (0.9, `beta_2`, 1e-8) with a cosine from the first to the final learning rate over all steps; cross-entropy, for a
multilabel dataset binary with one weight per class, over the labels that are known; the best model is the one of the
lowest validation loss. When a weight becomes NaN or infinite, training ends and keeps the best model so far, or the
untrained one.
"""

import io
import json
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from keras import ops

from lungkeras.models.build import build_model, load_model, save_model
from lungkeras.models.layers import synchronized
from lungkeras.preparation.folder import Prepared, load_prepared
from lungkeras.preparation.made_from import of_prepared
from lungkeras.scores import metrics
from lungkeras.scores.divergence import best_epoch, diverged_at
from lungkeras.scores.temperature import fit_correction, no_correction
from lungkeras.splits import SPLITS
from lungkeras.study.made_from import is_trained, of_results, training_made_from
from lungkeras.study.params import Params, dump, load_params
from lungkeras.system import devices, replicas
from lungkeras.system.backends import use_backend
from lungkeras.system.errors import RunError, memory_ran_out
from lungkeras.system.files import require_room, write_arrays, write_csv, write_json, write_parquet, write_text
from lungkeras.system.locks import alone
from lungkeras.system.machine import environment
from lungkeras.system.text import say
from lungkeras.system.untrusted import array_files, json_files
from lungkeras.training.optimizers import adam
from lungkeras.training.pipeline import evaluation_batches, evaluation_steps, steps, training_batches

FOLLOW = "from lungkeras.training.one_run import follow; follow()"  # what each further device runs on PyTorch
SECONDS_BETWEEN_CHECKPOINTS = 60.0
CHECKPOINTS = ("checkpoint.npz", "checkpoint-before.npz")  # the last one, and the one before it
FILES_OF_WEIGHTS = 5  # best.keras, and a checkpoint: weights, best weights, two moments of each


def train(params: Params, model: keras.Model | None = None) -> Path:
    """Trains the run that `params` describe, or what is left of it, and returns its folder.

    `model` is the run's `initial_model` where the caller has built it already; it is trained in place.
    A finished run of equal params, data, weights and code is returned as it is, wherever it was trained; an interrupted
    one goes on at its last checkpoint, with the batches and random draws that an uninterrupted one would have seen.
    Where another process trains the run, this one waits for it.

    Raises RunError where the prepared dataset or the weights are missing, or were prepared at another size, or memory
    runs out, ParamsError where the backend or the devices are not there, FolderError where the run can't be written.
    """
    use_backend(params.backend)
    folder = params.run_folder
    data = of_prepared(params.prepared_folder)
    if is_trained(folder, params, data):
        remove_checkpoints(folder)
        return folder
    with alone(folder / ".lock", f"{params.run} is being trained") as lock:
        if not (lock.waited and is_trained(folder, params, data)):
            _train(params, data, model)
    return folder


def _train(params: Params, data: str | None, model: keras.Model | None) -> None:
    """`train` of a run that is not finished; `data` is the hash of its prepared dataset."""
    folder = params.run_folder
    prepared = open_data(params)
    if prepared.size != params.image_size:
        raise RunError(
            f"{params.prepared_folder} holds scans of {prepared.size} pixels, image_size is {params.image_size}: "
            "prepare it again at that size, or name another folder in `prepared`"
        )
    # What stood here belongs to other params, unless the checkpoint says otherwise: metrics.json goes first, since
    # its presence alone makes a run a result.
    (folder / "metrics.json").unlink(missing_ok=True)
    write_text(folder / "params.yaml", dump(params))
    write_json(folder / "environment.json", environment())
    made_from = training_made_from(params, data)

    with devices.scope(params.devices) as chosen:
        say(f"{params.run}: {devices.announce(chosen, params.precision)}")
        with _memory_suffices(params):
            model = model or initial_model(params, prepared)
            require_room(folder, FILES_OF_WEIGHTS * sum(weight.nbytes for weight in model.get_weights()), "training")
            record = fit(model, params, prepared, made_from)
            save_model(model, folder / "best.keras")
            write_csv(folder / "history.csv", record)
            write_results(model, params, prepared, record)
    write_json(folder / "fingerprint.json", {"made_from": made_from, "results": of_results(folder)})
    remove_checkpoints(folder)


def open_data(params: Params) -> Prepared:
    """The run's prepared dataset, under its policies of uncertain and blank labels. Raises RunError."""
    return load_prepared(params.prepared_folder, uncertain=params.uncertain, blank=params.blank)


@contextmanager
def _memory_suffices(params: Params) -> Iterator[None]:
    """Says in a sentence that memory ran out, in whatever words a backend has for it. Raises RunError."""
    try:
        yield
    except Exception as error:
        if not memory_ran_out(error):
            raise
        raise RunError(
            f"{params.run}: not enough memory for batches of {params.batch_size} scans of {params.image_size} pixels: "
            "give a smaller batch_size or image_size, or train fewer runs side by side (--cores)"
        ) from error


def remove_checkpoints(folder: Path) -> None:
    """Removes what a finished run would have gone on from."""
    for name in CHECKPOINTS:
        (folder / name).unlink(missing_ok=True)


def initial_model(params: Params, prepared: Prepared) -> keras.Model:
    """The run's model before the first step: uint8 greyscale in, logits out, the training split's statistics inside."""
    weights = params.weights if params.weights in ("random", "imagenet") else params.transfer_file
    with devices.scope(params.devices):
        return build_model(
            params.backbone,
            prepared.classes,
            prepared.task,
            image_size=prepared.size,
            weights=weights,
            mean=prepared.mean,
            std=prepared.std,
            seed=params.seed,
            batch_norm_momentum=params.batch_norm_momentum,
            dropout=params.dropout,
            precision=params.precision,
        )


def fit(model: keras.Model, params: Params, prepared: Prepared, made_from: dict | None = None) -> pd.DataFrame:
    """Trains `model` in place, leaves it with its best weights, and returns the history: one row per epoch.

    A checkpoint is taken up where it was made from the same (`training_made_from`).
    """
    trainer = compiled(model, params, prepared)
    progress = Progress(model, params, prepared, made_from)
    progress.set_model(trainer)
    first = progress.restore()
    if first < params.epochs:

        def leave(folder: Path) -> None:
            write_text(folder / "params.yaml", dump(params))
            save_model(model, folder / "model.keras")

        with replicas.started(devices.chosen_devices(params.devices), FOLLOW, leave):
            fit_epochs(trainer, model, params, prepared, first, progress)
    model.set_weights(progress.best_weights)
    return pd.DataFrame(progress.rows)


def fit_epochs(
    trainer: keras.Model,
    model: keras.Model,
    params: Params,
    prepared: Prepared,
    first: int,
    callback: keras.callbacks.Callback,
) -> None:
    """Trains `model` in place by its `trainer` (`compiled`), from the epoch `first` to the last."""
    images, labels = prepared.images["train"], prepared.labels("train")
    with synchronized(model), replicas.in_step(trainer, first) as first:
        trainer.fit(
            training_batches(
                images,
                labels,
                batch_size=params.batch_size,
                seed=params.seed,
                epochs=params.epochs,
                first_epoch=first,
                augmented=True,
            ),
            steps_per_epoch=steps(images, params.batch_size),
            epochs=params.epochs,
            initial_epoch=first,
            callbacks=[callback],
            shuffle=False,  # the batches come shuffled
            verbose=0,
        )


def follow() -> None:
    """What a process for each further device of PyTorch does: `fit`, without validating or writing (`replicas`)."""
    with replicas.joined() as folder:
        params = load_params([folder / "params.yaml"])
        prepared = open_data(params)
        model = load_model(folder / "model.keras")
        fit_epochs(compiled(model, params, prepared), model, params, prepared, 0, Follower(params.seed))


def compiled(model: keras.Model, params: Params, prepared: Prepared) -> keras.Model:
    """A model of the model alone, compiled: what is saved and evaluated stays without losses and optimizer."""
    total = steps(prepared.images["train"], params.batch_size) * params.epochs
    images = keras.Input(model.input_shape[1:], dtype="uint8")
    trainer = keras.Model(images, model(images))
    optimizer = adam(
        keras.optimizers.schedules.CosineDecay(
            params.learning_rate, total, alpha=params.final_learning_rate / params.learning_rate
        ),
        beta_1=0.9,
        beta_2=params.beta_2,
        epsilon=1e-8,
        global_clipnorm=params.clip_norm,
    )
    if params.precision == "mixed_float16":
        # Small gradients are zero in float16: the loss is scaled up, and they down again.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    trainer.compile(
        optimizer=optimizer,
        loss=loss_function(prepared.task, class_weights(prepared, params), known_share(prepared)),
        metrics=[MacroF1(prepared.task, name="macro_f1")],
    )
    create_variables(trainer, len(prepared.classes))
    return trainer


def create_variables(trainer: keras.Model, classes: int) -> None:
    """Creates the variables of optimizer and metrics now: TensorFlow traces a step that creates variables twice."""
    trainer.optimizer.build(trainer.trainable_variables)
    nothing = ops.zeros((1, classes))
    trainer.compute_loss(y=nothing, y_pred=nothing)
    trainer.compute_metrics(None, nothing, nothing)
    trainer.reset_metrics()


def class_weights(prepared: Prepared, params: Params) -> np.ndarray | None:
    """The weight of a positive label a class, from the training split; None where the loss weighs none."""
    weighs = prepared.task == "multilabel" and params.class_weights
    return metrics.positive_weights(prepared.labels("train")) if weighs else None


def known_share(prepared: Prepared) -> float:
    """The share of the training split's labels that are known, in [0, 1]."""
    return 1.0 - float(np.isnan(prepared.labels("train")).mean())


def loss_function(task: str, class_weights: np.ndarray | None, known: float = 1.0):
    """The loss as Keras compiles it: (labels, logits) -> (batch,); its mean is `metrics.cross_entropy`.

    A label that is NaN adds nothing. `known` is the share of the labels that are known, of all batches together: with
    it, a known label counts the same in every batch and on every device, and the mean over an epoch is that of
    `metrics.cross_entropy`.
    """
    if task == "multiclass":
        return keras.losses.CategoricalCrossentropy(from_logits=True)

    def of_each(labels, logits):
        weights = 1.0 if class_weights is None else ops.convert_to_tensor(class_weights, dtype=logits.dtype)
        return weights * labels * ops.softplus(-logits) + (1.0 - labels) * ops.softplus(logits)

    def weighted_binary_cross_entropy(labels, logits):
        return ops.mean(of_each(labels, logits), axis=-1)

    def of_known_labels(labels, logits):
        unknown = ops.isnan(labels)
        # NaN goes before the arithmetic: the gradient of what comes of it would be NaN too.
        each = ops.where(unknown, 0.0, of_each(ops.where(unknown, 0.0, labels), logits))
        return ops.mean(each, axis=-1) / known

    return weighted_binary_cross_entropy if known == 1.0 else of_known_labels


class MacroF1(keras.metrics.F1Score):
    """Macro F1 of logits over an epoch: the greatest logit decides a multiclass scan, 0 (probability 0.5) a label.

    A label that is NaN counts as one that is absent and was not given, which F1 does not see.
    """

    def __init__(self, task: str, name: str = "macro_f1"):
        super().__init__(average="macro", threshold=None if task == "multiclass" else 0.5, name=name)

    def update_state(self, labels, logits, sample_weight=None):
        if self.threshold is not None:
            unknown = ops.isnan(labels)
            labels, logits = ops.where(unknown, 0.0, labels), ops.where(unknown, 0.0, ops.sigmoid(logits))
        return super().update_state(labels, logits, sample_weight)


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
            # A loss may seem to be left, as relu makes 0 of NaN.
            row |= dict.fromkeys(("loss", "macro_f1", "val_loss", "val_macro_f1"), float("nan"))
            self.model.stop_training = True
            say("weights are NaN or infinite: training ends, the best model so far stands")
        if row["val_loss"] < self.best_loss:
            self.best_loss, self.best_weights = row["val_loss"], weights
        is_over = self.model.stop_training or row["epoch"] == self.run_params.epochs
        if not is_over and time.monotonic() - self.saved > SECONDS_BETWEEN_CHECKPOINTS:
            self.save()
        say(
            f"epoch {row['epoch']}/{self.run_params.epochs}: loss {row['loss']:.3f}, macro F1 {row['macro_f1']:.3f}; "
            f"validation {row['val_loss']:.3f}, {row['val_macro_f1']:.3f}; {row['seconds']:.1f} s",
        )

    def save(self) -> None:
        """Writes all that the next epoch depends on as one file."""
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
        """Takes up the last checkpoint of an interrupted run of equal params; returns the epochs that are behind it.

        A damaged checkpoint is reported and removed, and the previous one is used; without any, the run starts again.
        """
        for file in filter(Path.is_file, self.checkpoints):
            try:
                state, groups = read_checkpoint(file)
            except Exception as error:
                # What is damaged ends in any of a dozen classes.
                words = "training goes on at the checkpoint before it, or begins anew"
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


def read_checkpoint(file: Path) -> tuple[dict, dict[str, list[np.ndarray]]]:
    """The state that `Progress.save` wrote, and its arrays by group."""
    with array_files.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
        state = json_files.loads(arrays["state"].tobytes())
        return state, {
            group: [arrays[name] for name in arrays.files if name.startswith(f"{group}_")]
            for group in ("weights", "best", "optimizer")
        }


class Follower(keras.callbacks.Callback):
    """`Progress` in a process that follows: it draws numbers of its own, and stops where the first one does."""

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

    Where processes train together, all but the first give their `share`, so that their draws differ.
    """
    generators = [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]
    for place, generator in enumerate(generators):
        draw = np.random.default_rng([seed, epoch, place, *share]).integers(2**31)
        generator.assign(np.array([draw, 0]))


def predict_logits(model: keras.Model, images: np.ndarray, batch_size: int) -> np.ndarray:
    """float32 of shape (scans, classes), in the order of `images`, uint8 (scans, size, size)."""
    count = evaluation_steps(images, batch_size=batch_size)
    logits = model.predict(evaluation_batches(images, batch_size=batch_size), steps=count, verbose=0)
    return np.asarray(logits, dtype=np.float32)[: len(images)]


def whole(labels: np.ndarray) -> np.ndarray:
    """Labels as int where all are known, else as they are."""
    return labels if np.isnan(labels).any() else labels.astype(int)


def write_results(model: keras.Model, params: Params, prepared: Prepared, history: pd.DataFrame) -> None:
    """Predicts every split with the best model and writes predictions.parquet, then metrics.json.

    Predictions hold the model's own probabilities, by which it decides; `prior_shift` and `temperatures` in
    metrics.json are what calibrates them (lungkeras.scores.temperature).
    """
    frames, scores, correction = [], {}, no_correction(len(prepared.classes))
    for split in SPLITS:
        labels = prepared.labels(split)
        logits = predict_logits(model, prepared.images[split], params.batch_size)
        probabilities = metrics.probabilities(logits, prepared.task)
        if split == "val":
            weights = class_weights(prepared, params)
            correction = fit_correction(labels, probabilities, prepared.task, weights)
        records = prepared.split(split)
        frame = pd.DataFrame({"split": split, "scan": records["scan"], "patient": records["patient"]})
        for column, name in enumerate(prepared.classes):
            frame[f"label_{name}"] = whole(labels[:, column])
            frame[f"probability_{name}"] = probabilities[:, column]
        frames.append(frame)
        scores[split] = {
            **metrics.scores(labels, probabilities, prepared.classes, prepared.task),
            "loss": metrics.cross_entropy(labels, logits, prepared.task, class_weights(prepared, params)),
            "scans": len(labels),
        }
    write_parquet(params.run_folder / "predictions.parquet", pd.concat(frames, ignore_index=True))
    labels = prepared.labels("train")
    chance = metrics.cross_entropy(labels, np.zeros_like(labels), prepared.task, class_weights(prepared, params))
    timed = history["seconds"].iloc[1:] if len(history) > 1 else history["seconds"]
    write_json(
        params.run_folder / "metrics.json",
        {
            "run": params.run,
            "dataset": params.dataset,
            "task": prepared.task,
            "classes": list(prepared.classes),
            "backbone": params.backbone,
            "weights": params.weights_word,
            "best_epoch": best_epoch(history),
            "diverged": diverged_at(history, chance),
            "epochs": len(history),
            "seconds_per_epoch": float(timed.median()),
            **correction.as_dict(),
            **scores,
        },
    )
