"""What others made, looked through before anything opens it: archives, YAML, .keras files, exported models.

It reads the errors of system; datasets, models, study and prediction ask it before they open a file.
"""
