"""Dictionaries, sets and counting."""

from collections import Counter
from typing import Any

from lichen.tasks.levels import easy, hard, medium


@easy
def count_items(items: list[str]) -> dict[str, int]:
    """Return how often each item appears in the list.

    >>> count_items(["a", "b", "a"])
    {'a': 2, 'b': 1}
    """
    return dict(Counter(items))


def test_count_items() -> None:
    assert count_items(["a", "b", "a"]) == {"a": 2, "b": 1}
    assert count_items([]) == {}
    assert count_items(["x"]) == {"x": 1}
    assert count_items(["x", "x", "x"]) == {"x": 3}
    assert count_items(["a", "A"]) == {"a": 1, "A": 1}
    assert count_items([""]) == {"": 1}
    assert count_items(["p", "q", "q", "p"]) == {"p": 2, "q": 2}
    assert count_items(["tea", "eat"]) == {"tea": 1, "eat": 1}


@easy
def sum_of_values(amounts: dict[str, int]) -> int:
    """Return the sum of the values of a dictionary.

    >>> sum_of_values({"a": 1, "b": 5})
    6
    """
    return sum(amounts.values())


def test_sum_of_values() -> None:
    assert sum_of_values({"a": 1, "b": 5}) == 6
    assert sum_of_values({}) == 0
    assert sum_of_values({"x": 7}) == 7
    assert sum_of_values({"x": -7, "y": 7}) == 0
    assert sum_of_values({"a": 1, "b": 1, "c": 1}) == 3
    assert sum_of_values({"": 100}) == 100
    assert sum_of_values({"a": -1, "b": -2}) == -3
    assert sum_of_values({"k": 0}) == 0


@easy
def total_price(prices: dict[str, int], basket: list[str]) -> int:
    """Return the sum of the prices of the things in the basket; unknown things cost nothing.

    >>> total_price({"tea": 3, "jam": 5}, ["tea", "tea", "jam"])
    11
    """
    return sum(prices.get(thing, 0) for thing in basket)


def test_total_price() -> None:
    assert total_price({"tea": 3, "jam": 5}, ["tea", "tea", "jam"]) == 11
    assert total_price({}, []) == 0
    assert total_price({}, ["tea"]) == 0
    assert total_price({"tea": 3}, []) == 0
    assert total_price({"tea": 3}, ["tea", "gum"]) == 3
    assert total_price({"a": 1, "b": 10}, ["b", "a", "b"]) == 21
    assert total_price({"x": -2}, ["x"]) == -2
    assert total_price({"a": 0, "b": 7}, ["a", "b", "c", "b"]) == 14


@easy
def swap_keys_and_values(mapping: dict[str, int]) -> dict[int, str]:
    """Return a dictionary that leads from the values, which are all different, to their keys.

    >>> swap_keys_and_values({"a": 1, "b": 2})
    {1: 'a', 2: 'b'}
    """
    return {value: key for key, value in mapping.items()}


def test_swap_keys_and_values() -> None:
    assert swap_keys_and_values({"a": 1, "b": 2}) == {1: "a", 2: "b"}
    assert swap_keys_and_values({}) == {}
    assert swap_keys_and_values({"x": 0}) == {0: "x"}
    assert swap_keys_and_values({"": -1}) == {-1: ""}
    assert swap_keys_and_values({"p": 3, "q": 2, "r": 1}) == {3: "p", 2: "q", 1: "r"}
    original = {"k": 9}
    assert swap_keys_and_values(original) == {9: "k"}
    assert original == {"k": 9}
    assert swap_keys_and_values({"long key": 100}) == {100: "long key"}


@easy
def letter_counts(word: str) -> dict[str, int]:
    """Return how often each character appears in the word.

    >>> letter_counts("noon")
    {'n': 2, 'o': 2}
    """
    return {letter: word.count(letter) for letter in word}


def test_letter_counts() -> None:
    assert letter_counts("noon") == {"n": 2, "o": 2}
    assert letter_counts("") == {}
    assert letter_counts("a") == {"a": 1}
    assert letter_counts("aA") == {"a": 1, "A": 1}
    assert letter_counts("hello") == {"h": 1, "e": 1, "l": 2, "o": 1}
    assert letter_counts("  x") == {" ": 2, "x": 1}
    assert letter_counts("zzz") == {"z": 3}
    assert letter_counts("abcab") == {"a": 2, "b": 2, "c": 1}


