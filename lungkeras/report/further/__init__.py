"""Optional tables and figures beyond the paper's: a module each, with its entry `FURTHER`.

It reads what each module needs: runs, prepared data, scores. The graph, the notebook of evaluation and the report find
every module here; docs/adding.md explains how to add one.
"""
