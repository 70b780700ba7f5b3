"""Which regions carry a task's decision, by several methods, and how far each can be trusted."""

from brainmass_core.interpret.stage import run

__all__ = ["run"]
