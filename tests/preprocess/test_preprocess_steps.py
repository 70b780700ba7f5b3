"""The result of a step is restored unchanged; a finished step is not repeated."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from brainmass_core.preprocess.grids import Volume
from brainmass_core.preprocess.steps import Steps, flatten, restore


@dataclass(frozen=True)
class Found:
    image: Volume
    matrix: np.ndarray
    cost: float
    n: int
    refined: bool
    method: str
    field: Volume | None
    traces: dict[str, np.ndarray]


@st.composite
def found(draw) -> Found:
    numbers = arrays(np.float64, array_shapes(max_dims=3, max_side=4), elements=st.floats(-9, 9))
    volume = st.builds(Volume, data=numbers, affine=st.just(np.eye(4)))
    return Found(
        image=draw(volume),
        matrix=draw(numbers),
        cost=draw(st.floats(allow_nan=False)),
        n=draw(st.integers(0, 999)),
        refined=draw(st.booleans()),
        method=draw(st.text("abc", max_size=5)),
        field=draw(st.none() | volume),
        traces=draw(st.dictionaries(st.text("xyz_", min_size=1, max_size=4), numbers, max_size=3)),
    )


def same(a: Found, b: Found) -> None:
    first, second = flatten(a), flatten(b)
    assert first.keys() == second.keys()
    for key in first:
        np.testing.assert_array_equal(first[key], second[key])


@given(found())
def test_restore_is_the_inverse_of_flatten(value: Found):
    arrays_ = {k: np.asarray(v) for k, v in flatten(value).items()}
    back = restore(Found, arrays_)
    same(value, back)
    assert (back.field is None) == (value.field is None)
    assert type(back.cost) is float
    assert type(back.refined) is bool


def test_a_finished_step_is_not_done_again(tmp_path):
    calls = []

    def make() -> Volume:
        calls.append(1)
        return Volume(np.arange(8.0).reshape(2, 2, 2), np.eye(4))

    first = Steps(tmp_path).kept("motion", Volume, make)
    later = Steps(tmp_path)
    again = later.kept("motion", Volume, make)
    assert len(calls) == 1
    np.testing.assert_array_equal(first.data, again.data)
    assert later.seconds["motion"] > 0
    later.forget()
    Steps(tmp_path).kept("motion", Volume, make)
    assert len(calls) == 2


@pytest.mark.parametrize("keep", [0, 10, 200])
def test_a_truncated_step_is_done_again(tmp_path, keep):
    made = Volume(np.arange(8.0).reshape(2, 2, 2), np.eye(4))
    Steps(tmp_path).kept("motion", Volume, lambda: made)
    file = tmp_path / "motion.npz"
    file.write_bytes(file.read_bytes()[:keep])
    again = Steps(tmp_path).kept("motion", Volume, lambda: made)
    np.testing.assert_array_equal(again.data, made.data)
