"""Whole numbers, divisibility and digits."""

from lichen.tasks.levels import easy, hard, medium


@easy
def is_even(number: int) -> bool:
    """Tell whether a number is even.

    >>> is_even(4)
    True
    >>> is_even(-7)
    False
    """
    return number % 2 == 0


def test_is_even() -> None:
    assert is_even(4) is True
    assert is_even(-7) is False
    assert is_even(0) is True
    assert is_even(1) is False
    assert is_even(-2) is True
    assert is_even(10**12) is True
    assert is_even(10**12 + 1) is False
    assert is_even(3) is False


@easy
def larger_of(first: int, second: int) -> int:
    """Return the larger of two numbers.

    >>> larger_of(3, 8)
    8
    """
    return max(first, second)


def test_larger_of() -> None:
    assert larger_of(3, 8) == 8
    assert larger_of(8, 3) == 8
    assert larger_of(5, 5) == 5
    assert larger_of(-1, -2) == -1
    assert larger_of(-2, -1) == -1
    assert larger_of(0, -9) == 0
    assert larger_of(0, 9) == 9
    assert larger_of(100, 99) == 100


@easy
def digit_total(number: int) -> int:
    """Return the sum of the decimal digits of a number that is not negative.

    >>> digit_total(507)
    12
    """
    return sum(int(digit) for digit in str(number))


def test_digit_total() -> None:
    assert digit_total(507) == 12
    assert digit_total(0) == 0
    assert digit_total(9) == 9
    assert digit_total(10) == 1
    assert digit_total(999) == 27
    assert digit_total(1234) == 10
    assert digit_total(1000001) == 2
    assert digit_total(88) == 16


@easy
def distance_between(first: int, second: int) -> int:
    """Return how far apart two whole numbers are.

    >>> distance_between(3, -4)
    7
    """
    return abs(first - second)


def test_distance_between() -> None:
    assert distance_between(3, -4) == 7
    assert distance_between(-4, 3) == 7
    assert distance_between(5, 5) == 0
    assert distance_between(0, 9) == 9
    assert distance_between(9, 0) == 9
    assert distance_between(-2, -8) == 6
    assert distance_between(-8, -2) == 6
    assert distance_between(100, 1) == 99


@easy
def seconds_in(hours: int, minutes: int) -> int:
    """Return how many seconds there are in the given hours and minutes together.

    >>> seconds_in(1, 30)
    5400
    """
    return hours * 3600 + minutes * 60


def test_seconds_in() -> None:
    assert seconds_in(0, 0) == 0
    assert seconds_in(0, 1) == 60
    assert seconds_in(1, 0) == 3600
    assert seconds_in(1, 30) == 5400
    assert seconds_in(24, 0) == 86400
    assert seconds_in(2, 59) == 10740
    assert seconds_in(0, 90) == 5400
    assert seconds_in(100, 7) == 360420


@easy
def is_multiple(number: int, base: int) -> bool:
    """Tell whether number can be divided by base without a remainder.

    A base of zero has no multiples except zero itself.

    >>> is_multiple(12, 4)
    True
    >>> is_multiple(7, 0)
    False
    """
    if base == 0:
        return number == 0
    return number % base == 0


def test_is_multiple() -> None:
    assert is_multiple(12, 4) is True
    assert is_multiple(12, 5) is False
    assert is_multiple(0, 5) is True
    assert is_multiple(7, 0) is False
    assert is_multiple(0, 0) is True
    assert is_multiple(-9, 3) is True
    assert is_multiple(9, -3) is True
    assert is_multiple(3, 9) is False
    assert is_multiple(1, 1) is True
    assert is_multiple(5, 1) is True


@easy
def middle_of_three(a: int, b: int, c: int) -> int:
    """Return the value that is neither the smallest nor the largest of the three.

    >>> middle_of_three(5, 1, 3)
    3
    """
    return sorted([a, b, c])[1]


def test_middle_of_three() -> None:
    assert middle_of_three(1, 2, 3) == 2
    assert middle_of_three(3, 1, 2) == 2
    assert middle_of_three(2, 3, 1) == 2
    assert middle_of_three(5, 1, 3) == 3
    assert middle_of_three(4, 4, 9) == 4
    assert middle_of_three(9, 4, 9) == 9
    assert middle_of_three(-1, -5, 0) == -1
    assert middle_of_three(7, 7, 7) == 7


