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
# # Explanation
#
# Where in a scan does a network find the evidence for its answer, and is that where the finding is? This article
# computes one Grad-CAM (Selvaraju et al. 2017) step by step: forward pass, gradient, weights, map. Then it tests the
# map. Figures 7 and 8 of the study "Lung Disease Classification" show such maps. This notebook is not a step of a
# study: open it by hand when a run is finished.

# %% tags=["parameters"]
dataset = "covid"
backbone = "efficientnet_b1"
weights = "xray8-efficientnet_b1-random/best.keras"
suffix = ""
prepared = "prepared/demo"
runs = "reports/demo/runs"
seed = 0
uncertain = "ignore"
blank = "zeros"
backend = None

# %%
# %matplotlib inline
import lungkeras

params = lungkeras.Params.collect(globals())
lungkeras.use_backend(backend)

import keras
import numpy as np

from lungkeras.datasets.registry import title
from lungkeras.explanation import gradcam, gradients, localisation, other_methods, pointing, randomisation
from lungkeras.report import readings
from lungkeras.report.figures import articles
from lungkeras.training.outputs import outputs

# %%
run = lungkeras.read_run(params.run_folder)
data = lungkeras.load_prepared(params.prepared_folder, uncertain=uncertain, blank=blank)
model = lungkeras.load_model(params.run_folder / "best.keras")
print(run.name)

# %% [markdown]
# ## Which scan?
#
# A test scan with a known box, if the collection has boxes, else the first test scan. The box shows where the finding
# is; the model never sees it.

# %%
boxed = localisation.boxed_findings(data, localisation.load_boxes(params.prepared_folder))
if len(boxed):
    place, name, edges = boxed.loc[0, ["place", "class", "edges"]]
else:
    place, name, edges = 0, data.classes[0], np.zeros((0, 4))
scan = np.asarray(data.images["test"][place])[None]
articles.titled({f"the scan, and the box of {title(name)}" if len(edges) else "the scan": scan[0]}, edges)

# %% [markdown]
# ## Forward pass: what does the network answer?
#
# The network has two parts. The layers up to the explained one turn a scan into a stack of small images, one per
# channel. The layers after it turn these into logits. The explained layer is the last one with a grid of 7 x 7 cells or
# more.

# %%
layer = gradcam.explained_layer(model)
forwards, head = keras.Model(model.input, layer.output), keras.Model(layer.output, model.output)
activations = outputs(forwards, scan).astype(np.float32)
logits = outputs(model, scan)[0]

# %%
print(readings.of_logits(logits, data.classes, name, activations.shape[1:]))

# %% [markdown]
# The four most active channels for this scan, from black (0) to white (the maximum of the channel).

# %%
busiest = np.argsort(activations[0].mean(axis=(0, 1)))[::-1][:4]
articles.titled({f"channel {channel}": articles.grey(activations[0, ..., channel]) for channel in busiest})

# %% [markdown]
# ## Gradient: what would raise the logit of the class?
#
# The gradient of the logit says how much the logit grows with each cell of each channel. The mean of the gradient over
# the cells is the weight of the channel.

# %%
chosen = np.eye(len(data.classes), dtype=np.float32)[[data.classes.index(name)]]
gradient = gradients.gradient_of(head)(activations, chosen)
channel_weights = gradient.mean(axis=(1, 2))[0]
weighted = readings.of_weights(channel_weights, activations[0])
print(weighted)

# %% [markdown]
# ## The map
#
# The map is the sum of the channels, each multiplied by its weight. Values below 0 are evidence against the class and
# become 0. The map is divided by its maximum, enlarged, and laid over the scan. The grid is coarse, so a map shows only
# roughly where the evidence is.

# %%
coarse = np.maximum((activations[0] * channel_weights).sum(axis=-1), 0)
heat = gradcam.enlarged(coarse[None], scan.shape[1:])
steps = {"on the layer's grid": articles.grey(coarse), "enlarged": articles.grey(heat[0])}
articles.titled(steps | {"over the scan": gradcam.overlay(scan[0], heat[0])})

# %% [markdown]
# The package does the same in one call, for batches, on every backend:

# %%
column = data.classes.index(name)
print("largest difference from lungkeras.grad_cam:", np.abs(lungkeras.grad_cam(model, scan, column) - heat).max())

# %% [markdown]
# ## Do other methods agree?
#
# Grad-CAM++ weights the gradient so that several places with the same finding count equally. LayerCAM gives each cell
# of a channel its own weight. The box of the finding is drawn over all three maps.

# %%
others = gradcam.heat_maps(model, scan, column, ("grad_cam_plus_plus", "layer_cam"))
maps = {"Grad-CAM": heat[0], "Grad-CAM++": others["grad_cam_plus_plus"][0], "LayerCAM": others["layer_cam"][0]}
articles.titled({method: gradcam.overlay(scan[0], found) for method, found in maps.items()}, edges)

# %% [markdown]
# How similar are the maps, pixel by pixel?

# %%
agreement = readings.of_agreement(maps)
print(agreement)

# %% [markdown]
# tf-keras-vis has methods of another kind (extra `[tf-keras-vis]`, TensorFlow). Score-CAM uses no gradient: it masks
# the scan with each channel and predicts again, here with the ten channels that vary most. Saliency is the gradient by
# each pixel, and SmoothGrad its mean over noisy copies of the scan.

# %%
if other_methods.available():
    asked = ("faster_score_cam", "saliency", "smooth_grad")
    found = other_methods.other_heat_maps(model, scan, column, asked, seed=seed)
    further = {other_methods.METHODS[method]: maps_of_it[0] for method, maps_of_it in found.items()}
    display(articles.titled({method: gradcam.overlay(scan[0], each) for method, each in further.items()}, edges))
    print(readings.of_agreement({"Grad-CAM": heat[0]} | further))
else:
    print("tf-keras-vis is not installed here.")

# %% [markdown]
# ## Is the maximum in the box?
#
# The pointing game asks whether the highest cell of the map lies inside the box. The overlap (intersection over union)
# compares the box with the area above half of the maximum.

# %%
mask = pointing.mask(edges, scan.shape[1:])[None]
(overlap,) = pointing.overlap(heat, mask)
pointed = readings.of_map(pointing.points(coarse[None]), edges, overlap)
print(pointed)

# %% [markdown]
# ## Does the map depend on what was learned?
#
# The same method on a model with randomised weights. If the map stays the same, it shows the scan, not the model.

# %%
untrained = lungkeras.grad_cam(randomisation.renewed(model, seed), scan, column)[0]
beside = {"the trained model": heat[0], "weights randomised": untrained}
articles.titled({kind: gradcam.overlay(scan[0], found) for kind, found in beside.items()}, edges)

# %%
changed = readings.of_agreement(beside)
print(changed)

# %% [markdown]
# ## What was learned

# %%
print(readings.learned(weighted, pointed, agreement, changed))

# %% [markdown]
# One map proves little. [04 Visualization](04_visualization.ipynb) shows how often maps point at findings, over all
# boxes of the test split, compared with a point that never looks at a scan.
