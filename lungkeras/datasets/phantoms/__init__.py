"""The drawn twin of each published collection: chests, findings, films and planted faults, with the ground truth.

It reads the layouts of datasets. The command `lungkeras phantom` and the demo draw their sources with it.
"""
