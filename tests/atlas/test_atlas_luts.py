"""Look-up tables as CBIG, FreeSurfer, XCP-D, nilearn, ITK-SNAP and FSL publish them.

Each gives an atlas that assigns its names to the right values of the image, or is refused with a
remedy that works once it is applied.
"""

import xml.etree.ElementTree as ElementTree

import nibabel as nib
import numpy as np
import pytest

from brainmass_core.atlas import atlas_from_image
from brainmass_core.atlas.labels import AtlasError, read_lut

NAMES = {1: "7Networks_LH_Vis_1", 2: "7Networks_LH_Default_1", 3: "7Networks_RH_Vis_1"}
NETWORKS = ["Vis", "Default", "Vis"]
SPACED = {1: "Left Caudate", 2: "Area 4", 3: "Right Caudate"}
FORMS = {
    "Schaefer2018_3Parcels_7Networks_order.txt": "1\t7Networks_LH_Vis_1\t120\t18\t131\t0\n"
    "2\t7Networks_LH_Default_1\t205\t62\t78\t0\n3\t7Networks_RH_Vis_1\t120\t18\t132\t0\n",
    "Schaefer2018_3Parcels_7Networks_order_info.txt": "7Networks_LH_Vis_1\n1 120 18 131 255\n"
    "7Networks_LH_Default_1\n2 205 62 78 255\n7Networks_RH_Vis_1\n3 120 18 132 255\n",
    "order_info.tsv": "index\tnode\n1\t7Networks_LH_Vis_1\n2\t7Networks_LH_Default_1\n"
    "3\t7Networks_RH_Vis_1\n",
    "ColorLUT.txt": "#$Id: colours $\n\n#No. Label Name:              R   G   B   A\n"
    "  0   Unknown                    0   0   0   0\n"
    "  1   7Networks_LH_Vis_1       120  18 131   0\n# below 1\n\n"
    "  2   7Networks_LH_Default_1   205  62  78   0\n  3   7Networks_RH_Vis_1  120 18 132 0\n",
    "atlas-4S_dseg.tsv": "index\tlabel\tatlas_name\tnetwork_label\tnetwork_label_17network\n"
    "1\t7Networks_LH_Vis_1\t4S\tVis\tVisCent\n2\t7Networks_LH_Default_1\t4S\tDefault\tDefaultA\n"
    "3\t7Networks_RH_Vis_1\t4S\tVis\tn/a\n",
    "nilearn.tsv": "index\tname\tcolor\n0\tBackground\t#000000\n1\t7Networks_LH_Vis_1\t#781283\n"
    "2\t7Networks_LH_Default_1\t#cd3e4e\n3\t7Networks_RH_Vis_1\t#781284\n",
    "out of order.csv": "name,color,index\n7Networks_RH_Vis_1,#781284,3\n"
    "7Networks_LH_Vis_1,#781283,1\n7Networks_LH_Default_1,#cd3e4e,2\n",
}
SNAP = """################################################
# ITK-SnAP Label Description File
################################################
    0     0    0    0        0  0  0    "Clear Label"
    1   255    0    0        1  1  1    "Left Caudate"
    2     0  255    0      0.5  1  1    "Area 4"
    3     0    0  255        1  1  1    "Right Caudate"
"""
XML = """<?xml version="1.0" encoding="ISO-8859-1"?>
<atlas version="1.0"><header><name>Three</name><type>{kind}</type></header><data>
{labels}
</data></atlas>
"""


@pytest.fixture
def image(tmp_path):
    data = np.zeros((4, 4, 4), np.int16)
    data[0], data[1], data[3] = 3, 1, 2
    nib.Nifti1Image(data, np.eye(4)).to_filename(tmp_path / "three.nii.gz")
    return tmp_path / "three.nii.gz"


@pytest.fixture
def named(tmp_path, image):
    def names(text: str, name: str = "lut.txt") -> dict[int, str]:
        (tmp_path / name).write_text(text)
        labels = atlas_from_image(
            image, "three", "MNI152NLin6Asym", read_lut(tmp_path / name)
        ).labels
        # the parcel of value 1 is at x = 1, that of value 2 at 3, that of value 3 at 0
        assert labels["x"].tolist() == [1, 3, 0]
        return dict(zip(labels["index"], labels["name"], strict=True))

    return names


@pytest.mark.parametrize("name", FORMS)
def test_each_value_of_the_image_has_its_name_and_network(name, named, tmp_path, image):
    assert named(FORMS[name], name) == NAMES
    atlas = atlas_from_image(image, "three", "MNI152NLin6Asym", read_lut(tmp_path / name))
    assert atlas.labels["network"].tolist() == NETWORKS


@pytest.mark.parametrize(
    "text",
    [SNAP, "".join(f"{i}\t{n}\t1\t2\t3\t0\n" for i, n in SPACED.items())],
    ids=["ITK-SNAP", "tabs"],
)
def test_names_may_hold_spaces_where_it_is_known_where_they_end(text, named):
    assert named(text) == SPACED


def test_the_first_line_of_a_table_without_a_header_is_not_lost(named):
    rows = [f"{i}  {n}  10 20 30" for i, n in SPACED.items()]
    with pytest.raises(AtlasError, match=r"line 1: found '1  Left .*expected the names") as error:
        named("\n".join(rows))
    assert "write a line above it that names each column, two of them index" in str(error.value)
    assert "with tabs" in str(error.value)
    header = "index\tname\tred\tgreen\tblue\n"
    assert named(header + "\n".join(r.replace("  ", "\t").replace("0 ", "0\t") for r in rows)) == (
        SPACED
    )
    with pytest.raises(AtlasError, match="expected the names of the columns"):
        named("1 a 2001\n2 b 2002\n3 c 2003\n")
    assert named("index\tname\tcode\n1\ta\t2001\n2\tb\t2002\n3\tc\t2003\n")[3] == "c"


@pytest.mark.parametrize(("kind", "first"), [("Probabilistic", 0), ("Label", 1)])
def test_the_remedy_for_an_xml_of_fsl_gives_the_right_values(kind, first, named):
    labels = [f'<label index="{i}" x="1" y="1">{n}</label>' for i, n in enumerate("abc", first)]
    text = XML.format(kind=kind, labels="\n".join(labels))
    with pytest.raises(AtlasError, match=r"lut\.xml: is XML, expected a table; ") as error:
        named(text, "lut.xml")
    assert "index of the XML where its type is Label, and 1 more than that" in str(error.value)
    tree = ElementTree.fromstring(text)
    add = {"Label": 0, "Probabilistic": 1}[tree.findtext("header/type")]
    rows = [f"{int(e.attrib['index']) + add}\t{e.text}\n" for e in tree.iter("label")]
    assert named("index\tname\n" + "".join(rows)) == {1: "a", 2: "b", 3: "c"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"1": "a"}', "is JSON, expected a table"),
        ("<VALUE_LABEL_DTABLE\n", "is markup, expected a table"),
        ("a\n1 2 3 4 5\nb\n", r"line 3: found '' below 'b', expected index, R, G, B and A"),
        ("a\n1 2 3 4 5\nb\nc\n", r"line 3: found 'c' below 'b'"),
    ],
)
def test_what_is_none_of_them_is_refused_with_what_it_is(text, message, named):
    with pytest.raises(AtlasError, match=message):
        named(text)
