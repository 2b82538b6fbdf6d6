"""The tables that a study's notebooks write, each as tables/<name>.csv: named once, for the graph and its tests.

Those of the audit are named in lungkeras.preparation.audit.dataset, as TABLES.
"""

EVALUATION = (
    "table_1",
    "table_2",
    "table_3",
    "baselines",
    "trivial_baselines",
    "against_baselines",
    "model_pairs",
    "seeds",
    "class_scores",
    "prevalence",
    "published_auroc",
    "calibration",
    "thresholds",
    "operating_points",
    "failures",
    "failure_counts",
    "subgroups",
    "external_scans",
    "external",
    "transfer",
)
FEATURES = ("features", "heatmaps", "heatmap_agreement")
EXPLANATIONS = ("localisation", "localisation_classes", "localisation_scans", "randomisation", "randomisation_scans")
