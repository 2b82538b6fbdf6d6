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
# What have the models learned, and can their explanations be trusted? This article shows the scans before and after
# preparation, how the last features of the models arrange the test split, and where in a scan the models find the
# evidence for a class. Then it tests these heat maps. The pictures are figures of the study "Lung Disease
# Classification", which reads them by eye; the measures below them are ours.

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

from lungkeras import evaluation, explanation
from lungkeras.explanation import gallery, measures
from lungkeras.report import figures, readings
from lungkeras.report.figures.files import save_figure
from lungkeras.scores import metrics
from lungkeras.study.figure_names import figure_name, pictured
from lungkeras.system.files import write_csv
from lungkeras.system.places import from_project

# %%
study = from_project(runs).parent
main = evaluation.main_runs(lungkeras.read_runs(from_project(runs)))
datasets = list(dict.fromkeys(run.dataset for run in main.values()))
data = {
    dataset: lungkeras.load_prepared(from_project(prepared) / dataset, uncertain=uncertain, blank=blank)
    for dataset in datasets
}

# %% [markdown]
# ## Figure 1: what do the scans look like?
#
# One scan of each class, as published, before any preparation.

# %%
figure = figures.sample_scans({dataset: gallery.examples(data[dataset]) for dataset in datasets})
save_figure(figure, study / "figures", 1)
figure

# %% [markdown]
# ## Figure 2: what does preparation do?
#
# A scan is equalised at full size, blurred and resized. Below each image is the histogram of its grey levels.

# %%
figure = figures.preprocessing_effect({dataset: gallery.steps(data[dataset]) for dataset in datasets})
save_figure(figure, study / "figures", 2)
figure

# %% [markdown]
# ## Figures 5 and 6: how do the models arrange the test split?
#
# Above: t-SNE of the features before the logits. Scans with similar features lie close together; distances between
# clusters mean nothing. Below: the confusion matrix, with true classes in rows and predicted ones in columns.


# %%
def of(dataset):
    return {name: run for name, run in main.items() if run.dataset == dataset}


models = {name: lungkeras.load_model(from_project(runs) / name / "best.keras") for name in main}
shown = pictured(datasets)
vectors = {d: {name: explanation.features(models[name], data[d].images["test"]) for name in of(d)} for d in shown}

# %%
for dataset in shown:
    points = gallery.embeddings(vectors[dataset], data[dataset], seed=seed)
    confusions = {
        name: metrics.confusion(*evaluation.split_of(run, "test"), run.classes) for name, run in of(dataset).items()
    }
    figure = figures.embeddings_and_confusions(points, confusions)
    save_figure(figure, study / "figures", figure_name("embeddings", dataset), data=points)
    display(figure)

# %% [markdown]
# ## Figures 7 and 8: where do the models look?
#
# Grad-CAM at the last layer with a grid of 7 x 7 cells or more, for the true class of one test scan per class: the scan
# with the highest mean confidence over the models. The grid is coarse, so a map shows only roughly where the evidence
# is.

# %%
for dataset in shown:
    chosen = of(dataset)
    scans, heatmaps, probabilities = gallery.explanations(
        {name: models[name] for name in chosen}, chosen, data[dataset]
    )
    figure = figures.grad_cams(scans, heatmaps, probabilities)
    save_figure(figure, study / "figures", figure_name("heatmaps", dataset))
    display(figure)

# %% [markdown]
# ## What the pictures show, as numbers
#
# For each test scan: how many of its ten nearest neighbours in feature space share its class, and how one-sided, wide
# and low its map is. The claims of the paper are tested with these measures.

# %%
learned = []
separation = [measures.feature_measures(vectors[d], data[d]) for d in shown]
if shown:
    features = pd.concat(separation, ignore_index=True)
    write_csv(study / "tables" / "features.csv", features)
    learned.append(readings.of_features(features))
    print(learned[-1])
    display(features.groupby("run", sort=False)[["purity", "silhouette"]].mean().round(3))

# %%
maps = [measures.heatmap_measures({name: models[name] for name in of(d)}, of(d), data[d]) for d in shown]
if shown:
    heatmaps, agreement = (pd.concat(parts, ignore_index=True) for parts in zip(*maps, strict=True))
    write_csv(study / "tables" / "heatmaps.csv", heatmaps)
    write_csv(study / "tables" / "heatmap_agreement.csv", agreement)
    learned.append(readings.of_maps(heatmaps))
    print(learned[-1])
    display(heatmaps.groupby(["run", "label"], sort=False)[["asymmetry", "area", "row"]].mean().round(3))

# %% [markdown]
# ## The most confident errors, under their heat maps
#
# Each confident error: the scan as published, as prepared, and under the heat map of the predicted class (with several
# findings, of the finding in question). The report shows them as a wall that can be filtered.

# %%
sheets = figures.write_error_sheets(models, main, data, study)
pd.Series({dataset: len(errors) for dataset, errors in sheets.items()}, name="errors", dtype=int)

# %% [markdown]
# ## Explanations put to the test
#
# Does the maximum of a map lie inside a box of the finding that it explains? Is that more frequent than for the best
# fixed point, which never looks at a scan? The fixed point, a random point and the best possible map are on the map's
# own grid. The test uses the boxes of at most 100 test scans per dataset; without boxes there is no answer. A model
# with randomised weights is shown next to the trained ones.

# %%
from lungkeras.evaluation import failures
from lungkeras.explanation import localisation, randomisation
from lungkeras.report.figures import explanations

best = failures.best_on_validation(main)
randomised = {name: randomisation.renewed(models[name], seed) for name in best.values()}
boxes = {dataset: localisation.load_boxes(from_project(prepared) / dataset) for dataset in datasets}
scored, located, examples = localisation.localise_study(models, main, data, boxes, randomised, seed=seed)
write_csv(study / "tables" / "localisation_scans.csv", scored)
write_csv(study / "tables" / "localisation.csv", located)
write_csv(study / "tables" / "localisation_classes.csv", localisation.by_class(located))
figure = explanations.pointing(located, examples)
save_figure(figure, study / "figures", "pointing", data=located)
figure

# %%
pointing = readings.of_pointing(located)
print(pointing)
localisation.over_all(located)[["dataset", "run", "method", "cells", "findings", "hit", "above_prior"]].round(3)

# %% [markdown]
# Do maps depend on what was learned? For each dataset, the weights of the model with the highest validation score are
# randomised in memory, stage by stage from the logits down. A map that does not change shows the scan, not the model.

# %%
alike, fallen, examples = randomisation.randomise_study(models, main, data, randomised, seed=seed)
write_csv(study / "tables" / "randomisation_scans.csv", alike)
write_csv(study / "tables" / "randomisation.csv", fallen)
figure = explanations.cascade(fallen, examples)
save_figure(figure, study / "figures", "cascade", data=fallen)
figure

# %%
sanity = readings.of_randomisation(fallen)
print(sanity)

# %% [markdown]
# ## What was learned

# %%
print(readings.learned(*learned, pointing, sanity))

# %% [markdown]
# One heat map is worked through by hand, step by step, in [06 Explanation](06_explanation.ipynb). The study ends with
# [05 Report](05_report.ipynb).
