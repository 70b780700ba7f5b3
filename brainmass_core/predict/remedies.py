"""Messages of the stages in the words of `predict`, whose user has not written a configuration.

The stages name settings of a data set and of the processing. Those of the data set are options of
`predict`; those of the processing belong to the model, and its user cannot change them.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

DATASET = "input"  # name of the data set in the configuration that `predict` makes
# not the end of a path, such as sub-01_timeseries.tsv
MODEL_SETTING = (
    r"(?<![\w./-])(?:preprocess|timeseries|connectivity)\."
    r"(?!(?:tsv|csv|txt|npy|npz|nii|json|parquet)\b)([a-z0-9_.]*[a-z0-9_])"
)
SESSION_COLUMN = (
    "name its column in phenotype.session_column, or, if a row is a scan of kind timeseries, set "
    "phenotype.scan_column"
)
REMEDIES = {  # settings that `predict` does not have, or has under another name
    f"set datasets.{DATASET}.t1w to `first` or `last`, or remove the others": "give a copy of the "
    "input with one T1w per session, or per participant",
    "to the sidecar, or set t_r of the data set": "to the sidecar",
    "; or, if it is 1 s, set t_r: 1 for the data set": "",
    f"datasets.{DATASET}.t_r": "--t-r",
    "in the configuration (t_r, phenotype.t_r_column)": "by --t-r",
    "set header of the data set to true or false": "give --header or --no-header",
    "set orientation to time_by_roi, or header to false": "give --orientation time_by_roi, or "
    "--no-header",
    "narrow `pattern`": "narrow --pattern",
    "by `array`": "by --array",
    ", or set `atlas` to the one they were made with": "",
    "set kind: derivatives, or path to the raw data set": "give the raw data set, or only the "
    "derivatives",
    "correct path or kind": "correct the path",
    SESSION_COLUMN: "call its column session_id",
    "choose one by phenotype.session, such as": "keep the rows of one session, such as",
    # settings of the model
    ", or choose embedded": "",
    "turn these regressors off in `timeseries`, or write": "write",
    ", or turn these regressors off in `timeseries`": "",
    "; set timeseries.censor.method to none, choose another fd_kind, or write": "; write",
    ", or leave preprocess.max_std_dvars empty": "",
    " For infants or animals set these, and use a suitable template": "",
    " If only parts that you do not need are missing, lower preprocess.min_t1w_coverage": "",
    ", or give the path of the template as preprocess.template, or use `packaged`, which reaches "
    "the atlas by a bridge": "",
    # the machine
    ", or raise scan_timeout": "",
    " (scan_timeout)": "",
}
# remedies that consist of, or end with, the change of a setting of the model
CHANGE = re.compile(
    r"(?:, or|;|(?<=[?.]) Or|(?<=\S)(?= (?:lower|choose|set)\b)|^) ?"
    r"(?:set|choose|leave|lower|raise|change|use)\b(?: another(?: engine at)?)? "
    + MODEL_SETTING
    + r"[^;]*$"
)
MEMORY = re.compile(r"raise resources\.\w+\.mem_mb")
ATLAS = {
    "as atlas.path, or choose a name such as Schaefer2018-100-7networks": "by --atlas",
    "as atlas.path": "by --atlas",
    "atlas.path": "--atlas",
    "atlas.name is": "the model's atlas is",
    "atlas.space": "the space of the model's atlas",
}


def as_options(message: str) -> str:
    """Replace settings of a configuration in a message by options of `predict`.

    Parameters
    ----------
    message : str
        Of a stage that was run for the data set `DATASET`.

    Returns
    -------
    str
        With options instead of settings of the data set; remedies that change settings of the
        model are removed, and other mentions of these settings name the model.
    """
    for ours, theirs in (REMEDIES | ATLAS).items():
        message = message.replace(ours, theirs)
    message = MEMORY.sub("lower --threads, or use a machine with more memory", message)
    message = CHANGE.sub("", message)
    message = re.sub(MODEL_SETTING, r"the model's \1", message)
    return message.replace(f"datasets.{DATASET}: ", "").replace(f"datasets.{DATASET}.", "--")


@contextmanager
def logged_as_options() -> Iterator[None]:
    """Apply `as_options` to the log lines of this package in the block."""
    handlers = logging.getLogger().handlers + logging.getLogger("brainmass_core").handlers

    def renamed(record: logging.LogRecord) -> bool:
        if record.name.startswith("brainmass_core"):
            record.msg, record.args = as_options(record.getMessage()), ()
        return True

    for handler in handlers:
        handler.addFilter(renamed)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(renamed)
