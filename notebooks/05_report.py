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
# # Report
#
# What has this study shown, and which of the paper's claims hold here? This article tests each claim of the study
# "Lung Disease Classification" on the runs, writes a card for each model, and puts tables, figures and runs into one
# HTML file that opens anywhere, without a network. A study of other collections has no claims to test.

# %% tags=["parameters"]
title = "The demo study, on drawn chests"
prepared = "prepared/demo"
runs = "reports/demo/runs"
image_size = 64
seed = 0
epochs = 6
batch_size = 32
learning_rate = 0.003
final_learning_rate = 0.0001
batch_norm_momentum = 0.9
beta_2 = 0.999
clip_norm = 1.0
warmup = 0.2
dropout = False
zero_init_residual = True
backend = None

# %%
from pathlib import Path

import lungkeras

params = lungkeras.Params.collect(globals())
lungkeras.use_backend(params.backend)

from lungkeras import report
from lungkeras.evaluation import run_evidence
from lungkeras.evaluation.paper import claims
from lungkeras.report import model_card, notebook_pages, readings, saving, study_audit
from lungkeras.report.figures import articles
from lungkeras.system import machine

# %%
study = params.study_folder
folders = sorted(folder.parent for folder in Path(params.prepared_folder).parent.glob("*/statistics.json"))
[folder.name for folder in folders]

# %% [markdown]
# ## Which data?
#
# The scans of each split, and the number that could not be read.

# %%
datasets = [report.dataset_facts(folder, drawn=lungkeras.load_prepared(folder).drawn) for folder in folders]
{facts["dataset"]: {"scans": facts["scans"], "quarantined": len(facts["quarantine"])} for facts in datasets}

# %% [markdown]
# ## What did the audit find?
#
# The audit before training, by dataset, and the copies that two datasets share. An audit by an earlier version of the
# code is repeated.

# %%
audited = study_audit.write_study_audit(folders, study)
shortcuts = readings.of_shortcuts(audited["audit_shortcuts"])
leakage = readings.of_leakage(audited["audit_leakage"])
print(shortcuts, leakage, sep="\n\n")
audited["audit_shortcuts"].groupby("dataset")["alarm"].sum().to_frame()

# %% [markdown]
# ## The runs' notebooks
#
# Each executed notebook becomes a page next to the report, which opens without Jupyter. How many are there?

# %%
links = notebook_pages.notebook_pages(study)
len(links)

# %% [markdown]
# ## Do the claims hold?
#
# Each checkable claim of the paper is a predicate over the runs, evaluated in 2,000 bootstrap draws of patients. It
# *holds* if each of its comparisons is true in at least 95 % of the draws. It *fails* if one of them is true in very
# few (2.5 % divided by the number of comparisons). In between, the runs *cannot tell*. A claim without the runs that
# it needs was *not run*.

# %%
ledger = saving.table(study, "claims", claims.verdicts(run_evidence.study_evidence(study)))
articles.verdicts(ledger)

# %%
verdicts = readings.of_claims(ledger)
print(verdicts)

# %% [markdown]
# One claim in detail, the first with a verdict: what it says, how often it is true, and the predicate that tests it.

# %%
for claim in ledger.dropna(subset=["share_true"]).head(1).to_dict("records"):
    print(readings.of_claim(claim), claim["predicate"], sep="\n\n")

# %% [markdown]
# All claims:

# %%
ledger[["id", "verdict", "holds_in_paper", "share_true"]]

# %% [markdown]
# ## A card for each model
#
# A card (`runs/<run>/model_card.md`) says what the model is for and not for, what it was trained on, its scores with
# intervals and by group, and how to reproduce it. The first of them:

# %%
cards = model_card.write_cards(study, datasets)
card = next(iter(cards.values())).read_text(encoding="utf-8")
display({"text/markdown": card, "text/plain": card}, raw=True)

# %% [markdown]
# ## One file
#
# The report holds everything above, and the tables and figures of the other notebooks. Its first page stands alone.

# %%
settings = params.model_dump(exclude={"title", "dataset", "backbone", "weights", "suffix", "source", "scans"})
report.write_report(
    study,
    title=title,
    settings=settings,
    datasets=datasets,
    versions=machine.environment()["versions"],
    notebooks=links,
).name

# %% [markdown]
# ## What was learned

# %%
print(readings.learned(shortcuts, leakage, verdicts))

# %% [markdown]
# The study is complete. [06 Explanation](06_explanation.ipynb) shows step by step how a heat map is computed.
