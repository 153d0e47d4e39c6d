"""The file of write keys: what it allows, and what is refused at the start."""

from pathlib import Path

import pytest

from edge.shops import Shop, demo_shops, load_shops, new_secret
from featurestore.errors import SettingsError

SECRET = "ab" * 32
GOOD = f"""
signing_keys:
  - {{id: new, secret: "{SECRET}"}}
  - {{id: old, secret: "{"cd" * 32}"}}
shops:
  shoes:
    write_keys: [wk_1, wk_2]
    origins: ["https://shoes.example", "http://localhost:*"]
"""


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "keys.yaml"
    path.write_text(text)
    return path


def test_a_file_gives_shops_by_key_and_the_signing_key_first(tmp_path: Path) -> None:
    shops = load_shops(_file(tmp_path, GOOD))
    assert shops.by_key["wk_2"].name == "shoes"
    assert list(shops.signing_keys) == ["new", "old"]


@pytest.mark.parametrize(
    ("origin", "allowed"),
    [
        ("https://shoes.example", True),
        ("http://shoes.example", False),
        ("https://shoes.example.evil.test", False),
        ("https://shoes.example:8443", False),
        ("http://localhost:3000", True),
        ("http://localhost", True),
        ("http://localhost:", False),
        ("http://localhost:3000.evil.test", False),
        ("null", False),
    ],
)
def test_an_origin_matches_whole(origin: str, allowed: bool) -> None:
    assert Shop("shoes", ("https://shoes.example", "http://localhost:*")).allows(origin) is allowed


def test_the_demo_key_is_for_pages_of_this_machine() -> None:
    shop = demo_shops(new_secret()).by_key["demo"]
    assert shop.allows("http://127.0.0.1:8200")
    assert not shop.allows("https://shoes.example")


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (GOOD.replace(SECRET, "short"), "64 hexadecimal digits"),
        (GOOD.replace("wk_2", "wk_1, wk_1"), "stands twice"),
        (GOOD.replace("https://shoes.example", "https://shoes.example/page"), "without a path"),
        (GOOD + "    typo: 1\n", "typo"),
        ("shops: {}", "signing_keys"),
        ("a: [", "not YAML"),
        ("", "wrong"),
    ],
)
def test_a_wrong_file_is_refused_with_the_place_and_without_the_secret(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(SettingsError, match=says) as refused:
        load_shops(_file(tmp_path, text))
    assert "short" not in str(refused.value)
    assert SECRET not in str(refused.value)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="cannot be read"):
        load_shops(tmp_path / "none.yaml")
