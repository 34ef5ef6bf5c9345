"""Geometry, points and measures."""

import math
from itertools import pairwise

from lichen.tasks.levels import easy, hard, medium


@easy
def fence_length(width: float, height: float) -> float:
    """Return how long a fence around a rectangular field is.

    >>> fence_length(3, 4)
    14
    """
    return 2 * (width + height)


def test_fence_length() -> None:
    assert fence_length(3, 4) == 14
    assert fence_length(0, 0) == 0
    assert fence_length(1, 1) == 4
    assert fence_length(0, 5) == 10
    assert fence_length(5, 0) == 10
    assert fence_length(1.5, 2.5) == 8
    assert fence_length(10, 20) == 60
    assert fence_length(7, 3) == 20


@easy
def box_volume(width: float, height: float, depth: float) -> float:
    """Return the volume of a box.

    >>> box_volume(2, 3, 4)
    24
    """
    return width * height * depth


def test_box_volume() -> None:
    assert box_volume(2, 3, 4) == 24
    assert box_volume(1, 1, 1) == 1
    assert box_volume(0, 5, 5) == 0
    assert box_volume(0.5, 2, 3) == 3
    assert box_volume(10, 1, 7) == 70
    assert box_volume(3, 3, 3) == 27
    assert box_volume(1.5, 4, 0.5) == 3
    assert box_volume(7, 11, 13) == 1001


@easy
def celsius(fahrenheit: float) -> float:
    """Turn a temperature in degrees Fahrenheit into degrees Celsius.

    Water freezes at 32 F and 0 C, and boils at 212 F and 100 C.

    >>> celsius(212)
    100.0
    """
    return (fahrenheit - 32) * 5 / 9


def test_celsius() -> None:
    assert celsius(212) == 100.0
    assert celsius(32) == 0
    assert celsius(-40) == -40
    assert celsius(50) == 10
    assert celsius(14) == -10
    assert abs(celsius(98.6) - 37) < 1e-9
    assert abs(celsius(0) + 17.7777777) < 1e-6
    assert celsius(5) == -15


@easy
def ring_area(outer: float, inner: float) -> float:
    """Return the area between two circles around the same point, given their radii.

    >>> round(ring_area(2, 1), 3)
    9.425
    """
    return math.pi * (outer**2 - inner**2)


def test_ring_area() -> None:
    assert math.isclose(ring_area(2, 1), 3 * math.pi)
    assert ring_area(1, 1) == 0
    assert math.isclose(ring_area(1, 0), math.pi)
    assert math.isclose(ring_area(3, 2), 5 * math.pi)
    assert math.isclose(ring_area(5, 3), 16 * math.pi)
    assert math.isclose(ring_area(1.5, 0.5), 2 * math.pi)
    assert ring_area(0, 0) == 0
    assert ring_area(10, 6) > ring_area(10, 7)


@easy
def is_inside(x: int, y: int, width: int, height: int) -> bool:
    """Tell whether the point (x, y) lies in a screen whose columns and rows count from zero.

    >>> is_inside(639, 0, 640, 480)
    True
    >>> is_inside(640, 0, 640, 480)
    False
    """
    return 0 <= x < width and 0 <= y < height


def test_is_inside() -> None:
    assert is_inside(639, 0, 640, 480) is True
    assert is_inside(640, 0, 640, 480) is False
    assert is_inside(0, 0, 1, 1) is True
    assert is_inside(0, 0, 0, 1) is False
    assert is_inside(-1, 5, 10, 10) is False
    assert is_inside(5, -1, 10, 10) is False
    assert is_inside(9, 9, 10, 10) is True
    assert is_inside(9, 10, 10, 10) is False
    assert is_inside(3, 8, 5, 10) is True


@medium
def triangle_kind(a: float, b: float, c: float) -> str:
    """Name a triangle after its sides: "equilateral", "isosceles" or "scalene".

    When no triangle has such sides (two together are not longer than the third), it is "none".

    >>> triangle_kind(3, 3, 5)
    'isosceles'
    """
    shortest, middle, longest = sorted([a, b, c])
    if shortest + middle <= longest:
        return "none"
    return {1: "equilateral", 2: "isosceles", 3: "scalene"}[len({a, b, c})]


def test_triangle_kind() -> None:
    assert triangle_kind(3, 3, 5) == "isosceles"
    assert triangle_kind(2, 2, 2) == "equilateral"
    assert triangle_kind(3, 4, 5) == "scalene"
    assert triangle_kind(1, 2, 3) == "none"
    assert triangle_kind(5, 1, 1) == "none"
    assert triangle_kind(0, 0, 0) == "none"
    assert triangle_kind(5, 3, 5) == "isosceles"
    assert triangle_kind(4, 7, 7) == "isosceles"
    assert triangle_kind(10, 6, 5) == "scalene"
    assert triangle_kind(2, 9, 2) == "none"


@medium
def path_length(points: list[tuple[float, float]]) -> float:
    """Return the length of the straight lines from each point to the next.

    >>> path_length([(0, 0), (3, 4), (3, 6)])
    7.0
    """
    return sum((math.dist(a, b) for a, b in pairwise(points)), 0.0)


def test_path_length() -> None:
    assert path_length([(0, 0), (3, 4), (3, 6)]) == 7.0
    assert path_length([]) == 0
    assert path_length([(5, 5)]) == 0
    assert path_length([(1, 1), (1, 1)]) == 0
    assert path_length([(0, 0), (0, 2), (2, 2), (2, 0)]) == 6
    assert path_length([(-1, 0), (1, 0)]) == 2
    assert math.isclose(path_length([(0, 0), (1, 1)]), math.sqrt(2))
    assert path_length([(0, 0), (6, 8), (0, 0)]) == 20


