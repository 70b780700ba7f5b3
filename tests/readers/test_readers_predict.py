"""Confounds of new scans are read by the rule of training: missing means missing there too."""

from __future__ import annotations

import numpy as np
import pytest

from brainmass_core.predict.compatibility import PredictError
from brainmass_core.predict.inputs import Found, _matrix, sidecar, t_r_in
from brainmass_core.predict.phenotype import add_phenotype


def found(*scans):
    blank = {"site": None, "sex": None, "age": None, "mean_fd": np.nan}
    return Found([{"scan_id": s, "participant_id": s.partition("_")[0], **blank} for s in scans])


@pytest.fixture
def ages(tmp_path):
    def read(text, *scans, codes=(), valid=(), name="people.tsv"):
        (tmp_path / name).write_text(text)
        new = found(*(scans or ("sub-1", "sub-2", "sub-3")))
        add_phenotype(new, tmp_path / name, codes, valid)
        return [row["age"] for row in new.rows]

    return read


def test_one_code_as_an_age_is_missing_and_several_are_refused(ages, caplog):
    text = "participant_id\tage\n1\t-9999\n2\t30\n3\t40\n"
    assert ages(text) == [None, 30.0, 40.0]
    assert "-9999" in caplog.text
    with pytest.raises(PredictError, match=r"-9999 \(2 times\).*--missing-value"):
        ages(text.replace("40", "-9999"))


def test_a_number_that_looks_like_a_code_may_be_declared_as_measured(ages):
    text = "participant_id\tage\n1\t20\n2\t21\n3\t22\n4\t99\n"
    with pytest.raises(PredictError, match=r"Declare them, --missing-value: \[99\].*--valid-value"):
        ages(text)
    assert ages(text, "sub-1", "sub-4", valid=[99]) == [20.0, 99.0]


@pytest.mark.parametrize("codes", [["-9999"], [-9999]])
def test_declared_codes_are_missing(ages, codes):
    assert ages("participant_id\tage\n1\t-9999\n2\t-9999\n3\t40\n", codes=codes) == [
        None,
        None,
        40.0,
    ]


@pytest.mark.parametrize("text", ["n/a", "", "NaN", "inf", "89+"])
def test_missing_means_missing(ages, text):
    assert ages(f"participant_id\tage\n1\t{text}\n2\t30\n3\t40\n") == [None, 30.0, 40.0]


def test_decimal_commas_and_months_and_quotes(ages):
    assert ages("participant_id\tage\n1\t20,5\n2\t30,5\n3\t40\n") == [20.5, 30.5, 40.0]
    with pytest.raises(PredictError, match="an age in years"):
        ages("participant_id\tage\n1\t240\n2\t360\n3\t480\n")
    assert ages('participant_id\tnote\tage\n1\t"a\t20\n2\tb\t30\n3\tc"\t40\n') == [20.0, 30.0, 40.0]


def test_a_shifted_row_is_refused(ages):
    with pytest.raises(PredictError, match="line 3: found 1 fields, expected 2"):
        ages("participant_id\tage\n1\t20\n2\n")


def test_a_code_is_no_site(ages):
    with pytest.raises(PredictError, match=r"column 'site': found -9999"):
        ages("participant_id\tsite\n1\t-9999\n2\tA\n")


def test_a_repeated_number_out_of_range_is_no_site(ages):
    text = "participant_id\tsite\tage\n1\t1\t20\n2\t2\t30\n3\t999\t40\n4\t999\t50\n"
    with pytest.raises(
        PredictError, match=r"column 'site': found 999 \(2 times\).*--missing-value"
    ):
        ages(text)
    assert ages(text, codes=["999"]) == [20.0, 30.0, 40.0]


def test_rows_per_session_are_joined_by_session(ages):
    text = "participant_id\tsession_id\tage\n1\tses-1\t20\n1\tses-2\t21\n2\tses-1\t30\n"
    scans = ("sub-1_ses-1_task-rest", "sub-1_ses-2_task-rest", "sub-2_ses-1_task-rest")
    assert ages(text, *scans) == [20.0, 21.0, 30.0]
    with pytest.raises(PredictError, match="differ in 'age'"):
        ages(text)


def test_semicolons_of_a_spreadsheet_are_read(ages):
    assert ages("participant_id;age\n1;20,5\n2;30\n", name="p.csv")[:2] == [20.5, 30.0]


def test_a_matrix_with_a_region_called_na_is_read(tmp_path):
    path = tmp_path / "x_relmat.tsv"
    path.write_text("NA\tNone\n1\t0.5\n0.5\tn/a\n")
    names, matrix = _matrix(path)
    assert names == ["NA", "None"]
    assert matrix.tolist() == [[1.0, 0.5], [0.5, 0.0]]
    path.write_text("NA\tNone\n1\t0.5\n0.5\n")
    with pytest.raises(PredictError, match="line 3: found 1 fields, expected 2"):
        _matrix(path)


@pytest.mark.parametrize("value", ["2.0", 2000, 0.002, 0, True, [2.0], float("nan")])
def test_a_repetition_time_that_is_none_in_seconds_is_refused(tmp_path, value):
    assert t_r_in({}, tmp_path / "x.tsv") is None
    assert t_r_in({"RepetitionTime": 2}, tmp_path / "x.tsv") == 2.0
    with pytest.raises(PredictError, match=r"x\.json: found RepetitionTime .* in seconds"):
        t_r_in({"RepetitionTime": value}, tmp_path / "x.tsv")


def test_a_sidecar_that_was_not_fetched_is_not_taken_for_absent(tmp_path):
    assert sidecar(tmp_path / "x.tsv") == {}
    (tmp_path / ".git/annex").mkdir(parents=True)
    (tmp_path / "x.json").symlink_to(".git/annex/objects/x")
    with pytest.raises(PredictError, match="datalad get"):
        sidecar(tmp_path / "x.tsv")
