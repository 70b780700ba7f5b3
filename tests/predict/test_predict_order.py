"""Matrices and series given to `predict` are brought into the order of the model's parcels."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from brainmass_core.predict import inputs
from brainmass_core.predict.compatibility import PredictError
from brainmass_core.predict.inputs import _in_order, _matrix, read_matrices
from brainmass_core.predict.pipeline_run import Options, _series

NAMES = ["Vis", "Som", "Dor", "Con"]
CONTRACT = SimpleNamespace(atlas=SimpleNamespace(names=NAMES), processing={}, t_r=[2.0])


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 1, 0, 2], [2, 3, 1, 0]])
def test_a_matrix_in_another_order_is_put_right(order):
    fc = np.corrcoef(np.random.default_rng(0).normal(size=(4, 30)))
    found = [NAMES[i] for i in order]
    names, matrix = _in_order(Path("x_relmat.tsv"), found, fc[np.ix_(order, order)], CONTRACT)
    assert names == NAMES
    np.testing.assert_array_equal(matrix, fc)


def test_a_matrix_of_other_parcels_is_left_to_be_refused():
    fc = np.eye(4)
    names, matrix = _in_order(Path("x_relmat.tsv"), ["a", "b", "c", "d"], fc, CONTRACT)
    assert names == ["a", "b", "c", "d"]
    assert matrix is fc


def test_two_matrices_of_one_name_are_one_refused_scan_and_the_rest_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr(inputs, "incompatibility", lambda *_: None)
    rng = np.random.default_rng(1)
    for folder, name in (("a", "sub-1"), ("b", "sub-1"), ("b", "sub-2"), ("b", "sub-3\n")):
        matrix = np.corrcoef(rng.normal(size=(4, 30)))
        (tmp_path / folder).mkdir(exist_ok=True)
        rows = ["\t".join(f"{v:.9f}" for v in row) for row in matrix]
        text = "\n".join(["\t".join(NAMES), *rows])
        (tmp_path / folder / f"{name}_relmat.tsv").write_text(text + "\n")
    found = read_matrices(tmp_path, CONTRACT, as_trained=False)
    outcome = {row["scan_id"]: (row["status"], row["reason"]) for row in found.rows}
    assert list(found.seen) == ["sub-2"]
    assert {k: v[0] for k, v in outcome.items()} == {
        **{"sub-1": "failed", "sub-2": "ok", "sub-3%0A": "failed"}
    }
    for folder in "ab":
        assert str(tmp_path / folder / "sub-1_relmat.tsv") in outcome["sub-1"][1]


R = np.corrcoef(np.random.default_rng(3).normal(size=(4, 50)))
OTHERS = {
    "fisher": (np.arctanh(np.clip(R, -0.99, 0.99)), "2.64665 on the diagonal, expected 1"),
    "covariance": (0.3 * R, "0.3 on the diagonal"),
    "no diagonal": (R - np.eye(4), "0 on the diagonal"),
    "zeros": (np.zeros((4, 4)), "0 on the diagonal"),
    "nothing": (np.full((4, 4), np.nan), "contains no values"),
}


@pytest.mark.parametrize(("matrix", "reason"), OTHERS.values(), ids=OTHERS)
def test_what_is_no_correlation_by_its_diagonal_is_refused(tmp_path, matrix, reason):
    path = tmp_path / "sub-1_relmat.tsv"
    pd.DataFrame(matrix, columns=NAMES).to_csv(path, sep="\t", index=False, na_rep="n/a")
    with pytest.raises(PredictError, match=reason):
        _matrix(path)
    missing = R.copy()
    missing[1], missing[:, 1] = np.nan, np.nan  # a parcel outside of the field of view
    pd.DataFrame(missing, columns=NAMES).to_csv(path, sep="\t", index=False, na_rep="n/a")
    np.testing.assert_allclose(_matrix(path)[1], np.nan_to_num(missing))


@pytest.mark.parametrize(
    ("name", "about", "kind"),
    [
        ("sub-1_task-rest_bold.nii.gz", "{}", "bids"),
        ("sub-1_task-rest_bold.nii.gz", '{"DatasetType": "raw"}', "bids"),
        ("sub-1_task-rest_bold.nii.gz", '{"DatasetType": "Derivative"}', "derivatives"),
        ("sub-1_task-rest_bold.nii.gz", '{"PipelineDescription": {"Name": "x"}}', "derivatives"),
        ("sub-1_task-rest_desc-preproc_bold.nii.gz", "", "derivatives"),
    ],
)
def test_a_bids_folder_is_derivatives_by_its_description_or_its_names(tmp_path, name, about, kind):
    (tmp_path / "sub-1/func").mkdir(parents=True)
    (tmp_path / "sub-1/func" / name).touch()
    if about:
        (tmp_path / "dataset_description.json").write_text(about)
    assert inputs.kind_of(tmp_path) == kind


@pytest.mark.parametrize("backwards", [False, True])
def test_one_processed_run_makes_derivatives_in_whatever_order_files_are_listed(
    tmp_path, monkeypatch, backwards
):
    for name in ("sub-1_task-rest_bold.nii.gz", "sub-1_task-rest_desc-preproc_bold.nii.gz"):
        (tmp_path / "sub-1/func").mkdir(parents=True, exist_ok=True)
        (tmp_path / "sub-1/func" / name).touch()
    glob = Path.glob
    order = {"reverse": backwards}
    monkeypatch.setattr(Path, "glob", lambda *at: iter(sorted(glob(*at), **order)))
    assert inputs.kind_of(tmp_path) == "derivatives"


def test_what_is_said_of_series_reaches_their_reader(tmp_path):
    options = Options(header=True, array="ts", orientation="roi_by_time")
    found = _series(tmp_path, CONTRACT, options)
    assert (found["header"], found["array"], found["orientation"]) == (True, "ts", "roi_by_time")
