"""Times and dates."""

from lichen.tasks.levels import easy, hard, medium


@easy
def is_leap_year(year: int) -> bool:
    """Tell whether a year of the Gregorian calendar is a leap year.

    Every fourth year is one, but of the full centuries only every fourth.

    >>> is_leap_year(2024)
    True
    >>> is_leap_year(1900)
    False
    """
    return year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)


def test_is_leap_year() -> None:
    assert is_leap_year(2024) is True
    assert is_leap_year(2023) is False
    assert is_leap_year(1900) is False
    assert is_leap_year(2000) is True
    assert is_leap_year(2100) is False
    assert is_leap_year(2400) is True
    assert is_leap_year(4) is True
    assert is_leap_year(2022) is False
    assert is_leap_year(200) is False


@easy
def clock_text(minutes: int) -> str:
    """Write minutes since midnight, below 1440, as a time with two digits for hour and minute.

    >>> clock_text(65)
    '01:05'
    """
    return f"{minutes // 60:02d}:{minutes % 60:02d}"


def test_clock_text() -> None:
    assert clock_text(65) == "01:05"
    assert clock_text(0) == "00:00"
    assert clock_text(59) == "00:59"
    assert clock_text(60) == "01:00"
    assert clock_text(600) == "10:00"
    assert clock_text(719) == "11:59"
    assert clock_text(780) == "13:00"
    assert clock_text(1439) == "23:59"


@easy
def minutes_of(time: str) -> int:
    """Return the minutes since midnight of a time like "08:30".

    >>> minutes_of("08:30")
    510
    """
    hour, minute = time.split(":")
    return int(hour) * 60 + int(minute)


def test_minutes_of() -> None:
    assert minutes_of("08:30") == 510
    assert minutes_of("00:00") == 0
    assert minutes_of("00:07") == 7
    assert minutes_of("01:00") == 60
    assert minutes_of("12:00") == 720
    assert minutes_of("23:59") == 1439
    assert minutes_of("9:05") == 545
    assert minutes_of("10:10") == 610


