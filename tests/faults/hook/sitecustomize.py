"""Fail the n-th atomic write of a run, in whichever of its processes it happens.

Python imports this module at its start when its folder is in PYTHONPATH. Writes are counted in a
file, one byte each, that all processes append to.
"""

import errno
import json
import os

_SET = os.environ.get("BRAINMASS_FAILING_WRITE")


def _install(n: int, counter: str) -> None:
    def failing(before):
        def call(*args, **keywords):
            with open(counter, "ab", buffering=0) as file:
                file.write(b".")
                number = file.tell()
            if number == n:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return before(*args, **keywords)

        return call

    os.replace, os.rename, os.fsync = map(failing, (os.replace, os.rename, os.fsync))


if _SET:
    _install(**json.loads(_SET))
