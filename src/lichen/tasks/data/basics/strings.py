"""Characters and strings."""

from lichen.tasks.levels import easy, hard, medium


@easy
def backwards(text: str) -> str:
    """Return the text with its characters in the opposite order.

    >>> backwards("abc")
    'cba'
    """
    return text[::-1]


def test_backwards() -> None:
    assert backwards("abc") == "cba"
    assert backwards("") == ""
    assert backwards("x") == "x"
    assert backwards("ab") == "ba"
    assert backwards("noon") == "noon"
    assert backwards("a b c") == "c b a"
    assert backwards("Hello!") == "!olleH"
    assert backwards("12345") == "54321"


@easy
def vowels_in_word(word: str) -> int:
    """Return how many of the letters of a word, all in lower case, are a, e, i, o or u.

    >>> vowels_in_word("banana")
    3
    """
    return sum(letter in "aeiou" for letter in word)


def test_vowels_in_word() -> None:
    assert vowels_in_word("banana") == 3
    assert vowels_in_word("") == 0
    assert vowels_in_word("rhythm") == 0
    assert vowels_in_word("aeiou") == 5
    assert vowels_in_word("queue") == 4
    assert vowels_in_word("x") == 0
    assert vowels_in_word("o") == 1
    assert vowels_in_word("music") == 2


@easy
def is_longer(first: str, second: str) -> bool:
    """Tell whether the first text has more characters than the second.

    >>> is_longer("apple", "fig")
    True
    """
    return len(first) > len(second)


def test_is_longer() -> None:
    assert is_longer("apple", "fig") is True
    assert is_longer("fig", "apple") is False
    assert is_longer("", "") is False
    assert is_longer("a", "") is True
    assert is_longer("", "a") is False
    assert is_longer("one", "two") is False
    assert is_longer("three", "four") is True
    assert is_longer("z", "aa") is False


@easy
def surround(text: str, mark: str) -> str:
    """Return the text with the mark before and behind it.

    >>> surround("wow", "*")
    '*wow*'
    """
    return mark + text + mark


def test_surround() -> None:
    assert surround("wow", "*") == "*wow*"
    assert surround("", "*") == "**"
    assert surround("wow", "") == "wow"
    assert surround("a", "--") == "--a--"
    assert surround("", "") == ""
    assert surround("x y", "|") == "|x y|"
    assert surround("b", "ab") == "abbab"
    assert surround("12", "3") == "3123"


@easy
def word_lengths(sentence: str) -> list[int]:
    """Return the lengths of the words of a sentence, which are separated by spaces.

    >>> word_lengths("to the sea")
    [2, 3, 3]
    """
    return [len(word) for word in sentence.split()]


def test_word_lengths() -> None:
    assert word_lengths("to the sea") == [2, 3, 3]
    assert word_lengths("") == []
    assert word_lengths("one") == [3]
    assert word_lengths("a bb ccc") == [1, 2, 3]
    assert word_lengths("ccc bb a") == [3, 2, 1]
    assert word_lengths("hello, world") == [6, 5]
    assert word_lengths("x  y") == [1, 1]
    assert word_lengths("same same") == [4, 4]


@easy
def repeat_with_dash(word: str, times: int) -> str:
    """Return the word as often as given, with a dash between each two.

    >>> repeat_with_dash("go", 3)
    'go-go-go'
    """
    return "-".join([word] * times)


def test_repeat_with_dash() -> None:
    assert repeat_with_dash("go", 3) == "go-go-go"
    assert repeat_with_dash("go", 1) == "go"
    assert repeat_with_dash("go", 0) == ""
    assert repeat_with_dash("", 3) == "--"
    assert repeat_with_dash("a-b", 2) == "a-b-a-b"
    assert repeat_with_dash("x", 5) == "x-x-x-x-x"
    assert repeat_with_dash("hey ", 2) == "hey -hey "
    assert repeat_with_dash("ab", 2) == "ab-ab"


@easy
def initials(name: str) -> str:
    """Return the first letters of the words of a name, in upper case, without anything between.

    >>> initials("ada king lovelace")
    'AKL'
    """
    return "".join(word[0].upper() for word in name.split())


