"""Pictures of a head have the right orientation."""

import numpy as np

from brainmass_core.preprocess.grids import Volume
from brainmass_core.quality.cuts import cuts_of, sample


def test_the_first_row_is_superior_or_anterior_and_left_is_left():
    brain = Volume(np.ones((20, 24, 18), np.float32), np.diag([3.0, 3.0, 3.0, 1.0]))
    for cut in cuts_of(brain):
        across, up = {"z": (0, 1), "x": (1, 2), "y": (0, 2)}[cut.name[0]]
        assert (np.diff(cut.points[..., up], axis=0) < 0).all()
        assert (np.diff(cut.points[..., across], axis=1) > 0).all()
        rising = brain.with_data(np.moveaxis(np.indices(brain.data.shape), 0, -1)[..., up] + 1.0)
        seen = sample(rising, cut)
        rows = np.flatnonzero(seen.any(axis=1))
        assert seen[rows[2]].max() > seen[rows[-3]].max()
