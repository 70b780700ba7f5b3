"""``brainmass <stage> ...``: parse, call, write. The rules call exactly these commands.

A command imports its modules when it runs, and a stage only after its arguments were checked, so
that help and error messages do not wait for torch.
"""

from importlib import import_module

from brainmass_core.cli.application import app, main

__all__ = ["app", "main"]

for _commands in (
    "stages",
    "predict",
    "models",
    "positive_control",
    "study",
    "configuration",
    "slurm",
):  # in the order of the help
    import_module(f"{__name__}.{_commands}")
