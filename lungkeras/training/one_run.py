"""One run: a model trained as the study trains, its history, its best weights, its predictions.

Adam (0.9, `beta_2`, 1e-8); the learning rate rises during the warm-up, where there is one, and falls by a cosine to the
final one. The loss is cross-entropy, for a multilabel dataset binary with one weight per class, over the known labels;
the best model is the one with the lowest validation loss. When a weight becomes NaN or infinite, training ends and
keeps the best model so far, or the untrained one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from keras import ops

from lungkeras.datasets.policies import policy_text
from lungkeras.models.build import build_model
from lungkeras.models.files import load_model, save_model
from lungkeras.models.layers import synchronized
from lungkeras.preparation.folder import Prepared, load_prepared
from lungkeras.preparation.made_from import of_prepared
from lungkeras.study.made_from import is_trained, of_results, training_made_from
from lungkeras.study.params import Params, dump
from lungkeras.study.params_files import load_params
from lungkeras.system import devices, replicas
from lungkeras.system.backends import use_backend
from lungkeras.system.errors import RunError, memory_ran_out
from lungkeras.system.files import require_room, write_csv, write_json, write_text
from lungkeras.system.locks import alone
from lungkeras.system.machine import environment
from lungkeras.system.text import say
from lungkeras.training import trackers
from lungkeras.training.checkpoints import remove_checkpoints
from lungkeras.training.losses import MacroF1, class_weights, known_share, loss_function
from lungkeras.training.optimizers import adam
from lungkeras.training.pipeline import steps, training_batches
from lungkeras.training.progress import Follower, Progress
from lungkeras.training.results import write_results

FOLLOW = "from lungkeras.training.one_run import follow; follow()"  # what each further device runs on PyTorch
FILES_OF_WEIGHTS = 5  # best.keras, and a checkpoint: weights, best weights, two moments of each


def train(params: Params, model: keras.Model | None = None) -> Path:
    """Trains the run described by `params`, or the rest of it, and returns its folder.

    `model` is the run's `initial_model` if the caller has built it already; it is trained in place. A finished run with
    equal params, data, weights and code is returned as it is, wherever it was trained. An interrupted one resumes at
    its last checkpoint, with the same batches and random draws as without interruption.

    If another process trains the run, this one waits for it. Raises RunError if the prepared dataset or the weights are
    missing or of another size, memory runs out, or the package of the tracker is missing, ParamsError if the backend or
    the devices are missing, FolderError if the run can't be written.
    """
    use_backend(params.backend)
    trackers.require(params)
    folder = params.run_folder
    data = of_prepared(params.prepared_folder)
    if is_trained(folder, params, data):
        remove_checkpoints(folder)
        trackers.finished(params)
        return folder
    with alone(folder / ".lock", f"{params.run} is being trained") as lock:
        if not (lock.waited and is_trained(folder, params, data)):
            _train(params, data, model)
    trackers.finished(params)
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
    unknown = np.isnan(prepared.labels("train")).all(axis=0)
    if unknown.any():
        names = ", ".join(name for name, none in zip(prepared.classes, unknown, strict=True) if none)
        raise RunError(
            f"{params.prepared_folder}: no label of {names} is known in the training split "
            f"({policy_text(params.uncertain, params.blank)}): count them in study.yaml, as with blank: zeros, or "
            "leave the class out of the collection"
        )
    # Existing files belong to other params, unless the checkpoint says otherwise: metrics.json is removed first, since
    # its presence alone marks a run as finished.
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
    """Turns a backend's out-of-memory error into one sentence. Raises RunError."""
    try:
        yield
    except Exception as error:
        if not memory_ran_out(error):
            raise
        raise RunError(
            f"{params.run}: not enough memory for batches of {params.batch_size} scans of {params.image_size} pixels: "
            "give a smaller batch_size or image_size, or train fewer runs side by side (--cores)"
        ) from error


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
            zero_init_residual=params.zero_init_residual,
            precision=params.precision,
        )


def fit(model: keras.Model, params: Params, prepared: Prepared, made_from: dict | None = None) -> pd.DataFrame:
    """Trains `model` in place, leaves it with its best weights, and returns the history: one row per epoch.

    A checkpoint is used if it was made from the same inputs (`training_made_from`).
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
    """The work of the process for each further PyTorch device: `fit`, without validating or writing (`replicas`)."""
    with replicas.joined() as folder:
        params = load_params([folder / "params.yaml"])
        prepared = open_data(params)
        model = load_model(folder / "model.keras")
        fit_epochs(compiled(model, params, prepared), model, params, prepared, 0, Follower(params.seed))


def compiled(model: keras.Model, params: Params, prepared: Prepared) -> keras.Model:
    """A compiled wrapper of the model: the saved and evaluated model has no losses and no optimizer."""
    total = steps(prepared.images["train"], params.batch_size) * params.epochs
    images = keras.Input(model.input_shape[1:], dtype="uint8")
    trainer = keras.Model(images, model(images))
    optimizer = adam(
        schedule(params, total),
        beta_1=0.9,
        beta_2=params.beta_2,
        epsilon=1e-8,
        global_clipnorm=params.clip_norm,
    )
    if params.precision == "mixed_float16":
        # Small gradients are zero in float16: the loss is scaled up, and the gradients are scaled down.
        optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
    trainer.compile(
        optimizer=optimizer,
        loss=loss_function(prepared.task, class_weights(prepared, params), known_share(prepared)),
        metrics=[MacroF1(prepared.task, name="macro_f1")],
    )
    create_variables(trainer, len(prepared.classes))
    return trainer


def schedule(params: Params, total: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """The learning rate of each of `total` steps: a linear warm-up where there is one, then a cosine."""
    rising = int(params.warmup * total)
    warmup = {"warmup_target": params.learning_rate, "warmup_steps": rising} if rising else {}
    return keras.optimizers.schedules.CosineDecay(
        0.0 if rising else params.learning_rate,
        total - rising,
        alpha=params.final_learning_rate / params.learning_rate,
        **warmup,
    )


def create_variables(trainer: keras.Model, classes: int) -> None:
    """Creates the variables of optimizer and metrics now: TensorFlow traces a step that creates variables twice."""
    trainer.optimizer.build(trainer.trainable_variables)
    nothing = ops.zeros((1, classes))
    trainer.compute_loss(y=nothing, y_pred=nothing)
    trainer.compute_metrics(None, nothing, nothing)
    trainer.reset_metrics()
