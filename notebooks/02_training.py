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
# How does one network learn one dataset, and where is it wrong in the end? A run is a backbone, its initial weights and
# a dataset. Its folder holds all that later notebooks read: the history, the best model, the predictions of every
# split, and what they were made with. Networks, augmentation and learning rates follow the study "Lung Disease
# Classification"; `docs/choices.md` says where we differ.

# %% tags=["parameters"]
dataset = "pneumonia"
prepared = "prepared/demo"
runs = "reports/demo/runs"
image_size = 64
backbone = "mobilenet_v3_large"
weights = "random"
suffix = ""
seed = 0
epochs = 4
batch_size = 32
learning_rate = 0.003
final_learning_rate = 0.0001
class_weights = True
uncertain = "ignore"
blank = "zeros"
batch_norm_momentum = 0.9
beta_2 = 0.99
clip_norm = 0.3
dropout = False
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
# Eight of the scans that the model will learn from, and how many of each class there are.

# %%
figures.strip(data.images["train"][:8])

# %%
counts = lungkeras.class_counts(data.records)
print(readings.of_counts(counts))
counts

# %% [markdown]
# Training shows each scan in changing forms: with probability one half each, sharpened by a factor of two, stretched
# to the full range of grey levels, mirrored. The same eight scans, as one epoch may show them:

# %%
augmentation = lungkeras.Augmentation(seed=seed)
augmented = augmentation(data.images["train"][:8, ..., None], training=True)
figures.strip(keras.ops.convert_to_numpy(augmented)[..., 0])

# %% [markdown]
# ## The model
#
# Greyscale scans go in as they are stored and logits come out. Normalisation is part of the model.

# %%
model = training.initial_model(params, data)
print(f"{model.count_params():,} parameters, {model.input_shape} in, {model.output_shape} out")

# %% [markdown]
# ## Train
#
# Adam with a cosine from the first to the final learning rate. The best model is the one of the lowest validation
# loss. A run that is finished already is read, not repeated; an interrupted one goes on.

# %%
folder = training.train(params, model)
run = evaluation.read_run(folder)

# %% [markdown]
# ## How did it go?
#
# Dashed: the training split, while it was learned from. Solid: the validation split. A gap that opens is overfitting.

# %%
figures.learning_curves(evaluation.histories({run.name: run}))

# %%
history = readings.of_history(run.history)
print(history)

# %% [markdown]
# ## What does the best model get right on the test split?
#
# F1 is the harmonic mean of precision (how many of the scans called a class have it) and recall (how many of the scans
# that have it are called that class). Macro F1, the study's score, is the mean over classes. The truth is in rows, the
# decision in columns.

# %%
labels, probabilities = evaluation.split_of(run, "test")
if run.task == "multiclass":
    confusion = metrics.confusion(labels, probabilities, run.classes)
    display(articles.confusion(confusion))
    print(readings.of_confusion(confusion))

# %%
scores = readings.of_run(run.metrics["test"])
print(scores)
lungkeras.per_class(run.metrics["test"])

# %% [markdown]
# ## Where is it wrong, and sure of it?
#
# Test scans of each class that the model is most sure and wrong about, with its calibrated probability.

# %%
errors = failures.confident_errors({run.name: run}, most=6)
if len(errors):
    display(galleries.gallery(galleries.scans_of(errors, data), run))

# %%
surest = readings.of_errors(errors)
print(surest)

# %% [markdown]
# ## What was learned

# %%
print(readings.learned(scores, history, surest))

# %% [markdown]
# One run says little: its score depends on the patients that were drawn for the test, and another network may do as
# well. All runs stand side by side in [03 Evaluation](03_evaluation.ipynb).
