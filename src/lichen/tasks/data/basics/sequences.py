"""Sequences, recursion and bits."""

from lichen.tasks.levels import easy, hard, medium


@easy
def factorial_of(n: int) -> int:
    """Return the product of the whole numbers from 1 to n; it is 1 for n = 0.

    >>> factorial_of(4)
    24
    """
    product = 1
    for factor in range(2, n + 1):
        product *= factor
    return product


def test_factorial_of() -> None:
    assert factorial_of(4) == 24
    assert factorial_of(0) == 1
    assert factorial_of(1) == 1
    assert factorial_of(2) == 2
    assert factorial_of(3) == 6
    assert factorial_of(5) == 120
    assert factorial_of(10) == 3628800
    assert factorial_of(7) == 5040


@easy
def powers_of_two(count: int) -> list[int]:
    """Return the first powers of two, as many as count: 1, 2, 4 and so on.

    >>> powers_of_two(4)
    [1, 2, 4, 8]
    """
    return [2**exponent for exponent in range(count)]


def test_powers_of_two() -> None:
    assert powers_of_two(4) == [1, 2, 4, 8]
    assert powers_of_two(0) == []
    assert powers_of_two(1) == [1]
    assert powers_of_two(2) == [1, 2]
    assert powers_of_two(3) == [1, 2, 4]
    assert powers_of_two(6) == [1, 2, 4, 8, 16, 32]
    assert powers_of_two(11)[-1] == 1024
    assert len(powers_of_two(20)) == 20


@easy
def countdown(start: int) -> list[int]:
    """Return the numbers from start down to 1, and 0 as the last.

    >>> countdown(3)
    [3, 2, 1, 0]
    """
    return list(range(start, -1, -1))


def test_countdown() -> None:
    assert countdown(3) == [3, 2, 1, 0]
    assert countdown(0) == [0]
    assert countdown(1) == [1, 0]
    assert countdown(5) == [5, 4, 3, 2, 1, 0]
    assert len(countdown(100)) == 101
    assert countdown(10)[0] == 10
    assert countdown(10)[-1] == 0
    assert countdown(2) == [2, 1, 0]


@easy
def triangle_number(n: int) -> int:
    """Return the sum of the whole numbers from 1 to n, 0 for n = 0.

    >>> triangle_number(4)
    10
    """
    return n * (n + 1) // 2


def test_triangle_number() -> None:
    assert triangle_number(4) == 10
    assert triangle_number(0) == 0
    assert triangle_number(1) == 1
    assert triangle_number(2) == 3
    assert triangle_number(10) == 55
    assert triangle_number(100) == 5050
    assert triangle_number(7) == 28
    assert triangle_number(1000) == 500500


@easy
def doubling_days(start: int, goal: int) -> int:
    """Return after how many days an amount that doubles every day reaches at least goal.

    Start is positive.

    >>> doubling_days(1, 10)
    4
    """
    days = 0
    while start < goal:
        start *= 2
        days += 1
    return days


def test_doubling_days() -> None:
    assert doubling_days(1, 10) == 4
    assert doubling_days(1, 1) == 0
    assert doubling_days(5, 3) == 0
    assert doubling_days(1, 2) == 1
    assert doubling_days(3, 24) == 3
    assert doubling_days(3, 25) == 4
    assert doubling_days(2, 1024) == 9
    assert doubling_days(7, 8) == 1


@easy
def arithmetic_terms(first: int, step: int, count: int) -> list[int]:
    """Return so many numbers that begin with first and grow by step.

    >>> arithmetic_terms(2, 3, 4)
    [2, 5, 8, 11]
    """
    return [first + step * place for place in range(count)]


def test_arithmetic_terms() -> None:
    assert arithmetic_terms(2, 3, 4) == [2, 5, 8, 11]
    assert arithmetic_terms(5, 1, 0) == []
    assert arithmetic_terms(5, 0, 3) == [5, 5, 5]
    assert arithmetic_terms(10, -4, 4) == [10, 6, 2, -2]
    assert arithmetic_terms(7, 9, 1) == [7]
    assert arithmetic_terms(-1, 2, 3) == [-1, 1, 3]
    assert arithmetic_terms(0, 100, 2) == [0, 100]
    assert arithmetic_terms(1, -1, 3) == [1, 0, -1]


@easy
def is_power_of_two(number: int) -> bool:
    """Tell whether a number is 1, 2, 4, 8 and so on; zero and negative numbers are not.

    >>> is_power_of_two(64)
    True
    """
    return number > 0 and number & (number - 1) == 0


def test_is_power_of_two() -> None:
    assert is_power_of_two(64) is True
    assert is_power_of_two(1) is True
    assert is_power_of_two(2) is True
    assert is_power_of_two(3) is False
    assert is_power_of_two(0) is False
    assert is_power_of_two(-4) is False
    assert is_power_of_two(6) is False
    assert is_power_of_two(2**40) is True
    assert is_power_of_two(2**40 + 1) is False


