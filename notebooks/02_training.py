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
# One run: a backbone, its initial weights, a dataset. The run's folder holds all that later notebooks read: the
# history, the best model, the predictions of every split, and what they were made with.

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

# %%
# %matplotlib inline
import lungkeras

params = lungkeras.Params.collect(globals())
lungkeras.use_backend(backend)

import keras

from lungkeras import evaluation, training
from lungkeras.report import figures
from lungkeras.scores import metrics

data = lungkeras.load_prepared(params.prepared_folder, uncertain=uncertain, blank=blank)
params.run

# %% [markdown]
# ## The data
#
# The scans of each split, by class, and eight of those that the model will learn from.

# %%
lungkeras.class_counts(data.records)

# %%
figures.strip(data.images["train"][:8])

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

# %% [markdown]
# ## What does the best model score on the test split?

# %%
lungkeras.per_class(run.metrics["test"])

# %%
print(f"macro F1 {run.metrics['test']['macro_f1']:.3f}, best epoch {run.metrics['best_epoch']}")

# %%
labels, probabilities = evaluation.split_of(run, "test")
if run.task == "multiclass":
    display(metrics.confusion(labels, probabilities, run.classes))
