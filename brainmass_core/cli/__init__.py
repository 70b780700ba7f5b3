"""``brainmass <stage> ...``: parse, call, write. The rules call exactly these commands.

A command imports what it needs when it runs, and a stage only once its arguments are known to be
right: help and users' errors do not wait for torch.
"""

from importlib import import_module

from brainmass_core.cli.application import app, main

__all__ = ["app", "main"]

for _commands in ("stages", "predict", "models", "study", "configuration"):  # the order of the help
    import_module(f"{__name__}.{_commands}")
