"""Everything that a user wrote, one reader per form, used everywhere.

`files` opens regular files within limits and decodes text, `delimited` reads tables, `missing`
defines missing values and reads numbers, `lut` reads look-up tables of atlases, `confounds` the
confounds of a run, `image` voxels, `series` parcel time series, `sidecar` JSON.
``docs/reference/inputs.md`` lists what is accepted and refused.
"""

from brainmass_core.readers.delimited import Rows, read_delimited, read_rows
from brainmass_core.readers.files import FileError, read_bytes, read_lines
from brainmass_core.readers.limits import SMALL, TEXT, Limits

__all__ = [
    "SMALL",
    "TEXT",
    "FileError",
    "Limits",
    "Rows",
    "read_bytes",
    "read_delimited",
    "read_lines",
    "read_rows",
]
