"""Arrays in, numbers out: F1, AUROC, confusion, intervals, paired tests, temperatures, whether a training went astray.

It reads no run and no file. Training, evaluation, explanation and the audit compute their scores by it.
"""
