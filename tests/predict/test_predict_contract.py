"""A contract survives the trip through its file, and says what does not fit the model."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from predict_study import a_contract

from brainmass_core.predict import ContractError, Model
from brainmass_core.predict.contract import read_contract, write_contract
from brainmass_core.predict.phenotype import as_trained

names = st.text(min_size=1, max_size=8)
counts = st.integers(1, 10**6)
scores = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))


def test_a_score_of_too_few_people_is_not_known_in_a_contract(tmp_path):
    write_contract(tmp_path, a_contract(scores={"fc_svm": {"auc": 0.7, "auc_low": float("nan")}}))
    kept = read_contract(tmp_path).scores["fc_svm"]
    assert kept["auc"] == 0.7
    assert kept["auc_low"] is None or kept["auc_low"] != kept["auc_low"]


@given(
    classes=st.lists(names, max_size=4, unique=True),
    done=st.lists(
        st.fixed_dictionaries(
            {k: st.one_of(st.none(), names) for k in ("denoise", "order", "filter", "censor")}
        ),
        min_size=1,
        max_size=3,
    ),
    t_r=st.one_of(st.none(), st.tuples(st.floats(0.1, 1), st.floats(1, 5))),
    n_participants=counts,
    table=st.lists(
        st.fixed_dictionaries({"index": counts, "name": names, "x": scores}), min_size=2, max_size=4
    ),
    measured=st.dictionaries(names, st.dictionaries(names, scores, max_size=3), max_size=3),
    low_hz=st.floats(0.001, 0.05),
)
def test_reading_is_the_inverse_of_writing(
    classes, done, t_r, n_participants, table, measured, low_hz
):
    atlas = {"name": "a", "configured": "b", "space": "c", "sha256": "d", "approximate": False}
    contract = a_contract(
        classes=classes,
        done=done,
        t_r=t_r,
        n_participants=n_participants,
        atlas=atlas | {"table": table},
        scores=measured,
        timeseries={"low_hz": low_hz},
    )
    with tempfile.TemporaryDirectory() as folder:
        write_contract(Path(folder), contract)
        assert read_contract(Path(folder)) == contract


@pytest.mark.parametrize(
    ("knob", "value"),
    [("low_hz", 0.02), ("order", "joint"), ("filter", "butterworth"), ("global_signal", True)],
)
def test_another_denoising_of_images_is_refused_knob_by_knob(knob, value):
    from brainmass_core.config import parse_config
    from brainmass_core.predict.compatibility import _processing
    from brainmass_core.predict.contract import processing_of

    def configured(**series):
        dataset = {"kind": "bids", "role": "internal", "path": "."}
        return parse_config({"datasets": {"x": dataset}, "timeseries": series})

    contract = a_contract(processing={"bids": [processing_of(configured(), "x")]})
    assert _processing(contract, configured(denoise="another-name"), "x") == []
    wrong = _processing(contract, configured(**{knob: value}), "x")
    assert len(wrong) == 1
    assert wrong[0].startswith(f"{knob}: found {value}, the model's is ")


@pytest.mark.parametrize(("t_r", "fits"), [(2.0, True), (2.6, True), (0.7, False), (3.0, False)])
def test_another_t_r_is_refused_where_no_filter_makes_it_comparable(t_r, fits):
    from brainmass_core.predict.compatibility import Provenance, incompatibility
    from brainmass_core.predict.contract import Processing

    provenance = Provenance("x.npy", "rings", None, 1, "pearson", Processing(), t_r)
    reason = incompatibility(a_contract(), provenance, as_trained=False)
    assert (reason is None) == fits
    if not fits:
        assert f"x.npy: found t_r {t_r:g} s, the model's training scans have 2 to 2.5 s" in reason
    filtered = a_contract(processing={"timeseries": [{"band_pass": True, "high_hz": 0.1}]})
    assert incompatibility(filtered, provenance, as_trained=False) is None


def test_sites_are_found_under_the_names_of_training():
    known = ["a/1", "b/1", "b/NYU", "lone"]
    sites = pd.Series(["1", "a/1", "NYU", "b/NYU", "unknown", "lone", ""])
    expected = ["1", "a/1", "b/NYU", "b/NYU", "unknown", "lone", ""]
    assert as_trained(sites, known).tolist() == expected


def test_a_folder_that_is_no_model_is_named(tmp_path):
    with pytest.raises(ContractError, match="is not a deployed model"):
        Model.load(tmp_path)
