"""HTML of the page. All text is escaped."""

import html
from collections.abc import Iterable, Sequence

CSS = """
.fault {border-left: 4px solid #D55E00; padding: 0.4em 0.8em; margin: 0; font-weight: 600}
.note {color: var(--body-text-color); opacity: 0.75; margin: 0}
.words {line-height: 2}
.words span {color: #222222; border-radius: 3px; padding: 2px 3px; margin: 0 1px}
.answers {border-collapse: collapse; width: auto; margin: 0 !important}
#video-clip video, #video-labelled video {max-height: 260px}
.answers, .answers * {border: none !important}
.answers th, .answers td {text-align: left; padding: 4px 12px 4px 0 !important; vertical-align: middle}
.answers tr > * {border-bottom: 1px solid var(--border-color-primary) !important}
.answers td.number, .answers th.number {text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap}
#video-live-label .wrap, #video-live-message .wrap {display: none !important}
.live {font-size: 2em; font-weight: 700}
.bar {display: inline-block; height: 0.8em; background: #0072B2}
footer {display: none !important}
"""


def fault(sentence: str) -> str:
    """Returns a sentence about what is wrong."""
    sentence = " ".join(sentence.split())
    return f'<p class="fault" role="alert">{html.escape(sentence[:1].upper() + sentence[1:])}</p>'


def note(sentence: str) -> str:
    return f'<p class="note" role="status">{html.escape(sentence)}</p>'


def table(header: Sequence[str], rows: Iterable[Sequence], numbers: Sequence[str] = ()) -> str:
    """Returns a table. `numbers`: columns whose cells are numbers."""

    def cells(kind: str, row: Sequence) -> str:
        classes = [' class="number"' if name in numbers else "" for name in header]
        return "".join(
            f"<{kind}{one}>{html.escape(str(cell))}</{kind}>" for one, cell in zip(classes, row, strict=True)
        )

    body = "".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<table class="answers"><thead><tr>{cells("th", header)}</tr></thead><tbody>{body}</tbody></table>'


def bars(probabilities: Iterable[tuple[str, float]]) -> str:
    """Returns a bar for each label."""
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td class='number'>{value:.1%}</td>"
        f"<td style='width: 70%'><span class='bar' style='width: {100 * value:.1f}%'></span></td></tr>"
        for name, value in probabilities
    )
    return f'<table class="answers" style="width: 100%"><tbody>{rows}</tbody></table>'


def words(texts: Sequence[str], colours: Sequence[Sequence[float]], titles: Sequence[str]) -> str:
    """Returns words on colours, red, green and blue from 0 to 1; a title is shown over its word."""
    spans = (
        f'<span style="background: rgb({", ".join(str(round(255 * part)) for part in colour)})"'
        f' title="{html.escape(title)}">{html.escape(text)}</span>'
        for text, colour, title in zip(texts, colours, titles, strict=True)
    )
    return f'<div class="words">{" ".join(spans)}</div>'
