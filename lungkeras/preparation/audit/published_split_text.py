"""The audit of a published split, as text for a terminal."""

from collections.abc import Iterable

from lungkeras.system.text import printable

FEW = 10  # lines of a list that a terminal shows
ORIGINS = {
    "lists": "from the lists",
    "names": "from names",
    "records": "from the source's records",
    None: "unknown",
}


def split_as_text(found: dict) -> str:
    """The results of `audit_split` and `write_repaired`, as `lungkeras audit` prints them."""
    lines = [f"{found['dataset']}: {found['scans']:,} listed scans; patients {ORIGINS[found['patients_from']]}"]
    for side, counts in found["sides"].items():
        patients = "" if counts["patients"] is None else f", {counts['patients']:,} patients"
        lines.append(f"  {side}: {counts['scans']:,} scans{patients}")
    for words, key, absent in (
        ("Patients", "shared_patients", "not known"),
        ("Scans", "shared_scans", ""),
        ("Copies", "shared_copies", "not looked for: --source DIR names the folder of the scans"),
    ):
        shared = found[key]
        counts = absent if shared is None else ", ".join(f"{pair}: {number:,}" for pair, number in shared.items())
        lines.append(f"{words} on two sides: {counts}")
        if key == "shared_copies":
            lines += _few(
                f"{pair['scan']} ({pair['side']}) = {pair['other']} ({pair['other_side']}): {pair['kind']}"
                for pair in found["copies"]
            )
        else:
            word = "patient" if key == "shared_patients" else "scan"
            lines += _few(_leak(leak, word) for leak in found["leaks"] if word in leak)
    if repair := found.get("repaired"):
        gone = ", ".join(f"{scans:,} of {side}" for side, scans in repair["excluded"].items()) or "none"
        lines.append(f"Repaired in {repair['file']}: scans excluded: {gone} ({repair['rule']})")
    lines += found["notes"]
    return "\n".join(map(printable, [*lines, "leak" if found["leak"] else "no leak found"]))


def _leak(leak: dict, word: str) -> str:
    scans = "; ".join(
        f"{side}: {len(own):,}, such as {own[0]}" if len(own) > 1 else f"{side}: {own[0]}"
        for side, own in leak["scans"].items()
    )
    return f"{leak[word]} ({scans})"


def _few(lines: Iterable[str]) -> list[str]:
    lines = [f"  {line}" for line in lines]
    return lines[:FEW] + ([f"  and {len(lines) - FEW:,} more"] if len(lines) > FEW else [])