@easy
def round_up_to_ten(number: int) -> int:
    """Return the smallest multiple of ten that is not below number.

    >>> round_up_to_ten(41)
    50
    >>> round_up_to_ten(40)
    40
    """
    return -(-number // 10) * 10


def test_round_up_to_ten() -> None:
    assert round_up_to_ten(0) == 0
    assert round_up_to_ten(1) == 10
    assert round_up_to_ten(9) == 10
    assert round_up_to_ten(10) == 10
    assert round_up_to_ten(41) == 50
    assert round_up_to_ten(40) == 40
    assert round_up_to_ten(-1) == 0
    assert round_up_to_ten(-15) == -10
    assert round_up_to_ten(999) == 1000


@easy
def last_digits_equal(first: int, second: int) -> bool:
    """Tell whether two numbers, neither of them negative, end in the same decimal digit.

    >>> last_digits_equal(27, 107)
    True
    """
    return first % 10 == second % 10


def test_last_digits_equal() -> None:
    assert last_digits_equal(27, 107) is True
    assert last_digits_equal(27, 72) is False
    assert last_digits_equal(0, 10) is True
    assert last_digits_equal(5, 5) is True
    assert last_digits_equal(5, 6) is False
    assert last_digits_equal(1, 9) is False
    assert last_digits_equal(123, 3) is True
    assert last_digits_equal(19, 8) is False
    assert last_digits_equal(12, 3) is False


@easy
def count_odd_between(low: int, high: int) -> int:
    """Return how many odd numbers there are from low to high, both ends included.

    >>> count_odd_between(3, 8)
    3
    """
    return sum(number % 2 == 1 for number in range(low, high + 1))


def test_count_odd_between() -> None:
    assert count_odd_between(3, 8) == 3
    assert count_odd_between(3, 9) == 4
    assert count_odd_between(2, 2) == 0
    assert count_odd_between(7, 7) == 1
    assert count_odd_between(-3, 3) == 4
    assert count_odd_between(5, 4) == 0
    assert count_odd_between(0, 10) == 5
    assert count_odd_between(1, 100) == 50


@easy
def clamp_to_byte(value: int) -> int:
    """Return value, or the nearer end of the range from 0 to 255 when it lies outside.

    >>> clamp_to_byte(300)
    255
    """
    return max(0, min(255, value))


def test_clamp_to_byte() -> None:
    assert clamp_to_byte(300) == 255
    assert clamp_to_byte(-1) == 0
    assert clamp_to_byte(0) == 0
    assert clamp_to_byte(1) == 1
    assert clamp_to_byte(255) == 255
    assert clamp_to_byte(254) == 254
    assert clamp_to_byte(256) == 255
    assert clamp_to_byte(-1000) == 0


@easy
def digit_product(number: int) -> int:
    """Return the product of the decimal digits of a number that is not negative.

    >>> digit_product(234)
    24
    """
    product = 1
    for digit in str(number):
        product *= int(digit)
    return product


def test_digit_product() -> None:
    assert digit_product(234) == 24
    assert digit_product(0) == 0
    assert digit_product(7) == 7
    assert digit_product(10) == 0
    assert digit_product(111) == 1
    assert digit_product(99) == 81
    assert digit_product(512) == 10
    assert digit_product(2222) == 16


@medium
def digital_root(number: int) -> int:
    """Add up the decimal digits again and again until one digit is left, and return it.

    The number is not negative.

    >>> digital_root(987)
    6
    """
    while number > 9:
        number = sum(int(digit) for digit in str(number))
    return number


def test_digital_root() -> None:
    assert digital_root(987) == 6
    assert digital_root(0) == 0
    assert digital_root(9) == 9
    assert digital_root(10) == 1
    assert digital_root(18) == 9
    assert digital_root(19) == 1
    assert digital_root(999999) == 9
    assert digital_root(38) == 2


@medium
def steps_to_one(number: int) -> int:
    """Count the steps until a positive number becomes 1.

    A step halves an even number, and turns an odd number n into 3 * n + 1.

    >>> steps_to_one(6)
    8
    """
    steps = 0
    while number != 1:
        number = number // 2 if number % 2 == 0 else 3 * number + 1
        steps += 1
    return steps


def test_steps_to_one() -> None:
    assert steps_to_one(1) == 0
    assert steps_to_one(2) == 1
    assert steps_to_one(3) == 7
    assert steps_to_one(6) == 8
    assert steps_to_one(7) == 16
    assert steps_to_one(16) == 4
    assert steps_to_one(27) == 111
    assert steps_to_one(10) == 6


@medium
def proper_divisors(number: int) -> list[int]:
    """Return, in ascending order, the positive divisors of number that are smaller than it.

    The number is at least 1.

    >>> proper_divisors(12)
    [1, 2, 3, 4, 6]
    """
    return [candidate for candidate in range(1, number) if number % candidate == 0]


def test_proper_divisors() -> None:
    assert proper_divisors(1) == []
    assert proper_divisors(2) == [1]
    assert proper_divisors(12) == [1, 2, 3, 4, 6]
    assert proper_divisors(13) == [1]
    assert proper_divisors(9) == [1, 3]
    assert proper_divisors(28) == [1, 2, 4, 7, 14]
    assert proper_divisors(36) == [1, 2, 3, 4, 6, 9, 12, 18]
    assert proper_divisors(4) == [1, 2]


@medium
def smallest_prime_factor(number: int) -> int:
    """Return the smallest prime that divides number, which is at least 2.

    >>> smallest_prime_factor(35)
    5
    """
    factor = 2
    while number % factor != 0:
        factor += 1
    return factor


def test_smallest_prime_factor() -> None:
    assert smallest_prime_factor(2) == 2
    assert smallest_prime_factor(3) == 3
    assert smallest_prime_factor(4) == 2
    assert smallest_prime_factor(9) == 3
    assert smallest_prime_factor(35) == 5
    assert smallest_prime_factor(49) == 7
    assert smallest_prime_factor(97) == 97
    assert smallest_prime_factor(1001) == 7


@medium
def prime_powers(number: int) -> dict[int, int]:
    """Return the prime factors of a positive number with how often each divides it.

    >>> prime_powers(12)
    {2: 2, 3: 1}
    """
    powers: dict[int, int] = {}
    factor = 2
    while number > 1:
        while number % factor == 0:
            powers[factor] = powers.get(factor, 0) + 1
            number //= factor
        factor += 1
    return powers


def test_prime_powers() -> None:
    assert prime_powers(1) == {}
    assert prime_powers(2) == {2: 1}
    assert prime_powers(12) == {2: 2, 3: 1}
    assert prime_powers(81) == {3: 4}
    assert prime_powers(97) == {97: 1}
    assert prime_powers(360) == {2: 3, 3: 2, 5: 1}
    assert prime_powers(1001) == {7: 1, 11: 1, 13: 1}
    assert prime_powers(1024) == {2: 10}


@medium
def to_base(number: int, base: int) -> str:
    """Write a number that is not negative in a base from 2 to 10.

    >>> to_base(10, 2)
    '1010'
    """
    digits = ""
    while number >= base:
        digits = str(number % base) + digits
        number //= base
    return str(number) + digits


def test_to_base() -> None:
    assert to_base(0, 2) == "0"
    assert to_base(1, 2) == "1"
    assert to_base(2, 2) == "10"
    assert to_base(10, 2) == "1010"
    assert to_base(255, 8) == "377"
    assert to_base(80, 9) == "88"
    assert to_base(81, 9) == "100"
    assert to_base(1234, 10) == "1234"
    assert to_base(10, 10) == "10"


@medium
def is_armstrong(number: int) -> bool:
    """Tell whether a number is the sum of its digits, each to the power of how many there are.

    153 is one, as 1**3 + 5**3 + 3**3 == 153. The number is not negative.

    >>> is_armstrong(153)
    True
    >>> is_armstrong(154)
    False
    """
    digits = str(number)
    total: int = sum(int(digit) ** len(digits) for digit in digits)
    return total == number


def test_is_armstrong() -> None:
    assert is_armstrong(153) is True
    assert is_armstrong(154) is False
    assert is_armstrong(0) is True
    assert is_armstrong(9) is True
    assert is_armstrong(10) is False
    assert is_armstrong(370) is True
    assert is_armstrong(9474) is True
    assert is_armstrong(9475) is False
    assert is_armstrong(100) is False


@medium
def trailing_zeros(number: int) -> int:
    """Return how many zeros the decimal form of a number ends with.

    Zero itself ends with one zero; a minus sign makes no difference.

    >>> trailing_zeros(5300)
    2
    """
    text = str(number)
    return len(text) - len(text.rstrip("0"))


def test_trailing_zeros() -> None:
    assert trailing_zeros(5300) == 2
    assert trailing_zeros(0) == 1
    assert trailing_zeros(7) == 0
    assert trailing_zeros(10) == 1
    assert trailing_zeros(101) == 0
    assert trailing_zeros(-500) == 2
    assert trailing_zeros(1000000) == 6
    assert trailing_zeros(3030) == 1
    assert trailing_zeros(-70) == 1


@medium
def ordinal(number: int) -> str:
    """Return a positive number with its English ordinal ending: 1st, 2nd, 3rd, 4th and so on.

    Numbers that end in 11, 12 or 13 take "th".

    >>> ordinal(22)
    '22nd'
    >>> ordinal(112)
    '112th'
    """
    if number % 100 in (11, 12, 13):
        return f"{number}th"
    return str(number) + {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")


def test_ordinal() -> None:
    assert ordinal(1) == "1st"
    assert ordinal(2) == "2nd"
    assert ordinal(3) == "3rd"
    assert ordinal(4) == "4th"
    assert ordinal(10) == "10th"
    assert ordinal(11) == "11th"
    assert ordinal(12) == "12th"
    assert ordinal(13) == "13th"
    assert ordinal(21) == "21st"
    assert ordinal(112) == "112th"
    assert ordinal(1003) == "1003rd"
    assert ordinal(101) == "101st"
    assert ordinal(111) == "111th"
    assert ordinal(213) == "213th"


@medium
def share_out(total: int, people: int) -> list[int]:
    """Share out total coins so that nobody has more than one coin more than anybody else.

    Those who come first get the extra coins.

    >>> share_out(10, 3)
    [4, 3, 3]
    """
    each, extra = divmod(total, people)
    return [each + 1] * extra + [each] * (people - extra)


def test_share_out() -> None:
    assert share_out(10, 3) == [4, 3, 3]
    assert share_out(9, 3) == [3, 3, 3]
    assert share_out(11, 3) == [4, 4, 3]
    assert share_out(0, 2) == [0, 0]
    assert share_out(1, 4) == [1, 0, 0, 0]
    assert share_out(5, 1) == [5]
    assert share_out(7, 5) == [2, 2, 1, 1, 1]
    assert sum(share_out(1234, 17)) == 1234


@hard
def to_roman(number: int) -> str:
    """Write a number from 1 to 3999 in Roman numerals.

    >>> to_roman(1994)
    'MCMXCIV'
    """
    values = [1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1]
    signs = ["M", "CM", "D", "CD", "C", "XC", "L", "XL", "X", "IX", "V", "IV", "I"]
    text = ""
    for value, sign in zip(values, signs, strict=True):
        text += sign * (number // value)
        number %= value
    return text


def test_to_roman() -> None:
    assert to_roman(1) == "I"
    assert to_roman(4) == "IV"
    assert to_roman(9) == "IX"
    assert to_roman(44) == "XLIV"
    assert to_roman(58) == "LVIII"
    assert to_roman(99) == "XCIX"
    assert to_roman(400) == "CD"
    assert to_roman(1994) == "MCMXCIV"
    assert to_roman(3999) == "MMMCMXCIX"
    assert to_roman(2666) == "MMDCLXVI"


@hard
def number_in_words(number: int) -> str:
    """Write a number from 0 to 99 in English words, with a hyphen in compound ones.

    >>> number_in_words(47)
    'forty-seven'
    """
    low = "zero one two three four five six seven eight nine ten eleven twelve thirteen"
    teens = "fourteen fifteen sixteen seventeen eighteen nineteen"
    tens = "twenty thirty forty fifty sixty seventy eighty ninety"
    small = f"{low} {teens}".split()
    if number < 20:
        return small[number]
    word = tens.split()[number // 10 - 2]
    return word if number % 10 == 0 else f"{word}-{small[number % 10]}"


def test_number_in_words() -> None:
    assert number_in_words(0) == "zero"
    assert number_in_words(7) == "seven"
    assert number_in_words(12) == "twelve"
    assert number_in_words(19) == "nineteen"
    assert number_in_words(20) == "twenty"
    assert number_in_words(21) == "twenty-one"
    assert number_in_words(47) == "forty-seven"
    assert number_in_words(90) == "ninety"
    assert number_in_words(99) == "ninety-nine"


@hard
def luhn_valid(digits: str) -> bool:
    """Tell whether a string of digits passes the Luhn check of card numbers.

    From the right, every second digit is doubled (9 is taken off a result above 9); the number
    passes when the sum of all digits is a multiple of 10.

    >>> luhn_valid("79927398713")
    True
    """
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


def test_luhn_valid() -> None:
    assert luhn_valid("79927398713") is True
    assert luhn_valid("79927398710") is False
    assert luhn_valid("0") is True
    assert luhn_valid("1") is False
    assert luhn_valid("18") is True
    assert luhn_valid("59") is True
    assert luhn_valid("4539578763621486") is True
    assert luhn_valid("4539578763621487") is False
    assert luhn_valid("91") is True
    assert luhn_valid("42") is True
    assert luhn_valid("26") is True
    assert luhn_valid("67") is True


@hard
def next_same_bits(number: int) -> int:
    """Return the next larger number that has as many ones in binary as number, which is positive.

    >>> next_same_bits(6)
    9
    """
    candidate = number + 1
    while candidate.bit_count() != number.bit_count():
        candidate += 1
    return candidate


def test_next_same_bits() -> None:
    assert next_same_bits(1) == 2
    assert next_same_bits(2) == 4
    assert next_same_bits(3) == 5
    assert next_same_bits(5) == 6
    assert next_same_bits(6) == 9
    assert next_same_bits(7) == 11
    assert next_same_bits(14) == 19
    assert next_same_bits(255) == 383


@hard
def repeating_decimals(numerator: int, denominator: int) -> int:
    """Return the length of the repeating part in the decimals of a fraction, 0 when they end.

    1/7 = 0.142857142857... repeats 6 digits. Both numbers are positive.

    >>> repeating_decimals(1, 7)
    6
    >>> repeating_decimals(1, 8)
    0
    """
    remainder = numerator % denominator
    seen: dict[int, int] = {}
    while remainder and remainder not in seen:
        seen[remainder] = len(seen)
        remainder = remainder * 10 % denominator
    return len(seen) - seen[remainder] if remainder else 0


def test_repeating_decimals() -> None:
    assert repeating_decimals(1, 7) == 6
    assert repeating_decimals(1, 8) == 0
    assert repeating_decimals(1, 3) == 1
    assert repeating_decimals(4, 2) == 0
    assert repeating_decimals(1, 6) == 1
    assert repeating_decimals(22, 7) == 6
    assert repeating_decimals(1, 11) == 2
    assert repeating_decimals(5, 12) == 1
    assert repeating_decimals(1, 97) == 96


@hard
def change_ways(amount: int, coins: list[int]) -> int:
    """Return in how many ways coins of the given different values can make up the amount.

    Each value can be used any number of times, and the order does not matter.

    >>> change_ways(5, [1, 2, 5])
    4
    """
    ways = [1] + [0] * amount
    for coin in coins:
        for total in range(coin, amount + 1):
            ways[total] += ways[total - coin]
    return ways[amount]


def test_change_ways() -> None:
    assert change_ways(0, [1, 2]) == 1
    assert change_ways(5, [1, 2, 5]) == 4
    assert change_ways(3, [2]) == 0
    assert change_ways(4, [2]) == 1
    assert change_ways(10, [2, 5, 3, 6]) == 5
    assert change_ways(7, []) == 0
    assert change_ways(100, [1, 5, 10, 25, 50]) == 292
    assert change_ways(4, [1, 2, 3]) == 4
