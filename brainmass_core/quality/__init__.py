"""Pages on which people judge scans and cohorts; nothing is decided here."""

from brainmass_core.quality.dataset import run_dataset
from brainmass_core.quality.stage import run

__all__ = ["run", "run_dataset"]
