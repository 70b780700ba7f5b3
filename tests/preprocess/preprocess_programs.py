"""Replacements for programs of other packages: they read options and write files.

A test first declares which files a program writes; each call is recorded.
"""

from __future__ import annotations

import json
import os
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

SCRIPT = """#!{python}
import json, os, re, shutil, sys
from pathlib import Path

name, folder = Path(sys.argv[0]).name, Path({folder!r})
if sys.argv[1:] == ["--version"]:
    sys.exit(print("ANTs Version: 2.5.1"))
record = folder / "record.json"
calls = json.loads(record.read_text()) if record.exists() else []
turn = sum(call["name"] == name for call in calls)
keep = ("FSLOUTPUTTYPE", "OMP_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS", "TMPDIR",
        "AFNI_DONT_LOGFILE")
calls.append({{"name": name, "argv": sys.argv[1:], "cwd": os.getcwd(),
              "environ": {{k: os.environ.get(k) for k in keep}}}})
record.write_text(json.dumps(calls))
plan = json.loads((folder / "plan.json").read_text())[name][turn]

def option(match):
    key = match[1]
    if key.isdigit():
        return sys.argv[int(key)]
    if key in sys.argv:
        return sys.argv[sys.argv.index(key) + 1]
    return next(a for a in sys.argv if a.startswith(key + "="))[len(key) + 1:]

for target, source in plan["files"].items():
    path = Path(re.sub(r"\\{{(.+?)\\}}", option, target))
    path.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(source, path)
sys.stderr.write(plan["stderr"])
sys.exit(plan["code"])
"""


@dataclass
class Programs:
    """Programs on PATH.

    `says` defines the next call of a program; `calls` lists the calls so far.
    """

    folder: Path

    def says(
        self,
        name: str,
        files: dict[str, Path] | None = None,
        stderr: str = "",
        code: int = 0,
    ) -> None:
        """The next call of `name` copies `files`; ``{-out}`` is the value of that option."""
        script = self.folder / "bin" / name
        script.write_text(SCRIPT.format(python=sys.executable, folder=str(self.folder)))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
        path = self.folder / "plan.json"
        plan = json.loads(path.read_text()) if path.exists() else {}
        made = {target: str(source) for target, source in (files or {}).items()}
        plan.setdefault(name, []).append({"files": made, "stderr": stderr, "code": code})
        path.write_text(json.dumps(plan))

    def image(self, name: str, data: np.ndarray, affine: np.ndarray) -> Path:
        """An image that a program will write."""
        path = self.folder / name
        nib.save(nib.Nifti1Image(data, affine), path)
        return path

    def text(self, name: str, text: str) -> Path:
        """A text file that a program will write."""
        path = self.folder / name
        path.write_text(text)
        return path

    @property
    def calls(self) -> list[dict]:
        path = self.folder / "record.json"
        return json.loads(path.read_text()) if path.exists() else []

    def left_behind(self) -> list[str]:
        """Content of the folder for temporary files."""
        return sorted(p.name for p in (self.folder / "tmp").iterdir())


def install(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Programs:
    """An empty set of programs, first on PATH, and a folder for temporary files."""
    for name in ("bin", "tmp", "fsl/etc/flirtsch"):
        (folder / name).mkdir(parents=True)
    for name in ("bbr.sch", "b02b0.cnf", "T1_2_MNI152_2mm.cnf"):
        (folder / "fsl/etc/flirtsch" / name).write_text("")
    monkeypatch.setenv("PATH", f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FSLDIR", str(folder / "fsl"))
    monkeypatch.setenv("FSLOUTPUTTYPE", "NIFTI_PAIR")  # a user's setting that must have no effect
    monkeypatch.setattr("tempfile.tempdir", str(folder / "tmp"))
    return Programs(folder)


IN_PROCESS = """#!{python}
import os, sys
from pathlib import Path

if sys.argv[1:] == ["--version"]:
    sys.exit(print("ANTs Version: 2.5.1"))
os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "1"
from ants.internal import get_lib_fn

sys.exit(get_lib_fn(Path(sys.argv[0]).name)(sys.argv[1:]) or 0)
"""


def install_antspyx(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """ANTs' own programs, last on PATH: antspyx contains their code, including the command-line
    parser.
    """
    folder.mkdir()
    for name in ("antsRegistration", "Atropos", "N4BiasFieldCorrection"):
        script = folder / name
        script.write_text(IN_PROCESS.format(python=sys.executable))
        script.chmod(script.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{os.environ['PATH']}{os.pathsep}{folder}")
