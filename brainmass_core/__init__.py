"""brainmass: from raw fMRI scans to a diagnosis model a lab can defend."""

__version__ = "0.1.0"
