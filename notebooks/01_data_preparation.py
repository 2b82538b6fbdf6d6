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
# # Data preparation
#
# A folder of chest X-rays, as published, becomes a *prepared dataset*: equalised, blurred, resized scans in three
# arrays, a table of records, and the training split's mean and standard deviation. Everything later reads only that.

# %% tags=["parameters"]
dataset = "pneumonia"
source = "sources/demo"
acquire = "draw"
scans = 2400
prepared = "prepared/demo"
image_size = 64
seed = 0
split = "patients"
votes = "majority"

# %%
# %matplotlib inline
import lungkeras
from lungkeras import preparation
from lungkeras.datasets import acquisition, known_dataset
from lungkeras.preparation import audit
from lungkeras.preparation.audit.summary import tables
from lungkeras.report import figures

params = lungkeras.Params.collect(globals())
folder = acquisition.acquire(dataset, params.source_folder, acquire, scans=scans, seed=seed)
known_dataset(dataset).title

# %% [markdown]
# ## What does the collection hold?
#
# The reader applies the study's selection. Each step of it is counted, so that no scan disappears in silence.

# %%
records = lungkeras.read_records(dataset, folder, seed=seed, votes=votes)
records.head()

# %%
lungkeras.flow(records)

# %% [markdown]
# One scan of each class, as it lies in the folder: the first that can be read.

# %%
classes = [name for name in known_dataset(dataset).classes if (records[name] == 1).any()]
files = {name: [folder / path for path in records.loc[records[name] == 1, "path"]] for name in classes}
images = {name: preparation.first_steps(paths, 256)["original"] for name, paths in files.items()}
figures.sample_scans({dataset: images})

# %% [markdown]
# ## What does the preparation do to a scan?
#
# Histogram equalisation spreads the grey levels over the whole range, at full size; a Gaussian blur of 5 x 5 pixels
# takes away fine noise; then the scan is resized. The histograms below each step show the first two at work.

# %%
steps = preparation.first_steps([folder / path for path in records["path"]], image_size)
figures.preprocessing_effect({dataset: steps})

# %% [markdown]
# ## Prepare all scans
#
# Scans that can't be read are put in quarantine, with the reason, and the others go on. The split is 70:15:15 by
# patient, or takes the published test list: all scans of a patient are on one side.

# %%
to = params.prepared_folder
summary = preparation.prepare_dataset(dataset, folder, to, size=image_size, seed=seed, split=split, votes=votes)
data = lungkeras.load_prepared(params.prepared_folder)
lungkeras.class_counts(data.records)

# %% [markdown]
# The proof that no patient is on two sides: patients by the number of splits in which they have scans.

# %%
data.records.groupby("patient")["split"].nunique().value_counts().rename("patients").to_frame()

# %% [markdown]
# ## Audit before training
#
# What a split by scan would have leaked, copies of a scan (which no split parts), and what can be predicted of a class
# without looking at the lungs: the AUROC of linear models, with an interval over patients, and an alarm where it should
# not be so high.

# %%
found = audit.audit_prepared(params.prepared_folder, seed=seed)
audited = tables({dataset: found})
audited["audit_leakage"].T

# %%
audited["audit_shortcuts"].pivot_table(["auroc", "alarm"], "class", "name")

# %% [markdown]
# How many labels do the scans contradict, by a linear model on textures? Where it does not tell a class well, nothing
# can be said. No reader has looked at these scans: a suspected label is a question, not an error.

# %%
audited["audit_labels"]

# %%
audited["audit_suspects"].head(8)

# %%
found["notes"]

# %% [markdown]
# ## Statistics
#
# The training split's statistics become a layer of every model of this dataset. They are in grey levels, 0 to 255.

# %%
{"mean": data.mean, "standard deviation": data.std, "quarantined": summary["quarantined"], "absent": summary["absent"]}

# %% [markdown]
# ## What a model will see
#
# Prepared scans of the training split, one of each class.

# %%
train = data.split("train")
places = {name: train.index[train[name] == 1] for name in classes}
seen = {name: data.images["train"][found[0]] for name, found in places.items() if len(found)}
figures.sample_scans({dataset: seen})
