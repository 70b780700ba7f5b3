"""Ready series: what a scan is called, whose it is, and its t_r."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from brainmass_core.scans import ScansError, read_series


@pytest.fixture
def folder(tmp_path):
    """Three files of one participant each."""
    path = tmp_path / "series"
    path.mkdir()
    for i in (1, 2, 3):
        np.save(path / f"sub-0{i}_task-rest.npy", np.ones((10 + i, 4)))
    return path


def ready(listed, folder, **settings):
    return listed(folder, kind="timeseries", **{"t_r": 2.0} | settings)


def test_file_names_say_scan_and_participant(folder, listed):
    scans = ready(listed, folder)
    assert list(scans.index) == [f"d_sub-0{i}_task-rest" for i in (1, 2, 3)]
    assert list(scans.participant_id) == ["sub-01", "sub-02", "sub-03"]
    assert list(scans.task) == ["rest"] * 3
    assert list(scans.n_volumes) == [11, 12, 13]
    assert list(ready(listed, folder, orientation="roi_by_time").n_volumes) == [4, 4, 4]


def test_the_phenotype_table_is_no_series(folder, listed):
    table = folder / "table.csv"
    table.write_text("id,tr\n1,0.8\n2,\n3,2000\n")
    settings = {"phenotype": {"path": str(table), "id_column": "id", "t_r_column": "tr"}}
    scans = ready(listed, folder, **settings)
    assert list(scans.t_r) == [0.8, 2.0, None]
    assert "2000 s" in scans.excluded_reason.iloc[2]
    without = ready(listed, folder, t_r=None, **settings)
    assert "missing" in without.excluded_reason.iloc[1]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"RepetitionTime": 2.0004}', None),
        ('{"Atlas": "x"}', None),
        ('{"RepetitionTime": 0.8}', "contradictory t_r: 0.8 s in sub-02_task-rest.json, 2 s in"),
        ('{"RepetitionTime": 2000}', "RepetitionTime is 2000, expected 0.1 to 20, in seconds"),
        ('{"RepetitionTime": "2"}', "RepetitionTime is '2', expected"),
        ('{"RepetitionTime": true}', "RepetitionTime is True, expected"),
        ('{"RepetitionTime": NaN}', "RepetitionTime is nan, expected"),
        ("{", "unreadable sidecar: "),
    ],
)
def test_a_sidecar_that_says_another_t_r_excludes_its_series(folder, listed, text, reason):
    (folder / "sub-02_task-rest.json").write_text(text)
    found = list(ready(listed, folder).excluded_reason)
    assert found[::2] == [None, None]
    assert found[1] is None if reason is None else reason in found[1]


def test_series_without_any_t_r_are_an_error(folder, listed):
    with pytest.raises(ScansError, match="set t_r"):
        ready(listed, folder, t_r=None)


def test_a_pattern_without_series_is_an_error(folder, listed):
    with pytest.raises(ScansError, match=r"'\*.1D' matches 0 files"):
        ready(listed, folder, pattern="*.1D")


def test_arrays_of_one_file_are_scans_of_their_own(tmp_path, listed):
    np.savez(tmp_path / "site.npz", A_001=np.ones((5, 3)), A_002=np.ones((6, 3)), bad=np.ones(3))
    table = tmp_path / "table.csv"
    table.write_text("subject,file,dx\n1,A_001,x\n1,A_002,x\n9,A_009,y\n")
    phenotype = {"path": str(table), "id_column": "subject", "scan_column": "file"}
    scans = ready(listed, tmp_path, pattern="*.npz", phenotype=phenotype)
    assert list(scans.index) == ["d_A_001", "d_A_002", "d_bad"]
    assert list(scans.participant_id) == ["1", "1", "bad"]  # two scans of one participant
    assert scans.split.iloc[0] == scans.split.iloc[1]
    assert "shape (3,)" in scans.excluded_reason.iloc[2]
    assert scans.attrs["unmatched"].table_only == ["9"]
    assert read_series(scans.bold_path.iloc[1], scans.bold_key.iloc[1]).shape == (6, 3)


def test_a_scan_that_the_table_does_not_know_is_left_out(folder, tmp_path, listed):
    table = tmp_path / "table.csv"
    table.write_text("subject,file\n1,sub-01_task-rest\n2,sub-02_task-rest\n")
    phenotype = {"path": str(table), "id_column": "subject", "scan_column": "file"}
    scans = ready(listed, folder, phenotype=phenotype)
    assert list(scans.excluded_reason.notna()) == [False, False, True]
    assert "not known whose" in scans.excluded_reason.iloc[2]
    assert scans.attrs["unmatched"].scans_only == ["sub-03_task-rest"]


def test_rows_for_one_scan_twice_are_an_error_only_if_the_scan_exists(folder, tmp_path, listed):
    table = tmp_path / "table.csv"
    rows = "".join(f"{i},sub-0{i}_task-rest\n" for i in (1, 2, 3))
    table.write_text("subject,file\n" + rows + "8,no_filename\n9,no_filename\n")
    phenotype = {"path": str(table), "id_column": "subject", "scan_column": "file"}
    scans = ready(listed, folder, phenotype=phenotype)
    assert scans.attrs["unmatched"].table_only == ["8", "9"]
    table.write_text("subject,file\n" + rows + "8,sub-01_task-rest\n")
    with pytest.raises(ScansError, match="more than one row"):
        ready(listed, folder, phenotype=phenotype)


def test_a_single_array_is_called_after_its_file_unless_the_table_knows_its_key(tmp_path, listed):
    for i in (1, 2):
        np.savez(tmp_path / f"sub-{i}.npz", ts=np.ones((5, 3)))
    np.savez(tmp_path / "site.npz", P3=np.ones((5, 3)))
    table = tmp_path / "table.csv"
    table.write_text("participant_id,dx\nsub-1,x\nsub-2,x\nP3,x\n")
    scans = ready(listed, tmp_path, pattern="*.npz", phenotype={"path": str(table)})
    assert set(scans.index) == {"d_sub-1", "d_sub-2", "d_P3"}
    assert scans.pheno_dx.notna().all()


def test_a_key_that_cannot_be_a_file_name_is_one_excluded_scan(tmp_path, listed):
    np.savez(tmp_path / "a.npz", **{"a/b": np.ones((5, 3)), "c": np.ones((5, 3))})
    scans = ready(listed, tmp_path)
    assert list(scans.index) == ["d_a%2Fb", "d_c"]
    assert "a.npz: its name or folder contains '/'" in scans.excluded_reason.iloc[0]
    assert scans.excluded_reason.iloc[1] is None


def test_a_damaged_file_is_left_out_by_name(folder, listed):
    (folder / "sub-04.npz").write_bytes(b"PK broken")
    row = ready(listed, folder).loc["d_sub-04"]
    assert "damaged" in row.excluded_reason


ABIDE = {
    "id_column": "SUB_ID",
    "scan_column": "FILE_ID",
    "site_column": "SITE_ID",
    "age_column": "AGE_AT_SCAN",
    "sex_column": "SEX",
}


@pytest.mark.shared
def test_abide_is_listed_as_its_own_table_says(shared_data, listed):
    folder = shared_data / "abide_pcp_dev"
    phenotype = ABIDE | {
        "path": str(folder / "subjects_dev.csv"),
        "t_r_column": "TR_s",
        "mean_fd_column": "func_mean_fd",
    }
    scans = listed(
        *(folder, "timeseries"),
        pattern="cc200*/*.npz",
        stratify_by="DX_GROUP",
        phenotype=phenotype,
    )
    own = pd.read_csv(folder / "subjects_dev.csv").set_index("FILE_ID").sort_index()
    assert scans.excluded_reason.isna().all()
    assert list(scans.sort_index().index) == [f"d_{key}" for key in own.index]
    listed_rows = scans.set_index("bold_key").sort_index()
    for column, theirs in {
        "n_volumes": "n_timepoints",
        "t_r": "TR_s",
        "site": "SITE_ID",
        "age": "AGE_AT_SCAN",
        "mean_fd": "func_mean_fd",
    }.items():
        assert list(listed_rows[column]) == list(own[theirs])
    assert list(listed_rows.participant_id) == list(own["SUB_ID"].astype(str))
    share = (scans.split == "test").groupby([scans.site, scans.pheno_DX_GROUP]).agg(["sum", "size"])
    assert ((share["sum"] - 0.3 * share["size"]).abs() <= 0.5).all()


@pytest.mark.shared
def test_the_full_abide_table_joins_although_77_rows_have_no_file(shared_data, listed):
    table = shared_data / "abide_pcp_meta/Phenotypic_V1_0b_preprocessed1.csv"
    scans = listed(
        *(shared_data / "oracle_abide_cpac_dev", "timeseries"),
        pattern="cc200_filt_global/*.1D*",
        t_r=2.0,
        phenotype=ABIDE | {"path": str(table)},
    )
    assert len(scans) == 6
    assert scans.excluded_reason.isna().all()
    assert [f"{p:0>7}" for p in scans.participant_id] == [i.split("_")[-1] for i in scans.index]
    assert len(scans.attrs["unmatched"].table_only) == 1112 - 6
