"""All readers, by name."""

from __future__ import annotations

import fuzz_folders
import fuzz_images
import fuzz_models
import fuzz_preprocess
import fuzz_results
import fuzz_series
import fuzz_shards
import fuzz_tables

_MODULES = (
    *(fuzz_tables, fuzz_series, fuzz_images, fuzz_folders, fuzz_preprocess),
    *(fuzz_results, fuzz_shards, fuzz_models),
)
READERS = {reader.name: reader for module in _MODULES for reader in module.READERS}
