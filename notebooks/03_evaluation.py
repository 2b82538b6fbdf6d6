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
# Which network classifies best, and how certain is that? This article compares all finished runs of a study, in four
# steps:
#
# 1. What the models were trained on, how large they are, what they score and how they learned: the three tables of the
#    study "Lung Disease Classification" and its figures of curves.
# 2. Which differences are significant, between models and from models that need no network.
# 3. Whether the probabilities are calibrated, and which thresholds to use.
# 4. Where the models are wrong, for which patients, and on which other collections.
#
# Scores are computed from each run's predictions, so they can be checked without a model. Each score has a 95 %
# interval over the patients of the test split. The sentences above a table are computed from that table.

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
from lungkeras.preparation import duplicates
from lungkeras.report import figures, readings, saving
from lungkeras.report.figures import articles
from lungkeras.report.readings import scores as read
from lungkeras.system.places import from_project

# %% [markdown]
# The inputs are the finished runs of the study and the prepared datasets that they were trained on.

# %%
study = from_project(runs).parent
finished = lungkeras.read_runs(from_project(runs))
main, ablation = evaluation.main_runs(finished), evaluation.ablation_runs(finished)
folders = {dataset: from_project(prepared) / dataset for dataset in dict.fromkeys(run.dataset for run in main.values())}
policy = {"uncertain": uncertain, "blank": blank}  # for unknown labels
data = {dataset: lungkeras.load_prepared(folder, **policy) for dataset, folder in folders.items()}
print(f"{len(main)} models and {len(ablation)} runs of the ablation")

# %% [markdown]
# ## Table 1: what were the models trained on?
#
# The scans of each class in each split, next to those of the published collection.

# %%
records = {dataset: prepared.records for dataset, prepared in data.items()}
table_1 = saving.table(study, "table_1", tables.table_1(records, **policy))
print(read.of_sizes(table_1))
table_1

# %% [markdown]
# ## Table 2: how large are the models?
#
# Parameters and operations are counted on the models as built here, with the 1000 classes of ImageNet and at 256 x 256
# pixels, as in the paper. The paper's FLOPs are multiply-accumulates of a batch of 32.

# %%
counted = tables.as_counted_in_the_paper(run.backbone for run in main.values())
table_2 = saving.table(study, "table_2", tables.table_2(counted))
print(read.of_complexity(table_2))
table_2

# %% [markdown]
# ## Table 3: what do the models score?
#
# Macro F1 is the mean F1 over the classes. The bootstrap draws patients with all of their scans, because scans of one
# patient resemble each other. In grey is the score of the paper.

# %%
results = evaluation.results(finished)
table_3 = saving.table(study, "table_3", tables.table_3(results))
articles.scores(table_3[table_3["run"].isin(main)])

# %%
highest = read.of_scores(table_3)
print(highest)

# %% [markdown]
# The whole table also has the seconds per epoch and the epoch of the lowest validation loss, next to the published
# values.

# %%
table_3

# %% [markdown]
# ## Figure 3: how did the models learn?
#
# The runs from random weights. Dashed: training. Solid: validation. The dot is the epoch of the lowest validation loss,
# whose model was kept.

# %%
scratch = {name: run for name, run in main.items() if run.weights == "random"}  # variants of one setting too
curves = evaluation.histories(scratch)
saving.figure(study, 3, figures.learning_curves(curves), data=curves)

# %%
epochs = curves.groupby("run")["epoch"].max().to_dict()
print(read.of_curves(results, epochs))

# %% [markdown]
# ## Which models differ?
#
# Two intervals may overlap although the models differ, because both models saw the same scans. So each pair is compared
# on these scans, by a permutation test that swaps the two models' predictions patient by patient. The p-values are
# adjusted for the number of pairs; a difference is significant below 0.05.

# %%
model_pairs = saving.table(study, "model_pairs", comparison.pairs(main))
differ = read.of_pairs(model_pairs)
print(differ)
model_pairs[["first", "second", "difference", "low", "high", "p_holm", "auroc_difference", "auroc_p_holm"]].round(3)

