"""When two addresses are one page, and that the compiled rule is the readable one."""

import json

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from featurestore.columns.hashing import hash_text
from featurestore.contract.pages import PARAMETERS, PREFIXES, USUAL, Pages
from featurestore.contract.scan import scan
from tests.examples import examples

MINE = Pages.of("ref, Affiliate* ,")


@pytest.mark.parametrize(
    ("sent", "counted"),
    [
        ("/p/1", "/p/1"),
        ("https://shop.example/p/1", "/p/1"),
        ("HTTP://shop.example:8080/p/1", "/p/1"),
        ("https://shop.example", "/"),
        ("https://shop.example?x=1", "/?x=1"),
        ("/p/1#reviews", "/p/1"),
        ("/app#/cart", "/app#/cart"),
        ("/app#!cart", "/app#!cart"),
        ("/p?b=2&a=1", "/p?b=2&a=1"),
        ("/p?fbclid=IwAR&size=9", "/p?size=9"),
        ("/p?size=9&FBCLID=IwAR", "/p?size=9"),
        ("/p?utm_source=a&utm_medium=b", "/p"),
        ("/p?&&", "/p"),
        ("/p?gclid", "/p"),
        ("/p?gclidx=1", "/p?gclidx=1"),
        ("/p?x=utm_source", "/p?x=utm_source"),
        ("Home", "Home"),
        ("android-app://shop/p", "android-app://shop/p"),
        ("Größe?utm_id=ä&b=ö", "Größe?b=ö"),
        ("", ""),
        ("#top", ""),
    ],
)
def test_what_a_page_is_counted_by(sent: str, counted: str) -> None:
    assert USUAL.normalised(sent) == counted
    assert USUAL.normalised(counted) == counted


@pytest.mark.issue(20, line=8)
def test_twenty_two_visits_of_one_page_with_as_many_click_ids_are_one_page() -> None:
    assert len({USUAL.normalised(f"https://shop.example/p/1?fbclid={n}") for n in range(22)}) == 1
    assert all(USUAL.normalised(f"/p?{name}=1") == "/p" for name in PARAMETERS)
    assert all(USUAL.normalised(f"/p?{name}whatever=1&x=2") == "/p?x=2" for name in PREFIXES)


@pytest.mark.issue(20, line=8)
def test_pages_that_differ_at_their_end_stay_different() -> None:
    urls = [f"https://shop.example/{'category/' * 60}{n}?{'filter=x&' * 30}page={n}" for n in range(12)]
    assert len({USUAL.normalised(url) for url in urls}) == 12


@pytest.mark.issue(20, line=8, sibling=True)
def test_a_shop_leaves_out_parameters_of_its_own() -> None:
    assert MINE.normalised("/p?ref=mail&affiliate_7=x&Affiliate=y&size=9&utm_x=1") == "/p?size=9"
    assert USUAL.normalised("/p?ref=mail") == "/p?ref=mail"


_PIECES = "https:// HTTP:// shop / ? & # ! = utm_x gclid FBCLID ref affiliates a ä :"
_pieces = st.sampled_from(_PIECES.split())


@given(st.lists(_pieces, max_size=12).map("".join), st.booleans())
@settings(max_examples=examples(50))
@example("https://?#/", True)
@example("http://shop#x?y", False)
def test_the_fast_reader_counts_the_same_pages(page: str, mine: bool) -> None:
    pages = MINE if mine else USUAL
    value = json.dumps({"session_id": "s", "type": "click", "ts": 1, "page": page}, ensure_ascii=False).encode()
    made = scan(value, np.array([len(value)]), np.array([-1]), pages)
    assert made.read[0]
    assert made.rows["page"][0] == hash_text(pages.normalised(page)) & 0xFFFF_FFFF
