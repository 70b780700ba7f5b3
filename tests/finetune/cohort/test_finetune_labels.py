"""Equal values of a label have one spelling."""

import pytest

from brainmass_core.finetune.cohort.labels import canonical


@pytest.mark.parametrize(
    ("value", "same"), [("1.0", "1"), (" 2", "2"), ("01", "1"), ("ASD ", "ASD"), ("1.5", "1.5")]
)
def test_equal_values_have_one_spelling(value, same):
    assert canonical(value) == canonical(same) == same


@pytest.mark.parametrize(
    "value", ["inf", "nan", "n/a", "1_0", "\u0661", "10000000000000001", "1" * 400]
)
def test_text_that_is_no_number_and_ids_of_many_digits_stay_text(value):
    assert canonical(value) == value
