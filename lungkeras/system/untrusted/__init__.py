"""Files from others, checked before anything opens them: archives, YAML, .keras files, exported models.

It reads the errors of system; datasets, models, study and prediction use it before they open a file.
"""
