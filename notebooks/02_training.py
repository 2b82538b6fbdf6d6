# ---
# jupyter:
#   jupytext:
#     cell_metadata_filter: tags
#     formats: ipynb,py:percent
#     notebook_metadata_filter: kernelspec,jupytext
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Training
#
# How does one network learn one dataset, and where is it wrong in the end? One *run* trains a backbone, from some
# initial weights, on a dataset. This article shows a run from its data to its errors. The run's folder holds everything
# that later notebooks read: the history, the best model, the predictions for every split, and the settings. Networks,
# augmentation and learning rates follow the study "Lung Disease Classification"; `docs/choices.md` says where we
# differ.

# %% tags=["parameters"]
dataset = "pneumonia"
prepared = "prepared/demo"
runs = "reports/demo/runs"
image_size = 64
backbone = "mobilenet_v3_large"
weights = "random"
suffix = ""
seed = 0
epochs = 3
batch_size = 32
learning_rate = 0.003
final_learning_rate = 0.0001
class_weights = True
uncertain = "ignore"
blank = "zeros"
batch_norm_momentum = 0.9
beta_2 = 0.999
clip_norm = 1.0
warmup = 0.2
dropout = False
zero_init_residual = True
backend = None
devices = 1
precision = "float32"
tracker = "none"

# %%
# %matplotlib inline
import lungkeras

params = lungkeras.Params.collect(globals())
lungkeras.use_backend(backend)

import keras

from lungkeras import evaluation, training
from lungkeras.evaluation import failures
from lungkeras.report import figures, readings
from lungkeras.report.figures import articles
from lungkeras.report.figures import failures as galleries
from lungkeras.scores import metrics

# %%
data = lungkeras.load_prepared(params.prepared_folder, uncertain=uncertain, blank=blank)
params.run

# %% [markdown]
# ## What is there to learn from?
#
# Eight of the training scans, as the model gets them:

# %%
figures.strip(data.images["train"][:8])

# %% [markdown]
# How many scans does each class have?

# %%
counts = lungkeras.class_counts(data.records)
print(readings.of_counts(counts))
counts

# %% [markdown]
# Training changes each scan at random, so that the model never sees exactly the same scan twice. With probability one
# half each, a scan is sharpened by a factor of two, stretched to the full range of grey levels, and mirrored. The same
# eight scans, as one epoch may show them:

# %%
augmentation = lungkeras.Augmentation(seed=seed)
augmented = augmentation(data.images["train"][:8, ..., None], training=True)
figures.strip(keras.ops.convert_to_numpy(augmented)[..., 0])

# %% [markdown]
# ## The model
#
# The model takes greyscale scans as they are stored and returns one logit per class. Normalisation is part of the
# model.

# %%
model = training.initial_model(params, data)
print(f"{model.count_params():,} parameters, {model.input_shape} in, {model.output_shape} out")

# %% [markdown]
# ## Train
#
# The optimizer is Adam, and the learning rate falls along a cosine. The model of the epoch with the lowest validation
# loss is kept. A finished run is read, not repeated; an interrupted one continues.

# %%
folder = training.train(params, model)
run = evaluation.read_run(folder)

# %% [markdown]
# ## How did it go?
#
# Dashed: the training split, measured during training. Solid: the validation split. The dot is the model that was kept.
# A growing gap between the curves is overfitting.

# %%
figures.learning_curves(evaluation.histories({run.name: run}))

# %%
history = readings.of_history(run.history)
print(history)

# %% [markdown]
# ## What does the best model get right on the test split?
#
# In the confusion matrix, rows are the true classes and columns the predicted ones. Errors are off the diagonal.

# %%
labels, probabilities = evaluation.split_of(run, "test")
if run.task == "multiclass":
    confusion = metrics.confusion(labels, probabilities, run.classes)
    display(articles.confusion(confusion))
    print(readings.of_confusion(confusion))

# %% [markdown]
# One number per class: F1 is the harmonic mean of precision (the share of scans predicted as a class that belong to it)
# and recall (the share of scans of a class that are predicted as it). Macro F1, the study's score, is the mean over
# classes.

# %%
scores = readings.of_run(run.metrics["test"])
print(scores)
lungkeras.per_class(run.metrics["test"])

# %% [markdown]
# ## Where is it wrong and confident?
#
# The most confident errors of each class on the test split, with the model's calibrated probability. Such a scan may
# have a wrong label, be unusual, or show what the model mistakes for the class.

# %%
errors = failures.confident_errors({run.name: run}, most=6)
if len(errors):
    display(galleries.gallery(galleries.scans_of(errors, data), run))

# %%
confident = readings.of_errors(errors)
print(confident)

# %% [markdown]
# ## What was learned

# %%
print(readings.learned(scores, history, confident))

# %% [markdown]
# One run is not enough: its score depends on the patients in the test split, and another network may do as well.
# [03 Evaluation](03_evaluation.ipynb) compares all runs.
