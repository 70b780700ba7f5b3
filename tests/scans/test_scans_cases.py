"""Folders and tables after public bug reports of the field, complete as users have them.

Each expected value follows from what the files contain, not from what is read.
"""

from __future__ import annotations

import numpy as np
import pytest

from brainmass_core.scans import ScansError

TIMES = [round(0.1 * n, 1) for n in range(4)]  # s, of four slices
NOT_FETCHED = {
    "sub-11/func/sub-11_task-rest_bold.nii.gz": "../../.git/annex/objects/aa/MD5E-s1--x.nii.gz",
    "sub-12/func/sub-12_task-rest_bold.json": "../../.git/annex/objects/cc/x.json",
}
# what each run of `odd_folder` is: None if it is usable, else words of the reason
ODD = {
    "sub-01_task-rest": None,
    "sub-02_task-rest": None,  # slice times in milliseconds, which nobody uses here
    "sub-03_task-rest": None,  # two slice times for four slices, as in ds000237
    "sub-04_task-rest": ("t_r is 2000 s", "not milliseconds"),
    "sub-05_task-rest_run-01": ("run-1_bold", "run-01_bold", "one run"),
    "sub-05_task-rest_run-1": ("run-1_bold", "run-01_bold", "one run"),
    "sub-06_ses-1_task-rest": None,
    "sub-06_ses-2_task-rest": None,
    "sub-07_task-rest": None,  # beside its sbref, which is no run
    "sub-08_task-rest_part-mag": None,
    "sub-08_task-rest_part-phase": ("the phase part of a complex run",),
    "sub-09_task-rest": None,  # .nii
    "sub-10_task-rest_acq-3D+t": None,  # + is legal since BIDS 1.10
    "sub-11_task-rest": ("sub-11_task-rest_bold.nii.gz: a link to", "annex", "copy the file"),
    "sub-12_task-rest": ("unreadable sidecar", "sub-12_task-rest_bold.json: a link to", "annex"),
    "sub-13_task-rest": ("contains a pointer to its content", "copy the file"),
    "sub-14": ("a broken link in place of the folder of a participant",),
    "sub-15_task-rest": None,  # its repetition time is in the sidecar of all
}


@pytest.fixture
def odd_folder(bids):
    """Raw BIDS with one oddity per participant; participants.tsv is a link, with BOM and CRLF."""
    for name in ODD:
        if name not in ("sub-09_task-rest", "sub-14"):
            bids.run(name, sidecar=None if name.startswith("sub-15") else 2.0)
            bids.t1w(name.split("_task")[0])
    bids.image("sub-09/func/sub-09_task-rest_bold.nii")
    bids.t1w("sub-09")
    sidecar = "sub-{0}/func/sub-{0}_task-rest_bold.json"
    bids.json(sidecar.format("01"), RepetitionTime=2.0, SliceTiming=TIMES)
    bids.json(sidecar.format("02"), RepetitionTime=2.0, SliceTiming=[1000 * t for t in TIMES])
    bids.json(sidecar.format("03"), RepetitionTime=2.0, SliceTiming=[0.0, 0.0])
    bids.json(sidecar.format("04"), RepetitionTime=2000)
    bids.image("sub-07/func/sub-07_task-rest_sbref.nii.gz", (3, 3, 4, 2))
    bids.json("task-rest_bold.json", RepetitionTime=2.0)
    for name, target in NOT_FETCHED.items():
        (bids.root / name).unlink()
        (bids.root / name).symlink_to(target)
    bids.text("sub-13/func/sub-13_task-rest_bold.nii.gz", "/annex/objects/MD5E-s123--abc.nii.gz\n")
    (bids.root / "sub-14").symlink_to("/nonexistent/sub-14")
    rows = "".join(f"sub-{i:02d}\tHC{i}\r\n" for i in range(1, 16))
    table = bids.root / "real_participants.tsv"
    table.write_bytes(f"\ufeffparticipant_id\tdiagnosis\r\n{rows}".encode())
    (bids.root / "participants.tsv").symlink_to("real_participants.tsv")
    return bids.root


def test_every_oddity_of_a_raw_data_set_is_one_scan_with_its_own_reason(odd_folder, listed):
    preprocess = {"preprocess": {"slice_timing": False}}
    scans = listed(odd_folder, stratify_by="diagnosis", sections=preprocess)
    assert sorted(scans.index) == [f"d_{name}" for name in ODD]
    for name, words in ODD.items():
        row = scans.loc[f"d_{name}"]
        assert (row.excluded_reason is None) == (words is None), (name, row.excluded_reason)
        assert all(word in row.excluded_reason for word in words or ()), row.excluded_reason
        assert row.pheno_diagnosis == f"HC{int(name[4:6])}"
        if words is None:
            assert row.t_r == 2.0
            assert row.n_volumes == 10
    assert scans.slice_timing["d_sub-02_task-rest"] is None
    assert scans.slice_timing["d_sub-03_task-rest"] is None


