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
# Tables, figures and runs of a study become one HTML file that opens anywhere, without a network.

# %% tags=["parameters"]
title = "The demo study, on drawn chests"
prepared = "prepared/demo"
runs = "reports/demo/runs"
image_size = 64
seed = 0
epochs = 10
batch_size = 16
learning_rate = 0.002
final_learning_rate = 0.0002
batch_norm_momentum = 0.9

# %%
import lungkeras
