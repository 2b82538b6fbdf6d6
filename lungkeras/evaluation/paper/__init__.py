"""What the published study reports and claims, its numbers next to ours, and whether a claim holds here.

It reads the runs of study and scores. Comparisons, localisation, figures and the report compare ours with it.
"""
