"""The pyarrow schema of every table, reading and atomic writing.

A file is published only whole: it is written beside its final name, synced and renamed. Each file
carries its table's name, the schema version and the hash of the configuration that made it.
"""

from brainmass_core.tables.files import (
    MADE_BY,
    VERSION,
    TableError,
    atomic_path,
    config_hash_of,
    from_rows,
    read_table,
    write_table,
)
from brainmass_core.tables.models import (
    BRAINLM_HISTORY,
    HISTORY,
    SERIES_MODEL,
    embedding_schema,
    history_schema,
)
from brainmass_core.tables.scans import (
    MANIFEST,
    PREPROCESS,
    QUALITY,
    SCANS,
    connectivity_schema,
    n_edges,
    pfc_schema,
    timeseries_schema,
)
from brainmass_core.tables.tasks import (
    CALIBRATION,
    COHORT,
    FEW_SHOT,
    LEARNING_CURVE,
    MAPS,
    METRICS,
    NETWORKS,
    PREDICTED,
    PREDICTIONS,
    REGIONS,
    ROC,
    STABILITY,
    ZERO_SHOT,
    ZERO_SHOT_PREDICTIONS,
    attention_schema,
)

__all__ = [
    "BRAINLM_HISTORY",
    "CALIBRATION",
    "COHORT",
    "FEW_SHOT",
    "HISTORY",
    "LEARNING_CURVE",
    "MADE_BY",
    "MANIFEST",
    "MAPS",
    "METRICS",
    "NETWORKS",
    "PREDICTED",
    "PREDICTIONS",
    "PREPROCESS",
    "QUALITY",
    "REGIONS",
    "ROC",
    "SCANS",
    "SERIES_MODEL",
    "STABILITY",
    "VERSION",
    "ZERO_SHOT",
    "ZERO_SHOT_PREDICTIONS",
    "TableError",
    "atomic_path",
    "attention_schema",
    "config_hash_of",
    "connectivity_schema",
    "embedding_schema",
    "from_rows",
    "history_schema",
    "n_edges",
    "pfc_schema",
    "read_table",
    "timeseries_schema",
    "write_table",
]
