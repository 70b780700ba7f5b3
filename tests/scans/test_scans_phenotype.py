"""Phenotypes: joined to the right participant or to none, and everybody left over is named."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from strategies import labels

from brainmass_core.scans import ScansError
from brainmass_core.scans.rows import canonical


def cohort(bids, *participants):
    for participant in participants:
        bids.t1w(f"sub-{participant}")
        bids.run(f"sub-{participant}_task-rest")


@given(st.integers(0, 10**9), st.integers(0, 5), st.sampled_from(["", "sub-"]))
def test_numbers_are_one_participant_however_they_are_written(number, zeros, prefix):
    assert canonical(f"{prefix}{'0' * zeros}{number}") == str(number)
    assert canonical(f" {number}.0 ") == str(number)


@given(labels, labels)
def test_labels_with_letters_are_compared_as_written(first, second):
    if not first.isdecimal() or not second.isdecimal():
        assert (canonical(first) == canonical(second)) == (first == second)


def test_all_columns_of_participants_tsv_become_text(bids, listed):
    cohort(bids, "01", "02")
    bids.participants("sub-01\t21.50\tF\tNYU\tn/a", "sub-02\t30\tM\tUSM\t02")
    scans = listed(
        bids.root,
        phenotype={"age_column": "age", "sex_column": "sex", "site_column": "site"},
    )
    first, second = scans.iloc[0], scans.iloc[1]
    assert (first.age, first.sex, first.site) == (21.5, "F", "NYU")
    assert (first.pheno_age, first.pheno_dx, second.pheno_dx) == ("21.50", None, "02")


@pytest.mark.parametrize("written", ["50003", "0050003", "sub-0050003", "50003.0"])
def test_padding_and_prefix_do_not_matter(bids, listed, written):
    cohort(bids, "0050003")
    bids.participants(f"{written}\t21\tF\tNYU\t1")
    assert listed(bids.root).pheno_dx.iloc[0] == "1"


@pytest.mark.parametrize(
    ("written", "remedy"),
    [
        ("sub_01", "correct the ids"),
        ("2020-01-01", "correct the ids"),
        ('"sub-01"', "without quotation marks"),
    ],
)
def test_a_table_of_nobody_is_refused_if_its_columns_are_used(bids, listed, written, remedy):
    cohort(bids, "01")
    bids.participants(f"{written}\t21\tF\tNYU\t1")
    said = rf"none of the 1 scans has a row: .*{written}.*'sub-01' \.\.\.; .*{remedy}"
    with pytest.raises(ScansError, match=said):
        listed(bids.root, phenotype={"age_column": "age"})


def test_those_left_over_on_either_side_are_named(bids, listed):
    cohort(bids, "01", "02")
    bids.participants("sub-01\t21\tF\tNYU\t1", "sub-07\t22\tF\tNYU\t1")
    scans = listed(bids.root)
    unmatched = scans.attrs["unmatched"]
    assert (unmatched.table_only, unmatched.scans_only) == (["sub-07"], ["sub-02"])
    assert list(scans.participant_id) == ["sub-01", "sub-02"]  # no row without a scan
    assert scans.pheno_dx.iloc[1] is None
    assert scans.excluded_reason.isna().all()


def test_two_rows_of_one_participant_are_an_error(bids, listed):
    cohort(bids, "01")
    bids.participants("sub-01\t21\tF\tNYU\t1", "1\t22\tF\tNYU\t2")
    with pytest.raises(ScansError, match=r"rows 2 \(sub-01\), 3 \(1\)"):
        listed(bids.root)


def test_two_participants_with_one_row_are_an_error(bids, listed):
    cohort(bids, "01", "1")
    bids.participants("sub-01\t21\tF\tNYU\t1")
    with pytest.raises(ScansError, match="sub-01 and sub-1"):
        listed(bids.root)


def test_all_missing_columns_are_named_at_once_with_suggestions(bids, listed):
    cohort(bids, "01")
    table = bids.participants("sub-01\t21\tF\tNYU\t1")
    with pytest.raises(ScansError) as error:
        listed(
            bids.root,
            stratify_by="dxx",
            phenotype={"id_column": "participant", "site_column": "sites"},
        )
    message = str(error.value)
    assert "3 declared columns are missing" in message
    for word in (str(table), "'participant_id'", "'site'", "'dx'", "phenotype.id_column"):
        assert word in message


def test_columns_without_a_table_are_an_error(bids, listed):
    cohort(bids, "01")
    assert listed(bids.root).site.iloc[0] is None
    with pytest.raises(ScansError, match="there is no phenotype table"):
        listed(bids.root, stratify_by="dx")


@pytest.mark.parametrize(("name", "separator"), [("p.csv", ","), ("p.csv", ";"), ("p.tsv", ";")])
def test_separators_and_byte_order_marks_are_understood(bids, listed, name, separator):
    cohort(bids, "01")
    rows = [["participant_id", "dx", "note"], ["sub-01", "1 ", '"a' + separator + 'b"']]
    table = bids.root / name
    table.write_text("\n".join(separator.join(r) for r in rows), encoding="utf-8-sig")
    row = listed(bids.root, phenotype={"path": str(table)}).iloc[0]
    assert (row.pheno_dx, row.pheno_note) == ("1", f"a{separator}b")


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\x00participant_id", b"PK\x03\x04\xe9"])
def test_a_file_that_is_no_table_is_named(bids, listed, content):
    cohort(bids, "01")
    table = bids.root / "p.csv"
    table.write_bytes(content)
    with pytest.raises(ScansError, match=str(table)):
        listed(bids.root, phenotype={"path": str(table)})


def test_ages_that_are_no_number_are_missing_and_said(bids, listed, caplog):
    cohort(bids, "01", "02", "03")
    bids.participants("01\t89+\tF\tA\t1", "02\t-9999\tF\tA\t1", "03\t9.5\tF\tA\t1")
    scans = listed(bids.root, phenotype={"age_column": "age"})
    assert list(scans.age) == [None, None, 9.5]
    assert "89+" in caplog.text
    assert "-9999" in caplog.text


def test_a_scan_column_is_for_ready_series(bids, listed):
    cohort(bids, "01")
    bids.participants("sub-01\t21\tF\tNYU\t1")
    with pytest.raises(ScansError, match="scan_column"):
        listed(bids.root, phenotype={"scan_column": "dx"})