def test_initials() -> None:
    assert initials("ada king lovelace") == "AKL"
    assert initials("Grace Hopper") == "GH"
    assert initials("") == ""
    assert initials("  plato  ") == "P"
    assert initials("a  b") == "AB"
    assert initials("X Y Z") == "XYZ"
    assert initials("jean-luc picard") == "JP"
    assert initials("d'arcy wentworth thompson") == "DWT"


@easy
def count_capitals(text: str) -> int:
    """Return how many upper case letters the text has.

    >>> count_capitals("Hello World")
    2
    """
    return sum(letter.isupper() for letter in text)


def test_count_capitals() -> None:
    assert count_capitals("Hello World") == 2
    assert count_capitals("") == 0
    assert count_capitals("abc") == 0
    assert count_capitals("ABC") == 3
    assert count_capitals("aBcD1!") == 2
    assert count_capitals("ÄÖü") == 2
    assert count_capitals("123") == 0
    assert count_capitals("McDonald") == 2


@easy
def shout(text: str) -> str:
    """Return the text in upper case with exactly one exclamation mark at its end.

    >>> shout("watch out")
    'WATCH OUT!'
    >>> shout("Stop!!")
    'STOP!'
    """
    return text.upper().rstrip("!") + "!"


def test_shout() -> None:
    assert shout("watch out") == "WATCH OUT!"
    assert shout("Stop!!") == "STOP!"
    assert shout("") == "!"
    assert shout("a!b") == "A!B!"
    assert shout("OK!") == "OK!"
    assert shout("!!!") == "!"
    assert shout("!hey") == "!HEY!"
    assert shout("mix") == "MIX!"


@easy
def without_vowels(text: str) -> str:
    """Return the text without the letters a, e, i, o and u, in either case.

    >>> without_vowels("Quiet Area")
    'Qt r'
    """
    return "".join(letter for letter in text if letter.lower() not in "aeiou")


def test_without_vowels() -> None:
    assert without_vowels("Quiet Area") == "Qt r"
    assert without_vowels("") == ""
    assert without_vowels("aeiouAEIOU") == ""
    assert without_vowels("rhythm") == "rhythm"
    assert without_vowels("sky y") == "sky y"
    assert without_vowels("1 on 1") == "1 n 1"
    assert without_vowels("Ubuntu") == "bnt"
    assert without_vowels("xylophone box") == "xylphn bx"


@easy
def starts_and_ends_alike(text: str) -> bool:
    """Tell whether the first and the last character are the same; not so for an empty text.

    >>> starts_and_ends_alike("radar")
    True
    """
    return text != "" and text[0] == text[-1]


def test_starts_and_ends_alike() -> None:
    assert starts_and_ends_alike("radar") is True
    assert starts_and_ends_alike("") is False
    assert starts_and_ends_alike("x") is True
    assert starts_and_ends_alike("ab") is False
    assert starts_and_ends_alike("Aba") is False
    assert starts_and_ends_alike("abca") is True
    assert starts_and_ends_alike("  ") is True
    assert starts_and_ends_alike("12321") is True


@easy
def swap_halves(text: str) -> str:
    """Return the second half of the text followed by the first half.

    A middle character belongs to the second half.

    >>> swap_halves("abcdef")
    'defabc'
    >>> swap_halves("abcde")
    'cdeab'
    """
    middle = len(text) // 2
    return text[middle:] + text[:middle]


def test_swap_halves() -> None:
    assert swap_halves("abcdef") == "defabc"
    assert swap_halves("abcde") == "cdeab"
    assert swap_halves("") == ""
    assert swap_halves("x") == "x"
    assert swap_halves("xy") == "yx"
    assert swap_halves("xyz") == "yzx"
    assert swap_halves("  ab") == "ab  "
    assert swap_halves("abcdefg") == "defgabc"


@easy
def longest_word(sentence: str) -> str:
    """Return the longest of the words between spaces, the first of several; "" if there is none.

    >>> longest_word("a quick brown fox")
    'quick'
    """
    return max(sentence.split(), key=len, default="")


