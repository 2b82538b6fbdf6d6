"""Checks of a collection before anything is trained on it: leaks, copies, shortcuts, wrong labels.

It reads records, splits and the fingerprints that preparation keeps. The report and `lungkeras audit` show the results.

    >>> from lungkeras.preparation import audit
    >>> audit.audit_source("pneumonia", "sources/demo/pneumonia")["leakage"]["shared_patients"]  # doctest: +SKIP
    {'train and val': 0, 'train and test': 0, 'val and test': 0}
"""

from lungkeras.system.lazy import lend

__getattr__, __dir__, __all__ = lend(
    __name__,
    {
        "dataset": (
            "AUDIT",
            "TABLES",
            "audit_prepared",
            "audit_records",
            "audit_source",
            "kept_audit",
        ),
    },
)
