"""What the published study reports and claims, its numbers beside ours, and whether a claim holds here.

It reads the runs of study and scores. Comparisons, localisation, figures and the report set ours beside it.
"""
