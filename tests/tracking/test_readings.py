"""Every double survives, and the codes sort like the numbers."""

import math
import struct

from hypothesis import given
from hypothesis import strategies as st

from headrace.tracking.readings import from_sortable, to_sortable

doubles = st.floats(allow_nan=False, allow_subnormal=True)


@given(doubles)
def test_every_double_comes_back_bit_for_bit(number: float) -> None:
    assert struct.pack(">d", from_sortable(to_sortable(number))) == struct.pack(">d", number)


@given(doubles, doubles)
def test_codes_sort_like_numbers(one: float, other: float) -> None:
    if one < other:
        assert to_sortable(one) < to_sortable(other)


def test_nan_is_one_code_above_infinity() -> None:
    assert math.isnan(from_sortable(to_sortable(math.nan)))
    assert to_sortable(math.nan) == to_sortable(-math.nan) > to_sortable(math.inf)


def test_the_zeros_stay_apart() -> None:
    assert to_sortable(-0.0) == to_sortable(0.0) - 1


@given(st.floats())
def test_codes_fit_into_sixty_four_bits(number: float) -> None:
    assert -(2**63) <= to_sortable(number) < 2**63
