"""Charts show the numbers they were given, words the text they were given."""

import itertools

import pytest

from finetune.report.charts import MOST_POINTS, Series, chart, label, thin, ticks
from finetune.report.words import marked


@pytest.mark.parametrize(
    "low, high", [(0, 1), (-3.2, 7.9), (1e-6, 9e-5), (0.69, 0.7), (5, 5), (0, 0)]
)
def test_ticks_enclose_the_values_at_even_round_steps(low, high):
    found = ticks(low, high, 5)
    assert found[0] <= low
    assert found[-1] >= high
    assert 2 <= len(found) <= 8
    steps = [b - a for a, b in itertools.pairwise(found)]
    assert steps == pytest.approx([steps[0]] * len(steps))
    assert len({label(each, found) for each in found}) == len(found)


def test_points_lie_where_the_ticks_say():
    drawn = chart("Loss", "step", "nats", [Series("a", [(0, 0.0), (5, 2.5), (10, 10.0)])])
    (line,) = drawn.lines
    ys = {float(tick.text): tick.place for tick in drawn.y_ticks}
    xs = {float(tick.text): tick.place for tick in drawn.x_ticks}
    for dot in line.dots:
        share = (dot.y - ys[0]) / (ys[10] - ys[0])
        assert 10 * share == pytest.approx(dot.value, abs=0.05)
        assert 10 * (dot.x - xs[0]) / (xs[10] - xs[0]) == pytest.approx(dot.at, abs=0.05)


def test_many_points_become_means_of_neighbours_and_both_ends_stay():
    points = [(float(x), float(x % 7)) for x in range(5000)]
    found = thin(points)
    assert len(found) <= MOST_POINTS
    assert (found[0], found[-1]) == (points[0], points[-1])
    assert sum(y for _, y in found) / len(found) == pytest.approx(3, abs=0.1)
    assert [x for x, _ in found] == sorted(x for x, _ in found)


def test_what_is_no_number_is_not_drawn_and_one_point_makes_no_line():
    assert chart("Loss", "step", "nats", [Series("a", [(1, 2.0), (2, float("nan"))])]) is None
    drawn = chart("Loss", "step", "nats", [Series("a", [(1, 2.0), (2, float("inf")), (3, 1.0)])])
    assert [dot.value for dot in drawn.lines[0].dots] == [2.0, 1.0]


@pytest.mark.parametrize(
    "text, reference",
    [
        ("The lamp is red.", "the lamp was red"),
        ("  leading and  double ", "leading"),
        ("", "something"),
        ("something", ""),
        ("\u6f22\u5b57\u306e lamp", "\u6f22\u5b57 lamp"),
        ("a\n\nb", "b a"),
        ("   ", "word"),
    ],
)
def test_pieces_joined_are_the_text_again(text, reference):
    found = marked(text, reference)
    assert "".join(piece.text for piece in found if piece.kind != "gap") == text


def test_new_and_missing_words_are_marked_and_case_does_not_count():
    found = [(piece.text, piece.kind) for piece in marked("The red lamp is", "the old lamp is off")]
    assert ("red", "new") in found
    assert ("off", "gap") in found
    assert ("The", "same") in found
    assert {piece.kind for piece in marked("SELECT 1", "select  1")} == {"same"}
    assert {piece.kind for piece in marked("no reference", " ")} == {"same"}
