"""Everything that a user wrote, one reader per form, used everywhere.

`files` opens what is a regular file within limits and decodes it, `delimited` reads tables,
`missing` says what is missing and reads numbers, `lut` reads look-up tables of atlases, `confounds`
the confounds of a run; `regular_file` and `sidecar` bound what is read of images, arrays and JSON.
``docs/reference/inputs.md`` lists what is accepted and refused.
"""

from brainmass_core.readers.delimited import Rows, read_delimited, read_rows
from brainmass_core.readers.files import ReadError, read_bytes, read_lines, require_regular
from brainmass_core.readers.limits import SMALL, TEXT, Limits

__all__ = [
    "SMALL",
    "TEXT",
    "Limits",
    "ReadError",
    "Rows",
    "read_bytes",
    "read_delimited",
    "read_lines",
    "read_rows",
    "require_regular",
]
