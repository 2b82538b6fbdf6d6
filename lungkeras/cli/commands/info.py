"""`lungkeras info`: what is installed, what Keras runs on, and which packages are missing."""

import argparse

from lungkeras.cli.entry import Command
from lungkeras.system.files import as_json
from lungkeras.system.text import say


def options(sub: argparse.ArgumentParser) -> None:
    sub.add_argument("--json", action="store_true", help="print JSON instead of a summary")


def run(options) -> None:
    from lungkeras.system.installation import installation

    found = installation(options.backend)
    say(*(as_json(found).splitlines() if options.json else as_text(found)))


def as_text(found: dict) -> list[str]:
    """One line per item of what `installation` returns."""
    backends = [f"{name} {version}" for name, version in found["backends"].items() if version]
    runs_on = f"{found['backend']} on {', '.join(found['devices'])}" if found["backend"] else "nothing yet"
    lines = [
        f"lungkeras {found['version']}, Python {found['python']}, {found['platform']}",
        f"project: {found['project']}",
        f"backends installed: {', '.join(backends) or 'none: pip install lungkeras[tensorflow]'}",
        f"Keras runs on: {runs_on}",
    ]
    if found["nvidia_gpu"] and not any(device.startswith("gpu") for device in found["devices"]):
        lines.append("an NVIDIA GPU is in this machine, but the backend does not see it: pip install lungkeras[gpu]")
    lines.append("Jupyter kernels: " + (", ".join(f"{n} ({p})" for n, p in found["kernels"].items()) or "none"))
    lines.append("packages: " + ", ".join(f"{name} {version or '-'}" for name, version in found["packages"].items()))
    if found["missing"]:
        lines.append(f"missing: {', '.join(found['missing'])}: pip install lungkeras")
    lacking = {extra: about for extra, about in found["extras"].items() if about["missing"]}
    complete = [extra for extra in found["extras"] if extra not in lacking]
    lines.append(f"extras installed: {', '.join(complete) or 'none'}")
    lines += [
        f"not installed: {extra}, for {about['for']} (lacks {', '.join(about['missing'])}): "
        f'pip install "lungkeras[{extra}]"'
        for extra, about in lacking.items()
    ]
    return lines


COMMAND = Command(
    group="lungkeras itself",
    about="list what is installed, what Keras runs on, and which extras are missing",
    details="Lists the versions of lungkeras, Python and all packages, the backend that Keras would run on and its "
    "devices, the Jupyter kernels, and each incomplete extra with its purpose. Include this in a bug report: "
    "it holds no names of scans, only the path of the project and of the kernels.",
    outputs="Some lines on stdout, or one JSON object: version, python, platform, project, packages, missing, extras, "
    "backends, backend, devices, nvidia_gpu, kernels.",
    example="info\ninfo --json\ninfo --backend jax",
    page="backends.md",
    options=options,
    run=run,
)