# %% [markdown]
# How large is a difference that comes from the seed alone? Runs that the study repeats with other seeds show it.

# %%
seeds = saving.table(study, "seeds", comparison.seeds(finished))
print(read.of_seeds(seeds))
seeds

# %% [markdown]
# ## Figure 4: do pretrained weights help?
#
# EfficientNet-B1 from random weights (light), next to the same network from pretrained weights (dark).

# %%
plain = {name: run for name, run in main.items() if name.endswith(f"-{run.weights}")}
pairs = {name: run for name, run in plain.items() if run.backbone == "efficientnet_b1"}
if any(run.weights != "random" for run in pairs.values()):
    curves = evaluation.histories(pairs)
    display(saving.figure(study, 4, figures.transfer_curves(curves), data=curves))
    print(read.of_pretraining(results, model_pairs, pairs))

# %% [markdown]
# ## Figures 9 and 10: which learning rate?
#
# EfficientNet-B1 from random weights on covid, with five initial rates. All runs end at the same final rate.

# %%
if ablation:
    curves = evaluation.histories(ablation)
    display(saving.figure(study, 9, figures.ablation_curves(curves), data=curves))

# %%
if ablation:
    scores = results[results["run"].isin(ablation)].rename(columns={"learning_rate": "rate"})
    display(saving.figure(study, 10, figures.ablation_bars(scores), data=scores))
    print(read.of_rates(scores))

# %% [markdown]
# ## Which classes are easy?
#
# A mean over classes hides which of them is recognised. AUROC says how well a model ranks the scans of a class above
# all others: 0.5 is chance, 1 is perfect.

# %%
class_scores = saving.table(study, "class_scores", comparison.class_scores(finished))
classes = read.of_classes(class_scores)
print(classes)
class_scores.round(3)

# %% [markdown]
# The study leaves out normal scans until the classes have similar sizes. What would the scores be on the whole
# collection? Each normal test scan is weighted to represent those left out as well.

# %%
normal_scans = summaries.normal_scans(data, folders)
prevalence = saving.table(study, "prevalence", comparison.natural_prevalence(main, *normal_scans))
print(read.of_prevalence(prevalence))
prevalence.round(3)

# %% [markdown]
# Other studies report AUROC for the findings of ChestX-ray8. Their splits differ, so their values are not a target.

# %%
of_main_runs = class_scores[class_scores["run"].isin(main)]
saving.table(study, "published_auroc", comparison.auroc_beside_published(of_main_runs)).round(3)

# %% [markdown]
# ## Is a network needed?
#
# Some baselines need no network: always the most frequent class, every finding on every scan, a logistic regression on
# what the collection records about a patient (age, sex, view), and one on the pixels. If a baseline scores as high as
# the networks, the task is too easy to compare them.

# %%
given = baselines.answers(data.values(), seed=seed)
trivial = saving.table(study, "trivial_baselines", baselines.scores_of(data.values(), given))
trivial.round(3)

# %%
linear = trivial[trivial["baseline"] == baselines.LINEAR].set_index("dataset")["macro_f1"]
beside_linear = saving.table(study, "baselines", tables.baselines(results, linear, failures.best_on_validation(main)))
print(read.of_baselines(beside_linear))
beside_linear

# %% [markdown]
# Is each network significantly better than the linear model? The same paired test answers it.

# %%
against = saving.table(study, "against_baselines", comparison.against(main, given))
needed = read.of_against(against)
print(needed)
against[["run", "baseline", "difference", "low", "high", "p_holm", "better"]].round(3)

# %% [markdown]
# ## Are the probabilities calibrated?
#
# Of all predictions with a confidence of 80 %, four in five should be correct. On the diagonal they are. Grey is the
# model as trained, colour the model after a correction that does not change its decisions.

# %%
calibrated = saving.table(study, "calibration", calibration.calibration(main))
curves = calibration.reliability(main)
saving.figure(study, "reliability", figures.reliability_diagrams(curves, calibrated), data=curves)

