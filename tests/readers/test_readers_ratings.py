"""Files of ratings: what is read, and what is refused with its place."""

import pytest

from brainmass_core.readers.ratings import COLUMNS, RatingsError, read_ratings

HEAD = "\t".join(COLUMNS) + "\n"
ADA = "x_sub-1\texclude\tregistration;motion\tsee T1w\tAda\t2026-11-30T20:15:00Z\tabc\n"
BO = "x_sub-1\taccept\tn/a\tn/a\tBo\tn/a\tn/a\n"


def written(folder, *files):
    paths = []
    for i, text in enumerate(files):
        paths.append(folder / f"{i}.tsv")
        paths[-1].write_text(HEAD + text)
    return paths


def test_a_row_is_read_as_written_and_empty_values_are_empty(tmp_path):
    ada, bo = read_ratings(written(tmp_path, BO, ADA))
    assert (ada.scan_id, ada.rating, ada.rater, ada.comment) == (
        *("x_sub-1", "exclude", "Ada", "see T1w"),
    )
    assert ada.artefacts == ("motion", "registration"), "in the order of the page"
    assert (ada.time, ada.page_hash) == ("2026-11-30T20:15:00Z", "abc")
    assert (bo.artefacts, bo.comment, bo.time, bo.page_hash) == ((), "", "", "")


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("x\tmaybe\tn/a\tn/a\tAda\tn/a\tn/a\n", "found rating 'maybe', expected accept"),
        ("x\tn/a\tn/a\tn/a\tAda\tn/a\tn/a\n", "found rating ''"),
        ("x\taccept\tmotion;blur\tn/a\tAda\tn/a\tn/a\n", "found artefacts 'blur'"),
        ("x\taccept\tn/a\tn/a\tn/a\tn/a\tn/a\n", "rater is empty"),
        ("n/a\taccept\tn/a\tn/a\tAda\tn/a\tn/a\n", "scan_id is empty"),
        ("x\taccept\tn/a\tn/a\tAda\tyesterday\tn/a\n", "found time 'yesterday'"),
    ],
)
def test_a_bad_value_is_refused_with_its_file_and_line(row, said, tmp_path):
    (file,) = written(tmp_path, ADA + row)
    with pytest.raises(RatingsError) as error:
        read_ratings([file])
    assert f"{file}: line 3: " in str(error.value)
    assert said in str(error.value)


def test_every_error_of_every_file_is_listed(tmp_path):
    files = written(tmp_path, ADA.replace("exclude", "no"), BO.replace("accept", "yes"))
    short = tmp_path / "short.tsv"
    short.write_text("scan_id\trating\nx\taccept\n")
    with pytest.raises(RatingsError) as error:
        read_ratings([*files, short, tmp_path / "missing.tsv"])
    text = str(error.value)
    assert "'no'" in text
    assert "'yes'" in text
    assert f"{short}: no column artefacts, comment, rater, time, page_hash" in text
    assert "missing.tsv" in text


@pytest.mark.parametrize("same_file", [True, False])
def test_a_scan_rated_twice_by_one_rater_is_refused_with_both_places(same_file, tmp_path):
    again = ADA.replace("exclude", "accept")
    files = written(tmp_path, *([ADA + again] if same_file else [ADA, again]))
    with pytest.raises(RatingsError, match="Ada has rated x_sub-1 before") as error:
        read_ratings(files)
    assert f"{files[0]}: line 2" in str(error.value)
    assert f"{files[-1]}: line {3 if same_file else 2}" in str(error.value)
