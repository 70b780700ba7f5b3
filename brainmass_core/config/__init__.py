"""The configuration: its pydantic tree, loading with readable errors, and hashes."""

from brainmass_core.config.hashing import (
    batch_of,
    fingerprint,
    named_files,
    stable_hash,
    stage_hash,
)
from brainmass_core.config.inputs import Dataset
from brainmass_core.config.load import (
    ConfigError,
    dump_config,
    list_presets,
    load_config,
    parse_config,
)
from brainmass_core.config.model import Config
from brainmass_core.config.tasks import Task

__all__ = [
    "Config",
    "ConfigError",
    "Dataset",
    "Task",
    "batch_of",
    "dump_config",
    "fingerprint",
    "list_presets",
    "load_config",
    "named_files",
    "parse_config",
    "stable_hash",
    "stage_hash",
]