@easy
def season_of(month: int) -> str:
    """Return the northern season of a month: December to February is "winter", then follow
    "spring", "summer" and "autumn", three months each.

    >>> season_of(4)
    'spring'
    """
    return ["winter", "spring", "summer", "autumn"][month % 12 // 3]


def test_season_of() -> None:
    assert season_of(12) == "winter"
    assert season_of(1) == "winter"
    assert season_of(2) == "winter"
    assert season_of(3) == "spring"
    assert season_of(5) == "spring"
    assert season_of(6) == "summer"
    assert season_of(8) == "summer"
    assert season_of(9) == "autumn"
    assert season_of(11) == "autumn"


@medium
def twelve_hour(time: str) -> str:
    """Turn a time like "17:05" into the 12-hour form, with "am" or "pm" and no leading zero.

    Midnight is 12:00 am, noon 12:00 pm.

    >>> twelve_hour("17:05")
    '5:05 pm'
    """
    hour, minute = time.split(":")
    half = "am" if int(hour) < 12 else "pm"
    return f"{int(hour) % 12 or 12}:{minute} {half}"


def test_twelve_hour() -> None:
    assert twelve_hour("17:05") == "5:05 pm"
    assert twelve_hour("00:00") == "12:00 am"
    assert twelve_hour("12:00") == "12:00 pm"
    assert twelve_hour("00:59") == "12:59 am"
    assert twelve_hour("11:59") == "11:59 am"
    assert twelve_hour("13:00") == "1:00 pm"
    assert twelve_hour("09:30") == "9:30 am"
    assert twelve_hour("23:08") == "11:08 pm"


@medium
def days_in_month(year: int, month: int) -> int:
    """Return how many days a month of the Gregorian calendar has.

    >>> days_in_month(2023, 2)
    28
    """
    if month == 2:
        leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
        return 29 if leap else 28
    return 30 if month in (4, 6, 9, 11) else 31


def test_days_in_month() -> None:
    assert days_in_month(2023, 2) == 28
    assert days_in_month(2024, 2) == 29
    assert days_in_month(1900, 2) == 28
    assert days_in_month(2000, 2) == 29
    assert [days_in_month(2023, month) for month in (4, 6, 9, 11)] == [30, 30, 30, 30]
    assert [days_in_month(2023, month) for month in (1, 3, 5, 7)] == [31, 31, 31, 31]
    assert [days_in_month(2023, month) for month in (8, 10, 12)] == [31, 31, 31]
    assert days_in_month(2022, 2) == 28


@medium
def later_on_clock(time: str, minutes: int) -> str:
    """Return the time so many minutes after a time like "23:50", which may pass midnight.

    Negative minutes go back.

    >>> later_on_clock("23:50", 20)
    '00:10'
    """
    hour, minute = map(int, time.split(":"))
    total = (hour * 60 + minute + minutes) % 1440
    return f"{total // 60:02d}:{total % 60:02d}"


def test_later_on_clock() -> None:
    assert later_on_clock("23:50", 20) == "00:10"
    assert later_on_clock("00:00", 0) == "00:00"
    assert later_on_clock("00:00", -1) == "23:59"
    assert later_on_clock("10:30", 30) == "11:00"
    assert later_on_clock("10:30", 29) == "10:59"
    assert later_on_clock("12:00", 1440) == "12:00"
    assert later_on_clock("05:05", 3000) == "07:05"
    assert later_on_clock("01:00", -61) == "23:59"


@medium
def duration_text(seconds: int) -> str:
    """Write seconds as hours, minutes and seconds like "1h 1m 1s", leaving out parts of zero.

    No seconds at all are "0s".

    >>> duration_text(3661)
    '1h 1m 1s'
    >>> duration_text(120)
    '2m'
    """
    amounts = {"h": seconds // 3600, "m": seconds // 60 % 60, "s": seconds % 60}
    return " ".join(f"{amount}{unit}" for unit, amount in amounts.items() if amount) or "0s"


def test_duration_text() -> None:
    assert duration_text(3661) == "1h 1m 1s"
    assert duration_text(120) == "2m"
    assert duration_text(0) == "0s"
    assert duration_text(59) == "59s"
    assert duration_text(60) == "1m"
    assert duration_text(3600) == "1h"
    assert duration_text(3605) == "1h 5s"
    assert duration_text(90061) == "25h 1m 1s"
    assert duration_text(7199) == "1h 59m 59s"


@medium
def clock_hands_angle(hour: int, minute: int) -> float:
    """Return the smaller angle in degrees between the hands of a clock.

    The hour hand moves on all the time, not in jumps. The hour is from 0 to 23.

    >>> clock_hands_angle(3, 30)
    75.0
    """
    angle = abs(hour % 12 * 30 + minute / 2 - minute * 6)
    return min(angle, 360 - angle)


def test_clock_hands_angle() -> None:
    assert clock_hands_angle(3, 30) == 75.0
    assert clock_hands_angle(0, 0) == 0
    assert clock_hands_angle(12, 0) == 0
    assert clock_hands_angle(6, 0) == 180
    assert clock_hands_angle(9, 0) == 90
    assert clock_hands_angle(15, 0) == 90
    assert clock_hands_angle(1, 20) == 80
    assert clock_hands_angle(11, 59) == 5.5
    assert clock_hands_angle(10, 10) == 115


@hard
def day_of_year(date: str) -> int:
    """Return which day of its year a date like "2023-02-01" is; the first of January is 1.

    >>> day_of_year("2023-02-01")
    32
    """
    year, month, day = map(int, date.split("-"))
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    lengths = [31, 29 if leap else 28, 31, 30, 31, 30, 31, 31, 30, 31, 30]
    return sum(lengths[: month - 1]) + day


def test_day_of_year() -> None:
    assert day_of_year("2023-01-01") == 1
    assert day_of_year("2023-02-01") == 32
    assert day_of_year("2023-03-01") == 60
    assert day_of_year("2024-03-01") == 61
    assert day_of_year("2023-12-31") == 365
    assert day_of_year("2024-12-31") == 366
    assert day_of_year("1900-12-31") == 365
    assert day_of_year("2000-12-31") == 366
    assert day_of_year("2023-09-15") == 258
    assert day_of_year("2022-11-30") == 334


@hard
def free_time(busy: list[tuple[int, int]], start: int, end: int) -> int:
    """Return how many minutes from start to end are not covered by any busy (from, to) pair.

    Busy times may overlap, come in any order, and reach beyond start and end.

    >>> free_time([(9, 10), (12, 15)], 8, 14)
    3
    """
    return sum(
        all(not first <= minute < last for first, last in busy) for minute in range(start, end)
    )


def test_free_time() -> None:
    assert free_time([(9, 10), (12, 15)], 8, 14) == 3
    assert free_time([], 0, 60) == 60
    assert free_time([(0, 60)], 0, 60) == 0
    assert free_time([(10, 20), (15, 30)], 0, 60) == 40
    assert free_time([(50, 90), (-5, 10)], 0, 60) == 40
    assert free_time([(10, 10)], 0, 20) == 20
    assert free_time([(10, 50), (20, 30)], 0, 60) == 20
    assert free_time([(0, 5)], 10, 20) == 10
    assert free_time([], 5, 5) == 0


@hard
def most_guests_at_once(visits: list[tuple[int, int]]) -> int:
    """Return the largest number of guests present at one time, given (arrival, departure) hours.

    Who leaves at an hour is gone before anybody arrives at that hour.

    >>> most_guests_at_once([(1, 4), (2, 5), (4, 6)])
    2
    """
    arrivals = [arrival for arrival, _ in visits]
    return max((sum(start <= hour < end for start, end in visits) for hour in arrivals), default=0)


def test_most_guests_at_once() -> None:
    assert most_guests_at_once([(1, 4), (2, 5), (4, 6)]) == 2
    assert most_guests_at_once([]) == 0
    assert most_guests_at_once([(3, 4)]) == 1
    assert most_guests_at_once([(1, 2), (2, 3)]) == 1
    assert most_guests_at_once([(1, 9), (2, 8), (3, 7)]) == 3
    assert most_guests_at_once([(1, 5), (1, 5)]) == 2
    assert most_guests_at_once([(5, 9), (1, 6), (2, 3)]) == 2
    assert most_guests_at_once([(1, 2), (3, 4), (5, 6)]) == 1


@hard
def weekday_of(date: str) -> str:
    """Return the English name of the day of the week of a date like "2024-02-29".

    >>> weekday_of("2024-02-29")
    'Thursday'
    """
    year, month, day = map(int, date.split("-"))
    if month < 3:
        month, year = month + 12, year - 1
    place = (day + 13 * (month + 1) // 5 + year + year // 4 - year // 100 + year // 400) % 7
    names = ["Saturday", "Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday"]
    return names[place]


def test_weekday_of() -> None:
    assert weekday_of("2024-02-29") == "Thursday"
    assert weekday_of("2000-01-01") == "Saturday"
    assert weekday_of("1900-01-01") == "Monday"
    assert weekday_of("2023-12-31") == "Sunday"
    assert weekday_of("2024-03-01") == "Friday"
    assert weekday_of("1969-07-20") == "Sunday"
    assert weekday_of("2100-02-28") == "Sunday"
    assert weekday_of("2025-04-01") == "Tuesday"
    assert weekday_of("1999-11-10") == "Wednesday"
    assert weekday_of("2401-03-01") == "Thursday"
    assert weekday_of("2404-05-05") == "Wednesday"
