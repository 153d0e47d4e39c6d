"""Segments of finished visits: how many, their names, the bundle that carries them, and the summary that tells them."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from decisions.engine import Engine
from decisions.intake import Records, decode, plan, plan_ticks
from decisions.shipped import load_bundle, load_policy
from decisions.summaries import json_schema
from featurestore.errors import BundleError
from featurestore.session.views import N_WIDE, WIDE
from featurestore.store.keys import Namespace
from featurestore.store.memory import MemoryStore
from featurestore.store.protocols import Due
from featurestore.store.streams import SESSIONS
from models.bundle.bundle import SEGMENTS, Bundle, write_bundle
from models.heads.segments import Segments, logs
from models.training.segments import FEWEST, STABLE, Profile, names_of, table, train_segments

T = 1_700_000_000_000
KINDS = {
    "glances": {"clicks": 1, "pages": 1, "duration_s": 3},
    "comparers": {"clicks": 25, "pages": 12, "duration_s": 400, "n_compare": 4, "n_view_item": 9},
    "cart leavers": {"clicks": 9, "pages": 5, "duration_s": 200, "cart_additions": 2, "cart_items": 2},
    "buyers": {
        "clicks": 15, "pages": 8, "duration_s": 300, "cart_additions": 3, "cart_items": 3, "checkout_step": 4,
        "purchases": 1,
    },
}  # fmt: skip


def visits(n: int, seed: int = 0) -> NDArray[np.float64]:
    """Visits of the four kinds, ``n`` in all, each column with some noise of its own."""
    rng = np.random.default_rng(seed)
    wide = np.zeros((n, N_WIDE))
    for i, kind in enumerate(KINDS.values()):
        for column, value in kind.items():
            few = column in {"purchases", "checkout_step"}
            noise = 1.0 if few else np.exp(rng.normal(0, 0.1, len(wide[i::4])))
            wide[i::4, WIDE.index(column)] = value * noise
    return wide


@pytest.fixture(scope="module")
def segments() -> Segments:
    found = train_segments(visits(1_200), 1)
    assert isinstance(found, Segments)
    return found


def test_the_kinds_of_visits_are_found_again(segments: Segments) -> None:
    """As many as there are, stable, each with the name of what it does; the same seed gives the same segments."""
    assert sorted(segments.names) == sorted(KINDS)
    wide = visits(400, seed=9)
    names = [segments.names[i] for i in segments.of(wide)]
    assert names == list(KINDS) * 100
    assert all(name in table(segments) for name in segments.names)
    again = train_segments(visits(1_200), 1)
    assert isinstance(again, Segments)
    assert all(np.array_equal(again.arrays()[name], array) for name, array in segments.arrays().items())


def test_a_visit_belongs_to_the_nearest_centre(segments: Segments) -> None:
    """By the plain sum of squares, in units of deviations of logarithms."""
    X = np.random.default_rng(3).gamma(1.0, 8.0, (50, len(segments.columns)))
    for x, found in zip(X, segments.nearest(X).tolist(), strict=True):
        z = (logs(x) - segments.mean) / segments.scale
        assert found == int(np.argmin([((z - centre) ** 2).sum() for centre in segments.centres]))


def test_too_few_or_unstable_visits_have_no_segments() -> None:
    """The reason names the figure; a cloud without kinds has no number of groups that half samples agree on."""
    assert "999 finished visits" in str(train_segments(visits(999), 1))
    cloud = np.zeros((1_000, N_WIDE))
    cloud[:, [WIDE.index(name) for name in KINDS["buyers"]]] = np.random.default_rng(1).gamma(9.0, 1.0, (1_000, 7))
    assert f"of {STABLE:.2f}" in str(train_segments(cloud, 1))
    assert FEWEST == 4


def test_names_tell_segments_apart() -> None:
    """Two that would have one name are told apart by their length; nobody gets an empty or a double name."""
    long, short, alike = (Profile(0.3, clicks, 8, 2, 0, 0, 0, 0) for clicks in (30.0, 6.0, 6.2))
    names = names_of([long, short, alike, Profile(0.1, 9, 8, 2, 0, 1, 1, 0)])
    assert names[0] == "browsers, 30 clicks"
    assert names[3] == "checkout leavers"
    assert len(set(names)) == 4
    assert names_of([Profile(0.5, clicks, 1, 0, 0, 0, 0, 0) for clicks in (1.0, 2.8)]) == [
        "glances, 1 click",
        "glances, 3 clicks",
    ]


def bundle_with(segments: Segments | None, folder: Path) -> Path:
    shipped = load_bundle(None)
    return write_bundle(
        folder, name="segmented", version="1", created="for a test", heads=[shipped.stage], rules=shipped.rules, seed=0,
        training=shipped.manifest.training, segments=segments,
    )  # fmt: skip


def test_a_bundle_carries_segments(segments: Segments, tmp_path: Path) -> None:
    """They come back as they were; changed bytes, and golden rows that fall elsewhere, are refused."""
    path = bundle_with(segments, tmp_path)
    read = Bundle.load(path).segments
    assert read is not None
    assert (read.names, read.columns, dict(read.training)) == (
        segments.names,
        segments.columns,
        dict(segments.training),
    )
    assert all(np.array_equal(read.arrays()[name], array) for name, array in segments.arrays().items())
    elsewhere = replace(segments, expected=(segments.expected + 1) % len(segments.names))
    with pytest.raises(BundleError, match="golden rows of the segments elsewhere"):
        bundle_with(elsewhere, tmp_path / "other")
    (path / SEGMENTS).write_bytes((path / SEGMENTS).read_bytes()[:-1] + b"x")
    with pytest.raises(BundleError, match=SEGMENTS):
        Bundle.load(path)


def test_a_bundle_without_segments_says_nothing_of_them(tmp_path: Path) -> None:
    """Its manifest is one that earlier releases read."""
    path = bundle_with(None, tmp_path)
    assert "segments" not in json.loads((path / "manifest.json").read_bytes())
    assert Bundle.load(path).segments is None


def test_parts_that_do_not_fit_are_refused(segments: Segments) -> None:
    for change, why in (
        ({"columns": ("clicks",) * len(segments.columns)}, "each name and column once"),
        ({"columns": ("no_such", *segments.columns[1:])}, "no column no_such"),
        ({"mean": segments.mean[1:]}, "do not fit"),
        ({"scale": np.zeros_like(segments.scale)}, "positive"),
    ):
        with pytest.raises(ValueError, match=why):
            replace(segments, **change)


def test_a_summary_tells_the_segment_of_a_visit(segments: Segments, tmp_path: Path) -> None:
    """Of the state after its last event, by the engine of the bundle; a bundle without segments tells none."""
    for made in (segments, None):
        bundle = Bundle.load(bundle_with(made, tmp_path / str(made is None)))
        engine = Engine.of(bundle, load_policy(None, bundle.heads.variables), Namespace("test", "segments", "t"))
        values: list[bytes | None] = [b'{"session_id":"glance","type":"view_item","ts":%d,"page":"/a"}' % T]
        values += [
            b'{"session_id":"buyer","type":"%b","ts":%d,"page":"/%d","item_id":"a","price":9,"quantity":1,"value":27}'
            % (kind.encode(), T + 20_000 * i, i % 8)
            for i, kind in enumerate(
                ["view_item"] * 8
                + ["add_to_cart"] * 3
                + ["view_cart", "begin_checkout", "add_payment_info", "purchase"]
            )
        ]
        batch = plan(decode([Records(0, values, range(len(values)), [-1] * len(values))]), 1, lambda _: -1)
        loaded = engine.loader(MemoryStore(engine.namespace)).load(batch)
        engine.run(batch, loaded, T)
        over = plan_ticks([(batch.spans[0][0], Due([*batch.sessions], []), T + 7_200_000)])
        ended = engine.run(over, loaded, T)
        documents = [json.loads(v) for o in ended.outputs[0] if o.stream == SESSIONS for v in o.values]
        told = {document["session_id"]: document.get("segment") for document in documents}
        expected = {"glance": "glances", "buyer": "buyers"} if made else {"glance": None, "buyer": None}
        assert told == expected
        assert all(("segment" in document) == (made is not None) for document in documents)
    assert json_schema()["properties"]["segment"] == {"type": "string"}
