"""The whole page: summary, table of contents, sections; a pure function of the report's values and pictures."""

from importlib.resources import files
from typing import Any

from models.report import live_page, published_page
from models.report.html import Markup, badge, paragraph, section, table, text

TITLE = "Clickstage: evaluation of the stage model"
CONTENTS = (
    ("summary", "What was asked for"),
    ("protocol", "Protocol and class shares"),
    ("classifiers", "Four classifiers"),
    ("stages", "Confusion, stages, ROC"),
    ("features", "Importances, correlations"),
    ("search", "Trees, depth, search"),
    ("learning", "Learning curve"),
    ("noise", "Label noise"),
    ("mistakes", "Mistakes in four groups"),
    ("cases", "Five cases"),
    ("latency", "Latency"),
    ("explanations", "What speaks for a stage"),
    ("stream", "Streaming protocol"),
    ("shoppers", "Real labels"),
    ("reproduce", "Reproduce"),
)


def build(report: dict[str, Any], pictures: dict[str, str]) -> str:
    """The page as HTML that loads nothing from anywhere."""
    sections = [
        summary(report),
        published_page.protocol(report, pictures),
        published_page.classifiers(report, pictures),
        published_page.per_stage(report, pictures),
        published_page.importances(report, pictures),
        published_page.search(report, pictures),
        published_page.learning(report, pictures),
        published_page.noise(report, pictures),
        published_page.mistakes(report, pictures),
        published_page.cases(report),
        published_page.latency(report, pictures),
        live_page.explanations(report, pictures),
        live_page.stream(report, pictures),
        live_page.shoppers(report, pictures),
        reproduce(report),
    ]
    style = files("models.report").joinpath("page.css").read_text(encoding="utf-8")
    links = "".join(f'<li><a href="#{anchor}">{text(title)}</a></li>' for anchor, title in CONTENTS)
    quick = " A quick run: fewer sessions than P, so the figures are rough." if report["quick"] else ""
    body = "\n".join(sections).replace(" %", "\N{NO-BREAK SPACE}%")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>{TITLE}</title>\n<style>\n{style}</style></head>\n<body><div class="frame">\n'
        f'<nav aria-label="Contents"><ol>{links}</ol></nav>\n<main><header><h1>{TITLE}</h1>'
        '<p class="lead">The published study (P) reproduced figure by figure, then the model judged where it works: at '
        "every event of a live session. A deviation from P of over two points is marked, with its reason "
        f"below.{quick}</p></header>\n{body}\n</main></div></body></html>\n"
    )


def summary(report: dict[str, Any]) -> Markup:
    marks = {True: badge("yes", "yes"), False: badge("no", "no"), None: badge("not measured", "none")}
    rows = [(check["what"], check["needed"], check["value"], marks[check["met"]]) for check in report["checks"]]
    return section(
        "summary", "What was asked for", [table(("requirement", "asked", "reached", "met"), rows, words={1, 2, 3})]
    )


def reproduce(report: dict[str, Any]) -> Markup:
    versions = ", ".join(f"{name} {version}" for name, version in report["versions"].items())
    return section(
        "reproduce",
        "Reproduce",
        [
            paragraph(Markup(f"<code>{text(report['command'])}</code>")),
            paragraph(
                "The same seed and library versions give the same figures, except for latencies, which are "
                "measured. Figures as numbers: report.json beside this page (fractions, not percent)."
            ),
            paragraph(versions, kind="fine"),
            table(("rule", "threshold"), report["rules"].items(), "Stage rules of the published study"),
        ],
    )
