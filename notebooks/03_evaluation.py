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
# # Evaluation
#
# Which network classifies best, and how certain is that? This article compares all finished runs of a study. It makes
# the three tables of the study "Lung Disease Classification" and its figures of curves. Scores are computed from each
# run's predictions, so they can be checked without a model. Each score has a 95 % interval over the patients of the
# test split. The sentences under a table are computed from that table.

# %% tags=["parameters"]
prepared = "prepared/demo"
runs = "reports/demo/runs"
seed = 0
uncertain = "ignore"
blank = "zeros"
backend = None

# %%
# %matplotlib inline
import lungkeras

lungkeras.use_backend(backend)

# %%
from lungkeras import evaluation
from lungkeras.evaluation import baselines, calibration, comparison, failures, operating_points, summaries
from lungkeras.evaluation.paper import tables
from lungkeras.models import complexity
from lungkeras.preparation import duplicates
from lungkeras.report import figures, readings
from lungkeras.report.figures import articles
from lungkeras.report.figures.files import save_figure
from lungkeras.report.readings import scores as read
from lungkeras.system.files import write_csv
from lungkeras.system.places import from_project

# %% [markdown]
# The input: the finished runs of the study, and the prepared datasets that they were trained on.

# %%
study = from_project(runs).parent
finished = lungkeras.read_runs(from_project(runs))
main, ablation = evaluation.main_runs(finished), evaluation.ablation_runs(finished)
folders = {dataset: from_project(prepared) / dataset for dataset in dict.fromkeys(run.dataset for run in main.values())}
policy = {"uncertain": uncertain, "blank": blank}  # of labels that a collection does not know
data = {dataset: lungkeras.load_prepared(folder, **policy) for dataset, folder in folders.items()}
print(f"{len(main)} models and {len(ablation)} runs of the ablation")

# %% [markdown]
# ## Table 1: what were the models trained on?
#
# The scans of each class in each split, next to those of the published collection.

# %%
table_1 = tables.table_1({dataset: prepared.records for dataset, prepared in data.items()}, **policy)
write_csv(study / "tables" / "table_1.csv", table_1)
print(read.of_sizes(table_1))
table_1

# %% [markdown]
# ## Table 2: how large are the models?
#
# Parameters and operations are counted on the models as built here, with the 1000 classes of ImageNet and at 256 x 256
# pixels, as in the paper. The paper's FLOPs are multiply-accumulates of a batch of 32.

# %%
counted = {}
for backbone in dict.fromkeys(run.backbone for run in main.values()):
    model = lungkeras.build_model(backbone, range(1000), "multiclass", image_size=256)
    counted[backbone] = {
        "parameters": complexity.count_parameters(model),
        "layers": complexity.count_layers(model),
        "multiply_accumulates": complexity.count_multiply_accumulates(model),
        "image_size": 256,
    }
table_2 = tables.table_2(counted)
write_csv(study / "tables" / "table_2.csv", table_2)
print(read.of_complexity(table_2))
table_2

# %% [markdown]
# ## Table 3: what do the models score?
#
# Macro F1 on the test split, seconds per epoch, and the epoch of the lowest validation loss, next to the published
# values. The interval resamples patients, each with all of their scans, as scans of one patient resemble each other.

# %%
results = evaluation.results(finished)
table_3 = tables.table_3(results)
write_csv(study / "tables" / "table_3.csv", table_3)
articles.scores(table_3[table_3["run"].isin(main)])

# %%
answer = read.of_scores(table_3)
print(answer)
table_3

# %% [markdown]
# ## Which models differ?
#
# Each pair of models is compared on the same test scans, with a permutation test that swaps their predictions patient
# by patient. The p-values are adjusted for the number of pairs. With a p-value of 0.05 or more, two models are not
# significantly different.

# %%
model_pairs = comparison.pairs(main)
write_csv(study / "tables" / "model_pairs.csv", model_pairs)
differ = read.of_pairs(model_pairs)
print(differ)
model_pairs[["first", "second", "difference", "low", "high", "p_holm", "auroc_difference", "auroc_p_holm"]].round(3)

# %% [markdown]
# Two trainings of one model differ only by their seed. Runs that the study repeats show how much.

# %%
seeds = comparison.seeds(finished)
write_csv(study / "tables" / "seeds.csv", seeds)
print(read.of_seeds(seeds))
seeds

