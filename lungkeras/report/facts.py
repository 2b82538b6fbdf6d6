"""The facts that the report gives on a prepared dataset, from its folder."""

from collections import Counter
from pathlib import Path

from lungkeras.system.provenance import changed_files
from lungkeras.system.untrusted import json_files, table_files


def dataset_facts(prepared: Path | str, *, drawn: bool) -> dict:
    """What the report shows of a prepared dataset, from its folder.

    Returns dataset, drawn, scans (per split), quarantine ([{scan, reason, classes}]), quarantined ({class: scans}),
    absent (scans that the source lists but does not hold), missing ({split: classes without a scan}), unknown
    ({uncertain, blank: {class: scans}}), votes (None if readers are unknown), flow ([[step, scans]]), changed (the
    files that changed since preparation), size, mean, std, hashes (made_from, fingerprint), and folder, the source of
    the page's thumbnails, which the page does not name.
    """
    folder = Path(prepared)
    statistics = json_files.read(folder / "statistics.json")
    keys = ("dataset", "task", "classes", "size", "mean", "std", "scans", "absent", "missing")
    keys += ("unknown", "votes", "made_from", "fingerprint")
    known = {key: statistics.get(key) for key in keys}
    quarantine = table_files.read_csv(folder / "quarantine.csv", dtype=str).fillna("").to_dict("records")
    for entry in quarantine:  # a reason names the file in full; the scan is named already
        entry["reason"] = entry["reason"].rpartition(f"{entry['scan']}: ")[2]
    quarantined = Counter(name for entry in quarantine for name in entry.get("classes", "").split())
    flow = table_files.read_csv(folder / "flow.csv")[["step", "scans"]].to_numpy().tolist()
    changed = sorted(changed_files(folder, statistics.get("files", {})))
    return known | {
        "drawn": drawn,
        "folder": folder,
        "quarantine": quarantine,
        "quarantined": dict(quarantined),
        "flow": flow,
        "changed": changed,
    }
