"""Sentences under the claims of notebook 05."""

from collections.abc import Mapping

import pandas as pd

from lungkeras.report.readings.words import counted, paragraph
from lungkeras.study.words import heading


def of_claims(ledger: pd.DataFrame) -> str:
    """How many claims hold; of the table claims."""
    verdicts = ledger["verdict"].value_counts()
    if verdicts.empty:
        return paragraph("No claim was checked: the paper makes no claims about these collections.")
    parts = [f"{verdict}: {count}" for verdict, count in verdicts.items()]
    return paragraph(f"Of {counted(len(ledger), 'claim')}, {'; '.join(parts)}.")


def of_claim(claim: Mapping) -> str:
    """One claim in detail: what it says, in how many draws it was true, and the verdict. A row of claims."""
    share = claim.get("share_true")
    drawn = f"It is true in {share:.1%} of the draws of patients." if pd.notna(share) else ""
    reason = claim.get("reason")
    return paragraph(
        f"“{heading(claim['claim'])}”: {claim['verdict']}.",
        drawn,
        f"Here: {claim['figures']}." if isinstance(claim.get("figures"), str) else "",
        f"{reason[:1].upper()}{reason[1:]}." if isinstance(reason, str) and reason else "",
    )
