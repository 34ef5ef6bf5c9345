"""Lists: picking, counting, joining, rearranging."""

from itertools import pairwise
from typing import Any

from lichen.tasks.levels import easy, hard, medium


@easy
def double_all(values: list[int]) -> list[int]:
    """Return a new list with each value doubled.

    >>> double_all([1, 2, 3])
    [2, 4, 6]
    """
    return [value * 2 for value in values]


def test_double_all() -> None:
    assert double_all([1, 2, 3]) == [2, 4, 6]
    assert double_all([]) == []
    assert double_all([0]) == [0]
    assert double_all([-5]) == [-10]
    assert double_all([3, 3]) == [6, 6]
    assert double_all([10, 1]) == [20, 2]
    values = [7]
    assert double_all(values) == [14]
    assert values == [7]


@easy
def largest_gap(values: list[int]) -> int:
    """Return the difference between the largest and the smallest value; there is at least one.

    >>> largest_gap([4, 9, 1])
    8
    """
    return max(values) - min(values)


def test_largest_gap() -> None:
    assert largest_gap([4, 9, 1]) == 8
    assert largest_gap([5]) == 0
    assert largest_gap([2, 2]) == 0
    assert largest_gap([-3, 3]) == 6
    assert largest_gap([3, -3]) == 6
    assert largest_gap([1, 100, 50]) == 99
    assert largest_gap([-1, -9]) == 8
    assert largest_gap([0, 1, 2, 3]) == 3


@easy
def contains_all(items: list[int], wanted: list[int]) -> bool:
    """Tell whether every wanted number is among the items.

    >>> contains_all([1, 2, 3], [3, 1])
    True
    """
    return all(number in items for number in wanted)


def test_contains_all() -> None:
    assert contains_all([1, 2, 3], [3, 1]) is True
    assert contains_all([1, 2, 3], [4]) is False
    assert contains_all([], []) is True
    assert contains_all([1], []) is True
    assert contains_all([], [1]) is False
    assert contains_all([1, 2], [1, 2, 3]) is False
    assert contains_all([5, 6, 7], [6]) is True
    assert contains_all([5, 6, 7], [6, 8]) is False


@easy
def last_items(items: list[str], count: int) -> list[str]:
    """Return the last items, as many as count, which is at least 1 and at most the number of items.

    >>> last_items(["a", "b", "c"], 2)
    ['b', 'c']
    """
    return items[-count:]


def test_last_items() -> None:
    assert last_items(["a", "b", "c"], 2) == ["b", "c"]
    assert last_items(["a", "b", "c"], 1) == ["c"]
    assert last_items(["a", "b", "c"], 3) == ["a", "b", "c"]
    assert last_items(["x"], 1) == ["x"]
    assert last_items(["x", "x", "y"], 2) == ["x", "y"]
    assert last_items(["p", "q"], 1) == ["q"]
    assert last_items(["p", "q", "r", "s"], 3) == ["q", "r", "s"]
    assert last_items(["", "z"], 2) == ["", "z"]


@easy
def shared_items(left: list[int], right: list[int]) -> list[int]:
    """Return the items of left that are in right too, in the order of left.

    >>> shared_items([3, 1, 2], [1, 3, 5])
    [3, 1]
    """
    return [item for item in left if item in right]


def test_shared_items() -> None:
    assert shared_items([3, 1, 2], [1, 3, 5]) == [3, 1]
    assert shared_items([], []) == []
    assert shared_items([1], []) == []
    assert shared_items([], [1]) == []
    assert shared_items([1, 2], [3, 4]) == []
    assert shared_items([5, 4], [4, 5]) == [5, 4]
    assert shared_items([9, 7, 8], [7]) == [7]
    assert shared_items([2, 4, 6], [6, 2]) == [2, 6]


@easy
def without_first_and_last(items: list[int]) -> list[int]:
    """Return a new list without the first and the last item.

    >>> without_first_and_last([4, 5, 6, 7])
    [5, 6]
    """
    return items[1:-1]


