"""The regions that drive a task's decision, by several methods, and their reliability."""

from brainmass_core.interpret.stage import run

__all__ = ["run"]