# %% [markdown]
# ## Class by class, at another prevalence, and beside other studies
#
# The AUROC of every class: how well each model ranks the scans of the class above all others.

# %%
class_scores = comparison.class_scores(finished)
write_csv(study / "tables" / "class_scores.csv", class_scores)
classes = read.of_classes(class_scores)
print(classes)
class_scores.round(3)

# %% [markdown]
# The study leaves out normal scans until the classes have similar sizes. If each normal test scan is weighted to stand
# for those left out as well, the score is that at the prevalence of the collection.

# %%
left_out = {dataset: summaries.normals_left_out(folder) for dataset, folder in folders.items()}
kept = {dataset: summaries.normals_kept(table.records, dataset) for dataset, table in data.items()}
listed = {dataset: summaries.scans_left_out(folder) + len(data[dataset].records) for dataset, folder in folders.items()}
prevalence = comparison.natural_prevalence(main, left_out, kept, listed)
write_csv(study / "tables" / "prevalence.csv", prevalence)
print(read.of_prevalence(prevalence))
prevalence.round(3)

# %% [markdown]
# Other studies report AUROC for the findings of ChestX-ray8 too. Their splits differ, so their values are not a target.

# %%
published_auroc = comparison.auroc_beside_published(class_scores[class_scores["run"].isin(main)])
write_csv(study / "tables" / "published_auroc.csv", published_auroc)
published_auroc.round(3)

# %% [markdown]
# ## Is a network needed?
#
# These baselines need no network: always the most frequent class, every finding on every scan, age and view alone, a
# linear classifier on the same pixels. If one scores as high as the networks, the task is too easy to compare them.

# %%
given = baselines.answers(data.values(), seed=seed)
trivial = baselines.scores_of(data.values(), given)
write_csv(study / "tables" / "trivial_baselines.csv", trivial)
trivial.round(3)

# %%
linear = trivial[trivial["baseline"] == baselines.LINEAR].set_index("dataset")["macro_f1"]
beside_linear = tables.baselines(results, linear, failures.best_on_validation(main))
write_csv(study / "tables" / "baselines.csv", beside_linear)
print(read.of_baselines(beside_linear))
beside_linear

# %% [markdown]
# Is each network significantly better than the linear model, by the paired test on the same scans?

# %%
against = comparison.against(main, given)
write_csv(study / "tables" / "against_baselines.csv", against)
needed = read.of_against(against)
print(needed)
against[["run", "baseline", "difference", "low", "high", "p_holm", "better"]].round(3)

# %% [markdown]
# ## Do probabilities mean what they say?
#
# Of all predictions with a confidence of 80 %, four in five should be correct. The weights of a multilabel loss raise
# the logit of every finding by a known amount, which is subtracted. Then the logits are divided by a temperature fitted
# on the validation split: one temperature for exclusive classes, one per finding otherwise. The model's decisions do
# not change.

# %%
calibrated = calibration.calibration(main)
write_csv(study / "tables" / "calibration.csv", calibrated)
curves = calibration.reliability(main)
figure = figures.reliability_diagrams(curves, calibrated)
save_figure(figure, study / "figures", "reliability", data=curves)
figure

# %%
honest = read.of_calibration(calibrated)
print(honest)
calibrated[["run", "temperature", "ece", "ece_null", "ece_scaled", "ece_scaled_null", "brier", "brier_scaled"]].round(3)

# %% [markdown]
# A multilabel model predicts a finding if its probability is at least one half. Another choice is the threshold with
# the highest F1 on the validation split. Both are scored on the test split.

# %%
from lungkeras.evaluation import decision_thresholds

thresholds = decision_thresholds.thresholds(main)
write_csv(study / "tables" / "thresholds.csv", thresholds)
print(read.of_thresholds(thresholds))
thresholds.T

# %% [markdown]
# Screening needs few false alarms. What is the sensitivity at a specificity of 90 or 95 %? The threshold comes from the
# validation split, the score from the test split.

# %%
points = operating_points.operating_points(main, failures.best_on_validation(main).values())
write_csv(study / "tables" / "operating_points.csv", points)
print(read.of_operating_points(points))
points[points["chosen"]].drop(columns=["run", "chosen"]).round(3)