def test_longest_word() -> None:
    assert longest_word("a quick brown fox") == "quick"
    assert longest_word("") == ""
    assert longest_word("   ") == ""
    assert longest_word("one") == "one"
    assert longest_word("to be or") == "to"
    assert longest_word("aa bbb ccc d") == "bbb"
    assert longest_word("z yy xxxx") == "xxxx"
    assert longest_word("first other third") == "first"


@easy
def mask_secret(secret: str) -> str:
    """Replace every character except the last four with an asterisk.

    >>> mask_secret("12345678")
    '****5678'
    """
    return "*" * (len(secret) - 4) + secret[-4:]


def test_mask_secret() -> None:
    assert mask_secret("12345678") == "****5678"
    assert mask_secret("") == ""
    assert mask_secret("123") == "123"
    assert mask_secret("1234") == "1234"
    assert mask_secret("12345") == "*2345"
    assert mask_secret("pass word") == "*****word"
    assert mask_secret("******") == "******"
    assert mask_secret("abcdef") == "**cdef"


@easy
def same_letters(first: str, second: str) -> bool:
    """Tell whether two words are made of the same letters, each equally often.

    >>> same_letters("listen", "silent")
    True
    """
    return sorted(first) == sorted(second)


def test_same_letters() -> None:
    assert same_letters("listen", "silent") is True
    assert same_letters("aab", "abb") is False
    assert same_letters("", "") is True
    assert same_letters("a", "") is False
    assert same_letters("abc", "abcc") is False
    assert same_letters("Ab", "ab") is False
    assert same_letters("xyx", "xxy") is True
    assert same_letters("abc", "abd") is False


@medium
def snake_to_title(name: str) -> str:
    """Turn a name with underscores into words with capitals, separated by single spaces.

    >>> snake_to_title("_total__row_count")
    'Total Row Count'
    """
    return " ".join(part.capitalize() for part in name.split("_") if part)


def test_snake_to_title() -> None:
    assert snake_to_title("_total__row_count") == "Total Row Count"
    assert snake_to_title("") == ""
    assert snake_to_title("name") == "Name"
    assert snake_to_title("___") == ""
    assert snake_to_title("a_b_c") == "A B C"
    assert snake_to_title("HTTP_code") == "Http Code"
    assert snake_to_title("page_2_of_3") == "Page 2 Of 3"
    assert snake_to_title("x") == "X"


@medium
def camel_to_words(name: str) -> list[str]:
    """Split a name in camel case before each capital letter, and return the parts in lower case.

    >>> camel_to_words("parseHtmlPage")
    ['parse', 'html', 'page']
    """
    spaced = "".join(" " + letter.lower() if letter.isupper() else letter for letter in name)
    return spaced.split()


def test_camel_to_words() -> None:
    assert camel_to_words("parseHtmlPage") == ["parse", "html", "page"]
    assert camel_to_words("") == []
    assert camel_to_words("name") == ["name"]
    assert camel_to_words("Name") == ["name"]
    assert camel_to_words("aB") == ["a", "b"]
    assert camel_to_words("ABC") == ["a", "b", "c"]
    assert camel_to_words("rowCount2") == ["row", "count2"]
    assert camel_to_words("itIsOk") == ["it", "is", "ok"]


@medium
def squeeze_spaces(text: str) -> str:
    """Replace every run of spaces with one space, and remove spaces at both ends.

    >>> squeeze_spaces("  a   b c ")
    'a b c'
    """
    return " ".join(part for part in text.split(" ") if part)


def test_squeeze_spaces() -> None:
    assert squeeze_spaces("  a   b c ") == "a b c"
    assert squeeze_spaces("") == ""
    assert squeeze_spaces("    ") == ""
    assert squeeze_spaces("word") == "word"
    assert squeeze_spaces("a b") == "a b"
    assert squeeze_spaces("a  b") == "a b"
    assert squeeze_spaces(" two words") == "two words"
    assert squeeze_spaces("tab\tkept  here") == "tab\tkept here"


