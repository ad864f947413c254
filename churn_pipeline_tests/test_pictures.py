import base64
import math
import re
from urllib.parse import unquote
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from churn_pipeline.pictures import DATA, MARK, TEXT, bars, dots, line, markdown, shares

SVG = "{http://www.w3.org/2000/svg}"
#: Dagster shows markdown inline only below this many characters.
INLINE = 1000

HISTOGRAM = bars(
    [round(184100 * 0.8**i) for i in range(20)],
    labels=("0", "1"),
    title="Churn probability",
    alt="Churn probability of 1,004,300 customers: 26.5 % at or above the threshold",
    mark=(0.53, "threshold 0.53"),
)
CALIBRATION = line(
    [(0.05 + i / 10, (0.05 + i / 10) ** 1.3) for i in range(10)],
    labels=("predicted", "observed"),
    title="Calibration on the holdout",
    alt="Observed against predicted churn in 10 bins of the holdout: nearly equal",
)
DRIFT = dots(
    [("MonthlyCharges", 0.31), ("Contract", 0.05), ("tenure", 0.0)], title="Drift", alt="Drift", mark=(0.2, "limit 0.2")
)

SHARES = shares(
    [
        ("MonthlyCharges", 0.4),
        ("StreamingMovies", 0.2),
        ("PaperlessBilling", 0.1),
        ("DeviceProtection", 0.05),
        ("a", 0),
    ],
    title="First reason to leave, share of customers",
    alt="First reason up: most often MonthlyCharges",
)


@pytest.mark.parametrize("svg", [HISTOGRAM, CALIBRATION, SHARES], ids=["20 bars", "10 points", "5 shares"])
def test_a_picture_of_usual_size_is_shown_without_a_click(svg):
    assert len(markdown(svg)) < INLINE


def test_percent_encoding_is_shorter_than_base64():
    assert len(markdown(HISTOGRAM)) < len(base64.b64encode(HISTOGRAM.encode()))


@pytest.mark.parametrize("svg", [HISTOGRAM, CALIBRATION, DRIFT, SHARES], ids=["bars", "line", "dots", "shares"])
def test_a_picture_says_in_words_what_it_shows(svg):
    root = ElementTree.fromstring(svg)
    assert root.attrib["role"] == "img"
    assert root.findtext(f"{SVG}title")
    assert root.findtext(f"{SVG}text")


def test_a_mark_is_drawn_with_its_words():
    texts = [t.text for t in ElementTree.fromstring(HISTOGRAM).iter(f"{SVG}text")]
    assert "threshold 0.53" in texts
    assert f"stroke='{MARK}'" in HISTOGRAM


def test_each_bar_and_each_dot_is_drawn_once():
    assert _path(HISTOGRAM, DATA).count("v-") == 20
    assert _path(DRIFT, DATA).count("h0") == 3


def test_shares_are_drawn_in_proportion_and_said_in_percent():
    assert re.findall(r"h(\d+)", _path(SHARES, DATA)) == ["80", "40", "20", "10", "0"]
    said = [t.text for t in ElementTree.fromstring(SHARES).iter(f"{SVG}tspan")]
    assert said[:2] == ["MonthlyCharges 40%", "StreamingMovies 20%"]


def test_bars_keep_their_proportions_and_a_rare_bin_is_not_an_empty_one():
    heights = [int(h) for h in re.findall(r"v-(\d+)", _path(_bars([100, 50, 0.001, 0]), DATA))]
    assert heights == [58, 29, 1]


def test_markdown_holds_the_picture_and_its_words_once():
    found = re.fullmatch(r"!\[([^\[\]]*)\]\(data:image/svg\+xml,([^\s()<>\"#]*)\)", markdown(HISTOGRAM))
    assert found
    assert found[1].startswith("Churn probability of 1,004,300 customers")
    inside = ElementTree.fromstring(unquote(found[2]))
    assert inside.find(f"{SVG}title") is None
    assert inside.findtext(f"{SVG}text") == "Churn probability"


@pytest.mark.parametrize("background", ["#ffffff", "#0f1318"], ids=["light", "dark"])
def test_every_colour_reads_on_a_light_and_on_a_dark_page(background):
    assert _contrast(TEXT, background) >= 4
    assert _contrast(DATA, background) >= 3
    assert _contrast(MARK, background) >= 3


@given(st.text(max_size=40), st.lists(st.floats(), max_size=25))
def test_any_words_and_numbers_give_valid_pictures(words, values):
    pictures = [
        bars([abs(v) for v in values], labels=(words, words), title=words, alt=words, mark=(0.3, words)),
        line([(v, v) for v in values], labels=(words, words), title=words, alt=words),
        dots([(words, v) for v in values], title=words, alt=words),
        shares([(words, 1 / (1 + abs(v))) for v in values if not math.isnan(v)], title=words, alt=words),
    ]
    for svg in pictures:
        ElementTree.fromstring(svg)
        assert "nan" not in _numbers(svg)
        assert re.fullmatch(r"!\[[^\[\]\n]*\]\(data:image/svg\+xml,[!-'*-~]*\)", markdown(svg))


@pytest.mark.parametrize("values", [[1.7e308, -1.7e308], [5e-324, 0.0]], ids=["largest", "smallest"])
def test_the_largest_and_the_smallest_numbers_can_be_drawn(values):
    assert "v-58" in _bars([abs(v) for v in values])
    assert _path(dots([("a", v) for v in values], title="t", alt="a"), DATA).count("h0") == 2


def test_without_values_only_the_frame_is_drawn():
    for svg in (
        _bars([]),
        _bars([0, 0]),
        line([], labels=("x", "y"), title="t", alt="a"),
        dots([], title="t", alt="a"),
        shares([], title="t", alt="a"),
    ):
        assert f"stroke='{DATA}'" not in svg
        ElementTree.fromstring(svg)


def test_a_value_that_is_not_finite_leaves_a_gap():
    assert _path(_bars([1, math.nan, math.inf, 1]), DATA).count("v-") == 2


def _bars(values):
    return bars(values, labels=("0", "1"), title="t", alt="a")


def _path(svg, colour):
    paths = [p for p in ElementTree.fromstring(svg).iter(f"{SVG}path") if p.attrib["stroke"] == colour]
    return paths[-1].attrib["d"]


def _numbers(svg):
    return " ".join(p.attrib["d"] for p in ElementTree.fromstring(svg).iter(f"{SVG}path")).lower()


def _contrast(one, other):
    """Contrast ratio of WCAG 2."""

    def luminance(colour):
        parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        red, green, blue = (p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
        return 0.2126 * red + 0.7152 * green + 0.0722 * blue

    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)
