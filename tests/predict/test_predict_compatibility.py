"""A scan fits a model only with the same parcels in the same order."""

from types import SimpleNamespace

import pandas as pd
import pytest
from predict_study import a_contract

from brainmass_core.predict.compatibility import (
    PredictError,
    Provenance,
    _atlas,
    _t_r,
    sexes_as_trained,
)
from brainmass_core.predict.contract import Parcels
from brainmass_core.predict.inputs import kind_of


class Model:
    """As much of a contract as the comparison of atlases reads."""

    atlas = Parcels(
        name="rings",
        configured="rings",
        space="MNI152NLin6Asym",
        sha256="0",
        approximate=False,
        table=[{"index": i + 1, "name": n} for i, n in enumerate("xyz")],
    )
    n_edges = 3


@pytest.mark.parametrize(
    ("parcels", "said"),
    [(list("xyz"), []), (list("xzy"), ["parcel 2 called 'z'"]), (list("xyw"), ["parcel 3"])],
)
def test_the_same_parcels_in_another_order_are_refused(parcels, said):
    found = _atlas(Model, Provenance("here", parcels=parcels))
    assert len(found) == len(said)
    assert all(part in text for part, text in zip(said, found, strict=True))


@pytest.mark.parametrize(
    ("t_r", "fits"),
    [(0.8, True), (0.73, True), (0.7, False), (2.0, True), (2.19, True), (2.3, False)],
)
@pytest.mark.parametrize("low_passed", [False, True])
def test_repetition_times_near_those_of_training_fit_and_others_after_a_low_pass(
    t_r, fits, low_passed
):
    contract = SimpleNamespace(t_r=(0.8, 2.0), low_passed=low_passed)
    assert (_t_r(contract, Provenance("here", t_r=t_r)) == []) is (fits or low_passed)


@pytest.mark.parametrize("found", [["m", "female"], ["Man", "unknown"], ["M", "F"]])
def test_sexes_of_new_scans_are_those_of_the_model_however_they_are_written(found):
    contract = a_contract(confounds="regress", confound_columns=["sex"], sexes=["F", "M"])
    assert set(sexes_as_trained(contract, "x", pd.Series(found))) <= {"F", "M", "unknown"}


@pytest.mark.parametrize("found", [["M", "O"], ["1", "2"], ["w", "F"]])
def test_a_sex_that_the_model_does_not_know_is_refused_and_not_left_in(found):
    contract = a_contract(confounds="regress", confound_columns=["sex"], sexes=["F", "M"])
    said = r"x: found the sex '\w'.*, but the model was fitted with F, M; write these, or n/a"
    with pytest.raises(PredictError, match=said):
        sexes_as_trained(contract, "x", pd.Series(found))
    older = a_contract(confounds="regress", confound_columns=["sex"])
    assert sexes_as_trained(older, "x", pd.Series(found)).tolist() == found


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (["sub-1/func/sub-1_space-fsLR_bold.dtseries.nii"], "is CIFTI or GIFTI, which hold surf"),
        (["sub-1/func/sub-1_hemi-L_bold.func.gii", "participants.tsv"], "is CIFTI or GIFTI"),
        (["a.ptseries.nii", "sub-1/a_desc-confounds_timeseries.tsv"], "wb_command"),
        (["sub-1/anat/sub-1_T1w.nii.gz", "participants.tsv"], r"no run of a BIDS folder: sub-\*"),
        (["scan.nii"], "no run of a BIDS folder"),
        (["participants.tsv", "a.mat"], "a table of something else than regions"),
        (["a_matrix.tsv"], "a matrix between regions"),
        (["model.json"], r"_relmat\.tsv$"),
    ],
)
def test_an_input_without_anything_to_predict_from_says_what_it_holds(tmp_path, names, said):
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    for given in (tmp_path, tmp_path / names[0]):
        with pytest.raises(PredictError, match=f"found no input; .*{said}"):
            kind_of(given)
