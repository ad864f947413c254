"""Small pictures, drawn by hand as SVG: bars, shares, a line, dots.

Belongs here: numbers and texts in, SVG text out, with the standard library alone. Does not: deciding what is worth
a picture (`assets/`, the batch report), any plotting library.

Dagster shows markdown without a click only while it is shorter than 1,000 characters, so a picture spends its
characters on the data: one path for all bars or dots, whole-number coordinates. As an `<img>` it cannot see the page's
theme, so every colour is one that reads on white and on near black alike.
"""

import math
import re
from collections.abc import Iterable, Sequence
from html import unescape
from xml.sax.saxutils import escape

#: Grey of texts and axes, blue of the data, orange of the mark.
TEXT, DATA, MARK = "#767676", "#3b7dd8", "#c4620a"

_WIDTH, _HEIGHT = 200, 82
_TOP, _FLOOR = 12, 70
#: What the words of a mark take from the top, so that they never lie on the data.
_MARK_ROW = 8

#: Characters that end or break a markdown destination or a data URI; the others may stand as they are.
_UNSAFE = re.compile(r"[^A-Za-z0-9\-._~!$&'*+,;=:@/?]")

_TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)

Mark = tuple[float, str]


def bars(values: Sequence[float], *, labels: tuple[str, str], title: str, alt: str, mark: Mark | None = None) -> str:
    """Draw a histogram.

    Args:
        values: height of each bar, not negative; one that is not finite leaves a gap.
        labels: what the left and the right edge of the axis stand for.
        title: words above the picture.
        alt: what a person who cannot see it should know; also its tooltip.
        mark: where a dashed line stands, as a share of the width from the left, and what it says.

    Returns:
        The SVG: about 800 characters for 20 bars, 900 as markdown.
    """
    step = _WIDTH / max(1, len(values))
    peak = max((v for v in values if math.isfinite(v)), default=0.0)
    room = _FLOOR - _TOP - (_MARK_ROW if mark else 0)
    # A value above zero keeps one unit of height: a rare bin must not look like an empty one.
    tall = [max(1, round(v / peak * room)) if math.isfinite(v) and v > 0 else 0 for v in values]
    path = "".join(f"M{_short(step * (i + 0.5))},{_FLOOR}v-{h}" for i, h in enumerate(tall) if h)
    body = [
        f"<path stroke='{DATA}' stroke-width='{_short(step * 0.8)}' d='{path}'/>" if path else "",
        _text(_WIDTH, 8, f"max {_number(peak)}", "end"),
        f"<path stroke='{TEXT}' d='M0,{_FLOOR}h{_WIDTH}'/>",
        _ends(labels),
        _mark_line(mark, _TOP, _FLOOR) if mark else "",
    ]
    return _picture(body, title, alt)


def shares(rows: Sequence[tuple[str, float]], *, title: str, alt: str) -> str:
    """Draw one bar a row, from the left, beside its name and its share in percent.

    Args:
        rows: name and share, from 0 to 1, drawn from the top; the longest bar has the whole width.
        title, alt: as in `bars`.

    Returns:
        The SVG: about 75 characters a row more than an empty one; 5 rows are 800 as markdown.
    """
    left = _WIDTH * 6 // 10
    peak = max((share for _, share in rows), default=0.0) or 1.0
    names = "".join(f"<tspan x='{left - 4}' dy='10'>{_escape(name)} {share:.0%}</tspan>" for name, share in rows)
    path = "".join(
        f"M{left},{_TOP + 7 + 10 * i}h{round(share / peak * (_WIDTH - left))}" for i, (_, share) in enumerate(rows)
    )
    body = [
        f"<text y='{_TOP}' text-anchor='end'>{names}</text>" if rows else "",
        f"<path stroke='{DATA}' stroke-width='7' d='{path}'/>" if rows else "",
    ]
    return _picture(body, title, alt, _TOP + 4 + 10 * len(rows))


def line(
    points: Iterable[tuple[float, float]], *, labels: tuple[str, str], title: str, alt: str, diagonal: bool = True
) -> str:
    """Draw a line through points of the unit square, such as a calibration curve.

    Args:
        points: x and y from 0 to 1, in order; one that is not finite is left out, one outside is drawn at the edge.
        labels: what x and what y is.
        title, alt: as in `bars`.
        diagonal: whether to draw where x and y are equal, dashed.

    Returns:
        The SVG: about 800 characters for 10 points, 900 as markdown.
    """
    tall = _FLOOR - _TOP
    at = [
        f"{round(_clip(x) * _WIDTH)},{_FLOOR - round(_clip(y) * tall)}"
        for x, y in points
        if math.isfinite(x) and math.isfinite(y)
    ]
    body = [
        f"<path stroke='{TEXT}' stroke-dasharray='2' d='M0,{_FLOOR}L{_WIDTH},{_TOP}'/>" if diagonal else "",
        f"<path stroke='{TEXT}' fill='none' d='M0,{_TOP}v{tall}h{_WIDTH}'/>",
        f"<path stroke='{DATA}' stroke-width='2' fill='none' d='M{'L'.join(at)}'/>" if at else "",
        # A line of no length with a round cap is a dot.
        f"<path stroke='{DATA}' stroke-width='5' stroke-linecap='round' d='M{'h0M'.join(at)}h0'/>" if at else "",
        _text(3, _TOP + 8, labels[1]),
        _text(_WIDTH, 79, f"{labels[0]} 0 to 1", "end"),
    ]
    return _picture(body, title, alt)