@medium
def three_back_sum(n: int) -> int:
    """Return term n, from 0 on, of the sequence 0, 0, 1, in which each further term is the sum of
    the three before it.

    >>> [three_back_sum(n) for n in range(7)]
    [0, 0, 1, 1, 2, 4, 7]
    """
    a, b, c = 0, 0, 1
    for _ in range(n):
        a, b, c = b, c, a + b + c
    return a


def test_three_back_sum() -> None:
    assert three_back_sum(0) == 0
    assert three_back_sum(1) == 0
    assert three_back_sum(2) == 1
    assert three_back_sum(3) == 1
    assert three_back_sum(4) == 2
    assert three_back_sum(6) == 7
    assert three_back_sum(10) == 81
    assert three_back_sum(30) == 15902591


@medium
def look_and_say(term: str) -> str:
    """Read a row of digits aloud as counts: "1211" is one 1, one 2, two 1s, hence "111221".

    >>> look_and_say("1211")
    '111221'
    """
    result = ""
    while term:
        rest = term.lstrip(term[0])
        result += str(len(term) - len(rest)) + term[0]
        term = rest
    return result


def test_look_and_say() -> None:
    assert look_and_say("1211") == "111221"
    assert look_and_say("1") == "11"
    assert look_and_say("11") == "21"
    assert look_and_say("21") == "1211"
    assert look_and_say("111221") == "312211"
    assert look_and_say("333") == "33"
    assert look_and_say("12321") == "1112131211"
    assert look_and_say("") == ""


@medium
def pascal_row(n: int) -> list[int]:
    """Return row n, from 0 on, of Pascal's triangle.

    Each row begins and ends with 1; between, each number is the sum of the two above it.

    >>> pascal_row(4)
    [1, 4, 6, 4, 1]
    """
    row = [1]
    for _ in range(n):
        row = [a + b for a, b in zip([0, *row], [*row, 0], strict=True)]
    return row


def test_pascal_row() -> None:
    assert pascal_row(0) == [1]
    assert pascal_row(1) == [1, 1]
    assert pascal_row(2) == [1, 2, 1]
    assert pascal_row(3) == [1, 3, 3, 1]
    assert pascal_row(4) == [1, 4, 6, 4, 1]
    assert pascal_row(6) == [1, 6, 15, 20, 15, 6, 1]
    assert sum(pascal_row(10)) == 1024
    assert pascal_row(20)[10] == 184756


@medium
def divisor_of_all(values: list[int]) -> int:
    """Return the largest number that divides all the values, which are positive; 0 for no values.

    >>> divisor_of_all([12, 18, 30])
    6
    """
    result = 0
    for value in values:
        while value:
            result, value = value, result % value
    return result


def test_divisor_of_all() -> None:
    assert divisor_of_all([12, 18, 30]) == 6
    assert divisor_of_all([]) == 0
    assert divisor_of_all([7]) == 7
    assert divisor_of_all([7, 3]) == 1
    assert divisor_of_all([8, 8]) == 8
    assert divisor_of_all([5, 10]) == 5
    assert divisor_of_all([100, 75, 50]) == 25
    assert divisor_of_all([17, 34, 51, 68]) == 17


@medium
def bits_set(number: int) -> list[int]:
    """Return the places of the ones in the binary form of a number, counted from the right from 0.

    The number is not negative, and the places are in ascending order.

    >>> bits_set(10)
    [1, 3]
    """
    return [place for place in range(number.bit_length()) if number >> place & 1]


def test_bits_set() -> None:
    assert bits_set(10) == [1, 3]
    assert bits_set(0) == []
    assert bits_set(1) == [0]
    assert bits_set(2) == [1]
    assert bits_set(7) == [0, 1, 2]
    assert bits_set(8) == [3]
    assert bits_set(255) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert bits_set(1 << 20) == [20]


@medium
def subset_sums(numbers: list[int]) -> list[int]:
    """Return, sorted and each once, the sums that any choice of the numbers can have.

    Choosing none counts too.

    >>> subset_sums([1, 5])
    [0, 1, 5, 6]
    """
    sums = {0}
    for number in numbers:
        sums |= {total + number for total in sums}
    return sorted(sums)


def test_subset_sums() -> None:
    assert subset_sums([1, 5]) == [0, 1, 5, 6]
    assert subset_sums([]) == [0]
    assert subset_sums([3]) == [0, 3]
    assert subset_sums([2, 2]) == [0, 2, 4]
    assert subset_sums([-1, 1]) == [-1, 0, 1]
    assert subset_sums([1, 2, 4]) == [0, 1, 2, 3, 4, 5, 6, 7]
    assert subset_sums([10, 20]) == [0, 10, 20, 30]
    assert subset_sums([0]) == [0]


@hard
def gray_codes(bits: int) -> list[str]:
    """Return all codes of so many binary digits in the reflected Gray order.

    It begins with zeros, and each half of the list is the other one, mirrored, with another first
    digit: "0" in the first half, "1" in the second. No digits at all give one empty code.

    >>> gray_codes(2)
    ['00', '01', '11', '10']
    """
    codes = [""]
    for _ in range(bits):
        codes = ["0" + code for code in codes] + ["1" + code for code in codes[::-1]]
    return codes


