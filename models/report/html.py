"""Small pieces of HTML as text. Whatever comes from data goes through `escape`; `Markup` is already HTML."""

from collections.abc import Container, Iterable, Sequence
from html import escape

DASH = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"


class Markup(str):
    """Text that is HTML and is not escaped again."""

    __slots__ = ()


def text(value: object) -> Markup:
    """Any value as HTML; `Markup` stays as it is."""
    return value if isinstance(value, Markup) else Markup(escape(str(value)))


def paragraph(*parts: object, kind: str = "") -> Markup:
    attribute = f' class="{kind}"' if kind else ""
    return Markup(f"<p{attribute}>{''.join(text(part) for part in parts)}</p>")


def bullets(items: Iterable[object], kind: str = "") -> Markup:
    attribute = f' class="{kind}"' if kind else ""
    return Markup(f"<ul{attribute}>{''.join(f'<li>{text(item)}</li>' for item in items)}</ul>")


def table(
    head: Sequence[object], rows: Iterable[Sequence[object]], caption: str = "", words: Container[int] = ()
) -> Markup:
    """The first column holds names, the columns ``words`` text that may wrap, all others figures."""
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    kinds = [' class="words"' if column in words else "" for column in range(len(head))]
    top = "".join(f'<th scope="col"{kind}>{text(cell)}</th>' for kind, cell in zip(kinds, head, strict=True))
    body = ""
    for name, *cells in rows:
        line = "".join(f"<td{kind}>{text(cell)}</td>" for kind, cell in zip(kinds[1:], cells, strict=True))
        body += f'<tr><th scope="row">{text(name)}</th>{line}</tr>'
    return Markup(f'<div class="wide"><table>{title}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>')


def figure(svg: str, caption: object) -> Markup:
    return Markup(f"<figure>{svg}<figcaption>{text(caption)}</figcaption></figure>")


def section(anchor: str, title: str, parts: Iterable[object]) -> Markup:
    body = "\n".join(text(part) for part in parts)
    return Markup(f'<section id="{escape(anchor)}"><h2>{escape(title)}</h2>\n{body}\n</section>')


def heading(title: str) -> Markup:
    return Markup(f"<h3>{escape(title)}</h3>")


def badge(content: str, kind: str) -> Markup:
    return Markup(f'<span class="badge {kind}">{escape(content)}</span>')
