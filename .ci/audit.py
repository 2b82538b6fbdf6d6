"""Known vulnerabilities of the locked packages: fails if there is one, and says so if their database can't be reached.

make audit
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

LOCK = Path(__file__).resolve().parents[1] / "requirements.lock"
SECONDS = 300


def verdict(told: Mapping | None) -> tuple[int, list[str]]:
    """The exit status and the lines to print for what pip-audit told, None if it told nothing."""
    packages = (told or {}).get("dependencies", [])
    audited = [package for package in packages if "skip_reason" not in package]
    if not audited:
        return 0, ["audit skipped: the database of vulnerabilities can't be reached from here"]
    found = [
        f"{package['name']} {package['version']}: {fault['id']}, mended in {', '.join(fault['fix_versions']) or 'none'}"
        for package in audited
        for fault in package["vulns"]
    ]
    words = f"{len(audited)} of {len(packages)} packages audited, {len(found)} known vulnerabilities"
    return int(bool(found)), [words, *found]


def ask() -> Mapping | None:
    """What pip-audit says of the lock file, None if it can't."""
    command = [sys.executable, "-m", "pip_audit", "--disable-pip", "--progress-spinner", "off", "--format", "json"]
    try:
        done = subprocess.run([*command, "--requirement", str(LOCK)], check=False, capture_output=True, timeout=SECONDS)
        return json.loads(done.stdout)
    except (subprocess.TimeoutExpired, ValueError):
        return None


if __name__ == "__main__":
    status, lines = verdict(ask())
    print(*lines, sep="\n")
    sys.exit(status)