# %% [markdown]
# The correction has two steps. The weights of a multilabel loss raise the logit of every finding by a known amount,
# which is subtracted. Then the logits are divided by a temperature fitted on the validation split: one for exclusive
# classes, one per finding otherwise.

# %%
calibrated_models = read.of_calibration(calibrated)
print(calibrated_models)
calibrated[["run", "temperature", "ece", "ece_null", "ece_scaled", "ece_scaled_null", "brier", "brier_scaled"]].round(3)

# %% [markdown]
# ## Which threshold?
#
# A multilabel model predicts a finding if its probability is at least one half. Does the threshold with the highest F1
# on the validation split do better on the test split?

# %%
from lungkeras.evaluation import decision_thresholds

thresholds = saving.table(study, "thresholds", decision_thresholds.thresholds(main))
print(read.of_thresholds(thresholds))
thresholds.T

# %% [markdown]
# Screening needs few false alarms. What is the sensitivity at a specificity of 90 or 95 %? The threshold comes from the
# validation split, the score from the test split.

# %%
best = failures.best_on_validation(main).values()
points = saving.table(study, "operating_points", operating_points.operating_points(main, best))
print(read.of_operating_points(points))
points[points["chosen"]].drop(columns=["run", "chosen"]).round(3)

# %% [markdown]
# ## Where are they wrong and confident?
#
# The most confident errors of the model with the highest validation F1, each with the predicted class and its
# calibrated probability.

# %%
from lungkeras.evaluation import external, external_rules, shared_scans, subgroups, transfer

saving.table(study, "failures", failures.confident_errors(finished))
for figure in figures.write_galleries(main, data, study).values():
    display(figure)

# %% [markdown]
# How many scans of each class does each model miss?

# %%
failure_counts = saving.table(study, "failure_counts", failures.error_counts(finished))
missed = read.of_failures(failure_counts)
print(missed)
failure_counts[failure_counts["run"].isin(main)].set_index(["run", "class"])[["scans", "missed", "called"]]

# %% [markdown]
# ## For whom do they work?
#
# Scores by view, sex and age of the patients, if the collection records them. Small groups have no score.

# %%
groups = saving.table(study, "subgroups", subgroups.subgroups(main, data))
print(read.of_groups(groups))
groups.drop(columns=["macro_f1_low", "macro_f1_high"]).round(3)

# %% [markdown]
# ## Would they work elsewhere?
#
# A test on another collection is fair only on scans that the model has not seen, but the collections share scans.
# Usable scans belong to a class of both collections and have no copy in the model's own.

# %%
collections = shared_scans.open_collections(data, folders, from_project(prepared) / duplicates.KEPT)
saving.table(study, "external_scans", external_rules.external_scans(collections, data))

# %% [markdown]
# The scores on these scans, next to the same measure on the model's own test split:

# %%
elsewhere = external.external_validation(
    main, collections, lambda run: lungkeras.load_model(from_project(runs) / run / "best.keras"), finished
)
saving.table(study, "external", elsewhere)
external_recall = read.of_external(elsewhere)
print(external_recall)
elsewhere.round(3)

# %% [markdown]
# Pretrained weights have a similar problem: the collection that they were trained on may hold copies of the test scans.
# The table counts these copies and gives the score without them.

# %%
known = saving.table(study, "transfer", transfer.transferred(main, collections, finished))
print(read.of_transfer(known))
known

# %% [markdown]
# ## Further tables and figures
#
# Each module in `lungkeras/report/further` adds a table or a figure of its own.

# %%
from lungkeras.report.further import write_further

for made in write_further(main, data, study):
    display(made)

# %% [markdown]
# ## What was learned

# %%
print(readings.learned(highest, differ, needed, classes, calibrated_models, missed, external_recall))

# %% [markdown]
# Scores say how often a model is right, not why. [04 Visualization](04_visualization.ipynb) looks inside the models.
