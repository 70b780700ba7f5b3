"""A small BIDS folder to write into, and listing it through a configuration."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pytest

from brainmass_core.config import parse_config
from brainmass_core.scans.stage import list_scans

Listing = Callable[..., pd.DataFrame]


class Bids:
    """Writes files of a BIDS folder; images are tiny, their headers are what counts."""

    def __init__(self, root: Path) -> None:
        self.root = root
        root.mkdir()
        self.text("dataset_description.json", '{"Name": "test", "BIDSVersion": "1.8.0"}')

    def text(self, name: str, content: str) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
        return path

    def json(self, name: str, **content: Any) -> Path:
        return self.text(name, json.dumps(content))

    def image(
        self,
        name: str,
        shape: tuple[int, ...] = (3, 3, 4, 10),
        t_r: float | None = 2.0,
        unit: str | None = "sec",
    ) -> Path:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        image = nib.Nifti1Image(np.zeros(shape, np.int16), np.eye(4))
        if len(shape) > 3 and t_r is not None:
            image.header["pixdim"][4] = t_r
        if unit:
            image.header.set_xyzt_units("mm", unit)
        image.to_filename(path)
        return path

    def run(self, stem: str = "sub-01_task-rest", sidecar: Any = 2.0, **image: Any) -> Path:
        """A BOLD run in its folder; `sidecar` is RepetitionTime, None for no sidecar."""
        folders = [p for p in stem.split("_") if p.startswith(("sub-", "ses-"))]
        base = "/".join([*folders, "func", f"{stem}_bold"])
        if sidecar is not None:
            self.json(f"{base}.json", RepetitionTime=sidecar)
        return self.image(f"{base}.nii.gz", **image)

    def t1w(self, stem: str = "sub-01", **image: Any) -> Path:
        folders = [p for p in stem.split("_") if p.startswith(("sub-", "ses-"))]
        return self.image(
            "/".join([*folders, "anat", f"{stem}_T1w.nii.gz"]), **{"shape": (3, 3, 4)} | image
        )

    def participants(self, *rows: str, header: str = "participant_id\tage\tsex\tsite\tdx") -> Path:
        return self.text("participants.tsv", "\n".join([header, *rows]) + "\n")


@pytest.fixture
def bids(tmp_path: Path) -> Bids:
    """An empty BIDS folder."""
    return Bids(tmp_path / "bids")


@pytest.fixture
def listed(tmp_path: Path) -> Listing:
    """List a folder: `listed(path, kind=..., ...)` gives the scans, indexed by scan_id."""

    def do(
        path: Path,
        kind: str = "bids",
        role: str = "internal",
        sections: dict[str, Any] | None = None,
        **settings: Any,
    ) -> pd.DataFrame:
        section = {"kind": kind, "role": role, "path": str(path), **settings}
        # a data set that is only evaluated cannot stand alone
        datasets = {"d": section, "other": {**section, "role": "internal"}}
        task = {"datasets": ["d"], "label": "dx", "exclude": "pheno_note == '-'"}
        tasks = (
            {"t": {**task, "classes": {"one": ["1"], "two": ["2"]}}} if role != "pretrain" else {}
        )
        raw = {"results": str(tmp_path / "results"), "datasets": datasets, "tasks": tasks}
        raw |= sections or {}
        config = parse_config(raw)
        scans, unmatched = list_scans(config, "d")
        scans = scans.astype(object).where(scans.notna(), None).set_index("scan_id")
        scans.attrs["unmatched"] = unmatched
        return scans

    return do
