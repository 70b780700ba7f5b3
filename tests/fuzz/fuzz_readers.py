"""All readers, by name."""

from __future__ import annotations

import fuzz_models
import fuzz_scans
import fuzz_tables

READERS = {r.name: r for r in (*fuzz_tables.READERS, *fuzz_scans.READERS, *fuzz_models.READERS)}
