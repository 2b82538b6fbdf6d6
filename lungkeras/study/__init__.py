"""A study without Keras: its params, the folders of its runs, and which parts must be made again.

It reads models.architectures, datasets and preparation. Training reads its params, evaluation its runs; the Snakefile
and the commands `report`, `status` and `clean` use it.
"""

from lungkeras.system.lazy import lend

__getattr__, __dir__, __all__ = lend(
    __name__,
    {
        "params": (
            "Params",
            "from_project",
        ),
        "params_files": (
            "load_params",
            "load_study",
        ),
        "runs": (
            "Run",
            "read_run",
            "read_runs",
        ),
    },
)