@medium
def first_unique_letter(text: str) -> str:
    """Return the first character that appears only once in the text, or "" if none does.

    >>> first_unique_letter("swiss")
    'w'
    """
    for letter in text:
        if text.count(letter) == 1:
            return letter
    return ""


def test_first_unique_letter() -> None:
    assert first_unique_letter("swiss") == "w"
    assert first_unique_letter("") == ""
    assert first_unique_letter("aabb") == ""
    assert first_unique_letter("z") == "z"
    assert first_unique_letter("aab") == "b"
    assert first_unique_letter("Aa") == "A"
    assert first_unique_letter("abcabcd") == "d"
    assert first_unique_letter("aabcb") == "c"


@medium
def longest_run(text: str) -> int:
    """Return the length of the longest stretch of one and the same character.

    >>> longest_run("aabbbc")
    3
    """
    best = run = 0
    previous = ""
    for letter in text:
        run = run + 1 if letter == previous else 1
        best = max(best, run)
        previous = letter
    return best


def test_longest_run() -> None:
    assert longest_run("aabbbc") == 3
    assert longest_run("") == 0
    assert longest_run("a") == 1
    assert longest_run("abab") == 1
    assert longest_run("zzzz") == 4
    assert longest_run("aab") == 2
    assert longest_run("abb") == 2
    assert longest_run("aabaaa") == 3


@medium
def run_lengths(text: str) -> str:
    """Write each run of equal characters as the character followed by the run's length.

    >>> run_lengths("aaab")
    'a3b1'
    """
    result = ""
    start = 0
    for end in range(1, len(text) + 1):
        if end == len(text) or text[end] != text[start]:
            result += text[start] + str(end - start)
            start = end
    return result


def test_run_lengths() -> None:
    assert run_lengths("aaab") == "a3b1"
    assert run_lengths("") == ""
    assert run_lengths("x") == "x1"
    assert run_lengths("abc") == "a1b1c1"
    assert run_lengths("zzzzzzzzzzzz") == "z12"
    assert run_lengths("aabaa") == "a2b1a2"
    assert run_lengths("  .") == " 2.1"
    assert run_lengths("aab") == "a2b1"


@medium
def is_pangram(sentence: str) -> bool:
    """Tell whether the sentence has every letter of the English alphabet, in either case.

    >>> is_pangram("The quick brown fox jumps over the lazy dog")
    True
    """
    return set("abcdefghijklmnopqrstuvwxyz") <= set(sentence.lower())


def test_is_pangram() -> None:
    assert is_pangram("The quick brown fox jumps over the lazy dog") is True
    assert is_pangram("The quick brown fox jumps over the lazy cat") is False
    assert is_pangram("") is False
    assert is_pangram("abcdefghijklmnopqrstuvwxyz") is True
    assert is_pangram("ABCDEFGHIJKLMNOPQRSTUVWXYZ") is True
    assert is_pangram("abcdefghijklmnopqrstuvwxy") is False
    assert is_pangram("bcdefghijklmnopqrstuvwxyz") is False
    assert is_pangram("Pack my box with five dozen liquor jugs, 5 of 6!") is True


@medium
def caesar(text: str, shift: int) -> str:
    """Shift each English letter by so many places along the alphabet, around its end.

    Case is kept, and other characters stay as they are.

    >>> caesar("Zoo!", 1)
    'App!'
    """
    result = ""
    for letter in text:
        if letter.isascii() and letter.isalpha():
            base = ord("A") if letter.isupper() else ord("a")
            letter = chr((ord(letter) - base + shift) % 26 + base)
        result += letter
    return result


def test_caesar() -> None:
    assert caesar("Zoo!", 1) == "App!"
    assert caesar("", 5) == ""
    assert caesar("abc", 0) == "abc"
    assert caesar("abc", 26) == "abc"
    assert caesar("abc", -1) == "zab"
    assert caesar("Hello, World 42", 13) == "Uryyb, Jbeyq 42"
    assert caesar("xyz XYZ", 3) == "abc ABC"
    assert caesar("é", 1) == "é"
    assert caesar("AZaz", 27) == "BAba"


