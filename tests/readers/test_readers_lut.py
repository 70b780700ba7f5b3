"""Look-up tables as atlases are published with: read under our names, or refused with the cause."""

from __future__ import annotations

import re

import pytest

from brainmass_core.atlas.labels import complete, published_labels
from brainmass_core.readers import FileError
from brainmass_core.readers.lut import read_lut

N = range(1, 5)
NAMES = [f"R{i}" for i in N]
FORMS = {
    "bids_dseg.tsv": "index\tname\tcolor\n" + "".join(f"{i}\tR{i}\t#ffffff\n" for i in N),
    "xcpd.tsv": "index\tlabel\tnetwork_label\n" + "".join(f"{i}\tR{i}\tVis\n" for i in N),
    "freesurfer.txt": "#No. Label Name: R G B A\n\n0 Unknown 0 0 0 0\n"
    + "".join(f"{i} R{i} 10 20 30 0\n" for i in N),
    "cbig.txt": "".join(f"{i}\tR{i}\t120\t18\t131\t0\n" for i in N),
    "fsl.lut.txt": "".join(f"{i:3d}   R{i}   120 18 131\n" for i in N),
    "centroid.csv": "ROI Label,ROI Name,R,A,S\n" + "".join(f"{i},R{i},1,2,3\n" for i in N),
    "bom.csv": "\ufeffindex,name\r\n" + "".join(f"{i},R{i}\r\n" for i in N),
    "semicolon.csv": "index;name\n" + "".join(f"{i};R{i}\n" for i in N),
    "upper.tsv": "Index\tName\n" + "".join(f"{i}\tR{i}\n" for i in N),
    "trailing.tsv": "index\tname\n" + "".join(f"{i}\tR{i}\t\n" for i in N),
    "comma_in.tsv": "index,name\n" + "".join(f"{i},R{i}\n" for i in N),
    "floats.tsv": "index\tname\n" + "".join(f"{i}.0\tR{i}\n" for i in N),
    "label_is_number.csv": "label,name\n" + "".join(f"{i},R{i}\n" for i in N),
    "colours.tsv": "index\tname\tr\tg\tb\ta\n" + "".join(f"{i}\tR{i}\t1\t2\t3\t0\n" for i in N),
    "background.tsv": "index\tname\n0\tbackground\n" + "".join(f"{i}\tR{i}\n" for i in N),
    "quoted.csv": 'index,name\n1,"R1"\n2,"R2"\n3,"R3"\n4,"R4"\n',
    "cr.tsv": "index\tname\r" + "".join(f"{i}\tR{i}\r" for i in N),
}


@pytest.fixture
def lut(tmp_path):
    def read(text, name="lut.tsv"):
        (tmp_path / name).write_bytes(text.encode())
        return read_lut(tmp_path / name)

    return read


@pytest.mark.parametrize("name", FORMS)
def test_published_forms_are_read(lut, name):
    found = lut(FORMS[name], name)
    assert found["index"].tolist() == [*N]
    assert found["name"].tolist() == NAMES


def test_networks_and_centroids_are_found_under_other_names(lut):
    assert lut(FORMS["xcpd.tsv"])["network"].tolist() == ["Vis"] * 4
    found = lut(FORMS["centroid.csv"], "c.csv")
    assert found[["x", "y", "z"]].iloc[0].tolist() == [1, 2, 3]
    assert "x" not in lut(FORMS["colours.tsv"])


@pytest.mark.parametrize(
    "name", ["NA", "None", "null", "nan", "N/A", "-inf", "True", "007", "1.50"]
)
def test_a_region_may_be_called_as_it_is(lut, name):
    found = lut(f"index\tname\tnetwork\n1\t{name}\tNA\n2\tb\tn/a\n")
    assert found["name"].tolist() == [name, "b"]
    assert complete(found)["network"].tolist() == ["NA", ""]
    assert complete(found)["name"].tolist() == [name, "b"]


def test_quotation_marks_in_names_are_kept(lut):
    assert lut('index\tname\n1\t"R1\n2\tR2\n3\t"R3\n')["name"].tolist() == ['"R1', "R2", '"R3']


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("index\tname\n1\ta\nb\t2\n", r"line 3: found 'b' in column 'index'.*shifted"),
        ("index\tname\n1\ta\n\tb\n", r"line 3: found '' in column 'index'"),
        ("index\tname\n1\ta\n2\n", r"line 3: found 1 fields, expected 2"),
        ("index\tname\n1\ta\n1.5\tb\n", r"found '1\.5'"),
        ("index\tname\n1\ta\n-2\tb\n", r"found '-2'"),
        (f"index\tname\n1\ta\n{2**70}\tb\n", r"line 3: found '11805.*at most 2147483647"),
        ("index\tname\n1\ta\n1\tb\n", r"index \[1\] occurs twice"),
        ("index\tname\n1\tSame\n2\tSame\n", r"'Same' is given to the indices \[1, 2\]"),
        ("index\tname\n0\tR1\n1\tR2\n", r"index 0 is called 'R1'.*add 1"),
        ("index\tname\n1\t\n2\tb\n", r"line 2: index 1 has no name"),
        ("index\tname\n1\tn/a\n2\tb\n", r"line 2: index 1 has no name"),
        ("index\tname\n0\tbackground\n", "only the row of the background"),
        ("value\tname\n1\ta\n", r"found columns \['value', 'name'\]"),
        ("index\tname\tx\n1\ta\tleft\n", r"line 2: found 'left' in column 'x'.*mm"),
        ("index\tname\tx\n1\ta\t-9999\n", r"line 2: found '-9999' in column 'x'.*within 300"),
        ("index\tname\n1\ta\x07b\n", r"line 2: found 'a\\x07b' in column 'name'.*shown"),
        ("1\ta\t1\t2\t3\t0\n2\tb\t1\t2\n", r"line 2: found '2\\tb.*colour"),
        ("index name\n1 a\n", "separated by spaces"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_cause(lut, text, message):
    with pytest.raises(FileError, match=message):
        lut(text)


def test_missing_coordinates_are_missing(lut):
    assert lut("index\tname\tx\n1\ta\tn/a\n2\tb\t1,5\n")["x"].tolist()[1] == 1.5


def test_the_packaged_table_is_read(lut):
    assert len(published_labels()) == 100


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (
            "0 Unknown 0 0 0 0\n2 245 245 245 0\n",
            "line 2: found '2 245 245 245 0', expected index, name",
        ),
        (
            "A\n1 9 9 9 0\n3 B 7 7 7 0\n2 8 8 8 0\n",
            "line 3: found '3 B 7 7 7 0', which begins with a number",
        ),
    ],
    ids=["of one line", "of two lines"],
)
def test_a_row_that_lost_its_name_does_not_take_the_row_above_as_its_name(tmp_path, text, found):
    file = tmp_path / "colours.txt"
    file.write_text(text)
    with pytest.raises(FileError, match=re.escape(found)):
        read_lut(file)
