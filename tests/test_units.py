"""Amounts: every spelling, what comes back from a short one, and every refusal."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from slimmer.errors import RecipeError
from slimmer.recipe.amounts import Amount, parse_amount, short

STEADY = settings(deadline=None, derandomize=True)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5),
        (".5", 0.5),
        ("5e-1", 0.5),
        ("+0.5", 0.5),
        (" 0.5 ", 0.5),
        (0.5, 0.5),
        ("50%", 0.5),
        ("50 %", 0.5),
        ("12.5%", 0.125),
        ("0.1%", 0.001),
        ("100%", 1),
        ("1", 1),
        ("1.", 1),
        (1, 1),
        (1.0, 1),
    ],
)
def test_up_to_one_and_percentages_are_shares_of_dense(text, value):
    amount = parse_amount(text, "here")
    assert amount == Amount(value, relative=True)
    assert amount.of(200) == 200 * value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1000", 1000),
        (1000.0, 1000),
        (2_000_000_000, 2e9),
        ("2e9", 2e9),
        ("1E+3", 1000),
        ("1K", 1000),
        ("270k", 270_000),
        ("0.5K", 500),
        ("11M", 11e6),
        ("11 m", 11e6),
        ("1.8G", 1.8e9),
        ("1.8 g", 1.8e9),
        ("3T", 3e12),
        ("1e3K", 1e6),
    ],
)
def test_units_and_large_numbers_are_absolute(text, value):
    amount = parse_amount(text, "here")
    assert amount == Amount(value, relative=False)
    assert amount.of(200) == value


@pytest.mark.parametrize(
    ("text", "found"),
    [
        *(
            (text, "not a valid amount")
            for text in ("", "%", "G", "half", "1.8X", "1.8GB", "1,8G", "0x10", "1..2", "1 8")
        ),
        *(
            (text, "not a valid amount")
            for text in ("50%%", "G1.8", "--1", "1e", "nan", "inf", ".", True, False, None, [0.5])
        ),
        *(
            (text, "is not above 0")
            for text in ("0", 0, "0%", "0K", "-0.5", -1, "-50%", "-1.8G", "1e-400")
        ),
        *((text, "is more than 100 %") for text in ("100.1%", "150%")),
        *(
            (text, "too large for a ratio and too small for a count")
            for text in ("1.0001", "1.5", 50, "999")
        ),
        *((text, "too large") for text in ("1e400", "1e300T")),
    ],
)
def test_what_is_no_amount_is_refused_with_its_place_and_what_would_be_right(text, found):
    with pytest.raises(RecipeError) as refused:
        parse_amount(text, "budget.params")
    assert refused.value.where == "budget.params"
    assert found in refused.value.found
    assert repr(text) in refused.value.found
    assert all(example in refused.value.right for example in ("0.5", "50%", "1.8G"))


@STEADY
@given(st.integers(0, 10**16 - 1))
def test_a_short_count_is_the_count_to_half_of_its_last_digit(count):
    number, _, unit = short(count).partition(" ")
    factor = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}[unit]
    last = factor / 10 ** len(number.partition(".")[2])
    assert abs(float(number) * factor - count) <= last / 2 * (1 + 1e-9)
    assert len(number.replace(".", "")) <= 4 or unit == "T"
    assert 1 <= float(number) < 1000 or unit in {"", "T"}


@STEADY
@given(st.integers(1000, 10**15))
def test_a_short_count_can_be_given_as_a_budget_again(count):
    again = parse_amount(short(count), "budget.flops")
    assert not again.relative
    assert again.value == pytest.approx(count, rel=0.005)
    assert str(again) == short(again.value)


@STEADY
@given(st.floats(1e-4, 1))
def test_a_share_is_written_as_it_is_read(share):
    amount = parse_amount(share, "budget.flops")
    assert parse_amount(str(amount), "budget.flops").value == pytest.approx(share, rel=1e-5)
    assert parse_amount(f"{100 * share!r}%", "budget.flops").value == pytest.approx(
        share, rel=1e-12
    )


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00 K"),
        (99_994, "99.99 K"),
        (99_996, "100.0 K"),
        (999_949, "999.9 K"),
        (999_951, "1.00 M"),
        (41_218_688, "41.22 M"),
        (3_671_262_720, "3.67 G"),
        (-5_000_000, "-5.00 M"),
    ],
)
def test_counts_are_three_or_four_digits_with_their_unit(count, text):
    assert short(count) == text
