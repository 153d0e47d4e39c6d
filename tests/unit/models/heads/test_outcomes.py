"""Outcome definitions: the built-in ones are sound, a shop's own file is read or refused with the reason."""

from pathlib import Path

import pytest

from featurestore.errors import SettingsError
from featurestore.session.views import CART_COLUMNS, TOTALS
from models.heads.outcomes import BUILT_IN, read_outcome


def test_what_is_read_before_the_cart_knows_nothing_of_it() -> None:
    for outcome in BUILT_IN:
        if outcome.before_cart:
            assert not set(outcome.columns) & (CART_COLUMNS | TOTALS)


def test_a_shop_s_own_outcome_is_one_file(tmp_path: Path) -> None:
    file = tmp_path / "wishes.yaml"
    file.write_text("name: wish_rest\nevents: [add_to_wishlist]\ncolumns: [clicks, type_1]\nmeaning: wishes\n")
    outcome = read_outcome(file)
    assert (outcome.name, outcome.events, outcome.columns) == ("wish_rest", ("add_to_wishlist",), ("clicks", "type_1"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: x\nevents: [buy]\n", "events: unknown event type 'buy'; known are session_start"),
        ("name: x\nevents: [purchase]\ncolumns: [price]\n", "columns: unknown column 'price'"),
        ("name: X\nevents: [purchase]\n", "name: String should match"),
        ("name: x\nevents: [purchase]\nbefore_cart: true\n", "must not have the column 'clicks'"),
        ("[", "not YAML"),
    ],
)
def test_a_wrong_file_is_refused_with_the_field(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "own.yaml"
    file.write_text(text)
    with pytest.raises(SettingsError) as caught:
        read_outcome(file)
    assert message in str(caught.value)
