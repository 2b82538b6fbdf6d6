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
# Which scans does a collection hold, and are they fit to compare networks on? A folder of chest X-rays, as published,
# becomes a *prepared dataset*: equalised, blurred, resized scans in three arrays, a table of records, and the training
# split's mean and standard deviation. Everything later reads only that. Selection and preparation follow the study
# "Lung Disease Classification"; the split by patient and the audit are additions of this project.

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
uncertain = "ignore"
blank = "zeros"

# %%
# %matplotlib inline
import lungkeras
from lungkeras import preparation
from lungkeras.datasets import acquisition, known_dataset
from lungkeras.preparation import audit
from lungkeras.preparation.audit.summary import tables
from lungkeras.report import figures, readings
from lungkeras.report.figures import articles

params = lungkeras.Params.collect(globals())
folder = acquisition.acquire(dataset, params.source_folder, acquire, scans=scans, seed=seed)
known_dataset(dataset).title

# %% [markdown]
# ## What does the collection hold?
#
# One scan of each class, as published.

# %%
records = lungkeras.read_records(dataset, folder, seed=seed, votes=votes)
classes = [name for name in known_dataset(dataset).classes if (records[name] == 1).any()]
files = {name: [folder / path for path in records.loc[records[name] == 1, "path"]] for name in classes}
images = {name: preparation.first_steps(paths, 256)["original"] for name, paths in files.items()}
figures.sample_scans({dataset: images})

# %% [markdown]
# The reader makes a table with one row per scan.

# %%
records.head()

# %% [markdown]
# It applies the study's selection and counts the scans that each step leaves out, so no scan is lost unnoticed.

# %%
selected = readings.of_selection(lungkeras.flow(records))
print(selected)
lungkeras.flow(records)

# %% [markdown]
# ## What does the preparation do to a scan?
#
# Histogram equalisation spreads the grey levels over the whole range, at full size. A Gaussian blur of 5 x 5 pixels
# removes fine noise. Then the scan is resized. The histograms below each step show the effect of the first two.

# %%
steps = preparation.first_steps([folder / path for path in records["path"]], image_size)
figures.preprocessing_effect({dataset: steps})

# %% [markdown]
# ## Prepare all scans
#
# Scans that can't be read are quarantined with the reason; all others are prepared and divided into three splits,
# 70:15:15 by patient, or by the published test list.

# %%
to = params.prepared_folder
summary = preparation.prepare_dataset(dataset, folder, to, size=image_size, seed=seed, split=split, votes=votes)
data = lungkeras.load_prepared(to)

# %% [markdown]
# How many scans of each class are in each split?

# %%
counts = lungkeras.class_counts(data.records)
articles.class_bars(counts)

# %%
counted = readings.of_counts(counts)
print(counted)
counts

# %% [markdown]
# Is any patient in two splits? Then a model could recognise the patient instead of the disease. The table counts
# patients by the number of splits in which they have scans.

# %%
separated = readings.of_separation(data.records)
print(separated)
data.records.groupby("patient")["split"].nunique().value_counts().rename("patients").to_frame()

# %% [markdown]
# ## Audit before training
#
# Can a class be predicted without the lungs? Linear models see only the border, the height and width, or what the
# collection says about a patient. An AUROC of 0.5 is chance. An interval beyond the dotted line is an alarm: a network
# may learn this shortcut too.

# %%
found = audit.audit_prepared(params.prepared_folder, seed=seed, uncertain=params.uncertain, blank=params.blank)
audited = tables({dataset: found})
articles.shortcuts(audited["audit_shortcuts"])

# %%
shortcuts = readings.of_shortcuts(audited["audit_shortcuts"])
print(shortcuts)

# %% [markdown]
# What would a split by scan have done? It would put scans of one patient, with the same label, into training and test.
# Copies of a scan must stay in one split too.

# %%
print(readings.of_leakage(audited["audit_leakage"]))
audited["audit_leakage"].T

# %% [markdown]
# How many labels look wrong? A linear model on textures estimates it for the classes that it recognises well. No reader
# has looked at these scans: a suspected label is a question, not an error.

# %%
labels = readings.of_labels(audited["audit_labels"])
print(labels)
audited["audit_labels"]

# %% [markdown]
# These scans differ most from their label. A reader should look at them first.

# %%
audited["audit_suspects"].head(8)

# %% [markdown]
# The audit also notes what it could not decide.

# %%
print(*found["notes"], sep="\n")

# %% [markdown]
# ## What will a model see?
#
# Prepared scans of the training split, one of each class.

# %%
train = data.split("train")
places = {name: train.index[train[name] == 1] for name in classes}
seen = {name: data.images["train"][rows[0]] for name, rows in places.items() if len(rows)}
figures.sample_scans({dataset: seen})

# %% [markdown]
# The mean and standard deviation of the training split become the first layer of every model.

# %%
print(readings.of_preparation(data.mean, data.std, summary["quarantined"], summary["absent"]))

# %% [markdown]
# ## What was learned

# %%
print(readings.learned(selected, counted, separated, shortcuts, labels))

# %% [markdown]
# Are these scans enough to learn from? [02 Training](02_training.ipynb) tries it.