@easy
def keys_with_value(mapping: dict[str, int], value: int) -> list[str]:
    """Return the keys that have the given value, in alphabetical order.

    >>> keys_with_value({"b": 1, "a": 1, "c": 2}, 1)
    ['a', 'b']
    """
    return sorted(key for key in mapping if mapping[key] == value)


def test_keys_with_value() -> None:
    assert keys_with_value({"b": 1, "a": 1, "c": 2}, 1) == ["a", "b"]
    assert keys_with_value({}, 1) == []
    assert keys_with_value({"a": 1}, 2) == []
    assert keys_with_value({"a": 0}, 0) == ["a"]
    assert keys_with_value({"z": 5, "y": 5, "x": 5}, 5) == ["x", "y", "z"]
    assert keys_with_value({"a": -1, "b": 1}, -1) == ["a"]
    assert keys_with_value({"a": 1, "b": 2, "c": 3}, 3) == ["c"]
    assert keys_with_value({"B": 1, "a": 1}, 1) == ["B", "a"]


@easy
def in_exactly_one(first: set[int], second: set[int]) -> list[int]:
    """Return, sorted, the numbers that are in one of the sets but not in both.

    >>> in_exactly_one({1, 2, 3}, {2, 4})
    [1, 3, 4]
    """
    return sorted(first ^ second)


def test_in_exactly_one() -> None:
    assert in_exactly_one({1, 2, 3}, {2, 4}) == [1, 3, 4]
    assert in_exactly_one(set(), set()) == []
    assert in_exactly_one({1}, {1}) == []
    assert in_exactly_one({1}, set()) == [1]
    assert in_exactly_one(set(), {5, 3}) == [3, 5]
    assert in_exactly_one({9, 1}, {2, 8}) == [1, 2, 8, 9]
    assert in_exactly_one({1, 2}, {1, 2, 3}) == [3]
    assert in_exactly_one({-1, 0}, {0, 1}) == [-1, 1]


@easy
def best_student(scores: dict[str, int]) -> str:
    """Return the name with the highest score; there is always one such name.

    >>> best_student({"Ann": 70, "Bo": 85})
    'Bo'
    """
    return max(scores, key=lambda name: scores[name])


def test_best_student() -> None:
    assert best_student({"Ann": 70, "Bo": 85}) == "Bo"
    assert best_student({"Ann": 90, "Bo": 85}) == "Ann"
    assert best_student({"Zed": 1}) == "Zed"
    assert best_student({"Zed": -5, "Al": -9}) == "Zed"
    assert best_student({"a": 0, "b": 10, "c": 5}) == "b"
    assert best_student({"a": 3, "b": 2, "c": 1}) == "a"
    assert best_student({"x": 99, "y": 100, "z": 9}) == "y"
    assert best_student({"Al": 7, "Bo": 70, "Cy": 17}) == "Bo"


@medium
def group_by_length(words: list[str]) -> dict[int, list[str]]:
    """Return the words grouped by their lengths, in each group in their order.

    >>> group_by_length(["to", "be", "not"])
    {2: ['to', 'be'], 3: ['not']}
    """
    groups: dict[int, list[str]] = {}
    for word in words:
        groups.setdefault(len(word), []).append(word)
    return groups


def test_group_by_length() -> None:
    assert group_by_length(["to", "be", "not"]) == {2: ["to", "be"], 3: ["not"]}
    assert group_by_length([]) == {}
    assert group_by_length([""]) == {0: [""]}
    assert group_by_length(["a", "a"]) == {1: ["a", "a"]}
    assert group_by_length(["bb", "a", "cc"]) == {2: ["bb", "cc"], 1: ["a"]}
    assert group_by_length(["four", "five"]) == {4: ["four", "five"]}
    assert group_by_length(["x", "yy", "zzz"]) == {1: ["x"], 2: ["yy"], 3: ["zzz"]}
    assert group_by_length(["ab", "", "cd", ""]) == {2: ["ab", "cd"], 0: ["", ""]}


