"""Series of single scans as BIDS derivatives."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from timeseries_study import N_ROIS, T_R, N, outcome, preprocessed_run, six, study

from brainmass_core import connectivity
from brainmass_core.atlas import Atlas
from brainmass_core.connectivity import unvectorise
from brainmass_core.pipeline.paths import Paths
from brainmass_core.timeseries.write_derivatives import label_of, names_of, tsv, write_dataset

PARCELS = [f"roi-{i}" for i in range(1, N_ROIS + 1)]
MODEL = {"motion": "6", "n_compcor": 2, "global_signal": False}


def written(tmp_path: Path, **settings) -> tuple[Path, Path, dict, dict]:
    """Folders of series and FC of a study, and the scan's rows of both tables."""
    rows = preprocessed_run(tmp_path, spikes=[20, 21, 40])
    config = study(
        *(tmp_path, "derivatives", rows), atlas=six(tmp_path), timeseries=MODEL | settings
    )
    _, series = outcome(config)
    _, fc = outcome(config, connectivity)
    paths = Paths(config.results)
    folders = [paths.derivatives("lab", stage) for stage in ("timeseries", "connectivity")]
    (scan_id,) = fc
    return folders[0], folders[1], series[scan_id], fc[scan_id]


def read(folder: Path, suffix: str) -> pd.DataFrame:
    (path,) = folder.glob(f"sub-01/func/sub-01_task-rest_{suffix}")
    return pd.read_csv(path, sep="\t", na_values="n/a")