@medium
def overlap_area(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> int:
    """Return the area that two rectangles share, each given as (left, top, right, bottom).

    >>> overlap_area((0, 0, 4, 4), (2, 1, 6, 3))
    4
    """
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    return max(width, 0) * max(height, 0)


def test_overlap_area() -> None:
    assert overlap_area((0, 0, 4, 4), (2, 1, 6, 3)) == 4
    assert overlap_area((0, 0, 1, 1), (2, 2, 3, 3)) == 0
    assert overlap_area((0, 0, 2, 2), (2, 0, 4, 2)) == 0
    assert overlap_area((0, 0, 9, 9), (3, 4, 5, 8)) == 8
    assert overlap_area((1, 1, 4, 3), (1, 1, 4, 3)) == 6
    assert overlap_area((0, 0, 2, 9), (1, 5, 7, 6)) == 1
    assert overlap_area((0, 5, 9, 9), (0, 0, 9, 3)) == 0
    assert overlap_area((-3, -3, 1, 1), (-1, -2, 5, 5)) == 6
    assert overlap_area((0, 0, 1, 9), (4, 0, 6, 9)) == 0
    assert overlap_area((0, 3, 5, 9), (1, 0, 5, 9)) == 24


@medium
def walk(moves: str) -> tuple[int, int]:
    """Return where a walk from (0, 0) ends: N adds 1 to y, S takes 1 off; E and W do so with x.

    Other letters are ignored.

    >>> walk("NNE")
    (1, 2)
    """
    x = moves.count("E") - moves.count("W")
    y = moves.count("N") - moves.count("S")
    return (x, y)


def test_walk() -> None:
    assert walk("NNE") == (1, 2)
    assert walk("") == (0, 0)
    assert walk("NSEW") == (0, 0)
    assert walk("WWW") == (-3, 0)
    assert walk("SSE") == (1, -2)
    assert walk("x?n") == (0, 0)
    assert walk("EEEEW") == (3, 0)
    assert walk("NWNWNS") == (-2, 2)


@hard
def turtle_position(program: str) -> tuple[int, int]:
    """Return where a turtle ends that starts at (0, 0), looking up along the y axis.

    F moves one step on, L and R turn by a quarter to the left and to the right.

    >>> turtle_position("FFRF")
    (1, 2)
    """
    x = y = 0
    dx, dy = 0, 1
    for command in program:
        if command == "F":
            x, y = x + dx, y + dy
        elif command == "L":
            dx, dy = -dy, dx
        elif command == "R":
            dx, dy = dy, -dx
    return (x, y)


def test_turtle_position() -> None:
    assert turtle_position("FFRF") == (1, 2)
    assert turtle_position("") == (0, 0)
    assert turtle_position("F") == (0, 1)
    assert turtle_position("LF") == (-1, 0)
    assert turtle_position("RRF") == (0, -1)
    assert turtle_position("LLF") == (0, -1)
    assert turtle_position("FRFRFRF") == (0, 0)
    assert turtle_position("RFFLFLLL") == (2, 1)
    assert turtle_position("LFLFF") == (-1, -2)
    assert turtle_position("RFRFF") == (1, -2)


@hard
def polygon_area(corners: list[tuple[float, float]]) -> float:
    """Return the area of a polygon without crossings, given its corners in order, either way round.

    >>> polygon_area([(0, 0), (4, 0), (4, 3)])
    6.0
    """
    twice = 0.0
    for (x1, y1), (x2, y2) in zip(corners, corners[1:] + corners[:1], strict=True):
        twice += x1 * y2 - x2 * y1
    return abs(twice) / 2


def test_polygon_area() -> None:
    assert polygon_area([(0, 0), (4, 0), (4, 3)]) == 6.0
    assert polygon_area([(0, 0), (4, 3), (4, 0)]) == 6.0
    assert polygon_area([(0, 0), (2, 0), (2, 2), (0, 2)]) == 4
    assert polygon_area([(1, 1), (3, 1), (3, 4), (1, 4)]) == 6
    assert polygon_area([(0, 0), (1, 1), (2, 2)]) == 0
    assert polygon_area([(-1, -1), (1, -1), (0, 1)]) == 2
    assert polygon_area([(0, 0), (4, 0), (4, 4), (2, 1), (0, 4)]) == 10
    assert polygon_area([(0, 0), (1, 0), (0, 1)]) == 0.5
    assert polygon_area([(0, 0), (0, 3), (5, 3), (5, 0)]) == 15


@hard
def closest_pair(points: list[tuple[int, int]]) -> int:
    """Return the smallest squared distance between two of the points; there are at least two.

    >>> closest_pair([(0, 0), (5, 5), (1, 2)])
    5
    """
    return min(
        (x1 - x2) ** 2 + (y1 - y2) ** 2
        for place, (x1, y1) in enumerate(points)
        for x2, y2 in points[:place]
    )


def test_closest_pair() -> None:
    assert closest_pair([(0, 0), (5, 5), (1, 2)]) == 5
    assert closest_pair([(0, 0), (3, 4)]) == 25
    assert closest_pair([(1, 1), (1, 1)]) == 0
    assert closest_pair([(0, 0), (10, 0), (10, 1)]) == 1
    assert closest_pair([(10, 0), (10, 1), (0, 0)]) == 1
    assert closest_pair([(-2, -2), (2, 2), (-2, 2)]) == 16
    assert closest_pair([(0, 9), (9, 0), (8, 2), (3, 3)]) == 5
    assert closest_pair([(7, 1), (1, 7), (4, 4)]) == 18