def test_without_first_and_last() -> None:
    assert without_first_and_last([4, 5, 6, 7]) == [5, 6]
    assert without_first_and_last([]) == []
    assert without_first_and_last([1]) == []
    assert without_first_and_last([1, 2]) == []
    assert without_first_and_last([1, 2, 3]) == [2]
    assert without_first_and_last([9, 9, 9, 9]) == [9, 9]
    assert without_first_and_last([3, 1, 2, 0, 5]) == [1, 2, 0]
    assert without_first_and_last([-1, -2, -3]) == [-2]


@easy
def count_above(values: list[float], limit: float) -> int:
    """Return how many of the values are greater than limit.

    >>> count_above([1.5, 3.0, 4.5], 3.0)
    1
    """
    return sum(value > limit for value in values)


def test_count_above() -> None:
    assert count_above([1.5, 3.0, 4.5], 3.0) == 1
    assert count_above([], 0) == 0
    assert count_above([1, 2, 3], 0) == 3
    assert count_above([1, 2, 3], 3) == 0
    assert count_above([-5, -1], -2) == 1
    assert count_above([7, 7, 7], 6.9) == 3
    assert count_above([2, 9, 2, 9], 5) == 2
    assert count_above([0.1, 0.2], 0.1) == 1


@easy
def every_other(items: list[str]) -> list[str]:
    """Return the first, third, fifth and so on of the items.

    >>> every_other(["a", "b", "c"])
    ['a', 'c']
    """
    return items[::2]


def test_every_other() -> None:
    assert every_other(["a", "b", "c"]) == ["a", "c"]
    assert every_other([]) == []
    assert every_other(["x"]) == ["x"]
    assert every_other(["x", "y"]) == ["x"]
    assert every_other(["a", "b", "c", "d"]) == ["a", "c"]
    assert every_other(["a", "b", "c", "d", "e"]) == ["a", "c", "e"]
    assert every_other(["q", "q", "r", "q", "s", "t"]) == ["q", "r", "s"]
    assert every_other(["", "a", ""]) == ["", ""]


@easy
def sum_of_squares(values: list[int]) -> int:
    """Return the sum of the squares of the values.

    >>> sum_of_squares([1, 2, 3])
    14
    """
    return sum(value * value for value in values)


def test_sum_of_squares() -> None:
    assert sum_of_squares([1, 2, 3]) == 14
    assert sum_of_squares([]) == 0
    assert sum_of_squares([5]) == 25
    assert sum_of_squares([-3, 4]) == 25
    assert sum_of_squares([0, 0]) == 0
    assert sum_of_squares([1, 1, 1, 1]) == 4
    assert sum_of_squares([10, -10]) == 200
    assert sum_of_squares([7, 2]) == 53


@easy
def position_of_smallest(values: list[int]) -> int:
    """Return the index of the smallest value, the first one of several; -1 for an empty list.

    >>> position_of_smallest([4, 2, 8])
    1
    """
    return values.index(min(values)) if values else -1


def test_position_of_smallest() -> None:
    assert position_of_smallest([4, 2, 8]) == 1
    assert position_of_smallest([]) == -1
    assert position_of_smallest([5]) == 0
    assert position_of_smallest([3, 1, 1]) == 1
    assert position_of_smallest([1, 2, 3]) == 0
    assert position_of_smallest([3, 2, 1]) == 2
    assert position_of_smallest([0, -4, -4, 2]) == 1
    assert position_of_smallest([7, 7]) == 0


@easy
def all_different(items: list[int]) -> bool:
    """Tell whether no item appears twice.

    >>> all_different([3, 1, 2])
    True
    """
    return len(set(items)) == len(items)


def test_all_different() -> None:
    assert all_different([3, 1, 2]) is True
    assert all_different([]) is True
    assert all_different([1]) is True
    assert all_different([1, 1]) is False
    assert all_different([1, 2, 1]) is False
    assert all_different([0, -0]) is False
    assert all_different([5, 4, 3, 2, 1]) is True
    assert all_different([5, 4, 3, 2, 3, 1]) is False


@easy
def join_numbers(values: list[int]) -> str:
    """Return the values in one text, with a comma and a space between each two.

    >>> join_numbers([1, 2, 3])
    '1, 2, 3'
    """
    return ", ".join(str(value) for value in values)