# %% [markdown]
# ## Where are they wrong and confident?
#
# The errors of each class. For the model with the highest validation F1, also the scans themselves, with the predicted
# class and its calibrated probability.

# %%
from lungkeras.evaluation import external, external_rules, shared_scans, subgroups, transfer

write_csv(study / "tables" / "failures.csv", failures.confident_errors(finished))
for figure in figures.write_galleries(main, data, study).values():
    display(figure)

# %%
failure_counts = failures.error_counts(finished)
write_csv(study / "tables" / "failure_counts.csv", failure_counts)
missed = read.of_failures(failure_counts)
print(missed)
failure_counts[failure_counts["run"].isin(main)].set_index(["run", "class"])[["scans", "missed", "called"]]

# %% [markdown]
# ## For whom do they work?
#
# Scores on the test scans by view, sex and age, if the collection gives them. Small groups have no score.

# %%
groups = subgroups.subgroups(main, data)
write_csv(study / "tables" / "subgroups.csv", groups)
print(read.of_groups(groups))
groups.drop(columns=["macro_f1_low", "macro_f1_high"]).round(3)

# %% [markdown]
# ## Would they work elsewhere?
#
# The collections share scans, so only few scans of one can test a model trained on another. They must belong to a class
# of both collections and have no copy in the model's own collection.

# %%
collections = shared_scans.open_collections(data, folders, from_project(prepared) / duplicates.KEPT)
asked = external_rules.external_scans(collections, data)
write_csv(study / "tables" / "external_scans.csv", asked)
asked

# %%
elsewhere = external.external_validation(
    main, collections, lambda run: lungkeras.load_model(from_project(runs) / run / "best.keras"), finished
)
write_csv(study / "tables" / "external.csv", elsewhere)
abroad = read.of_external(elsewhere)
print(abroad)
elsewhere.round(3)

# %% [markdown]
# Weights trained on another collection may have seen copies of the test scans. The table counts these copies and also
# gives the score without them.

# %%
known = transfer.transferred(main, collections, finished)
write_csv(study / "tables" / "transfer.csv", known)
print(read.of_transfer(known))
known

# %% [markdown]
# ## Figure 3: how did the models from scratch learn?
#
# Dashed: training. Solid: validation. A mark shows the epoch of the lowest validation loss.

# %%
scratch = {name: run for name, run in main.items() if run.weights == "random"}  # variants of one setting too
curves = evaluation.histories(scratch)
figure = figures.learning_curves(curves)
save_figure(figure, study / "figures", 3, data=curves)
figure

# %%
epochs = curves.groupby("run")["epoch"].max().to_dict()
print(read.of_curves(results, epochs))

# %% [markdown]
# ## Figure 4: does it help to start from learned features?
#
# EfficientNet-B1 from random weights, next to the same network from pretrained weights.

# %%
plain = {name: run for name, run in main.items() if name.endswith(f"-{run.weights}")}
pairs = {name: run for name, run in plain.items() if run.backbone == "efficientnet_b1"}
if any(run.weights != "random" for run in pairs.values()):
    curves = evaluation.histories(pairs)
    figure = figures.transfer_curves(curves)
    save_figure(figure, study / "figures", 4, data=curves)
    display(figure)
    print(read.of_pretraining(results, model_pairs, pairs))

# %% [markdown]
# ## Figures 9 and 10: which learning rate?
#
# EfficientNet-B1 from scratch on covid, with five initial rates. The final rate is the same in all runs.

# %%
if ablation:
    curves = evaluation.histories(ablation)
    figure = figures.ablation_curves(curves)
    save_figure(figure, study / "figures", 9, data=curves)
    display(figure)

# %%
if ablation:
    scores = results[results["run"].isin(ablation)].rename(columns={"learning_rate": "rate"})
    figure = figures.ablation_bars(scores)
    save_figure(figure, study / "figures", 10, data=scores)
    display(figure)
    print(read.of_rates(scores))

# %% [markdown]
# ## Your own tables and figures
#
# The modules in `lungkeras/report/further` make their tables and figures here too.

# %%
from lungkeras.report.further import write_further

for made in write_further(main, data, study):
    display(made)

# %% [markdown]
# ## What was learned

# %%
print(readings.learned(answer, differ, needed, classes, honest, missed, abroad))

# %% [markdown]
# Scores say how often a model is right, not why. [04 Visualization](04_visualization.ipynb) looks into the models.
