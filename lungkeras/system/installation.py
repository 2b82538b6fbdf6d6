"""The state of the installation: version, packages, what each extra lacks, backends, devices, kernels."""

import platform
import re
import sys
from importlib.metadata import PackageNotFoundError, distribution, version

from lungkeras.system.backends import BACKENDS, default_backend, has_nvidia_gpu, is_installed, use_backend
from lungkeras.system.errors import RunError
from lungkeras.system.places import project_folder

# What each extra is for. The extras are those of pyproject.toml.
PURPOSES = {
    "tensorflow": "the default backend, and exports",
    "jax": "the backend JAX",
    "torch": "the backend PyTorch",
    "gpu": "TensorFlow with CUDA",
    "hub": "backbones named keras_hub.<preset>",
    "keras-cv": "the comparison with KerasCV in the tests",
    "export": "lungkeras export",
    "dicom": "DICOM frames in lossless JPEG, JPEG-LS and JPEG 2000",
    "slurm": "lungkeras report --profile params/profiles/slurm",
    "kubernetes": "lungkeras report --profile params/profiles/kubernetes",
    "tensorboard": "tracker: tensorboard",
    "mlflow": "tracker: mlflow",
    "tf-keras-vis": "Score-CAM, saliency and SmoothGrad beside our heat maps",
    "jupyter": "the notebooks in JupyterLab, and lungkeras.explore",
    "docs": "make docs",
    "test": "make test",
}
REQUIREMENT = re.compile(r"([\w.-]+(?:\[[\w,-]*\])?)\s*([^;]*?)\s*(?:;(?:.*extra == ['\"]([\w-]+)['\"])?.*)?")
BOUND = re.compile(r"(>=|<|==)\s*([\d.]+)")


def installation(backend: str | None = None) -> dict:
    """The state of the installation, as plain values; Keras is imported to list the backend's devices.

    version, python, platform      of this installation
    project                        the folder that params and results are read from
    packages                       {name: version, or None if it is absent} of what lungkeras needs
    missing                        what of these is absent or too old, as pip names it
    extras                         {extra: {"for", "missing": what of it is absent or too old}}
    backends                       {name: version or None}
    backend, devices, nvidia_gpu   what Keras would run on, on which devices, and whether a GPU is in the machine
    kernels                        {name of a Jupyter kernel: its Python}

    Raises RunError where lungkeras runs from a folder that was never installed.
    """
    try:
        about = distribution("lungkeras")
    except PackageNotFoundError as error:
        raise RunError("lungkeras is not installed in this environment: pip install . in its folder") from error
    needs, extras = requirements(about.requires or ())
    chosen = backend or default_backend()
    return {
        "version": about.version,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "project": str(project_folder()),
        "packages": {name: installed(name) for name, _ in needs},
        "missing": missing(needs),
        "extras": {
            extra: {"for": PURPOSES.get(extra, ""), "missing": missing(own)} for extra, own in sorted(extras.items())
        },
        "backends": {name: installed(name) for name in BACKENDS},
        "backend": chosen if is_installed(chosen) else None,
        "devices": _devices(chosen),
        "nvidia_gpu": has_nvidia_gpu(),
        "kernels": _kernels(),
    }


def requirements(texts) -> tuple[list[tuple[str, str]], dict[str, list[tuple[str, str]]]]:
    """(what all need, {extra: what it adds}), each a (name, bounds), from the lines of a package's metadata.

    >>> requirements(["numpy>=1.26", "torch>=2.9; extra == 'torch'"])
    ([('numpy', '>=1.26')], {'torch': [('torch', '>=2.9')]})
    """
    needs, extras = [], {}
    for text in texts:
        name, bounds, extra = REQUIREMENT.fullmatch(text).groups()
        (extras.setdefault(extra, []) if extra else needs).append((name, bounds))
    return needs, extras


def installed(name: str) -> str | None:
    """The version of an installed package."""
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def missing(needs: list[tuple[str, str]]) -> list[str]:
    """What is absent or outside its bounds, as pip names it: ["torch>=2.9"]; of an extra, all that it adds counts."""
    return [f"{name}{bounds}" for name, bounds in needs if not _is_there(name, bounds)]


def _is_there(name: str, bounds: str) -> bool:
    name, _, extra = name.rstrip("]").partition("[")
    if not (found := installed(name)) or not within(found, bounds):
        return False
    added = requirements(distribution(name).requires or ())[1].get(extra, []) if extra else []
    return all(installed(other) for other, _ in added)


def within(found: str, bounds: str) -> bool:
    """Whether a version lies within bounds, by the numbers it begins with.

    >>> within("5.0.0.93", ">=4.10,<6"), within("2.9.1rc1", ">=2.10")
    (True, False)
    """
    at = _numbers(found)
    compare = {">=": lambda to: at >= to, "<": lambda to: at < to, "==": lambda to: at[: len(to)] == to}
    return all(compare[sign](_numbers(number)) for sign, number in BOUND.findall(bounds))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.match(r"[\d.]*", text)[0].strip(".").split(".") if part)


def _devices(backend: str) -> list[str]:
    if not is_installed(backend):
        return []
    use_backend(backend)
    from lungkeras.system.devices import found_devices

    return found_devices()


def _kernels() -> dict[str, str]:
    """The kernels that Jupyter finds; a notebook of a study runs in the one of this Python."""
    from jupyter_client.kernelspec import KernelSpecManager

    found = KernelSpecManager().get_all_specs()
    pythons = {name: (kernel["spec"].get("argv") or [""])[0] for name, kernel in found.items()}
    return {name: sys.executable if python == "python" else python for name, python in sorted(pythons.items())}
