"""Reads the flow of records: which scans were left out, and why."""


def left_out(records) -> dict[str, int]:
    """What was left out and why, steps of no scan aside."""
    steps = dict(map(tuple, records.attrs["flow"]))
    assert steps["found"] == len(records) + sum(scans for step, scans in steps.items() if step.startswith("left out"))
    return {step.removeprefix("left out: "): n for step, n in steps.items() if step.startswith("left out") and n}
