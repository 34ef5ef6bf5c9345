"""Reading and writing small text formats."""

import re

from lichen.tasks.levels import easy, hard, medium


@easy
def full_name(first: str, last: str) -> str:
    """Return the last name, a comma, a space and the first name.

    >>> full_name("Ada", "Lovelace")
    'Lovelace, Ada'
    """
    return f"{last}, {first}"


def test_full_name() -> None:
    assert full_name("Ada", "Lovelace") == "Lovelace, Ada"
    assert full_name("A", "B") == "B, A"
    assert full_name("", "") == ", "
    assert full_name("Ann", "") == ", Ann"
    assert full_name("", "Lee") == "Lee, "
    assert full_name("Mary Ann", "Evans") == "Evans, Mary Ann"
    assert full_name("x", "x") == "x, x"
    assert full_name("J.", "van Dyk") == "van Dyk, J."


@easy
def numbered(lines: list[str]) -> list[str]:
    """Return the lines with their numbers, from 1 on, and a colon and a space before them.

    >>> numbered(["one", "two"])
    ['1: one', '2: two']
    """
    return [f"{number}: {line}" for number, line in enumerate(lines, start=1)]


def test_numbered() -> None:
    assert numbered(["one", "two"]) == ["1: one", "2: two"]
    assert numbered([]) == []
    assert numbered([""]) == ["1: "]
    assert numbered(["x"]) == ["1: x"]
    assert numbered(["a", "a", "a"]) == ["1: a", "2: a", "3: a"]
    assert numbered(["1: b"]) == ["1: 1: b"]
    assert numbered(["z"] * 12)[11] == "12: z"
    assert numbered(["p", "q"])[1] == "2: q"


@easy
def count_lines(text: str) -> int:
    """Return how many lines of the text are not blank.

    >>> count_lines("one\\n\\ntwo")
    2
    """
    return sum(line.strip() != "" for line in text.split("\n"))


def test_count_lines() -> None:
    assert count_lines("one\n\ntwo") == 2
    assert count_lines("") == 0
    assert count_lines("\n\n") == 0
    assert count_lines("a") == 1
    assert count_lines("a\n") == 1
    assert count_lines("  \na\n\t\nb c\n") == 2
    assert count_lines("x\ny\nz") == 3
    assert count_lines(" \n x \n") == 1


@easy
def file_extension(name: str) -> str:
    """Return what follows the last dot of a file name, or "" if there is no dot.

    >>> file_extension("archive.tar.gz")
    'gz'
    """
    return name.rpartition(".")[2] if "." in name else ""


def test_file_extension() -> None:
    assert file_extension("archive.tar.gz") == "gz"
    assert file_extension("readme") == ""
    assert file_extension("photo.JPG") == "JPG"
    assert file_extension("") == ""
    assert file_extension("trailing.") == ""
    assert file_extension(".hidden") == "hidden"
    assert file_extension("a.b") == "b"
    assert file_extension("a..c") == "c"


@easy
def greet_all(names: list[str]) -> list[str]:
    """Return a greeting for each of the names.

    >>> greet_all(["Ann"])
    ['Hello, Ann!']
    """
    return [f"Hello, {name}!" for name in names]


def test_greet_all() -> None:
    assert greet_all(["Ann"]) == ["Hello, Ann!"]
    assert greet_all([]) == []
    assert greet_all([""]) == ["Hello, !"]
    assert greet_all(["Bo", "Cy"]) == ["Hello, Bo!", "Hello, Cy!"]
    assert greet_all(["X", "X"]) == ["Hello, X!", "Hello, X!"]
    assert greet_all(["Mary Ann"]) == ["Hello, Mary Ann!"]
    assert greet_all(["z", "y"])[0] == "Hello, z!"
    assert greet_all(["Ann", "Bob"])[1] == "Hello, Bob!"


@easy
def strip_comment(line: str) -> str:
    """Return a line of code without its comment, which begins at "#", and the spaces at its end.

    >>> strip_comment("x = 1  # one")
    'x = 1'
    """
    return line.split("#")[0].rstrip()


def test_strip_comment() -> None:
    assert strip_comment("x = 1  # one") == "x = 1"
    assert strip_comment("") == ""
    assert strip_comment("# all") == ""
    assert strip_comment("  y") == "  y"
    assert strip_comment("y  ") == "y"
    assert strip_comment("a # b # c") == "a"
    assert strip_comment("a#b") == "a"
    assert strip_comment("print(1)   #") == "print(1)"


