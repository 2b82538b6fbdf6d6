"""One module for each collection: its entry `DATASET`, how its folder is read, and how its layout is drawn.

It reads records, folders, lists and plans of datasets. The registry finds every module here; docs/adding.md explains
how to add one.
"""
