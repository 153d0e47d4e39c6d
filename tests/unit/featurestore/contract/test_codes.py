"""Countries and currencies survive the way through their numbers."""

from hypothesis import given
from hypothesis import strategies as st

from featurestore.contract.codes import country_code, country_name, currency_code, currency_name


@given(st.text(max_size=4))
def test_a_currency_is_three_ascii_letters_or_unknown(text: str) -> None:
    valid = len(text) == 3 and text.isascii() and text.isalpha()
    assert currency_name(currency_code(text)) == (text.upper() if valid else "")


@given(st.text(max_size=4))
def test_a_country_is_two_ascii_letters_or_unknown(text: str) -> None:
    valid = len(text) == 2 and text.isascii() and text.isalpha()
    assert country_name(country_code(text)) == (text.upper() if valid else "")