@medium
def most_common_word(text: str) -> str:
    """Return the word that is most frequent in the text, in lower case.

    Words are separated by spaces. Of several, take the one that comes first in the alphabet.

    >>> most_common_word("The cat and the dog")
    'the'
    """
    words = text.lower().split()
    return min(words, key=lambda word: (-words.count(word), word))


def test_most_common_word() -> None:
    assert most_common_word("The cat and the dog") == "the"
    assert most_common_word("one") == "one"
    assert most_common_word("b a") == "a"
    assert most_common_word("b a b a c") == "a"
    assert most_common_word("Z z Y") == "z"
    assert most_common_word("go GO stop") == "go"
    assert most_common_word("x  y   y") == "y"
    assert most_common_word("to be or not to be that is") == "be"


@medium
def add_inventories(first: dict[str, int], second: dict[str, int]) -> dict[str, int]:
    """Return the amounts of both inventories added up, without things whose sum is zero.

    >>> add_inventories({"nut": 3, "nail": 1}, {"nut": 2, "nail": -1})
    {'nut': 5}
    """
    names = [*first, *(name for name in second if name not in first)]
    sums = {name: first.get(name, 0) + second.get(name, 0) for name in names}
    return {name: amount for name, amount in sums.items() if amount != 0}


def test_add_inventories() -> None:
    assert add_inventories({"nut": 3, "nail": 1}, {"nut": 2, "nail": -1}) == {"nut": 5}
    assert add_inventories({}, {}) == {}
    assert add_inventories({"a": 1}, {}) == {"a": 1}
    assert add_inventories({}, {"b": 2}) == {"b": 2}
    assert add_inventories({"a": 0}, {"b": 0}) == {}
    assert add_inventories({"a": 1}, {"b": -1}) == {"a": 1, "b": -1}
    first = {"a": 1}
    assert add_inventories(first, {"a": 1}) == {"a": 2}
    assert first == {"a": 1}


@medium
def top_scores(scores: dict[str, int], count: int) -> list[str]:
    """Return the names with the highest scores, best first, as many as count or all.

    Names with equal scores come in alphabetical order.

    >>> top_scores({"Ann": 3, "Bo": 9, "Cy": 3}, 2)
    ['Bo', 'Ann']
    """
    ranked = sorted(scores, key=lambda name: (-scores[name], name))
    return ranked[:count]


def test_top_scores() -> None:
    assert top_scores({"Ann": 3, "Bo": 9, "Cy": 3}, 2) == ["Bo", "Ann"]
    assert top_scores({"Cy": 3, "Bo": 9, "Ann": 3}, 3) == ["Bo", "Ann", "Cy"]
    assert top_scores({}, 2) == []
    assert top_scores({"x": 1}, 0) == []
    assert top_scores({"x": 1}, 5) == ["x"]
    assert top_scores({"a": -1, "b": 0}, 1) == ["b"]
    assert top_scores({"b": 2, "a": 2}, 1) == ["a"]
    assert top_scores({"a": 1, "b": 2, "c": 3}, 2) == ["c", "b"]


@medium
def invert_index(documents: dict[str, list[str]]) -> dict[str, list[str]]:
    """Return for each word the sorted names of the documents that contain it.

    >>> invert_index({"d1": ["sun", "sea"], "d2": ["sun"]})
    {'sun': ['d1', 'd2'], 'sea': ['d1']}
    """
    words = [word for content in documents.values() for word in content]
    return {word: sorted(name for name in documents if word in documents[name]) for word in words}


def test_invert_index() -> None:
    assert invert_index({"d1": ["sun", "sea"], "d2": ["sun"]}) == {
        "sun": ["d1", "d2"],
        "sea": ["d1"],
    }
    assert invert_index({}) == {}
    assert invert_index({"a": []}) == {}
    assert invert_index({"a": ["x", "x"]}) == {"x": ["a"]}
    assert invert_index({"b": ["x"], "a": ["x"]}) == {"x": ["a", "b"]}
    assert invert_index({"a": ["x"], "b": ["y"]}) == {"x": ["a"], "y": ["b"]}
    assert invert_index({"c": ["w"], "b": [], "a": ["w"]}) == {"w": ["a", "c"]}
    assert invert_index({"z": ["p", "q"], "y": ["q", "p"]}) == {"p": ["y", "z"], "q": ["y", "z"]}


