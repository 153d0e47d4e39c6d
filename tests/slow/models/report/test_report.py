"""The evaluation report: its keys, its page, its comparisons."""

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from featurestore.errors import SettingsError
from featurestore.session.features import FEATURES
from featurestore.session.stages import STAGES
from models.report import evaluate, page
from models.report.compare import Figure, comparison, fraction, matrix, percent
from models.report.html import Markup, table, text
from models.study.checks import asked_for
from models.study.protocol import CLASSIFIERS

Report = dict[str, Any]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("report")
    assert evaluate.main(["--report", str(folder), "--quick", "--data", str(folder / "absent")]) == 0
    return folder


@pytest.fixture
def report(folder: Path) -> Report:
    content: Report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    return content


@pytest.fixture
def html(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


def test_the_command_line_writes_two_files(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {"report.html", "report.json"}


def test_the_promised_keys_are_in_the_json(report: Report) -> None:
    published = report["published"]
    assert published["accuracy"].keys() == set(CLASSIFIERS)
    assert published["auc"].keys() == published["shares"].keys() == set(STAGES)
    assert report["noise"].keys() == {"0", "5", "10", "15", "20", "25"}
    for name in CLASSIFIERS:
        assert report["latency_us"][name].keys() >= {"mean", "p99", "n"}
    assert {f"clickstage_{name}" for name in CLASSIFIERS[1:]} < report["latency_us"].keys()
    if evaluate.shipped_bundle() is not None:
        assert report["stream"].keys() >= {
            "accuracy",
            "macro_f1",
            "published_training_accuracy",
            "flips_per_session",
        }


def test_figures_are_fractions(report: Report) -> None:
    values = [
        *report["published"]["accuracy"].values(),
        *report["published"]["auc"].values(),
        *report["noise"].values(),
    ]
    assert all(0.2 < value <= 1.0 for value in values)
    assert sum(report["published"]["shares"].values()) == pytest.approx(1.0, abs=1e-4)


def test_contributions_add_up_to_the_prediction(report: Report) -> None:
    assert report["detail"]["explanations"]["largest_gap"] < 1e-9
    assert report["detail"]["explanations"]["mean_size"]["Explorer"].keys() == set(FEATURES)


def test_one_seed_is_not_the_figure(report: Report, html: str) -> None:
    """Other draws stand beside it, and the constant that was fitted to a published case is named."""
    found = report["detail"]["over_seeds"]
    assert found["seeds"] == [42, 43]
    assert found["accuracy"][0] == report["published"]["accuracy"]["random_forest"]
    assert 0 <= found["not_flipped"] <= found["mistakes"]
    assert "LEAST_MAJORITY = 0.58" in html


def test_absent_data_is_said_and_leaves_no_hole(report: Report, html: str) -> None:
    assert report["shoppers"] == {}
    assert report["detail"]["notes"]["shoppers"].startswith("Not measured")
    assert report["detail"]["notes"]["shoppers"] in html


class _Page(HTMLParser):
    """Collects ids, links and whatever the page would load; checks that tags close in order."""

    VOID = frozenset(("meta", "br", "img", "link", "path", "use", "image"))

    def __init__(self) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.anchors: list[str] = []
        self.loads: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID:
            self.open.append(tag)
        self._collect(tag, attrs)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._collect(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag

    def _collect(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id":
                self.ids.append(value or "")
            elif name == "href" and tag == "a":
                self.anchors.append(value or "")
            elif name in {"src", "href", "xlink:href"} and not (value or "").startswith(("#", "data:")):
                self.loads.append(value or "")


def _parsed(html: str) -> _Page:
    parser = _Page()
    parser.feed(html)
    parser.close()
    return parser


def test_the_page_loads_nothing_and_its_links_lead_somewhere(html: str) -> None:
    found = _parsed(html)
    assert found.loads == []
    assert not re.search(r"url\((?!['\"]?(#|data:))", html)
    assert [link.removeprefix("#") for link in found.anchors] == [anchor for anchor, _ in page.CONTENTS]
    assert {anchor for anchor, _ in page.CONTENTS} <= set(found.ids)
    assert len(found.ids) == len(set(found.ids))
    assert found.open == []


def test_every_deviation_over_two_points_has_its_reason_beside_it(html: str) -> None:
    """Each marked deviation is followed, within its section, by a list of reasons."""
    for part in html.split("<section")[1:]:
        if 'class="badge far"' in part:
            assert 'class="why"' in part[part.index('class="badge far"') :], part[:60]


def test_a_compared_figure_without_a_reason_is_refused() -> None:
    with pytest.raises(ValueError, match="say why"):
        Figure("accuracy", 0.9, 0.9, " ")


@pytest.mark.parametrize(("ours", "shown"), [(0.91, False), (0.919, False), (0.9201, True), (0.87, True)])
def test_reasons_show_only_beyond_two_points(ours: float, shown: bool) -> None:
    figure = Figure("accuracy", ours, 0.90, "because of the moon")
    for content in (comparison([figure]), matrix(("", "accuracy"), [("forest", [figure])])):
        assert ("because of the moon" in content) is shown


def test_one_reason_for_several_figures_is_said_once() -> None:
    content = comparison([Figure(name, 0.5, 0.9, "the same moon") for name in ("one", "two")])
    assert content.count("the same moon") == 1
    assert "one \N{MINUS SIGN}40.0; two \N{MINUS SIGN}40.0" in content


def test_text_from_data_is_escaped_and_markup_is_not() -> None:
    assert text("<b>") == "&lt;b&gt;"
    assert text(Markup("<b>")) == "<b>"
    assert "<td>&lt;i&gt;</td>" in table(("a", "b"), [("x", "<i>")])


def test_numbers_have_one_form() -> None:
    assert (percent(0.9271), percent(None), percent(float("nan"))) == ("92.7", "\N{EN DASH}", "\N{EN DASH}")
    assert (fraction(0.9286), fraction(1.0), fraction(None)) == (".929", "1.000", "\N{EN DASH}")


def test_a_requirement_that_was_not_measured_is_neither_met_nor_missed(report: Report) -> None:
    checks = asked_for(report | {"stream": {}, "cases": {"study": report["cases"]["study"]}})
    assert [check["met"] for check in checks].count(None) == 3


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="--report"):
        evaluate.run(tmp_path / "file" / "report", quick=True)


@pytest.mark.nightly
def test_the_command_line_gives_the_same_figures_from_the_same_seed(folder: Path, tmp_path: Path) -> None:
    """Everything but the measured latencies, pictures included."""
    assert evaluate.main(["--report", str(tmp_path), "--quick", "--data", str(tmp_path / "absent")]) == 0
    one, other = (json.loads((path / "report.json").read_text(encoding="utf-8")) for path in (folder, tmp_path))
    del one["latency_us"], other["latency_us"]
    assert one == other
    cut = re.compile(r'<section id="latency">.*?</section>', re.DOTALL)
    pages = [(path / "report.html").read_text(encoding="utf-8") for path in (folder, tmp_path)]
    assert cut.sub("", pages[0]) == cut.sub("", pages[1])
