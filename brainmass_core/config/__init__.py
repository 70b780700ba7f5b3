"""The configuration: its pydantic tree, and loading with readable errors."""

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
    "dump_config",
    "list_presets",
    "load_config",
    "parse_config",
]