def test_join_numbers() -> None:
    assert join_numbers([1, 2, 3]) == "1, 2, 3"
    assert join_numbers([]) == ""
    assert join_numbers([7]) == "7"
    assert join_numbers([-1, 0]) == "-1, 0"
    assert join_numbers([10, 20]) == "10, 20"
    assert join_numbers([5, 5, 5]) == "5, 5, 5"
    assert join_numbers([100, 2, 30, 4]) == "100, 2, 30, 4"
    assert join_numbers([-7, -8]) == "-7, -8"


@easy
def only_positive(values: list[int]) -> list[int]:
    """Return the values that are greater than zero, in their order.

    >>> only_positive([3, -1, 0, 2])
    [3, 2]
    """
    return [value for value in values if value > 0]


def test_only_positive() -> None:
    assert only_positive([3, -1, 0, 2]) == [3, 2]
    assert only_positive([]) == []
    assert only_positive([0]) == []
    assert only_positive([-5, -6]) == []
    assert only_positive([1]) == [1]
    assert only_positive([2, 1, 2]) == [2, 1, 2]
    assert only_positive([-1, 1, -1, 1]) == [1, 1]
    assert only_positive([9, 0, 8]) == [9, 8]


@easy
def mean_without_extremes(values: list[float]) -> float:
    """Return the mean of the values when one smallest and one largest of them are left out.

    There are at least three values.

    >>> mean_without_extremes([1.0, 2.0, 4.0, 9.0])
    3.0
    """
    kept = sorted(values)[1:-1]
    return sum(kept) / len(kept)


def test_mean_without_extremes() -> None:
    assert mean_without_extremes([1.0, 2.0, 4.0, 9.0]) == 3.0
    assert mean_without_extremes([5, 5, 5]) == 5
    assert mean_without_extremes([0, 10, 7]) == 7
    assert mean_without_extremes([10, 7, 0]) == 7
    assert mean_without_extremes([1, 1, 1, 9, 9, 9]) == 5
    assert mean_without_extremes([-4, -2, 0, 2]) == -1
    assert mean_without_extremes([3, 3, 8, 8]) == 5.5
    assert mean_without_extremes([2, 1, 3, 6, 5]) == 10 / 3


@easy
def pair_up(left: list[int], right: list[int]) -> list[tuple[int, int]]:
    """Return pairs of the items that stand at the same place, as many as the shorter list has.

    >>> pair_up([1, 2, 3], [7, 8])
    [(1, 7), (2, 8)]
    """
    return list(zip(left, right, strict=False))


def test_pair_up() -> None:
    assert pair_up([1, 2, 3], [7, 8]) == [(1, 7), (2, 8)]
    assert pair_up([], []) == []
    assert pair_up([], [1]) == []
    assert pair_up([1], []) == []
    assert pair_up([1], [2]) == [(1, 2)]
    assert pair_up([1], [2, 3]) == [(1, 2)]
    assert pair_up([5, 6], [6, 5]) == [(5, 6), (6, 5)]
    assert pair_up([0, 0, 0], [1, 2, 3]) == [(0, 1), (0, 2), (0, 3)]


@medium
def shift_right_around(items: list[int], places: int) -> list[int]:
    """Return the items moved to the right by so many places, the last ones coming in at the left.

    Places may be more than the list is long.

    >>> shift_right_around([1, 2, 3, 4], 1)
    [4, 1, 2, 3]
    """
    if not items:
        return []
    cut = len(items) - places % len(items)
    return items[cut:] + items[:cut]


def test_shift_right_around() -> None:
    assert shift_right_around([1, 2, 3, 4], 1) == [4, 1, 2, 3]
    assert shift_right_around([1, 2, 3, 4], 3) == [2, 3, 4, 1]
    assert shift_right_around([], 3) == []
    assert shift_right_around([1, 2], 0) == [1, 2]
    assert shift_right_around([1, 2, 3], 3) == [1, 2, 3]
    assert shift_right_around([1, 2, 3], 4) == [3, 1, 2]
    assert shift_right_around([1, 2, 3], 8) == [2, 3, 1]
    assert shift_right_around([9], 5) == [9]


@medium
def running_maximum(values: list[int]) -> list[int]:
    """Return, for each place, the largest of the values up to and including that place.

    >>> running_maximum([2, 1, 5, 3])
    [2, 2, 5, 5]
    """
    return [max(values[: place + 1]) for place in range(len(values))]