def test_gray_codes() -> None:
    assert gray_codes(0) == [""]
    assert gray_codes(1) == ["0", "1"]
    assert gray_codes(2) == ["00", "01", "11", "10"]
    assert gray_codes(3) == ["000", "001", "011", "010", "110", "111", "101", "100"]
    assert len(set(gray_codes(6))) == 64
    assert gray_codes(4)[-1] == "1000"
    assert gray_codes(5)[16] == "11000"
    assert gray_codes(4)[5] == "0111"


@hard
def josephus(people: int, step: int) -> int:
    """Return who is left when people 1 to n stand in a circle and every step-th one leaves.

    Counting begins at person 1, and goes on from the one after whoever left.

    >>> josephus(5, 2)
    3
    """
    circle = list(range(1, people + 1))
    place = 0
    while len(circle) > 1:
        place = (place + step - 1) % len(circle)
        circle.pop(place)
    return circle[0]


def test_josephus() -> None:
    assert josephus(5, 2) == 3
    assert josephus(1, 7) == 1
    assert josephus(2, 2) == 1
    assert josephus(2, 1) == 2
    assert josephus(7, 3) == 4
    assert josephus(6, 1) == 6
    assert josephus(41, 3) == 31
    assert josephus(4, 10) == 4


@hard
def tower_moves(disks: int, source: str, target: str, spare: str) -> list[tuple[str, str]]:
    """Return the fewest moves, as (from, to) pairs, of a tower of disks from source to target.

    One disk moves at a time, and a larger one never lies on a smaller one.

    >>> tower_moves(2, "A", "C", "B")
    [('A', 'B'), ('A', 'C'), ('B', 'C')]
    """
    if disks == 0:
        return []
    away = tower_moves(disks - 1, source, spare, target)
    return [*away, (source, target), *tower_moves(disks - 1, spare, target, source)]


def test_tower_moves() -> None:
    assert tower_moves(0, "A", "C", "B") == []
    assert tower_moves(1, "A", "C", "B") == [("A", "C")]
    assert tower_moves(2, "A", "C", "B") == [("A", "B"), ("A", "C"), ("B", "C")]
    assert tower_moves(1, "x", "y", "z") == [("x", "y")]
    assert len(tower_moves(6, "A", "C", "B")) == 63
    assert tower_moves(3, "A", "C", "B")[:3] == [("A", "C"), ("A", "B"), ("C", "B")]
    assert tower_moves(3, "A", "C", "B")[3:] == [("A", "C"), ("B", "A"), ("B", "C"), ("A", "C")]
    assert tower_moves(2, "B", "A", "C") == [("B", "C"), ("B", "A"), ("C", "A")]


@hard
def ways_to_climb(stairs: int, strides: list[int]) -> int:
    """Return in how many ways stairs can be climbed with strides of the given different lengths.

    The order of the strides matters; no stairs are climbed in one way.

    >>> ways_to_climb(4, [1, 2])
    5
    """
    ways = [1]
    for stair in range(1, stairs + 1):
        ways.append(sum(ways[stair - stride] for stride in strides if stride <= stair))
    return ways[stairs]


def test_ways_to_climb() -> None:
    assert ways_to_climb(4, [1, 2]) == 5
    assert ways_to_climb(0, [1]) == 1
    assert ways_to_climb(3, [2]) == 0
    assert ways_to_climb(4, [2]) == 1
    assert ways_to_climb(5, [1, 3]) == 4
    assert ways_to_climb(3, []) == 0
    assert ways_to_climb(10, [1, 2, 3]) == 274
    assert ways_to_climb(1, [1, 2]) == 1
    assert ways_to_climb(40, [1, 2]) == 165580141


@hard
def longest_rising_choice(values: list[int]) -> int:
    """Return how many values one can keep at most, in their order, so that each is above the last.

    >>> longest_rising_choice([3, 1, 4, 1, 5])
    3
    """
    lengths: list[int] = []
    for place, value in enumerate(values):
        before = [lengths[i] for i in range(place) if values[i] < value]
        lengths.append(1 + max(before, default=0))
    return max(lengths, default=0)


def test_longest_rising_choice() -> None:
    assert longest_rising_choice([3, 1, 4, 1, 5]) == 3
    assert longest_rising_choice([]) == 0
    assert longest_rising_choice([9]) == 1
    assert longest_rising_choice([3, 2, 1]) == 1
    assert longest_rising_choice([2, 2, 2]) == 1
    assert longest_rising_choice([1, 2, 3, 4]) == 4
    assert longest_rising_choice([10, 1, 2, 11, 3]) == 3
    assert longest_rising_choice([1, 9, 2, 8, 3, 7]) == 4
    assert longest_rising_choice([5, 6, 1, 2, 3]) == 3
