import gzip
import json
import re

from featurestore.contract.event import EVENT_TYPES
from tests.services.node import TRACKER

SCRIPTS = ("clickstage.js", "clickstage.mjs")


def test_a_shop_loads_less_than_five_kilobytes() -> None:
    """The script tag and the module stay under 5 KiB gzipped."""
    for name in SCRIPTS:
        assert len(gzip.compress((TRACKER / "dist" / name).read_bytes(), 9)) < 5 * 1024


def test_the_types_offer_the_event_names_of_the_contract() -> None:
    """Editors complete the contract's names; session_start is the tracker's own."""
    types = (TRACKER / "src" / "public.ts").read_text(encoding="utf-8")
    union = types.split("export type EventType =", 1)[1].split(";", 1)[0]
    assert set(re.findall(r'"(\w+)"', union)) == set(EVENT_TYPES) - {"session_start"}


def test_the_tracker_takes_from_the_data_layer_only_what_the_contract_knows() -> None:
    """An unknown name would count as a click."""
    source = (TRACKER / "src" / "datalayer.ts").read_text(encoding="utf-8")
    [pattern] = re.findall(r"/\^(\(.*\))\$/;", source)
    taken = {name for name in EVENT_TYPES if re.fullmatch(pattern, name)}
    assert {"view_item", "add_to_cart", "begin_checkout", "purchase", "search"} <= taken
    assert not {"page_view", "scroll", "session_start", "click"} & taken
    assert _words(pattern) <= set(EVENT_TYPES)


def test_the_lock_file_pins_by_hash_and_names_no_registry() -> None:
    """npm takes the registry that it is set up for."""
    lock = json.loads((TRACKER / "package-lock.json").read_text(encoding="utf-8"))
    packages = [entry for name, entry in lock["packages"].items() if name]
    assert packages
    assert all("integrity" in entry and "resolved" not in entry for entry in packages)
    assert "dependencies" not in lock["packages"][""], "a shop loads the tracker and nothing else"


def _words(pattern: str) -> set[str]:
    """Every text that a pattern of words, groups and alternatives matches."""
    whole = set[str]()
    for alternative in re.findall(r"(?:[^|()]|\([^()]*\)\??)+", pattern[1:-1]):
        texts = {""}
        for part in re.findall(r"\([^()]*\)\??|\w+", alternative):
            choices = part.strip("()?").split("|") + ([""] if part.endswith("?") else []) if part[0] == "(" else [part]
            texts = {text + choice for text in texts for choice in choices}
        whole |= texts
    return whole
