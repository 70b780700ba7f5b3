"""One odd name, or two files of one scan, cost one scan, which is recorded with its reason."""

from __future__ import annotations

import gzip
import os
import shutil

import numpy as np
import pytest

from brainmass_core.config import parse_config
from brainmass_core.pipeline.fingerprints import inputs_of
from brainmass_core.scans.naming import LONGEST_BYTES, written
from brainmass_core.scans.stage import run
from brainmass_core.tables import read_table


def copied(path, root, name):
    """A copy of a file below a folder, under a name of bytes."""
    where = os.path.join(os.fsencode(root), name)
    os.makedirs(os.path.dirname(where), exist_ok=True)
    shutil.copy(path, where)


def the_only_reason(scans, n_good):
    """The reason of the one excluded scan beside the others."""
    assert scans.excluded_reason.isna().sum() == n_good
    (reason,) = scans.excluded_reason.dropna()
    return reason


@pytest.fixture
def series(tmp_path):
    """Two sound files."""
    folder = tmp_path / "series"
    folder.mkdir()
    for i in (1, 2):
        rows = np.random.default_rng(i).normal(size=(9, 4))
        np.savetxt(folder / f"sub-0{i}.tsv", rows, delimiter="\t")
    return folder


ODD = {
    "line break": b"sub-0\n3.tsv",
    "tab": b"sub-03\t.tsv",
    "other bytes": b"sub-\xff3.tsv",
    "long": b"s" * 151 + b".tsv",
    "long in bytes": "é".encode() * 110 + b".tsv",
    "backslash": b"sub\\03.tsv",
    "nothing": b".tsv",
    "folder": b"si\nte/sub-03.tsv",
    "folder of other bytes": b"si\xfete/sub-03.tsv",
}


@pytest.mark.parametrize("name", ODD.values(), ids=ODD)
def test_an_odd_name_of_a_series_is_one_excluded_scan(series, listed, name):
    copied(series / "sub-01.tsv", series, name)
    scans = listed(series, kind="timeseries", t_r=2.0, pattern="**/*.tsv")
    reason = the_only_reason(scans, 2)
    assert "rename it" in reason
    assert str(series) in reason
    assert all(part.isprintable() for part in [reason, *scans.index, *scans.bold_path])


@pytest.mark.parametrize("other", ["sub-01.tsv.gz", "sub-01.npy", "deeper/sub-01.tsv"])
def test_two_files_of_one_scan_are_one_excluded_scan_that_names_both(series, listed, other):
    (series / other).parent.mkdir(exist_ok=True)
    rows = np.loadtxt(series / "sub-01.tsv")
    if other.endswith(".npy"):
        np.save(series / other, rows)
    else:
        with (gzip.open if other.endswith(".gz") else open)(series / other, "wt") as file:
            np.savetxt(file, rows, delimiter="\t")
    scans = listed(series, kind="timeseries", t_r=2.0, pattern="**/*")
    assert list(scans.index) == ["d_sub-01", "d_sub-02"]
    reason = the_only_reason(scans, 1)
    assert str(series / other) in reason
    assert str(series / "sub-01.tsv") in reason
    assert "2 files give one scan" in reason


RUNS = [  # of one participant, and those of them that are one run in BIDS
    (["run-1", "run-01"], ["run-1", "run-01"]),
    (["run-1", "run-001", "run-01", "run-2"], ["run-1", "run-001", "run-01"]),
    (["run-0", "run-00"], ["run-0", "run-00"]),
    (["run-1", "run-10", "run-100", "run-2"], []),
    (["run-01", "run-10", "run-010"], ["run-10", "run-010"]),
    (["acq-1_run-1", "acq-01_run-1"], []),  # a label, not a number
]