def test_running_maximum() -> None:
    assert running_maximum([2, 1, 5, 3]) == [2, 2, 5, 5]
    assert running_maximum([]) == []
    assert running_maximum([4]) == [4]
    assert running_maximum([1, 2, 3]) == [1, 2, 3]
    assert running_maximum([3, 2, 1]) == [3, 3, 3]
    assert running_maximum([-5, -9, -1]) == [-5, -5, -1]
    assert running_maximum([0, 0, 1, 0]) == [0, 0, 1, 1]
    assert running_maximum([7, 7]) == [7, 7]


@medium
def chunks_of(items: list[int], size: int) -> list[list[int]]:
    """Cut a list into lists of the given size, and drop what is left over at the end.

    >>> chunks_of([1, 2, 3, 4, 5], 2)
    [[1, 2], [3, 4]]
    """
    whole = len(items) - len(items) % size
    return [items[start : start + size] for start in range(0, whole, size)]


def test_chunks_of() -> None:
    assert chunks_of([1, 2, 3, 4, 5], 2) == [[1, 2], [3, 4]]
    assert chunks_of([], 3) == []
    assert chunks_of([1], 2) == []
    assert chunks_of([1, 2], 2) == [[1, 2]]
    assert chunks_of([1, 2, 3], 1) == [[1], [2], [3]]
    assert chunks_of([1, 2, 3, 4, 5, 6], 3) == [[1, 2, 3], [4, 5, 6]]
    assert chunks_of([1, 2, 3, 4, 5], 3) == [[1, 2, 3]]
    assert chunks_of([1, 2, 3], 4) == []


@medium
def interleave(left: list[int], right: list[int]) -> list[int]:
    """Take items from both lists in turn, starting with left, then the rest of the longer one.

    >>> interleave([1, 2, 3], [10])
    [1, 10, 2, 3]
    """
    mixed = []
    for place in range(max(len(left), len(right))):
        mixed += left[place : place + 1] + right[place : place + 1]
    return mixed


def test_interleave() -> None:
    assert interleave([1, 2, 3], [10]) == [1, 10, 2, 3]
    assert interleave([], []) == []
    assert interleave([1], []) == [1]
    assert interleave([], [5, 6]) == [5, 6]
    assert interleave([1, 2], [3, 4]) == [1, 3, 2, 4]
    assert interleave([1], [7, 8, 9]) == [1, 7, 8, 9]
    assert interleave([1, 2, 3, 4], [0, 0]) == [1, 0, 2, 0, 3, 4]
    assert interleave([5, 5], [5]) == [5, 5, 5]


@medium
def drop_repeats(items: list[int]) -> list[int]:
    """Return the items without those that are equal to the item just before them.

    >>> drop_repeats([1, 1, 2, 1])
    [1, 2, 1]
    """
    return [item for place, item in enumerate(items) if place == 0 or item != items[place - 1]]


def test_drop_repeats() -> None:
    assert drop_repeats([1, 1, 2, 1]) == [1, 2, 1]
    assert drop_repeats([]) == []
    assert drop_repeats([3]) == [3]
    assert drop_repeats([3, 3, 3]) == [3]
    assert drop_repeats([1, 2, 3]) == [1, 2, 3]
    assert drop_repeats([1, 1, 2, 2, 1, 1]) == [1, 2, 1]
    assert drop_repeats([5, 4, 5]) == [5, 4, 5]
    assert drop_repeats([0, 0, -1]) == [0, -1]


@medium
def second_largest(values: list[int]) -> int | None:
    """Return the second largest of the different values, or None when there is only one or none.

    >>> second_largest([5, 8, 8, 2])
    5
    """
    different = sorted(set(values))
    return different[-2] if len(different) > 1 else None


def test_second_largest() -> None:
    assert second_largest([5, 8, 8, 2]) == 5
    assert second_largest([]) is None
    assert second_largest([4]) is None
    assert second_largest([4, 4]) is None
    assert second_largest([1, 2]) == 1
    assert second_largest([9, 1, 5]) == 5
    assert second_largest([-1, -2, -3]) == -2
    assert second_largest([10, 10, 9, 9]) == 9


