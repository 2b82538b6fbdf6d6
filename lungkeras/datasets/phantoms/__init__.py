"""The drawn twin of each published collection: chests, findings, films and planted faults, with their truth.

It reads the layouts of datasets. The command `lungkeras phantom` and the demo draw their sources by it.
"""