@pytest.mark.parametrize(("runs", "same"), RUNS)
@pytest.mark.parametrize("kind", ["bids", "derivatives", "timeseries"])
def test_zeros_before_the_number_make_no_other_run(bids, listed, kind, runs, same):
    bids.t1w()
    for number in runs:
        stem = f"sub-01_task-rest_{number}"
        if kind == "bids":
            bids.run(stem)
        elif kind == "derivatives":
            derived(bids, stem)
        else:
            np.save(bids.root / f"{stem}.npy", np.random.default_rng(1).normal(size=(9, 4)))
    more = {"t_r": 2.0} if kind == "timeseries" else {}
    scans = listed(bids.root, kind=kind, **more)
    excluded = scans.excluded_reason.dropna()
    assert sorted(excluded.index) == sorted(f"d_sub-01_task-rest_{number}" for number in same)
    for reason in excluded:
        assert f"{len(same)} files give one run" in reason
        assert all(scans.bold_path[scan] in reason for scan in excluded.index)


def test_a_run_that_cannot_be_used_leaves_its_twin(bids, listed):
    bids.t1w()
    bids.run("sub-01_task-rest_run-01", shape=(3, 3, 4))
    bids.run("sub-01_task-rest_run-1")
    assert "3-D image" in the_only_reason(listed(bids.root), 1)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("sub-03.NPY", "unknown kind of file; expected one of"),
        ("sub-03.1d", "unknown kind of file"),
        ("sub-03.tsv/", "is a folder, expected a regular file"),
    ],
)
def test_what_is_called_like_a_series_is_never_left_out_in_silence(series, listed, name, reason):
    if name.endswith("/"):
        (series / name).mkdir()
    else:
        (series / name).write_bytes(b"x")
    assert reason in the_only_reason(listed(series, kind="timeseries", t_r=2.0), 2)


def test_twins_and_odd_names_reach_the_published_table_and_the_fingerprints(series, tmp_path):
    copied(series / "sub-01.tsv", series, b"sub-01.1D")
    copied(series / "sub-01.tsv", series, b"sub-\xff3.tsv")
    raw = {"kind": "timeseries", "role": "internal", "path": str(series), "t_r": 2.0, "batches": 3}
    config = parse_config({"results": str(tmp_path / "results"), "datasets": {"d": raw}})
    run(config, "d")
    table = read_table(tmp_path / "results/scans/d.parquet", "scans").to_pandas()
    assert list(table.scan_id) == ["d_sub-%FF3", "d_sub-01", "d_sub-02"]
    assert list(table.excluded_reason.notna()) == [True, True, False]
    found = inputs_of("d", config.datasets["d"])
    assert found.scanned == set(table.participant_id)
    assert len(found.batches("d", 3)) == 3


def test_names_that_can_be_written_stay_and_others_fit_a_file_system():
    for name in ("sub-01_task-rest", "Élise 1", "a%2Fb", "x" * 150):
        assert written(name) == name
    for name in ("x" * 151, "é" * 5000, "x" * 152):
        assert len(written(name).encode()) <= LONGEST_BYTES
    assert written("x" * 151) != written("x" * 152)


def test_a_run_as_nii_and_nii_gz_is_one_excluded_scan(bids, listed):
    whole = bids.run()
    bids.run("sub-02_task-rest"), bids.t1w(), bids.t1w("sub-02")
    with gzip.open(whole) as packed:
        whole.with_suffix("").write_bytes(packed.read())
    scans = listed(bids.root)
    assert list(scans.index) == ["d_sub-01_task-rest", "d_sub-02_task-rest"]
    assert f"{whole.with_suffix('')} and {whole}" in the_only_reason(scans, 1)