@medium
def is_zigzag(values: list[int]) -> bool:
    """Tell whether the values go up and down in turn, starting either way.

    Neighbours are never equal in a zigzag. Fewer than two values are always one.

    >>> is_zigzag([1, 5, 2, 4])
    True
    """
    steps = [right - left for left, right in pairwise(values)]
    turns = all(a * b < 0 for a, b in pairwise(steps))
    return turns and 0 not in steps


def test_is_zigzag() -> None:
    assert is_zigzag([1, 5, 2, 4]) is True
    assert is_zigzag([]) is True
    assert is_zigzag([3]) is True
    assert is_zigzag([3, 3]) is False
    assert is_zigzag([4, 1]) is True
    assert is_zigzag([1, 2, 3]) is False
    assert is_zigzag([9, 1, 9, 1]) is True
    assert is_zigzag([1, 2, 2, 1]) is False
    assert is_zigzag([3, 2, 1]) is False
    assert is_zigzag([1, 3, 2, 2]) is False
    assert is_zigzag([0, 1, 0]) is True
    assert is_zigzag([0, 1, 1, 2]) is False


@medium
def longest_rise(values: list[int]) -> int:
    """Return the length of the longest stretch of neighbours in which each is above the last.

    >>> longest_rise([5, 1, 2, 3, 2])
    3
    """
    best = length = 0
    for place, value in enumerate(values):
        length = length + 1 if place > 0 and value > values[place - 1] else 1
        best = max(best, length)
    return best


def test_longest_rise() -> None:
    assert longest_rise([5, 1, 2, 3, 2]) == 3
    assert longest_rise([]) == 0
    assert longest_rise([7]) == 1
    assert longest_rise([3, 2, 1]) == 1
    assert longest_rise([1, 2, 3, 4]) == 4
    assert longest_rise([1, 1, 1]) == 1
    assert longest_rise([1, 2, 2, 3, 4]) == 3
    assert longest_rise([4, 5, 1, 2, 3]) == 3
    assert longest_rise([1, 2, 0, 1]) == 2


@medium
def unnest(items: list[Any]) -> list[int]:
    """Return all the numbers in a list of numbers and lists, nested to any depth, in their order.

    >>> unnest([1, [2, [3]], []])
    [1, 2, 3]
    """
    flat: list[int] = []
    for item in items:
        flat += unnest(item) if isinstance(item, list) else [item]
    return flat


def test_unnest() -> None:
    assert unnest([1, [2, [3]], []]) == [1, 2, 3]
    assert unnest([]) == []
    assert unnest([[[]]]) == []
    assert unnest([4]) == [4]
    assert unnest([[1], [2], [3]]) == [1, 2, 3]
    assert unnest([[[[9]]]]) == [9]
    assert unnest([1, [1, [1, [1]]]]) == [1, 1, 1, 1]
    assert unnest([[3, 2], 1, [0]]) == [3, 2, 1, 0]


@medium
def moving_average(values: list[float], width: int) -> list[float]:
    """Return the mean of each width neighbouring values, from left to right.

    There are none when width is more than the number of values.

    >>> moving_average([1, 3, 5, 7], 2)
    [2.0, 4.0, 6.0]
    """
    starts = range(len(values) - width + 1)
    return [sum(values[start : start + width]) / width for start in starts]


def test_moving_average() -> None:
    assert moving_average([1, 3, 5, 7], 2) == [2.0, 4.0, 6.0]
    assert moving_average([1, 2], 3) == []
    assert moving_average([], 1) == []
    assert moving_average([4, 6], 1) == [4, 6]
    assert moving_average([1, 2, 3], 3) == [2]
    assert moving_average([0, 0, 8, 0], 4) == [2]
    assert moving_average([5, -5, 5], 2) == [0, 0]
    assert moving_average([1, 2, 4, 8], 2) == [1.5, 3, 6]


@medium
def balance_point(values: list[int]) -> int:
    """Return the first index where the sum to its left equals the sum to its right, or -1.

    The value at the index belongs to neither side.

    >>> balance_point([1, 7, 3, 5, 3])
    2
    """
    for place in range(len(values)):
        if sum(values[:place]) == sum(values[place + 1 :]):
            return place
    return -1


def test_balance_point() -> None:
    assert balance_point([1, 7, 3, 5, 3]) == 2
    assert balance_point([]) == -1
    assert balance_point([4]) == 0
    assert balance_point([1, 2]) == -1
    assert balance_point([0, 0, 0]) == 0
    assert balance_point([2, 1, -1]) == 0
    assert balance_point([1, -1, 3]) == 2
    assert balance_point([1, 2, 3, 4]) == -1
    assert balance_point([5, 9, 5]) == 1


