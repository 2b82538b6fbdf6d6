"""lungkeras: a published comparison of CNNs on chest X-rays, regenerated."""

import os

# TensorFlow reads both once, at its import: oneDNN halves a training step on processors where it is not on by itself.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