def contents(folder: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.study
def test_files_hold_what_the_tables_hold(tmp_path: Path) -> None:
    censor = {"method": "remove", "fd_threshold": 0.4}
    folder, matrices, row, fc = written(tmp_path, censor=censor)
    series = read(folder, "space-MNI152NLin6Asym_atlas-six_stat-mean_timeseries.tsv")
    assert list(series) == PARCELS
    np.testing.assert_allclose(series, row["bold"], rtol=1e-6)
    assert len(series) == N - 3
    coverage = read(folder, "space-MNI152NLin6Asym_atlas-six_stat-coverage_bold.tsv")
    np.testing.assert_allclose(coverage.iloc[0], row["coverage"], rtol=1e-6)
    assert np.flatnonzero(read(folder, "outliers.tsv")["censored"]).tolist() == [20, 21, 40]
    design = read(folder, "design.tsv")
    assert design.shape == (N, row["n_regressors"])
    relmat = read(matrices, "space-MNI152NLin6Asym_atlas-six_stat-pearsoncorrelation_relmat.tsv")
    assert list(relmat) == PARCELS
    np.testing.assert_allclose(relmat, unvectorise(np.array(fc["fc"])), atol=1e-6)
    np.testing.assert_allclose(relmat, np.corrcoef(series.T), atol=1e-5)


@pytest.mark.study
def test_sidecars_say_what_was_done(tmp_path: Path) -> None:
    folder, matrices, row, _ = written(tmp_path, censor={"method": "interpolate"})
    (file,) = folder.rglob("*_timeseries.json")
    series = json.loads(file.read_text())
    (file,) = matrices.rglob("*_relmat.json")
    relmat = json.loads(file.read_text())
    assert series["SamplingFrequency"] == 1 / T_R
    assert series["NumberOfCensoredVolumes"] == 3
    for about in (series, relmat):
        assert about["Denoise"] == "cpac-default"
        assert about["FilterOrder"] == "regress_then_filter"
        assert about["Filter"] == "ideal 0.01-0.1 Hz"
        assert about["GlobalSignalRegression"] is False
        assert about["NumberOfVolumes"] == N - 3
        assert about["EffectiveDegreesOfFreedom"] == pytest.approx(row["residual_dof"], abs=1e-3)
    assert relmat["RelationshipMeasure"] == "Pearson correlation"
    assert (relmat["Weighted"], relmat["Directed"], relmat["ValidDiagonal"]) == (True, False, False)
    assert relmat["StorageFormat"] == "Full"
    assert relmat["Estimator"] == "pearson"
    # the links lead to files
    name = relmat["Sources"][0].removeprefix("bids:source:")
    assert (folder / name).is_file()
    assert (matrices / relmat["NodeFiles"][0].removeprefix("bids::")).is_file()


@pytest.mark.study
def test_folders_are_bids_derivatives(tmp_path: Path) -> None:
    for folder in written(tmp_path)[:2]:
        about = json.loads((folder / "dataset_description.json").read_text())
        assert about["DatasetType"] == "derivative"
        assert about["GeneratedBy"][0]["Name"] == "brainmass"
        assert about["DatasetLinks"]["source"].startswith("file://")
        nodes = pd.read_csv(folder / "atlas-six_dseg.tsv", sep="\t")
        assert nodes["name"].tolist() == PARCELS


@pytest.mark.study
def test_two_runs_write_the_same_bytes(tmp_path: Path) -> None:
    found = []
    for _ in range(2):
        folder, matrices, *_ = written(tmp_path)
        found.append({**contents(folder), **contents(matrices)})
        for path in [*folder.rglob("*"), *matrices.rglob("*")]:
            if path.is_file():
                path.unlink()
        for stage in ("timeseries", "connectivity"):  # else the finished scan is not done again
            for path in (tmp_path / "results" / "work" / stage).rglob("*"):
                if path.is_file():
                    path.unlink()
    assert found[0] == found[1]
    assert len(found[0]) > 8


@pytest.mark.study
def test_they_can_be_turned_off(tmp_path: Path) -> None:
    folder, matrices, row, _ = written(tmp_path, derivatives=False)
    assert row["status"] == "ok"
    assert not folder.exists()
    assert not matrices.exists()


@pytest.mark.study
def test_ready_series_with_bids_names_get_them_and_others_do_not(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    rows = []
    for name in ("sub-7_ses-2_task-rest", "50003"):
        np.save(tmp_path / f"{name}.npy", rng.standard_normal((N, N_ROIS)))
        rows.append({"scan_id": f"lab_{name}", "bold_path": str(tmp_path / f"{name}.npy")})
    config = study(tmp_path, "timeseries", rows)
    entries, _ = outcome(config)
    outcome(config, connectivity)
    assert {e.status for e in entries.values()} == {"ok"}
    paths = Paths(config.results)
    names = contents(paths.derivatives("lab", "timeseries"))
    stem = "sub-7_ses-2_task-rest_atlas-six"  # nobody says in which space it lies
    assert {n for n in names if n.startswith("sub")} == {
        f"{stem}_stat-mean_timeseries.tsv",
        f"{stem}_stat-mean_timeseries.json",
        f"{stem}_stat-coverage_bold.tsv",
    }
    (file,) = paths.derivatives("lab", "connectivity").glob("sub-7/ses-2/func/*_relmat.json")
    about = json.loads(file.read_text())
    assert (about["Denoise"], about["Filter"]) == ("as given", "none")
    assert "GlobalSignalRegression" not in about


@pytest.mark.study
def test_parcels_without_signal_are_not_available_in_the_matrix(tmp_path: Path) -> None:
    x = np.random.default_rng(0).standard_normal((N, N_ROIS))
    x[:, 2] = np.nan
    np.save(tmp_path / "a.npy", x)
    rows = [{"scan_id": "lab_sub-1", "bold_path": str(tmp_path / "a.npy")}]
    config = study(tmp_path, "timeseries", rows, timeseries={"max_empty_rois": 1})
    outcome(config)
    outcome(config, connectivity)
    (file,) = Paths(config.results).derivatives("lab", "connectivity").rglob("*_relmat.tsv")
    values = pd.read_csv(file, sep="\t", na_values="n/a").to_numpy()
    missing = np.isnan(values)
    assert missing[2].all()
    assert missing[:, 2].all()
    assert not np.delete(np.delete(missing, 2, 0), 2, 1).any()


@pytest.mark.study
def test_batches_may_describe_the_data_set_at_the_same_time(tmp_path: Path) -> None:
    labels = pd.DataFrame({"index": [1, 2], "name": ["a", "b"]})
    atlas = Atlas("two", "MNI152NLin6Asym", labels, None, False, "0")

    def describe(_: int) -> None:
        write_dataset(tmp_path, "time series", "lab", Path("/data/lab"), atlas, {"b": 1})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(describe, range(64)))  # raises what a thread raised
    found = contents(tmp_path)
    assert set(found) == {
        *("dataset_description.json", "README", ".bidsignore", "atlas-two_dseg.tsv")
    }
    json.loads(found["dataset_description.json"])


@pytest.mark.parametrize(
    ("scan_id", "folder"),
    [
        ("lab_sub-01_task-rest", "sub-01/func"),
        ("lab_sub-01_ses-2_task-rest_run-1", "sub-01/ses-2/func"),
        ("lab_sub-01_ses-2", "sub-01/ses-2/func"),
    ],
)
def test_scans_lie_in_the_folder_of_their_session(scan_id: str, folder: str) -> None:
    names = names_of(Path("/d"), "lab", scan_id, "MNI152NLin6Asym", "Schaefer2018-100-7networks")
    assert names is not None
    assert names.folder == Path("/d") / folder
    stem = scan_id.removeprefix("lab_")
    assert names.of_atlas("x.tsv").name == (
        f"{stem}_space-MNI152NLin6Asym_atlas-Schaefer2018100Parcels7Networks_x.tsv"
    )


@pytest.mark.parametrize("scan_id", ["lab_50003", "lab_sub-01/../x", "lab_sub-_x", "lab_sub-1_"])
def test_scans_without_a_bids_name_have_no_files(scan_id: str) -> None:
    assert names_of(Path("/d"), "lab", scan_id, "MNI152NLin6Asym", "six") is None


def test_labels_are_letters_and_digits() -> None:
    assert label_of("my atlas_v2.1") == "myAtlasV21"
    assert label_of("MNI152NLin6Asym") == "MNI152NLin6Asym"


def test_text_gives_the_numbers_back() -> None:
    values = np.array([[1.5, -2e-9, np.nan], [12345.678, 0.0, 3]])
    text = tsv(["a", "banana", "nan"], values)
    assert text.splitlines()[0] == "a\tbanana\tnan"
    assert text.splitlines()[1] == "1.5\t-2e-09\tn/a"
    assert text.endswith("\n")
    table = pd.read_csv(pd.io.common.StringIO(text), sep="\t", na_values="n/a")
    np.testing.assert_allclose(table, values, rtol=1e-6)
