"""The report: figures and tables from results only, without recomputing anything."""

from brainmass_core.report.stage import run

__all__ = ["run"]
