"""A scan fits a model only with the same parcels in the same order."""

import pytest

from brainmass_core.predict.contract import Parcels
from brainmass_core.predict.misfit import Origin, _atlas


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
    found = _atlas(Model, Origin("here", parcels=parcels))
    assert len(found) == len(said)
    assert all(part in text for part, text in zip(said, found, strict=True))