def dots(rows: Sequence[tuple[str, float]], *, title: str, alt: str, mark: Mark | None = None) -> str:
    """Draw one dot a row at its value, such as how far each feature has drifted.

    Args:
        rows: name and value, drawn from the top; the axis runs from 0, or the lowest value, to the highest.
        title, alt: as in `bars`.
        mark: where a dashed line stands, as a value, and what it says.

    Returns:
        The SVG: about 100 characters a row more than an empty one.
    """
    finite = [v for _, v in rows if math.isfinite(v)] + ([mark[0]] if mark else [])
    low, high = min([0.0, *finite]), max([0.0, *finite])
    top = _TOP + (_MARK_ROW if mark else 0)
    left, floor = _WIDTH // 2, top + 6 + 10 * len(rows)

    # Halved, so that the span of the largest numbers is still a number.
    span = (high / 2 - low / 2) or 1.0

    def across(value: float) -> int:
        return left + 5 + round((value / 2 - low / 2) / span * (_WIDTH - left - 10))

    at = [(across(v), top + 6 + 10 * i) for i, (_, v) in enumerate(rows) if math.isfinite(v)]
    path = "".join(f"M{x},{y}h0" for x, y in at)
    body = [
        *(_text(left - 4, top + 9 + 10 * i, name, "end") for i, (name, _) in enumerate(rows)),
        f"<path stroke='{TEXT}' d='M{left},{floor}h{_WIDTH - left}'/>",
        f"<path stroke='{DATA}' stroke-width='6' stroke-linecap='round' d='{path}'/>" if at else "",
        _text(left, floor + 9, _number(low)),
        _text(_WIDTH, floor + 9, _number(high), "end"),
        _mark_line((across(mark[0]) / _WIDTH, mark[1]), _TOP, floor) if mark else "",
    ]
    return _picture(body, title, alt, floor + 12)


def markdown(svg: str) -> str:
    """Wrap a picture as a markdown image whose alternative text is the picture's own.

    Below 1,000 characters for 20 bars or 10 points with a title and an alternative text of a line each. A longer one
    still works; Dagster then shows it after a click.
    """
    found = _TITLE.search(svg)
    alt = re.sub(r"[\[\]\\`*_<>]", "", unescape(found[1])) if found else ""
    # Nobody can reach the words inside an image, so they move out of it instead of being there twice.
    # Encoding only what must be is a tenth shorter than base64, and can be read.
    data = _UNSAFE.sub(_percent, _TITLE.sub("", svg).replace(" role='img'", "", 1))
    return f"![{' '.join(alt.split())}](data:image/svg+xml,{data})"


def _picture(body: Iterable[str], title: str, alt: str, height: int = _HEIGHT) -> str:
    return (
        f"<svg xmlns='http://www.w3.org/2000/svg' width='400' viewBox='0 0 {_WIDTH} {height}' role='img' "
        f"font-family='sans-serif' font-size='8' fill='{TEXT}'>"
        f"<title>{_escape(alt)}</title>{_text(0, 8, title)}{''.join(body)}</svg>"
    )


def _text(x: int, y: int, words: str, anchor: str = "") -> str:
    place = (f" x='{x}'" if x else "") + f" y='{y}'" + (f" text-anchor='{anchor}'" if anchor else "")
    return f"<text{place}>{_escape(words)}</text>"


def _ends(labels: tuple[str, str]) -> str:
    return _text(0, 79, labels[0]) + _text(_WIDTH, 79, labels[1], "end")


def _mark_line(mark: Mark, top: int, floor: int) -> str:
    """A dashed line and its words, which stand on the side that has room."""
    x = round(_clip(mark[0]) * _WIDTH)
    beside = _text(x + 2, top + 7, mark[1]) if x < _WIDTH / 2 else _text(x - 2, top + 7, mark[1], "end")
    return f"<path stroke='{MARK}' stroke-dasharray='3' d='M{x},{top}V{floor}'/>{beside}"


def _escape(words: str) -> str:
    # XML 1.0 has no way to write most control characters, not even escaped.
    return escape(re.sub(r"[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]", " ", words))


def _percent(found: re.Match[str]) -> str:
    return "".join(f"%{byte:02X}" for byte in found[0].encode())


def _clip(share: float) -> float:
    return min(1.0, max(0.0, share))


def _short(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _number(value: float) -> str:
    return f"{value:,.0f}" if value == int(value) or abs(value) >= 1000 else f"{value:.3g}"
