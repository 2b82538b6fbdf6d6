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
# # Visualization
#
# What have the models learned, and can their explanations be trusted? This article looks at the scans, at how the
# features of the models arrange them, and at heat maps of the evidence for a class. Then it tests these heat maps. The
# pictures are figures of the study "Lung Disease Classification", which reads them by eye. The measures below them are
# additions of this project.

# %% tags=["parameters"]
prepared = "prepared/demo"
runs = "reports/demo/runs"
seed = 0
uncertain = "ignore"
blank = "zeros"
backend = None

# %%
# %matplotlib inline
import pandas as pd

import lungkeras

lungkeras.use_backend(backend)

from lungkeras import evaluation
from lungkeras.explanation import gallery, measures
from lungkeras.report import figures, readings, saving
from lungkeras.scores import metrics
from lungkeras.study.figure_names import figure_name, pictured
from lungkeras.system.places import from_project

# %%
study = from_project(runs).parent
main = evaluation.main_runs(lungkeras.read_runs(from_project(runs)))
datasets = list(dict.fromkeys(run.dataset for run in main.values()))
folders = {dataset: from_project(prepared) / dataset for dataset in datasets}
data = {name: lungkeras.load_prepared(folder, uncertain=uncertain, blank=blank) for name, folder in folders.items()}
print(f"{len(main)} models of {len(datasets)} datasets")

# %% [markdown]
# ## Figure 1: what do the scans look like?
#
# One scan of each class, as published, before any preparation.

# %%
saving.figure(study, 1, figures.sample_scans({dataset: gallery.examples(data[dataset]) for dataset in datasets}))

# %% [markdown]
# ## Figure 2: what does preparation do?
#
# A scan is equalised at full size, blurred and resized. The histogram below each image shows its grey levels, which
# equalising spreads over the whole range.

# %%
saving.figure(study, 2, figures.preprocessing_effect({name: gallery.steps(data[name]) for name in datasets}))

# %% [markdown]
# ## Figures 5 and 6: how do the models arrange the test split?
#
# The features are the numbers from which the last layer computes the logits: a vector for each scan. They are computed
# for the datasets with one class per scan.

# %%
models = {name: lungkeras.load_model(from_project(runs) / name / "best.keras") for name in main}
runs_of = {d: {name: run for name, run in main.items() if run.dataset == d} for d in pictured(datasets)}
features = {d: gallery.features_of(models, own, data[d]) for d, own in runs_of.items()}

# %% [markdown]
# Above: t-SNE places scans with similar features close together; distances between clusters mean nothing. Below: the
# confusion matrix, with true classes in rows and predicted ones in columns.

# %%
for dataset, own in runs_of.items():
    points = gallery.embeddings(features[dataset], data[dataset], seed=seed)
    confusions = {name: metrics.confusion(*evaluation.split_of(run, "test"), run.classes) for name, run in own.items()}
    figure = figures.embeddings_and_confusions(points, confusions)
    display(saving.figure(study, figure_name("embeddings", dataset), figure, data=points))

# %% [markdown]
# ## Figures 7 and 8: where do the models look?
#
# Grad-CAM for the true class of one test scan per class: the scan with the highest mean confidence over the models.
# Maps have the grid of the last layer with 7 x 7 cells or more, so they show only roughly where the evidence is.

# %%
for dataset, own in runs_of.items():
    explained = gallery.explanations({name: models[name] for name in own}, own, data[dataset])
    display(saving.figure(study, figure_name("heatmaps", dataset), figures.grad_cams(*explained)))

# %% [markdown]
# ## What the pictures show, as numbers
#
# A picture shows one scan; a number can be averaged over all of them. How many of a scan's ten nearest neighbours in
# feature space share its class?

# %%
learned = []
if runs_of:
    separation = pd.concat([measures.feature_measures(features[d], data[d]) for d in runs_of], ignore_index=True)
    saving.table(study, "features", separation)
    learned.append(readings.of_features(separation))
    print(learned[-1])
    display(separation.groupby("run", sort=False)[["purity", "silhouette"]].mean().round(3))

# %% [markdown]
# How one-sided, large and low is each heat map, and how similar are the maps of two models? The claims of the paper
# about heat maps are tested with these measures.

# %%
if runs_of:
    heatmaps, agreement = measures.heatmaps_of_study(models, runs_of, data)
    saving.table(study, "heatmaps", heatmaps)
    saving.table(study, "heatmap_agreement", agreement)
    learned.append(readings.of_maps(heatmaps))
    print(learned[-1])
    display(heatmaps.groupby(["run", "label"], sort=False)[["asymmetry", "area", "row"]].mean().round(3))

# %% [markdown]
# ## The most confident errors, under their heat maps
#
# For the report: each confident error as published, as prepared, and under the heat map of the predicted class (with
# several findings, of the finding in question).

# %%
sheets = figures.write_error_sheets(models, main, data, study)
pd.Series({dataset: len(errors) for dataset, errors in sheets.items()}, name="errors", dtype=int)

# %% [markdown]
# ## Explanations put to the test
#
# A heat map looks convincing even if it is wrong. The first test: does the maximum of a map lie inside a box of the
# finding that it explains, and more often than the best fixed point, which never looks at a scan? Two more references
# are a random point and the best possible map on the same grid, and a model with randomised weights.

# %%
from lungkeras.evaluation import failures
from lungkeras.explanation import localisation, randomisation
from lungkeras.report.figures import explanations

randomised = {name: randomisation.renewed(models[name], seed) for name in failures.best_on_validation(main).values()}
boxes = {dataset: localisation.load_boxes(folder) for dataset, folder in folders.items()}
scored, located, examples = localisation.localise_study(models, main, data, boxes, randomised, seed=seed)
saving.table(study, "localisation_scans", scored)
saving.table(study, "localisation", located)
saving.table(study, "localisation_classes", localisation.by_class(located))
saving.figure(study, "pointing", explanations.pointing(located, examples), data=located)

# %% [markdown]
# The test uses the boxes of at most 400 test scans per dataset, drawn at random; without boxes there is no answer.

# %%
pointing = readings.of_pointing(located)
print(pointing)
localisation.over_all(located)[["dataset", "run", "method", "cells", "findings", "hit", "above_prior"]].round(3)

# %% [markdown]
# The second test: do maps depend on what was learned? For each dataset, the weights of the model with the highest
# validation score are randomised in memory, stage by stage from the logits down. A map that does not change shows the
# scan, not the model.

# %%
alike, fallen, examples = randomisation.randomise_study(models, main, data, randomised, seed=seed)
saving.table(study, "randomisation_scans", alike)
saving.table(study, "randomisation", fallen)
saving.figure(study, "cascade", explanations.cascade(fallen, examples), data=fallen)

# %%
sanity = readings.of_randomisation(fallen)
print(sanity)

# %% [markdown]
# ## What was learned

# %%
print(readings.learned(*learned, pointing, sanity))

# %% [markdown]
# The study ends with [05 Report](05_report.ipynb). [06 Explanation](06_explanation.ipynb) computes one heat map step by
# step.
