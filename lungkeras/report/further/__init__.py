"""Tables and figures beyond the paper's: a module each, with its entry `FURTHER`; none is needed.

It reads what the module itself asks for: runs, prepared data, scores. The graph, the notebook of evaluation and the
report find every module here; docs/adding.md says how to add one.
"""
