"""Pages for the visual inspection of scans and cohorts; they do not exclude scans."""

from brainmass_core.quality.dataset import run_dataset
from brainmass_core.quality.stage import run

__all__ = ["run", "run_dataset"]
