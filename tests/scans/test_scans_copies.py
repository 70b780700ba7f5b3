"""One person or recording with two entries is found by what it is, whatever it is called."""

import pandas as pd
import pytest

from brainmass_core.scans.copies import copies, duplicates, files_of, named, persons, remedy


def table(*rows):
    columns = ["scan_id", "dataset", "participant_id", "bold_path", "bold_key"]
    found = pd.DataFrame(rows, columns=columns)
    return found.assign(person=persons(found), file=files_of(found))


def test_a_scan_is_known_by_itself_its_participant_or_its_file_and_by_nothing_else():
    shown = table(("a1", "a", "p1", "/x.npz", "one"), ("a2", "a", "p2", None, None))
    scans = table(
        ("a1", "b", "q1", "/1", None),
        ("b2", "a", "p1", "/2", None),
        ("b3", "b", "q3", "/x.npz", "one"),
        ("b4", "b", "q4", "/x.npz", "two"),
        ("b5", "b", "p1", None, None),
        ("b6", "b", "q6", None, None),
    )
    found = copies(scans, shown)
    assert dict(zip(found["scan_id"], found["mark"], strict=True)) == {
        "a1": "scan_id",
        "b2": "person",
        "b3": "file",
        "b5": "person",
    }
    text = named(found)
    assert "b3 (the same file as a1)" in text
    assert text.startswith("a1, b2 (the same participant as a1)")
    assert "allow_same_ids" in remedy(found)


@pytest.mark.parametrize("mark", ["source_checksum", "series_fingerprint"])
def test_a_copy_under_another_name_is_found_by_its_content(mark):
    shown = table(("a1", "a", "p1", "/1", None)).assign(**{mark: "f00"})
    scans = table(("b1", "b", "q1", "/2", None), ("b2", "b", "q2", "/3", None))
    found = copies(scans.assign(**{mark: ["f00", None]}), shown)
    assert found.to_numpy().tolist() == [["b1", "a1", mark, False]]
    assert "a copy of the" in named(found)
    nothing_known = copies(scans.assign(**{mark: None}), shown.assign(**{mark: None}))
    assert nothing_known.empty


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("sub-01", "sub-01", True),
        ("sub-01", "01", True),
        ("sub-0050003", "50003", True),
        ("sub-1", "sub-001", True),
        ("sub-0050003", "50003.0", True),
        ("SUB-07", " 7", True),
        ("sub-NDARINV1A", "NDAR_INV1A", True),
        ("sub-A01", "A-01", True),
        ("sub-1", "1.5", False),
        ("sub-0", "sub-00", False),  # no digit is left to compare
        ("sub-NYU01", "sub-NYU1", False),
        ("sub-01", "sub-10", False),
        ("A01", "a01", False),
    ],
)
def test_an_id_is_one_person_however_data_sets_write_it(one, other, same):
    scans = table(("a", "first", one, None, None), ("b", "second", other, None, None))
    assert (scans["person"].nunique() == 1) is same


def test_leading_zeros_stay_where_a_data_set_needs_them():
    scans = table(("a", "d", "sub-1", None, None), ("b", "d", "sub-01", None, None))
    assert scans["person"].nunique() == 2


@pytest.mark.parametrize(
    ("allowed", "n_people"),
    [
        ([], 2),
        (["sub-01"], 3),
        (["01"], 3),
        (["1"], 3),
        (["sub-*"], 4),
        (["second"], 4),
        (["third", "sub-03"], 2),
    ],
)
def test_ids_that_are_other_people_are_named_by_id_pattern_or_data_set(allowed, n_people):
    scans = table(
        *((f"{d}{i}", d, f"sub-0{i}", None, None) for d in ("first", "second") for i in (1, 2))
    )
    assert persons(scans, allowed).nunique() == n_people


def test_duplicates_are_named_once_by_the_first_thing_they_share():
    scans = pd.DataFrame(
        {
            "scan_id": ["e", "d", "c", "b", "a"],
            "file": ["/1", "/1", "/2", "/3", "/4"],
            "source_checksum": ["x", "x", "y", "y", None],
            "series_fingerprint": ["f", "f", "f", "g", None],
        }
    )
    assert duplicates(scans) == [
        ("source_checksum", ["b", "c"]),
        ("series_fingerprint", ["c", "d", "e"]),
        ("file", ["d", "e"]),
    ]


def test_long_lists_are_cut():
    scans = table(*((f"b{i:02d}", "b", f"p{i}", None, None) for i in range(20)))
    text = named(copies(scans, scans))
    assert text.endswith("and 12 more")
    assert "b07" in text
    assert "b08" not in text