@easy
def hashtags(text: str) -> list[str]:
    """Return the words of the text that begin with "#", without that sign.

    Words are separated by spaces.

    >>> hashtags("a #red and #blue day")
    ['red', 'blue']
    """
    return [word[1:] for word in text.split() if word.startswith("#")]


def test_hashtags() -> None:
    assert hashtags("a #red and #blue day") == ["red", "blue"]
    assert hashtags("") == []
    assert hashtags("none here") == []
    assert hashtags("#one") == ["one"]
    assert hashtags("a#b") == []
    assert hashtags("#x  #x") == ["x", "x"]
    assert hashtags("c# #d") == ["d"]
    assert hashtags("#") == [""]


@medium
def parse_settings(text: str) -> dict[str, str]:
    """Read lines of the form "key = value" into a dictionary, without spaces around either.

    Blank lines, and lines that begin with "#", are skipped; a value may contain "=".

    >>> parse_settings("a = 1\\n# note\\nb=x=y")
    {'a': '1', 'b': 'x=y'}
    """
    settings = {}
    for line in text.splitlines():
        if line.strip() and not line.startswith("#"):
            key, _, value = line.partition("=")
            settings[key.strip()] = value.strip()
    return settings


def test_parse_settings() -> None:
    assert parse_settings("a = 1\n# note\nb=x=y") == {"a": "1", "b": "x=y"}
    assert parse_settings("") == {}
    assert parse_settings("\n  \n") == {}
    assert parse_settings("# a = 1") == {}
    assert parse_settings("k=") == {"k": ""}
    assert parse_settings("k = v # kept") == {"k": "v # kept"}
    assert parse_settings("k=1\nk=2") == {"k": "2"}
    assert parse_settings("  name  =  two words  ") == {"name": "two words"}


@medium
def parse_query(query: str) -> dict[str, str]:
    """Read a query like "a=1&b=2" into a dictionary; a key without "=" has an empty value.

    Of a key that is there twice, the last value counts.

    >>> parse_query("a=1&debug")
    {'a': '1', 'debug': ''}
    """
    pairs = [part.partition("=") for part in query.split("&") if part]
    return {key: value for key, _, value in pairs}


def test_parse_query() -> None:
    assert parse_query("a=1&debug") == {"a": "1", "debug": ""}
    assert parse_query("") == {}
    assert parse_query("x=") == {"x": ""}
    assert parse_query("a=1&a=2") == {"a": "2"}
    assert parse_query("a=1&&b=2") == {"a": "1", "b": "2"}
    assert parse_query("a=b=c") == {"a": "b=c"}
    assert parse_query("q=two+words&n=10") == {"q": "two+words", "n": "10"}
    assert parse_query("a&b") == {"a": "", "b": ""}


@medium
def format_amount(cents: int) -> str:
    """Write an amount in cents as dollars, with commas between groups of three digits.

    A minus sign goes before the dollar sign.

    >>> format_amount(123456789)
    '$1,234,567.89'
    >>> format_amount(-5)
    '-$0.05'
    """
    sign = "-" if cents < 0 else ""
    dollars, rest = divmod(abs(cents), 100)
    return f"{sign}${dollars:,}.{rest:02d}"


def test_format_amount() -> None:
    assert format_amount(123456789) == "$1,234,567.89"
    assert format_amount(-5) == "-$0.05"
    assert format_amount(0) == "$0.00"
    assert format_amount(100) == "$1.00"
    assert format_amount(99) == "$0.99"
    assert format_amount(100000) == "$1,000.00"
    assert format_amount(-123456) == "-$1,234.56"
    assert format_amount(99999) == "$999.99"
    assert format_amount(-1) == "-$0.01"


@medium
def join_with_and(items: list[str]) -> str:
    """Join items as in a sentence: commas between, and "and" before the last, without a comma.

    >>> join_with_and(["tea", "milk", "sugar"])
    'tea, milk and sugar'
    """
    if len(items) < 2:
        return "".join(items)
    return ", ".join(items[:-1]) + " and " + items[-1]


def test_join_with_and() -> None:
    assert join_with_and(["tea", "milk", "sugar"]) == "tea, milk and sugar"
    assert join_with_and([]) == ""
    assert join_with_and(["tea"]) == "tea"
    assert join_with_and(["tea", "milk"]) == "tea and milk"
    assert join_with_and(["a", "b", "c", "d"]) == "a, b, c and d"
    assert join_with_and(["x", "x"]) == "x and x"
    assert join_with_and(["", "b"]) == " and b"
    assert join_with_and(["p", "q", "r"]) == "p, q and r"


