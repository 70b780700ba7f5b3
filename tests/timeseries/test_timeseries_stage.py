"""The stage: every scan of a batch ends with a series or with a reason."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from timeseries_study import N_ROIS, T_R, N, outcome, preprocessed_run, six, study

from brainmass_core import connectivity
from brainmass_core.checksums import sha256_of
from brainmass_core.connectivity import pearson, unvectorise
from brainmass_core.pipeline.manifest import Entry
from brainmass_core.pipeline.paths import Paths
from brainmass_core.tables import read_table, write_table
from brainmass_core.timeseries.denoise import clean
from brainmass_core.timeseries.design import MOTION
from brainmass_core.timeseries.filters import ideal_bandpass
from brainmass_core.timeseries.identity import series_fingerprint
from brainmass_core.timeseries.table import bold_by_scan

pytestmark = pytest.mark.study


class TestReadySeries:
    """Kind `timeseries`."""

    @pytest.fixture
    def series(self) -> np.ndarray:
        rng = np.random.default_rng(0)
        return rng.standard_normal((N, 2)) @ rng.standard_normal((2, N_ROIS)) + rng.standard_normal(
            (N, N_ROIS)
        )

    def run(self, tmp_path: Path, series: np.ndarray, **sections: Any) -> tuple[Entry, dict]:
        np.save(tmp_path / "a.npy", series)
        rows = [{"scan_id": "lab_a", "bold_path": str(tmp_path / "a.npy"), "mean_fd": 0.2}]
        entries, found = outcome(study(tmp_path, "timeseries", rows, **sections))
        return entries["lab_a"], found["lab_a"]

    def test_is_passed_on_unchanged(self, tmp_path: Path, series: np.ndarray) -> None:
        entry, row = self.run(tmp_path, series)
        assert entry.status == "ok"
        np.testing.assert_array_equal(row["bold"], series.astype(np.float32))
        assert (row["n_timepoints"], row["n_rois"], row["n_empty_rois"]) == (N, N_ROIS, 0)
        assert (row["t_r"], row["mean_fd"], row["denoise"]) == (T_R, 0.2, "as given")
        assert [row[k] for k in ("order", "filter", "censor")] == ["none"] * 3
        assert (row["n_regressors"], row["n_censored"]) == (0, None)
        assert row["source_checksum"] == sha256_of(tmp_path / "a.npy")
        assert row["series_fingerprint"] == series_fingerprint(series)

    def test_is_band_passed_on_demand(self, tmp_path: Path, series: np.ndarray) -> None:
        _, row = self.run(tmp_path, series, dataset={"band_pass": True})
        expected = ideal_bandpass(series, T_R, 0.01, 0.1)
        np.testing.assert_allclose(row["bold"], expected, atol=1e-6)
        assert row["denoise"] == "band-pass"
        assert (row["order"], row["filter"]) == ("filter", "ideal 0.01-0.1 Hz")
        assert 15 < row["residual_dof"] < 30

    def test_arrays_may_be_stored_rois_first(self, tmp_path: Path, series: np.ndarray) -> None:
        _, row = self.run(tmp_path, series.T, dataset={"orientation": "roi_by_time"})
        np.testing.assert_array_equal(row["bold"], series.astype(np.float32))

    def test_a_wrong_number_of_columns_fails(self, tmp_path: Path, series: np.ndarray) -> None:
        entry, row = self.run(tmp_path, series[:, :5])
        assert (entry.status, row["status"], row["bold"]) == ("failed", "failed", None)
        assert "found 5 columns, but the atlas six has 6 parcels" in entry.reason

    def test_the_wrong_orientation_is_guessed(self, tmp_path: Path, series: np.ndarray) -> None:
        entry, _ = self.run(tmp_path, series.T)
        assert "check `orientation`" in entry.reason

    def test_a_truncated_file_fails(self, tmp_path: Path, series: np.ndarray) -> None:
        np.save(tmp_path / "a.npy", series)
        (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:900])
        rows = [{"scan_id": "lab_a", "bold_path": str(tmp_path / "a.npy")}]
        entries, _ = outcome(study(tmp_path, "timeseries", rows))
        assert entries["lab_a"].status == "failed"
        assert str(tmp_path / "a.npy") in entries["lab_a"].reason

    def test_single_missing_values_fail(self, tmp_path: Path, series: np.ndarray) -> None:
        series[3, 2] = np.nan
        entry, _ = self.run(tmp_path, series)
        assert entry.status == "failed"
        assert "values of roi-3 are missing or infinite at 1 timepoints" in entry.reason

    @pytest.mark.parametrize("value", [0.0, 17.3, np.nan])
    def test_empty_parcels_exclude_by_name(self, tmp_path: Path, series, value: float) -> None:
        series[:, [1, 4]] = value
        entry, row = self.run(tmp_path, series)
        assert (entry.status, row["status"]) == ("excluded", "excluded")
        assert entry.reason.endswith("roi-2, roi-5")

    @pytest.mark.parametrize("value", [17.3, np.nan])
    def test_tolerated_empty_parcels_are_counted_and_fc_stays_finite(
        self, tmp_path: Path, series: np.ndarray, value: float
    ) -> None:
        series[:, 1] = value
        np.save(tmp_path / "a.npy", series)
        rows = [{"scan_id": "lab_a", "bold_path": str(tmp_path / "a.npy")}]
        config = study(tmp_path, "timeseries", rows, timeseries={"max_empty_rois": 1})
        _, found = outcome(config)
        assert found["lab_a"]["n_empty_rois"] == 1
        _, fc = outcome(config, connectivity)
        r = unvectorise(np.array(fc["lab_a"]["fc"]))
        np.testing.assert_array_equal(np.delete(r[1], 1), 0)
        others = np.delete(np.arange(N_ROIS), 1)
        expected = pearson(series[:, others])
        np.testing.assert_allclose(r[np.ix_(others, others)], expected, atol=1e-6)

    def test_short_series_are_excluded(self, tmp_path: Path, series: np.ndarray) -> None:
        entry, _ = self.run(tmp_path, series[:30])
        assert entry.status == "excluded"
        assert "30 timepoints" in entry.reason

    def test_scans_excluded_before_do_not_come_back(self, tmp_path: Path, series) -> None:
        np.save(tmp_path / "a.npy", series)
        path = str(tmp_path / "a.npy")
        rows = [
            {"scan_id": "lab_a", "bold_path": path},
            {"scan_id": "lab_b", "bold_path": path, "excluded_reason": "no label"},
            {"scan_id": "lab_c", "bold_path": path, "batch": 1},
        ]
        entries, found = outcome(study(tmp_path, "timeseries", rows))
        assert set(entries) == set(found) == {"lab_a"}


def test_a_study_of_real_abide_series_counts_the_constant_parcels(tmp_path, shared_data) -> None:
    subjects = pd.read_csv(shared_data / "abide_pcp_dev" / "subjects_dev.csv")
    some = pd.concat([subjects[subjects["n_constant_rois"] > 0], subjects[:5]])
    (folder,) = [p for p in (shared_data / "abide_pcp_dev").iterdir() if p.is_dir()]
    rows = [
        {
            "scan_id": f"lab_{s.FILE_ID}",
            "bold_path": str(folder / f"{s.scan_site}.npz"),
            "bold_key": s.FILE_ID,
            "t_r": s.TR_s,
        }
        for s in some.itertuples()
    ]
    atlas = {"name": "CC200", "n_rois": 200}
    config = study(tmp_path, "timeseries", rows, atlas=atlas, dataset={"band_pass": True})
    entries, _ = outcome(config)
    constant = set("lab_" + subjects.loc[subjects["n_constant_rois"] > 0, "FILE_ID"])
    assert {e.scan_id for e in entries.values() if e.status == "excluded"} == constant
    assert sum(e.status == "ok" for e in entries.values()) == 5


class TestDerivatives:
    """Kind `derivatives`."""

    @pytest.fixture
    def rows(self, tmp_path: Path) -> list[dict]:
        return preprocessed_run(tmp_path)

    def run(self, tmp_path: Path, rows: list[dict], **sections: Any) -> tuple[Entry, dict]:
        sections.setdefault("timeseries", {"motion": "6"})
        config = study(tmp_path, "derivatives", rows, atlas=six(tmp_path), **sections)
        entries, found = outcome(config)
        (scan_id,) = entries
        return entries[scan_id], found[scan_id]

    def test_parcels_are_averaged_and_cleaned(self, tmp_path: Path, rows: list[dict]) -> None:
        entry, row = self.run(tmp_path, rows)
        assert entry.status == "ok"
        bold = nib.load(rows[0]["bold_path"]).get_fdata()
        labels = np.asarray(nib.load(tmp_path / "six.nii.gz").dataobj)
        means = np.stack([bold[labels == i].mean(axis=0) for i in range(1, 7)], axis=1)
        table = pd.read_csv(rows[0]["confounds_path"], sep="\t")
        names = [*MOTION, *(f"a_comp_cor_{i:02d}" for i in range(5)), "csf"]
        drift = np.vander(np.linspace(-1, 1, N), 3)
        found = clean(means, T_R, np.column_stack([table[names], drift]), 0.01, 0.1)
        expected, dof = found.series, found.residual_dof
        np.testing.assert_allclose(row["bold"], expected, atol=1e-3)
        assert row["residual_dof"] == pytest.approx(dof)
        assert row["mean_fd"] == pytest.approx(table["framewise_displacement"].mean())
        assert (row["n_censored"], row["denoise"]) == (0, "cpac-default")
        np.testing.assert_array_equal(row["coverage"], 1)

    def test_motion_excludes(self, tmp_path: Path, rows: list[dict]) -> None:
        entry, _ = self.run(tmp_path, rows, preprocess={"max_mean_fd": 0.1})
        assert entry.status == "excluded"
        assert "above preprocess.max_mean_fd 0.1" in entry.reason

    def test_parcels_outside_the_mask_exclude(self, tmp_path: Path, rows: list[dict]) -> None:
        mask = np.ones((8, 8, 8), dtype=np.uint8)
        mask[:4, :4, :4] = 0
        nib.save(nib.Nifti1Image(mask, np.diag([3.0, 3, 3, 1])), tmp_path / "mask.nii.gz")
        entry, _ = self.run(tmp_path, rows)
        assert entry.status == "excluded"
        assert entry.reason.endswith("roi-1")

    def test_missing_confounds_fail_by_name(self, tmp_path: Path, rows: list[dict]) -> None:
        table = pd.read_csv(rows[0]["confounds_path"], sep="\t").drop(columns=["csf", "rot_y"])
        table.to_csv(rows[0]["confounds_path"], sep="\t", index=False)
        entry, _ = self.run(tmp_path, rows)
        assert entry.status == "failed"
        assert "rot_y" in entry.reason
        assert "csf" in entry.reason

    def test_confounds_of_another_run_fail(self, tmp_path: Path, rows: list[dict]) -> None:
        table = pd.read_csv(rows[0]["confounds_path"], sep="\t")[:-3]
        table.to_csv(rows[0]["confounds_path"], sep="\t", index=False)
        entry, _ = self.run(tmp_path, rows)
        assert f"found {N - 3} rows, expected one for each of {N} volumes" in entry.reason

    def test_a_mask_of_another_grid_fails(self, tmp_path: Path, rows: list[dict]) -> None:
        mask = np.ones((9, 8, 8), dtype=np.uint8)
        nib.save(nib.Nifti1Image(mask, np.diag([3.0, 3, 3, 1])), tmp_path / "mask.nii.gz")
        entry, _ = self.run(tmp_path, rows)
        assert entry.status == "failed"
        assert "mask.nii.gz" in entry.reason

    def test_a_truncated_image_fails(self, tmp_path: Path, rows: list[dict]) -> None:
        path = Path(rows[0]["bold_path"])
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
        entry, _ = self.run(tmp_path, rows)
        assert entry.status == "failed"
        assert "bold.nii.gz" in entry.reason


class TestCensoring:
    """What the stage does about volumes with motion, and what it says of it."""

    def run(self, tmp_path: Path, censor: dict, **settings: Any) -> tuple[Entry, dict]:
        rows = preprocessed_run(tmp_path, spikes=[20, 21, 40])
        settings = {"motion": "6", "n_compcor": 2, "censor": censor, **settings}
        config = study(tmp_path, "derivatives", rows, atlas=six(tmp_path), timeseries=settings)
        entries, found = outcome(config)
        return entries["lab_sub-01_task-rest"], found["lab_sub-01_task-rest"]

    @pytest.mark.parametrize("method", ["none", "spike_regression", "interpolate", "remove"])
    def test_what_was_done_stands_in_the_table(self, tmp_path: Path, method: str) -> None:
        entry, row = self.run(tmp_path, {"method": method, "fd_threshold": 0.4, "n_after": 1})
        assert entry.status == "ok"
        kept = N - 5 if method in ("interpolate", "remove") else N
        assert (row["n_censored"], row["n_timepoints"], len(row["bold"])) == (5, kept, kept)
        assert row["censor"] == f"{method}: power FD > 0.4 mm, 0 before, 1 after"
        assert row["order"] == "regress_then_filter"
        assert row["filter"] == "ideal 0.01-0.1 Hz"
        assert row["n_regressors"] == 6 + 2 + 1 + 3 + 5 * (method == "spike_regression")
        assert row["t_r"] == T_R
        assert 5 < row["residual_dof"] < kept

    def test_the_filter_stands_in_the_table(self, tmp_path: Path) -> None:
        settings = {"order": "joint", "filter": "cosine", "high_hz": None}
        _, row = self.run(tmp_path, {}, **settings)
        assert (row["order"], row["filter"]) == ("joint", "cosine above 0.01 Hz")
        _, row = self.run(tmp_path, {}, low_hz=None, high_hz=None)
        assert (row["order"], row["filter"]) == ("regress", "none")

    def test_a_run_with_too_little_left_is_excluded_with_the_numbers(self, tmp_path: Path) -> None:
        entry, row = self.run(tmp_path, {"method": "remove", "min_minutes": 1.95})
        assert (entry.status, row["status"], entry.step) == ("excluded", "excluded", "censor")
        assert "1.90 min (57 of 60 volumes) are left" in entry.reason
        assert "min_minutes 1.95" in entry.reason
        entry, _ = self.run(tmp_path, {"method": "remove", "min_minutes": 1.9})
        assert entry.status == "ok"

    def test_a_run_without_the_criterion_fails(self, tmp_path: Path) -> None:
        censor = {"method": "remove", "std_dvars_threshold": 1.5}
        entry, _ = self.run(tmp_path, censor)
        assert (entry.status, entry.step) == ("failed", "confounds")
        assert "['std_dvars']" in entry.reason

    def test_volumes_before_the_steady_state_are_left_out(self, tmp_path: Path) -> None:
        rows = preprocessed_run(tmp_path)
        path = Path(rows[0]["confounds_path"])
        table = pd.read_csv(path, sep="\t")
        for i in range(3):
            table[f"non_steady_state_outlier_{i:02d}"] = np.arange(N) == i
        table.astype(float).to_csv(path, sep="\t", index=False, na_rep="n/a")
        config = study(tmp_path, "derivatives", rows, atlas=six(tmp_path))
        _, found = outcome(config)
        (row,) = found.values()
        assert row["n_timepoints"] == N - 3
        # the displacement of the first that is kept is that from the last that is not
        assert row["mean_fd"] == pytest.approx(table["framewise_displacement"][4:].mean())
        assert row["fd_kind"] == "power"


def test_censoring_and_lags_of_joined_runs_end_at_the_seam(tmp_path: Path) -> None:
    runs = []
    for number, spikes in (("1", [N - 1]), ("2", [0, 30])):
        folder = tmp_path / number
        folder.mkdir()
        (row,) = preprocessed_run(folder, spikes=spikes)
        who = {"participant_id": "sub-01", "task": "rest", "run": number}
        runs.append(row | who | {"scan_id": f"lab_sub-01_task-rest_run-{number}"})
    other = np.random.default_rng(2).normal(900, 30, (8, 8, 8, N)).astype(np.float32)
    nib.save(nib.Nifti1Image(other, np.diag([3.0, 3, 3, 1])), runs[1]["bold_path"])
    table = pd.read_csv(runs[1]["confounds_path"], sep="\t")
    table["non_steady_state_outlier_00"] = (np.arange(N) == 0).astype(float)
    table.to_csv(runs[1]["confounds_path"], sep="\t", index=False, na_rep="n/a")
    censor = {"method": "remove", "fd_threshold": 0.4, "n_after": 3, "n_before": 1}
    series = {"motion": "24_lag", "n_compcor": 2, "censor": censor}

    def made(rows: list[dict], name: str) -> tuple[Any, dict]:
        (tmp_path / name).mkdir()
        sections = {"atlas": six(tmp_path / "1"), "timeseries": series}
        sections |= {"connectivity": {"unit": "participant"}}
        config = study(tmp_path / name, "derivatives", rows, **sections)
        return config, outcome(config)[1]

    config, both = made(runs, "both")
    for run in runs:  # a run is cleaned as it is alone
        _, alone = made([run], run["scan_id"])
        assert both[run["scan_id"]] == alone[run["scan_id"]]
    first, second = (both[run["scan_id"]] for run in runs)
    assert (first["n_censored"], first["n_timepoints"]) == (2, N - 2)  # 3 after its end are none
    # the first volume, a spike, is left out; the step from it censors nothing
    assert (second["n_censored"], second["n_timepoints"]) == (5, N - 1 - 5)
    entries, found = outcome(config, connectivity)
    row = found["lab_sub-01_task-rest"]
    assert list(entries) == ["lab_sub-01_task-rest"]
    z = [np.array(r["bold"]) for r in (first, second)]
    z = np.concatenate([(x - x.mean(axis=0)) / x.std(axis=0) for x in z])
    expected = np.corrcoef(z.T)[np.triu_indices(N_ROIS, 1)]
    np.testing.assert_allclose(row["fc"], expected, atol=1e-6)
    assert row["n_timepoints"] == len(z) == 2 * N - 1 - 7
    assert row["residual_dof"] == pytest.approx(first["residual_dof"] + second["residual_dof"])
    root = Paths(config.results).derivatives("lab", "connectivity") / "sub-01" / "func"
    (sidecar,) = root.glob("sub-01_task-rest_*relmat.json")
    about = json.loads(sidecar.read_text())
    assert about["JoinedRuns"] == [run["scan_id"] for run in runs]
    assert about["NumberOfVolumes"] == len(z)
    assert [s.split("/")[-1].split("_space")[0] for s in about["Sources"]] == [
        "sub-01_task-rest_run-1",
        "sub-01_task-rest_run-2",
    ]


def test_tables_give_back_what_was_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    rows, written = [], {}
    for name, n in (("c", 50), ("a", 70), ("b", 45)):
        written[f"lab_{name}"] = rng.standard_normal((n, N_ROIS)).astype(np.float32)
        np.save(tmp_path / f"{name}.npy", written[f"lab_{name}"])
        rows.append({"scan_id": f"lab_{name}", "bold_path": str(tmp_path / f"{name}.npy")})
    np.save(tmp_path / "d.npy", np.ones((3, N_ROIS)))  # fails: a null between the series
    rows.insert(1, {"scan_id": "lab_aa", "bold_path": str(tmp_path / "d.npy")})
    config = study(tmp_path, "timeseries", rows)
    outcome(config)
    table = read_table(Paths(config.results).batch("timeseries", "lab", 0), "timeseries")
    found = bold_by_scan(table)
    assert set(found) == set(written)
    for scan_id, bold in written.items():
        np.testing.assert_array_equal(found[scan_id], bold)
    np.testing.assert_array_equal(bold_by_scan(table.slice(2))["lab_c"], written["lab_c"])


def test_connectivity_takes_only_scans_with_a_series(tmp_path: Path) -> None:
    rng = np.random.default_rng(5)
    np.save(tmp_path / "a.npy", rng.standard_normal((N, N_ROIS)))
    np.save(tmp_path / "b.npy", rng.standard_normal((N, N_ROIS + 1)))
    rows = [{"scan_id": f"lab_{n}", "bold_path": str(tmp_path / f"{n}.npy")} for n in "ab"]
    config = study(tmp_path, "timeseries", rows)
    outcome(config)
    entries, found = outcome(config, connectivity)
    assert set(entries) == set(found) == {"lab_a"}
    assert len(found["lab_a"]["fc"]) == N_ROIS * (N_ROIS - 1) // 2
    assert (found["lab_a"]["estimator"], found["lab_a"]["n_timepoints"]) == ("pearson", N)


def test_connectivity_refuses_a_value_missing_in_the_midst_of_a_series(tmp_path: Path) -> None:
    rng = np.random.default_rng(6)
    for n in "ab":
        np.save(tmp_path / f"{n}.npy", rng.standard_normal((N, N_ROIS)))
    rows = [{"scan_id": f"lab_{n}", "bold_path": str(tmp_path / f"{n}.npy")} for n in "ab"]
    config = study(tmp_path, "timeseries", rows)
    outcome(config)
    file = Paths(config.results).batch("timeseries", "lab", 0)
    table = read_table(file, "timeseries")
    found = table.to_pylist()
    found[0]["bold"][3][2] = float("nan")
    write_table(file, pa.Table.from_pylist(found, table.schema), "timeseries")
    entries, written = outcome(config, connectivity)
    assert {e: (entries[e].status, e in written) for e in entries} == {
        "lab_a": ("failed", False),
        "lab_b": ("ok", True),
    }
    assert "lab_a" in entries["lab_a"].reason
    assert "1 parcels, such as 2 (from 0)" in entries["lab_a"].reason
