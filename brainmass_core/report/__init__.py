"""Pictures and tables from results only; recomputes nothing."""

from brainmass_core.report.stage import run

__all__ = ["run"]