@medium
def shorten(text: str, width: int) -> str:
    """Return the text if it has at most width characters, else its beginning and "...".

    With the three dots it is exactly width characters long. The width is at least 3.

    >>> shorten("a long story", 9)
    'a long...'
    """
    return text if len(text) <= width else text[: width - 3] + "..."


def test_shorten() -> None:
    assert shorten("a long story", 9) == "a long..."
    assert shorten("", 3) == ""
    assert shorten("abc", 3) == "abc"
    assert shorten("abcd", 3) == "..."
    assert shorten("abcd", 4) == "abcd"
    assert shorten("abcde", 4) == "a..."
    assert shorten("exactly ten", 11) == "exactly ten"
    assert shorten("exactly ten", 10) == "exactly..."


@medium
def hex_color(color: str) -> tuple[int, int, int]:
    """Read a color like "#ff8000", or short like "#f80", into its red, green and blue, 0 to 255.

    In the short form each digit stands for two equal ones.

    >>> hex_color("#ff8000")
    (255, 128, 0)
    """
    digits = color[1:]
    if len(digits) == 3:
        digits = "".join(digit * 2 for digit in digits)
    return (int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16))


def test_hex_color() -> None:
    assert hex_color("#ff8000") == (255, 128, 0)
    assert hex_color("#000000") == (0, 0, 0)
    assert hex_color("#fff") == (255, 255, 255)
    assert hex_color("#f80") == (255, 136, 0)
    assert hex_color("#FFAA01") == (255, 170, 1)
    assert hex_color("#010203") == (1, 2, 3)
    assert hex_color("#123") == (17, 34, 51)
    assert hex_color("#a0b0c0") == (160, 176, 192)


@medium
def find_numbers(text: str) -> list[int]:
    """Return the whole numbers in the text, in their order; a minus sign right before counts.

    >>> find_numbers("from -3 to 12")
    [-3, 12]
    """
    return [int(number) for number in re.findall(r"-?\d+", text)]


def test_find_numbers() -> None:
    assert find_numbers("from -3 to 12") == [-3, 12]
    assert find_numbers("") == []
    assert find_numbers("none") == []
    assert find_numbers("007") == [7]
    assert find_numbers("a1b22c333") == [1, 22, 333]
    assert find_numbers("- 5") == [5]
    assert find_numbers("x=-10,y=20") == [-10, 20]
    assert find_numbers("0 -0") == [0, 0]


@medium
def is_valid_name(name: str) -> bool:
    """Tell whether a name has 3 to 12 characters, all letters a-z, digits or "_", a letter first.

    >>> is_valid_name("user_1")
    True
    """
    return re.fullmatch(r"[a-z][a-z0-9_]{2,11}", name) is not None


def test_is_valid_name() -> None:
    assert is_valid_name("user_1") is True
    assert is_valid_name("ab") is False
    assert is_valid_name("abc") is True
    assert is_valid_name("abcdefghijkl") is True
    assert is_valid_name("abcdefghijklm") is False
    assert is_valid_name("1abc") is False
    assert is_valid_name("_abc") is False
    assert is_valid_name("Abc") is False
    assert is_valid_name("a-bc") is False
    assert is_valid_name("abc\n") is False


@hard
def fill_template(template: str, values: dict[str, str]) -> str:
    """Replace each {name} by its value; a name without a value stays as it is, braces included.

    Values are not looked into again. Braces are never nested.

    >>> fill_template("Dear {who}, {greeting}!", {"who": "Ann"})
    'Dear Ann, {greeting}!'
    """
    return re.sub(r"\{(\w+)\}", lambda found: values.get(found[1], found[0]), template)


def test_fill_template() -> None:
    assert fill_template("Dear {who}, {greeting}!", {"who": "Ann"}) == "Dear Ann, {greeting}!"
    assert fill_template("", {"a": "b"}) == ""
    assert fill_template("plain", {"plain": "x"}) == "plain"
    assert fill_template("{a}{b}", {"a": "1", "b": "2"}) == "12"
    assert fill_template("{a}", {"a": "{b}", "b": "no"}) == "{b}"
    assert fill_template("{a} {a}", {"a": "x"}) == "x x"
    assert fill_template("{} {a", {"a": "x"}) == "{} {a"
    assert fill_template("{empty}.", {"empty": ""}) == "."


