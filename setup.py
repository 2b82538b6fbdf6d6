"""The wheel takes along what a study needs beside the package: `lungkeras report` lays it out where the user is."""

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

PATTERNS = ("Snakefile", "notebooks/*.ipynb", "notebooks/*.py", "params/*/*.yaml", "params/profiles/*/*")


class WithProject(build_py):
    """Adds lungkeras_project, which lungkeras/study/layout.py reads, beside the package."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        here, to = Path(__file__).resolve().parent, Path(self.build_lib) / "lungkeras_project"
        shutil.rmtree(to, ignore_errors=True)
        for file in sorted(file for pattern in PATTERNS for file in here.glob(pattern) if file.is_file()):
            target = to / file.relative_to(here)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)


setup(cmdclass={"build_py": WithProject})
