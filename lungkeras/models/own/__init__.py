"""Backbones that are in no library: a module each, with its entry `BACKBONE`, without Keras until one is built.

It reads the entry and the blocks of models. Params, titles and the builder find every module here; docs/adding.md
explains how to add one.
"""
