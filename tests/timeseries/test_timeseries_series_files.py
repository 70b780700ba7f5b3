"""Ready series meet the atlas: order, names and orientation; and NaN outside of the brain."""

from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
from timeseries_study import N_ROIS, outcome, preprocessed_run, six, study

from brainmass_core.atlas import resolve_atlas

X = np.random.default_rng(0).normal(size=(60, N_ROIS)).round(4)
NAMES = [f"R{i + 1}" for i in range(N_ROIS)]


def made(tmp_path, files, lut=NAMES, order=None, **dataset):
    """What `timeseries` makes of series of an atlas with these names."""
    table = [f"{i + 1}\t{name}" for i, name in enumerate(lut)]
    (tmp_path / "lut.tsv").write_text(
        "index\tname\n" + "\n".join(table[i] for i in (order or range(len(table)))) + "\n"
    )
    rows = [
        {"scan_id": f"lab_{name}", "bold_path": str(tmp_path / name), "participant_id": name}
        for name in files
    ]
    for name, (header, values) in files.items():
        lines = ([] if header is None else ["\t".join(map(str, header))]) + [
            "\t".join(map(str, row)) for row in values
        ]
        (tmp_path / name).write_text("\n".join(lines))
    atlas = {"name": "six", "labels": str(tmp_path / "lut.tsv")}
    config = study(
        tmp_path,
        "timeseries",
        rows,
        atlas=atlas,
        dataset=dataset,
        timeseries={"derivatives": False},
    )
    entries, found = outcome(config)
    series = {
        name.removeprefix("lab_"): np.array(row["bold"])
        for name, row in found.items()
        if row["bold"]
    }
    reasons = {k.removeprefix("lab_"): f"{e.reason}; {e.remedy}" for k, e in entries.items()}
    return series, reasons, config


def test_columns_are_put_right_by_name_and_other_names_are_refused(tmp_path):
    turn = [5, 3, 0, 1, 4, 2]
    series, reasons, config = made(
        tmp_path,
        {
            "a.tsv": (NAMES, X),
            "b.tsv": ([NAMES[i] for i in turn], X[:, turn]),
            "c.tsv": ([f"X{n}" for n in NAMES], X),
            "d.tsv": (range(10, 70, 10), X),
            "e.tsv": (range(6, 0, -1), X[:, ::-1]),
            "f.tsv": (None, X),
        },
        order=[2, 0, 1, 5, 4, 3],
    )
    assert resolve_atlas(config).labels["name"].tolist() == NAMES  # sorted by index
    assert sorted(series) == ["a.tsv", "b.tsv", "d.tsv", "e.tsv", "f.tsv"]
    for found in series.values():
        np.testing.assert_allclose(found, X, atol=1e-6)
    assert "names that the atlas does not have: 'XR1'" in reasons["c.tsv"]


def test_an_orientation_that_cannot_be_told_is_asked(tmp_path):
    square = {"a.tsv": (None, X[:N_ROIS]), "b.tsv": (NAMES, X[:N_ROIS])}
    _, reasons, _ = made(tmp_path, square)
    assert "cannot be told which are timepoints" in reasons["a.tsv"]
    assert "datasets.lab.orientation" in reasons["a.tsv"]
    assert "timepoints, fewer than" in reasons["b.tsv"]  # names tell
    _, reasons, _ = made(tmp_path, {"c.tsv": (None, X[:N_ROIS])}, orientation="time_by_roi")
    assert "cannot be told" not in reasons["c.tsv"]


@pytest.mark.parametrize("smoothing", [None, 6.0])
def test_values_outside_of_the_brain_are_not_judged(tmp_path, smoothing):
    (row,) = preprocessed_run(tmp_path)
    image = nib.load(row["bold_path"])
    data = np.asarray(image.dataobj, dtype=np.float32)
    inside = np.zeros(data.shape[:3], dtype=np.uint8)
    inside[1:7, 1:7, 1:7] = 1
    nib.save(nib.Nifti1Image(inside, image.affine), row["mask_path"])
    found = []
    for outside in (0, np.nan, np.inf):
        data[inside == 0] = outside
        nib.save(nib.Nifti1Image(data, image.affine), row["bold_path"])
        settings = {"derivatives": False, "smoothing_fwhm": smoothing}
        config = study(tmp_path, "derivatives", [row], atlas=six(tmp_path), timeseries=settings)
        entries, rows = outcome(config)
        assert entries[row["scan_id"]].status == "ok", entries
        found.append(rows[row["scan_id"]]["bold"])
    assert found[0] == found[1] == found[2]
    data[3, 3, 3, 7] = np.nan
    nib.save(nib.Nifti1Image(data, image.affine), row["bold_path"])
    entries, _ = outcome(config)
    assert "not finite" in entries[row["scan_id"]].reason
