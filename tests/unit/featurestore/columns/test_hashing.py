"""Hashes that are the same on every machine and in every release."""

from hypothesis import given
from hypothesis import strategies as st

from featurestore.columns.hashing import hash64, hash_text

MASK = (1 << 64) - 1


def _plain(text: str) -> int:
    """FNV-1a over UTF-8, then MurmurHash3's finaliser."""
    h = 0xCBF29CE484222325
    for byte in text.encode("utf-8", "surrogatepass"):
        h = (h ^ byte) * 0x100000001B3 & MASK
    h = (h ^ h >> 33) * 0xFF51AFD7ED558CCD & MASK
    h = (h ^ h >> 33) * 0xC4CEB9FE1A85EC53 & MASK
    h ^= h >> 33
    return h or 1


@given(st.lists(st.none() | st.text()))
def test_a_batch_is_hashed_as_each_text_alone(texts: list[str | None]) -> None:
    """Also texts beyond ASCII, and lone surrogates."""
    assert hash64(texts).tolist() == [_plain(text) if text else 0 for text in texts]


def test_the_numbers_are_persisted_and_never_change() -> None:
    texts = ("", "a", "session-1", "Größe")
    assert [hash_text(text) for text in texts] == [0, 0x82A2A958A9BECE5B, 0xF267ABB32D450B1F, 0xE504EFB774D003A6]
