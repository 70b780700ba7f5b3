"""What native code does to a worker; a module of its own, because workers import it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path

import pyarrow as pa
from batch_processes import SCHEMA

from brainmass_core.tables import from_rows


def process(item: dict) -> pa.Table:
    """Do what the item's kind says."""
    kind = item["kind"]
    if kind == "segfault":
        ctypes.string_at(0)
    if kind == "abort":
        os.abort()
    if kind == "exit":
        os._exit(0)
    if kind == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if kind == "hangs":
        program = subprocess.Popen(["sleep", "1000"])
        Path(item["folder"], "program").write_text(str(program.pid))
        time.sleep(1000)
    if kind == "deaf":  # to all but SIGKILL
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        time.sleep(1000)
    row = {"scan_id": item["scan_id"], "status": "ok", "value": item["value"]}
    return from_rows([row], SCHEMA)