@medium
def merge_sorted(left: list[int], right: list[int]) -> list[int]:
    """Merge two sorted lists into one sorted list, and leave both as they are.

    >>> merge_sorted([1, 4], [2, 3, 5])
    [1, 2, 3, 4, 5]
    """
    return sorted(left + right)


def test_merge_sorted() -> None:
    assert merge_sorted([1, 4], [2, 3, 5]) == [1, 2, 3, 4, 5]
    assert merge_sorted([], []) == []
    assert merge_sorted([1], []) == [1]
    assert merge_sorted([], [2]) == [2]
    assert merge_sorted([1, 1], [1]) == [1, 1, 1]
    assert merge_sorted([5, 6], [1, 2]) == [1, 2, 5, 6]
    assert merge_sorted([-3, 0], [-2]) == [-3, -2, 0]
    left, right = [2, 9], [1, 3]
    assert merge_sorted(left, right) == [1, 2, 3, 9]
    assert (left, right) == ([2, 9], [1, 3])


@hard
def missing_ranges(numbers: list[int], low: int, high: int) -> list[tuple[int, int]]:
    """Return the gaps between low and high that the numbers leave, as (first, last) pairs.

    The numbers are sorted, all different, and none lies outside low and high.

    >>> missing_ranges([2, 3, 7], 1, 9)
    [(1, 1), (4, 6), (8, 9)]
    """
    gaps = []
    expected = low
    for number in [*numbers, high + 1]:
        if number > expected:
            gaps.append((expected, number - 1))
        expected = number + 1
    return gaps


def test_missing_ranges() -> None:
    assert missing_ranges([2, 3, 7], 1, 9) == [(1, 1), (4, 6), (8, 9)]
    assert missing_ranges([], 1, 3) == [(1, 3)]
    assert missing_ranges([1, 2, 3], 1, 3) == []
    assert missing_ranges([1], 1, 2) == [(2, 2)]
    assert missing_ranges([2], 1, 2) == [(1, 1)]
    assert missing_ranges([5], 5, 5) == []
    assert missing_ranges([], 4, 4) == [(4, 4)]
    assert missing_ranges([-2, 2], -3, 3) == [(-3, -3), (-1, 1), (3, 3)]


@hard
def largest_block_sum(values: list[int]) -> int:
    """Return the largest sum that a stretch of neighbouring values, at least one, can have.

    >>> largest_block_sum([2, -5, 4, -1, 3])
    6
    """
    best = current = values[0]
    for value in values[1:]:
        current = max(value, current + value)
        best = max(best, current)
    return best


def test_largest_block_sum() -> None:
    assert largest_block_sum([2, -5, 4, -1, 3]) == 6
    assert largest_block_sum([7]) == 7
    assert largest_block_sum([-7]) == -7
    assert largest_block_sum([-3, -1, -2]) == -1
    assert largest_block_sum([1, 2, 3]) == 6
    assert largest_block_sum([5, -9, 6]) == 6
    assert largest_block_sum([5, -4, 6]) == 7
    assert largest_block_sum([-1, 4, 0, 4, -1]) == 8
    assert largest_block_sum([9, -10, 1, 2]) == 9


@hard
def water_between(heights: list[int]) -> int:
    """Return how many units of rain stay between walls of these heights, each one unit wide.

    Water at a place stands as high as the lower of the highest walls to its left and right.

    >>> water_between([3, 0, 2])
    2
    """
    total = 0
    for place, height in enumerate(heights):
        level = min(max(heights[: place + 1]), max(heights[place:]))
        total += level - height
    return total


def test_water_between() -> None:
    assert water_between([3, 0, 2]) == 2
    assert water_between([]) == 0
    assert water_between([5]) == 0
    assert water_between([1, 2, 3]) == 0
    assert water_between([3, 2, 1]) == 0
    assert water_between([2, 0, 2]) == 2
    assert water_between([4, 1, 3, 1, 5]) == 7
    assert water_between([0, 1, 0, 2, 1, 0, 1, 3, 2, 1, 2, 1]) == 6
    assert water_between([2, 2, 2]) == 0