@medium
def wrap_line(text: str, width: int) -> list[str]:
    """Cut the text into pieces of width characters; the last one may be shorter.

    >>> wrap_line("abcdefgh", 3)
    ['abc', 'def', 'gh']
    """
    return [text[start : start + width] for start in range(0, len(text), width)]


def test_wrap_line() -> None:
    assert wrap_line("abcdefgh", 3) == ["abc", "def", "gh"]
    assert wrap_line("", 4) == []
    assert wrap_line("abc", 1) == ["a", "b", "c"]
    assert wrap_line("abc", 3) == ["abc"]
    assert wrap_line("abc", 10) == ["abc"]
    assert wrap_line("abcd", 2) == ["ab", "cd"]
    assert wrap_line("a b c", 2) == ["a ", "b ", "c"]
    assert wrap_line("abcdefg", 4) == ["abcd", "efg"]


@medium
def shared_start(words: list[str]) -> str:
    """Return the longest text that all the words begin with; "" for no words.

    >>> shared_start(["flower", "flow", "flight"])
    'fl'
    """
    prefix = words[0] if words else ""
    while not all(word.startswith(prefix) for word in words):
        prefix = prefix[:-1]
    return prefix


def test_shared_start() -> None:
    assert shared_start(["flower", "flow", "flight"]) == "fl"
    assert shared_start([]) == ""
    assert shared_start(["alone"]) == "alone"
    assert shared_start(["a", "b"]) == ""
    assert shared_start(["same", "same"]) == "same"
    assert shared_start(["", "abc"]) == ""
    assert shared_start(["abc", "ab", "abd"]) == "ab"
    assert shared_start(["xay", "xby"]) == "x"


@medium
def is_palindrome_phrase(phrase: str) -> bool:
    """Tell whether a phrase reads the same backwards, looking at letters and digits only.

    Upper and lower case count as the same.

    >>> is_palindrome_phrase("Never odd or even!")
    True
    """
    letters = [letter.lower() for letter in phrase if letter.isalnum()]
    return letters == letters[::-1]


def test_is_palindrome_phrase() -> None:
    assert is_palindrome_phrase("Never odd or even!") is True
    assert is_palindrome_phrase("") is True
    assert is_palindrome_phrase("?!") is True
    assert is_palindrome_phrase("ab") is False
    assert is_palindrome_phrase("Aa") is True
    assert is_palindrome_phrase("1 2 1") is True
    assert is_palindrome_phrase("12 3") is False
    assert is_palindrome_phrase("palindrome") is False


@hard
def expand_runs(code: str) -> str:
    """Undo run lengths: each letter of the code is followed by how often it is to be repeated.

    A count may have several digits; a letter without a count stands for itself.

    >>> expand_runs("a3bc12")
    'aaabcccccccccccc'
    """
    result = ""
    place = 0
    while place < len(code):
        end = place + 1
        while end < len(code) and code[end].isdigit():
            end += 1
        result += code[place] * int(code[place + 1 : end] or "1")
        place = end
    return result


def test_expand_runs() -> None:
    assert expand_runs("a3bc12") == "aaabcccccccccccc"
    assert expand_runs("") == ""
    assert expand_runs("x") == "x"
    assert expand_runs("abc") == "abc"
    assert expand_runs("a0b") == "b"
    assert expand_runs("z10") == "z" * 10
    assert expand_runs("a1b2c3") == "abbccc"
    assert expand_runs("a2a1") == "aaa"


@hard
def justify(line: str, width: int) -> str:
    """Spread the words of a line so that it is exactly width characters long.

    Extra spaces go between the words, as evenly as can be, the left gaps taking more. A single
    word gets its spaces at the right. The words always fit.

    >>> justify("to be or", 10)
    'to  be  or'
    >>> justify("a bb c", 9)
    'a   bb  c'
    """
    words = line.split()
    if len(words) == 1:
        return words[0].ljust(width)
    spaces = width - sum(len(word) for word in words)
    each, extra = divmod(spaces, len(words) - 1)
    text = words[0]
    for place, word in enumerate(words[1:]):
        text += " " * (each + (place < extra)) + word
    return text