SLIPS = {
    "line break": (b"sub-01/func/sub-01_task-re\nst_bold.nii.gz", "rename it"),
    "tab": (b"sub-01/func/sub-01_task-rest\t_bold.nii.gz", "rename it"),
    "other bytes": (b"sub-01/func/sub-01_task-\xff_bold.nii.gz", "rename it"),
    "copy": (b"sub-01/func/sub-01_task-rest_bold (1).nii.gz", "ends in 'bold (1).nii.gz'"),
    "upper case": (b"sub-01/func/sub-01_task-rest_run-2_bold.NII.GZ", "ends in 'bold.NII.GZ'"),
    "suffix": (b"sub-01/func/sub-01_task-rest_run-2_BOLD.nii.gz", "ends in 'BOLD.nii.gz'"),
    "place": (b"sub-01/sub-01_task-other_bold.nii.gz", "in the folder 'sub-01'"),
    "participant": (b"sub-01 (old)/func/sub-01_task-rest_bold.nii.gz", "not a BIDS participant"),
    "participant of other bytes": (b"sub-\xff/func/sub-01_task-rest_bold.nii.gz", "rename it"),
}


@pytest.mark.parametrize(("name", "reason"), SLIPS.values(), ids=SLIPS)
def test_what_is_almost_a_bold_run_is_one_excluded_scan(bids, listed, name, reason):
    whole = bids.run()
    bids.t1w()
    copied(whole, bids.root, name)
    scans = listed(bids.root)
    assert reason in the_only_reason(scans, 1)
    assert "d_sub-01_task-rest" in scans.index
    assert all(part.isprintable() for part in [*scans.index, *scans.bold_path])


def test_a_copy_elsewhere_of_a_run_in_its_place_costs_nothing(bids, listed):
    whole = bids.run()
    bids.t1w()
    copied(whole, whole.parent.parent, b"unprocessed/" + os.fsencode(whole.name))
    assert list(listed(bids.root).excluded_reason) == [None]


def derived(bids, stem, folder="sub-01/func"):
    base, space = f"{folder}/{stem}", "space-MNI152NLin6Asym"
    bids.json(f"{base}_{space}_desc-preproc_bold.json", RepetitionTime=2.0)
    bids.image(f"{base}_{space}_desc-brain_mask.nii.gz", (3, 3, 4))
    bids.text(f"{base}_desc-confounds_timeseries.tsv", "csf\n" + "1\n" * 10)
    return bids.image(f"{base}_{space}_desc-preproc_bold.nii.gz")


@pytest.mark.parametrize(
    "name",
    [
        b"sub-01/func/sub-01_task-\xff_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz",
        b"sub-01/func/sub-01_task-re\tst_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz",
        b"sub-01/func/sub-01_task-rest_space-MNI152NLin6Asym_desc-preproc_bold (1).nii.gz",
        b"sub-01_old/func/sub-01_task-rest_space-MNI152NLin6Asym_desc-preproc_bold.nii.gz",
    ],
    ids=["other bytes", "tab", "copy", "participant"],
)
def test_an_odd_name_among_derivatives_is_one_excluded_scan(bids, listed, name):
    copied(derived(bids, "sub-01_task-rest"), bids.root, name)
    scans = listed(bids.root, kind="derivatives")
    reason = the_only_reason(scans, 1)
    assert "rename" in reason
    assert reason.isprintable()


def test_a_run_of_derivatives_in_two_folders_is_excluded_and_names_both(bids, listed):
    derived(bids, "sub-01_task-rest")
    derived(bids, "sub-01_task-rest", "sub-01/ses-1/func")
    derived(bids, "sub-02_task-rest", "sub-02/func")
    scans = listed(bids.root, kind="derivatives")
    assert list(scans.index) == ["d_sub-01_task-rest", "d_sub-02_task-rest"]
    assert "ses-1/func/sub-01_task-rest_space" in the_only_reason(scans, 1)


def test_a_part_of_a_name_without_a_key_makes_another_run_of_derivatives(bids, listed):
    derived(bids, "sub-01_task-rest")
    derived(bids, "sub-01_task-rest_again")
    scans = listed(bids.root, kind="derivatives")
    again = scans.loc["d_sub-01_task-rest_again"]
    assert len(scans) == 2
    assert "_again_desc" in again.confounds_path
    assert "_again_" not in scans.drop(index=again.name).confounds_path.iloc[0]