@medium
def can_spell(word: str, letters: str) -> bool:
    """Tell whether the word can be laid with the letters, each used at most once.

    >>> can_spell("hello", "oellhx")
    True
    >>> can_spell("hello", "oelhx")
    False
    """
    return not Counter(word) - Counter(letters)


def test_can_spell() -> None:
    assert can_spell("hello", "oellhx") is True
    assert can_spell("hello", "oelhx") is False
    assert can_spell("", "abc") is True
    assert can_spell("", "") is True
    assert can_spell("a", "") is False
    assert can_spell("aa", "a") is False
    assert can_spell("aa", "aba") is True
    assert can_spell("A", "a") is False


@medium
def nested_get(data: dict[str, Any], path: str) -> object:
    """Follow a path of keys, separated by dots, into nested dictionaries; None where it ends.

    >>> nested_get({"a": {"b": 7}}, "a.b")
    7
    """
    current: object = data
    for key in path.split("."):
        if not isinstance(current, dict) or key not in current:
            return None
        current = current[key]
    return current


def test_nested_get() -> None:
    assert nested_get({"a": {"b": 7}}, "a.b") == 7
    assert nested_get({"a": {"b": 7}}, "a") == {"b": 7}
    assert nested_get({"a": {"b": 7}}, "a.c") is None
    assert nested_get({"a": {"b": 7}}, "a.b.c") is None
    assert nested_get({}, "x") is None
    assert nested_get({"a": 0}, "a") == 0
    assert nested_get({"a": {"b": {"c": "deep"}}}, "a.b.c") == "deep"
    assert nested_get({"a": "text"}, "a.t") is None


@medium
def winner_of_vote(votes: list[str]) -> str | None:
    """Return the choice that more than half of the votes are for, or None if there is none.

    >>> winner_of_vote(["red", "blue", "red"])
    'red'
    """
    for choice in votes:
        if votes.count(choice) * 2 > len(votes):
            return choice
    return None


def test_winner_of_vote() -> None:
    assert winner_of_vote(["red", "blue", "red"]) == "red"
    assert winner_of_vote([]) is None
    assert winner_of_vote(["a"]) == "a"
    assert winner_of_vote(["a", "b"]) is None
    assert winner_of_vote(["a", "a", "b", "b"]) is None
    assert winner_of_vote(["b", "a", "a"]) == "a"
    assert winner_of_vote(["a", "b", "c", "a"]) is None
    assert winner_of_vote(["x", "y", "x", "y", "y"]) == "y"


@hard
def order_tasks(needs: dict[str, list[str]]) -> list[str]:
    """Return all tasks so that each comes after those it needs, else in alphabetical order.

    At every step the first task in the alphabet that can be done is taken. A circle of needs
    gives an empty list. Every needed task is a key.

    >>> order_tasks({"eat": ["cook"], "cook": ["buy"], "buy": []})
    ['buy', 'cook', 'eat']
    """
    done: list[str] = []
    while len(done) < len(needs):
        ready = [
            task
            for task in sorted(needs)
            if task not in done and all(need in done for need in needs[task])
        ]
        if not ready:
            return []
        done.append(ready[0])
    return done


def test_order_tasks() -> None:
    assert order_tasks({"eat": ["cook"], "cook": ["buy"], "buy": []}) == ["buy", "cook", "eat"]
    assert order_tasks({}) == []
    assert order_tasks({"b": [], "a": []}) == ["a", "b"]
    assert order_tasks({"a": ["b"], "b": ["a"]}) == []
    assert order_tasks({"a": ["a"]}) == []
    assert order_tasks({"a": ["c"], "b": [], "c": []}) == ["b", "c", "a"]
    assert order_tasks({"d": ["b", "c"], "b": ["a"], "c": ["a"], "a": []}) == ["a", "b", "c", "d"]
    assert order_tasks({"x": [], "a": ["x"], "m": []}) == ["m", "x", "a"]


