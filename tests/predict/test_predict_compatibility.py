"""A scan fits a model only with the same parcels in the same order."""

from types import SimpleNamespace

import pytest

from brainmass_core.predict.compatibility import Provenance, _atlas, _t_r
from brainmass_core.predict.contract import Parcels


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