@hard
def merge_intervals(intervals: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Join (start, end) intervals that overlap or touch, and return the rest with them, sorted.

    >>> merge_intervals([(5, 7), (1, 3), (3, 4)])
    [(1, 4), (5, 7)]
    """
    merged: list[tuple[int, int]] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def test_merge_intervals() -> None:
    assert merge_intervals([(5, 7), (1, 3), (3, 4)]) == [(1, 4), (5, 7)]
    assert merge_intervals([]) == []
    assert merge_intervals([(1, 2)]) == [(1, 2)]
    assert merge_intervals([(1, 10), (2, 3)]) == [(1, 10)]
    assert merge_intervals([(1, 2), (3, 4)]) == [(1, 2), (3, 4)]
    assert merge_intervals([(1, 5), (2, 7), (6, 9)]) == [(1, 9)]
    assert merge_intervals([(4, 4), (4, 4)]) == [(4, 4)]
    assert merge_intervals([(-3, -1), (-2, 0)]) == [(-3, 0)]
    assert merge_intervals([(1, 10), (2, 3), (4, 12)]) == [(1, 12)]
    assert merge_intervals([(1, 2), (5, 6), (6, 8)]) == [(1, 2), (5, 8)]
    assert merge_intervals([(1, 9), (20, 21), (22, 23), (22, 30)]) == [(1, 9), (20, 21), (22, 30)]


@hard
def longest_common_part(left: list[int], right: list[int]) -> list[int]:
    """Return the longest stretch of neighbours that both lists have, the first in left of several.

    >>> longest_common_part([1, 2, 3, 4], [0, 2, 3, 5])
    [2, 3]
    """
    for length in range(len(left), 0, -1):
        parts = [right[start : start + length] for start in range(len(right) - length + 1)]
        for start in range(len(left) - length + 1):
            if left[start : start + length] in parts:
                return left[start : start + length]
    return []


def test_longest_common_part() -> None:
    assert longest_common_part([1, 2, 3, 4], [0, 2, 3, 5]) == [2, 3]
    assert longest_common_part([], [1]) == []
    assert longest_common_part([1], []) == []
    assert longest_common_part([1, 2], [3, 4]) == []
    assert longest_common_part([1, 2, 3], [1, 2, 3]) == [1, 2, 3]
    assert longest_common_part([7, 8], [8, 7]) == [7]
    assert longest_common_part([1, 9, 2, 3], [2, 3, 1, 9]) == [1, 9]
    assert longest_common_part([5, 5, 5], [5, 5]) == [5, 5]
    assert longest_common_part([1, 2, 3, 4], [4]) == [4]


@hard
def next_permutation(items: list[int]) -> list[int]:
    """Return the next order of the items in lexicographic sequence; after the last comes the first.

    >>> next_permutation([1, 3, 2])
    [2, 1, 3]
    """
    pivot = len(items) - 2
    while pivot >= 0 and items[pivot] >= items[pivot + 1]:
        pivot -= 1
    if pivot < 0:
        return sorted(items)
    swap = max(i for i in range(pivot + 1, len(items)) if items[i] > items[pivot])
    changed = items.copy()
    changed[pivot], changed[swap] = changed[swap], changed[pivot]
    return changed[: pivot + 1] + changed[:pivot:-1]


def test_next_permutation() -> None:
    assert next_permutation([1, 3, 2]) == [2, 1, 3]
    assert next_permutation([1, 2, 3]) == [1, 3, 2]
    assert next_permutation([3, 2, 1]) == [1, 2, 3]
    assert next_permutation([]) == []
    assert next_permutation([5]) == [5]
    assert next_permutation([1, 1, 2]) == [1, 2, 1]
    assert next_permutation([2, 2, 2]) == [2, 2, 2]
    assert next_permutation([1, 5, 4, 3, 2]) == [2, 1, 3, 4, 5]
    assert next_permutation([2, 3, 1, 3, 3]) == [2, 3, 3, 1, 3]
    assert next_permutation([1, 2, 2, 1]) == [2, 1, 1, 2]
    assert next_permutation([2, 3, 1]) == [3, 1, 2]
    assert next_permutation([2, 4, 3, 1]) == [3, 1, 2, 4]
