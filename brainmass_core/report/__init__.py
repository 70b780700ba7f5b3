"""Pictures and tables from results only; recomputes nothing."""

from brainmass_core.report.stage import figure_path, run

__all__ = ["figure_path", "run"]