def test_slice_times_are_judged_where_they_are_used(odd_folder, listed):
    scans = listed(odd_folder)
    assert "4 values from 0 to 300" in scans.excluded_reason["d_sub-02_task-rest"]
    assert "2 values up to 0, expected 4" in scans.excluded_reason["d_sub-03_task-rest"]
    assert scans.slice_timing["d_sub-01_task-rest"] == TIMES


AGES = [20.0 + i for i in range(1, 7)]


def table(header, row, sep="\t", end="\n"):
    """A table of six participants: `row(i)` gives the fields of number i."""
    lines = [header, *(map(str, row(i)) for i in range(1, 7))]
    return "".join(sep.join(fields) + end for fields in lines)


PLAIN = ("participant_id", "age", "dx")
# bytes of a phenotype table, and the ages that it gives or words of the refusal
TABLES = {
    "latin-1": (
        table((*PLAIN, "note"), lambda i: (f"sub-0{i}", 20 + i, "HC", "é")).encode("latin-1"),
        AGES,
    ),
    "UTF-16": (table(PLAIN, lambda i: (f"sub-0{i}", 20 + i, "HC")).encode("utf-16"), AGES),
    "one name twice": (
        table(("participant_id", "age", "age ", "dx"), lambda i: (f"sub-0{i}", 20 + i, 90 + i, 1)),
        "line 1: the name 'age' is given to columns 2, 3",
    ),
    "without prefix": (table(PLAIN, lambda i: (i, 20 + i, "HC")), AGES),
    "numbers with .0": (table(PLAIN, lambda i: (f"{i}.0", f"{20 + i}.0", f"{i % 2}.0")), AGES),
    "other case": (
        table(("Participant_ID", "Age", "dx"), lambda i: (f"sub-0{i}", 20 + i, "HC")),
        "did you mean 'Participant_ID'?",
    ),
    "prefix in capitals": (table(PLAIN, lambda i: (f"SUB-0{i}", 20 + i, "HC")), AGES),
    "marks before numbers": (
        table(PLAIN, lambda i: (f"sub-0{i}", f"#{20 + i}", "HC")),
        "column 'age': 6 of 6 values are not numbers, such as '#21'",
    ),
    "CR": (table(PLAIN, lambda i: (f"sub-0{i}", 20 + i, "HC"), end="\r"), AGES),
    "CRLF": (table(PLAIN, lambda i: (f"sub-0{i}", 20 + i, "HC"), end="\r\n"), AGES),
    "spaces": (
        table(PLAIN, lambda i: (f"sub-0{i}", 20 + i, "HC"), sep=" "),
        "fields are separated by spaces",
    ),
    "months": (
        table(PLAIN, lambda i: (f"sub-0{i}", 240 + 12 * i, "HC")),
        "cannot be an age in years",
    ),
    "decimal commas": (
        table(PLAIN, lambda i: (f"sub-0{i}", f"{20 + i},5", "HC")),
        [a + 0.5 for a in AGES],
    ),
    "rows per session": (
        table(
            ("participant_id", "session_id", "age", "dx"),
            lambda i: (f"sub-0{(i + 1) // 2}", f"ses-{2 - i % 2}", 20 + (i + 1) // 2, "HC"),
        ),
        [21.0, 22.0, 23.0, None, None, None],
    ),
}


@pytest.mark.parametrize(("content", "expected"), TABLES.values(), ids=TABLES)
def test_a_phenotype_table_is_read_as_it_is_meant_or_refused(tmp_path, listed, content, expected):
    for i in range(1, 7):
        np.save(tmp_path / f"sub-0{i}.npy", np.random.default_rng(i).normal(size=(9, 4)))
    path = tmp_path / "pheno.tsv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    how = {"kind": "timeseries", "t_r": 2.0}
    how["phenotype"] = {"path": str(path), "age_column": "age"}
    if isinstance(expected, str):
        with pytest.raises(ScansError) as error:
            listed(tmp_path, **how)
        assert str(path) in str(error.value)
        assert expected in str(error.value)
    else:
        found = listed(tmp_path, **how)
        assert list(found.age) == expected