@hard
def shortest_route(roads: dict[str, list[str]], start: str, goal: str) -> int:
    """Return the least number of one-way roads from start to goal, or -1 if there is no route.

    >>> shortest_route({"A": ["B"], "B": ["C"], "C": []}, "A", "C")
    2
    """
    distances = {start: 0}
    queue = [start]
    for town in queue:
        for neighbour in roads.get(town, []):
            if neighbour not in distances:
                distances[neighbour] = distances[town] + 1
                queue.append(neighbour)
    return distances.get(goal, -1)


def test_shortest_route() -> None:
    assert shortest_route({"A": ["B"], "B": ["C"], "C": []}, "A", "C") == 2
    assert shortest_route({"A": ["B"], "B": []}, "B", "A") == -1
    assert shortest_route({"A": []}, "A", "A") == 0
    assert shortest_route({"A": ["B", "C"], "B": ["C"], "C": []}, "A", "C") == 1
    assert shortest_route({"A": ["B"], "B": ["A"]}, "A", "C") == -1
    assert shortest_route({"A": ["B"]}, "A", "B") == 1
    assert shortest_route({"A": ["B", "D"], "B": ["C"], "C": ["E"], "D": ["E"]}, "A", "E") == 2
    assert shortest_route({}, "X", "Y") == -1


@hard
def connected_groups(pairs: list[tuple[int, int]]) -> list[list[int]]:
    """Return the groups of numbers that the pairs link, directly or through others.

    Each group is sorted, and groups are in the order of their smallest numbers.

    >>> connected_groups([(1, 2), (5, 6), (2, 3)])
    [[1, 2, 3], [5, 6]]
    """
    groups: list[set[int]] = []
    for pair in pairs:
        touched = [group for group in groups if group & set(pair)]
        groups = [group for group in groups if group not in touched]
        groups.append(set(pair).union(*touched))
    return sorted(sorted(group) for group in groups)


def test_connected_groups() -> None:
    assert connected_groups([(1, 2), (5, 6), (2, 3)]) == [[1, 2, 3], [5, 6]]
    assert connected_groups([]) == []
    assert connected_groups([(4, 4)]) == [[4]]
    assert connected_groups([(2, 1)]) == [[1, 2]]
    assert connected_groups([(1, 2), (3, 4), (2, 3)]) == [[1, 2, 3, 4]]
    assert connected_groups([(9, 8), (1, 7)]) == [[1, 7], [8, 9]]
    assert connected_groups([(1, 2), (1, 2)]) == [[1, 2]]
    assert connected_groups([(10, 2), (3, 10), (4, 5)]) == [[2, 3, 10], [4, 5]]


@hard
def settle_debts(payments: list[tuple[str, str, int]]) -> dict[str, int]:
    """Return how much each person owes after payments of (payer, receiver, amount) loans.

    A loan makes the receiver owe the amount to the payer, so the receiver's figure goes up and
    the payer's goes down. People with a figure of zero are left out.

    >>> settle_debts([("Ann", "Bo", 5), ("Bo", "Cy", 5)])
    {'Ann': -5, 'Cy': 5}
    """
    owed: dict[str, int] = {}
    for payer, receiver, amount in payments:
        owed[payer] = owed.get(payer, 0) - amount
        owed[receiver] = owed.get(receiver, 0) + amount
    return {person: figure for person, figure in owed.items() if figure}


def test_settle_debts() -> None:
    assert settle_debts([("Ann", "Bo", 5), ("Bo", "Cy", 5)]) == {"Ann": -5, "Cy": 5}
    assert settle_debts([]) == {}
    assert settle_debts([("a", "b", 3)]) == {"a": -3, "b": 3}
    assert settle_debts([("a", "b", 3), ("b", "a", 3)]) == {}
    assert settle_debts([("a", "b", 3), ("b", "a", 1)]) == {"a": -2, "b": 2}
    assert settle_debts([("a", "a", 9)]) == {}
    assert settle_debts([("x", "y", 4), ("x", "z", 6)]) == {"x": -10, "y": 4, "z": 6}
    assert settle_debts([("x", "y", 0)]) == {}