@hard
def parse_duration(text: str) -> int:
    """Return the seconds of a duration like "1h30m", made of parts in h, m and s, in any order.

    Anything else, an empty text too, gives -1.

    >>> parse_duration("1h30m")
    5400
    >>> parse_duration("90")
    -1
    """
    if not re.fullmatch(r"(\d+[hms])+", text):
        return -1
    seconds = {"h": 3600, "m": 60, "s": 1}
    return sum(int(part[:-1]) * seconds[part[-1]] for part in re.findall(r"\d+[hms]", text))


def test_parse_duration() -> None:
    assert parse_duration("1h30m") == 5400
    assert parse_duration("90") == -1
    assert parse_duration("") == -1
    assert parse_duration("45s") == 45
    assert parse_duration("10s1m") == 70
    assert parse_duration("2h0m5s") == 7205
    assert parse_duration("1h 30m") == -1
    assert parse_duration("h") == -1
    assert parse_duration("5d") == -1
    assert parse_duration("100m") == 6000


@hard
def align_columns(rows: list[list[str]]) -> list[str]:
    """Return the rows as lines in which columns are aligned, padded to the right with spaces.

    Each column is as wide as its longest cell, two spaces stand between columns, and no line
    ends with a space. All rows have the same number of cells.

    >>> align_columns([["a", "bb"], ["ccc", "d"]])
    ['a    bb', 'ccc  d']
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return lines


def test_align_columns() -> None:
    assert align_columns([["a", "bb"], ["ccc", "d"]]) == ["a    bb", "ccc  d"]
    assert align_columns([]) == []
    assert align_columns([["x"]]) == ["x"]
    assert align_columns([["x", ""], ["yy", "z"]]) == ["x", "yy  z"]
    assert align_columns([["", "b"]]) == ["  b"]
    assert align_columns([["1", "2", "3"]]) == ["1  2  3"]
    assert align_columns([["aa", "b"], ["c", "dd"], ["", "e"]]) == ["aa  b", "c   dd", "    e"]
    assert align_columns([["name", "n"], ["x", "10"]]) == ["name  n", "x     10"]


@hard
def wrap_words(text: str, width: int) -> list[str]:
    """Break the words of a text into lines of at most width characters, as many words as fit.

    Words are joined by one space; a word longer than width stands alone in its line.

    >>> wrap_words("the sun is up", 7)
    ['the sun', 'is up']
    """
    lines: list[str] = []
    for word in text.split():
        if lines and len(lines[-1]) + 1 + len(word) <= width:
            lines[-1] += " " + word
        else:
            lines.append(word)
    return lines


def test_wrap_words() -> None:
    assert wrap_words("the sun is up", 7) == ["the sun", "is up"]
    assert wrap_words("", 5) == []
    assert wrap_words("word", 2) == ["word"]
    assert wrap_words("a b c", 5) == ["a b c"]
    assert wrap_words("a b c", 4) == ["a b", "c"]
    assert wrap_words("a b c", 1) == ["a", "b", "c"]
    assert wrap_words("aa bbbbb c d", 4) == ["aa", "bbbbb", "c d"]
    assert wrap_words("  two   words ", 20) == ["two words"]
    assert wrap_words("abc de", 6) == ["abc de"]


@hard
def expand_pages(pages: str) -> list[int]:
    """Return the sorted page numbers, each once, that a text like "1-3,7" names.

    Spaces are allowed around numbers, and a range may be the wrong way round.

    >>> expand_pages("7, 1-3, 2")
    [1, 2, 3, 7]
    """
    numbers: set[int] = set()
    for part in pages.split(","):
        ends = [int(end) for end in part.split("-") if end.strip()]
        if ends:
            numbers |= set(range(min(ends), max(ends) + 1))
    return sorted(numbers)


def test_expand_pages() -> None:
    assert expand_pages("7, 1-3, 2") == [1, 2, 3, 7]
    assert expand_pages("") == []
    assert expand_pages("5") == [5]
    assert expand_pages("3-1") == [1, 2, 3]
    assert expand_pages("2-2") == [2]
    assert expand_pages("1 - 2 , 9") == [1, 2, 9]
    assert expand_pages("10,9,8") == [8, 9, 10]
    assert expand_pages("1-2,2-4") == [1, 2, 3, 4]
    assert expand_pages("300, 20, 1000, 5-6") == [5, 6, 20, 300, 1000]