def test_justify() -> None:
    assert justify("to be or", 10) == "to  be  or"
    assert justify("a bb c", 9) == "a   bb  c"
    assert justify("word", 6) == "word  "
    assert justify("word", 4) == "word"
    assert justify("a b", 3) == "a b"
    assert justify("a b", 7) == "a     b"
    assert justify("a b c d", 9) == "a  b  c d"
    assert justify("x  y   z", 8) == "x   y  z"


@hard
def compare_versions(first: str, second: str) -> int:
    """Compare two version numbers like "1.10.2": -1 if the first is older, 1 if newer, 0 if equal.

    Missing parts count as zero.

    >>> compare_versions("1.9", "1.10")
    -1
    >>> compare_versions("2.0", "2")
    0
    """
    left = [int(part) for part in first.split(".")]
    right = [int(part) for part in second.split(".")]
    length = max(len(left), len(right))
    left += [0] * (length - len(left))
    right += [0] * (length - len(right))
    return (left > right) - (left < right)


def test_compare_versions() -> None:
    assert compare_versions("1.9", "1.10") == -1
    assert compare_versions("2.0", "2") == 0
    assert compare_versions("2", "2.0.0") == 0
    assert compare_versions("1.0.1", "1") == 1
    assert compare_versions("1", "1.0.1") == -1
    assert compare_versions("3.2.1", "3.2.1") == 0
    assert compare_versions("10", "9.9.9") == 1
    assert compare_versions("0.1", "0.01") == 0
    assert compare_versions("1.2", "1.1.9") == 1


@hard
def edit_distance(first: str, second: str) -> int:
    """Return the least number of single-character insertions, deletions and replacements
    that turn the first word into the second.

    >>> edit_distance("kitten", "sitting")
    3
    """
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        diagonal, row[0] = row[0], i
        for j, b in enumerate(second, start=1):
            best = min(row[j] + 1, row[j - 1] + 1, diagonal + (a != b))
            diagonal, row[j] = row[j], best
    return row[-1]


def test_edit_distance() -> None:
    assert edit_distance("kitten", "sitting") == 3
    assert edit_distance("", "") == 0
    assert edit_distance("", "abc") == 3
    assert edit_distance("abc", "") == 3
    assert edit_distance("same", "same") == 0
    assert edit_distance("flaw", "lawn") == 2
    assert edit_distance("intention", "execution") == 5
    assert edit_distance("ab", "ba") == 2
    assert edit_distance("a", "b") == 1
    assert edit_distance("abcdef", "xbcdefg") == 2
    assert edit_distance("ab", "xxxab") == 3
    assert edit_distance("xxxab", "ab") == 3


@hard
def split_csv_line(line: str) -> list[str]:
    """Split a line of comma-separated fields.

    A field may stand in double quotes; then commas inside belong to it, and two double quotes
    in a row mean one. The quotes around are removed.

    >>> split_csv_line('a,"b,c",d')
    ['a', 'b,c', 'd']
    """
    fields = [""]
    quoted = closed = False
    for letter in line:
        if letter == '"':
            fields[-1] += '"' if closed else ""
            quoted = not quoted
        elif letter == "," and not quoted:
            fields.append("")
        else:
            fields[-1] += letter
        closed = letter == '"' and not quoted
    return fields


def test_split_csv_line() -> None:
    assert split_csv_line('a,"b,c",d') == ["a", "b,c", "d"]
    assert split_csv_line("") == [""]
    assert split_csv_line("a") == ["a"]
    assert split_csv_line("a,,b") == ["a", "", "b"]
    assert split_csv_line(",") == ["", ""]
    assert split_csv_line('"x"') == ["x"]
    assert split_csv_line('"say ""hi""",2') == ['say "hi"', "2"]
    assert split_csv_line('"a,b","c,d"') == ["a,b", "c,d"]
    assert split_csv_line('"",x') == ["", "x"]
    assert split_csv_line('""""') == ['"']
    assert split_csv_line('a,"say ""no"""') == ["a", 'say "no"']
