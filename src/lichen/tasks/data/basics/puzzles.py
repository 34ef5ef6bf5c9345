"""Stacks, games, small simulations and searches."""

from lichen.tasks.levels import easy, hard, medium


@easy
def traffic_action(light: str) -> str:
    """Return "stop" for "red", "wait" for "yellow" and "go" for "green"; else "unknown".

    >>> traffic_action("red")
    'stop'
    """
    return {"red": "stop", "yellow": "wait", "green": "go"}.get(light, "unknown")


def test_traffic_action() -> None:
    assert traffic_action("red") == "stop"
    assert traffic_action("yellow") == "wait"
    assert traffic_action("green") == "go"
    assert traffic_action("blue") == "unknown"
    assert traffic_action("") == "unknown"
    assert traffic_action("Red") == "unknown"
    assert traffic_action("stop") == "unknown"
    assert traffic_action("green ") == "unknown"


@easy
def dice_sum_is(rolls: list[int], goal: int) -> bool:
    """Tell whether the rolls of some dice add up to exactly the goal.

    >>> dice_sum_is([6, 3, 2], 11)
    True
    """
    return sum(rolls) == goal


def test_dice_sum_is() -> None:
    assert dice_sum_is([6, 3, 2], 11) is True
    assert dice_sum_is([6, 3, 2], 12) is False
    assert dice_sum_is([6, 3, 2], 10) is False
    assert dice_sum_is([], 0) is True
    assert dice_sum_is([], 1) is False
    assert dice_sum_is([4], 4) is True
    assert dice_sum_is([1, 1, 1], 3) is True
    assert dice_sum_is([5, 5], 5) is False


@easy
def fizz_word(number: int) -> str:
    """Return "tic" for multiples of 4, "tac" for those of 6, "tictac" for both, else the digits.

    >>> fizz_word(12)
    'tictac'
    >>> fizz_word(7)
    '7'
    """
    word = "tic" * (number % 4 == 0) + "tac" * (number % 6 == 0)
    return word or str(number)


def test_fizz_word() -> None:
    assert fizz_word(12) == "tictac"
    assert fizz_word(7) == "7"
    assert fizz_word(4) == "tic"
    assert fizz_word(6) == "tac"
    assert fizz_word(24) == "tictac"
    assert fizz_word(2) == "2"
    assert fizz_word(0) == "tictac"
    assert fizz_word(18) == "tac"
    assert fizz_word(10) == "10"


@easy
def duel(first: str, second: str) -> int:
    """Return 1 or 2 for the winner of "rock", "paper", "scissors", or 0 for a draw.

    Rock beats scissors, scissors beat paper, and paper beats rock.

    >>> duel("rock", "paper")
    2
    """
    order = ["rock", "paper", "scissors"]
    return [0, 1, 2][(order.index(first) - order.index(second)) % 3]


def test_duel() -> None:
    assert duel("rock", "paper") == 2
    assert duel("paper", "rock") == 1
    assert duel("rock", "scissors") == 1
    assert duel("scissors", "rock") == 2
    assert duel("paper", "scissors") == 2
    assert duel("scissors", "paper") == 1
    assert duel("rock", "rock") == 0
    assert duel("paper", "paper") == 0
    assert duel("scissors", "scissors") == 0


@easy
def grade(points: int) -> str:
    """Return the grade for points: "A" from 90, "B" from 75, "C" from 50, else "F".

    >>> grade(80)
    'B'
    """
    if points >= 90:
        return "A"
    if points >= 75:
        return "B"
    return "C" if points >= 50 else "F"


def test_grade() -> None:
    assert grade(80) == "B"
    assert grade(90) == "A"
    assert grade(89) == "B"
    assert grade(75) == "B"
    assert grade(74) == "C"
    assert grade(50) == "C"
    assert grade(49) == "F"
    assert grade(0) == "F"
    assert grade(100) == "A"


@easy
def ticket_price(age: int, member: bool) -> int:
    """Return the price of a ticket: 12, but 6 under 18 and from 65 on; members pay 2 less.

    >>> ticket_price(70, True)
    4
    """
    price = 6 if age < 18 or age >= 65 else 12
    return price - 2 if member else price


def test_ticket_price() -> None:
    assert ticket_price(70, True) == 4
    assert ticket_price(30, False) == 12
    assert ticket_price(30, True) == 10
    assert ticket_price(17, False) == 6
    assert ticket_price(18, False) == 12
    assert ticket_price(64, False) == 12
    assert ticket_price(65, False) == 6
    assert ticket_price(5, True) == 4


@medium
def brackets_match(text: str) -> bool:
    """Tell whether the brackets (), [] and {} in a text are closed in the right order.

    Other characters do not matter.

    >>> brackets_match("a[i](b)")
    True
    >>> brackets_match("([)]")
    False
    """
    partners = {")": "(", "]": "[", "}": "{"}
    opened: list[str] = []
    for sign in text:
        if sign in "([{":
            opened.append(sign)
        elif sign in partners and (not opened or opened.pop() != partners[sign]):
            return False
    return not opened


def test_brackets_match() -> None:
    assert brackets_match("a[i](b)") is True
    assert brackets_match("([)]") is False
    assert brackets_match("") is True
    assert brackets_match("no brackets") is True
    assert brackets_match("(") is False
    assert brackets_match(")") is False
    assert brackets_match("{[()()]}") is True
    assert brackets_match("(]") is False
    assert brackets_match("())") is False
    assert brackets_match("{}[") is False
    assert brackets_match("}{") is False


@medium
def deepest_nesting(text: str) -> int:
    """Return how many round brackets are open at most at one point of a text where they match.

    >>> deepest_nesting("f(g(x), h(i(y)))")
    3
    """
    depth = deepest = 0
    for sign in text:
        depth += (sign == "(") - (sign == ")")
        deepest = max(deepest, depth)
    return deepest


def test_deepest_nesting() -> None:
    assert deepest_nesting("f(g(x), h(i(y)))") == 3
    assert deepest_nesting("") == 0
    assert deepest_nesting("abc") == 0
    assert deepest_nesting("()") == 1
    assert deepest_nesting("()()()") == 1
    assert deepest_nesting("((()))") == 3
    assert deepest_nesting("(()(()))()") == 3
    assert deepest_nesting("[(])") == 1


@medium
def apply_undo(actions: list[str]) -> list[str]:
    """Return the actions that are left when each "undo" takes back the last one still there.

    An "undo" with nothing to take back does nothing.

    >>> apply_undo(["draw", "cut", "undo"])
    ['draw']
    """
    kept: list[str] = []
    for action in actions:
        if action != "undo":
            kept.append(action)
        elif kept:
            kept.pop()
    return kept


def test_apply_undo() -> None:
    assert apply_undo(["draw", "cut", "undo"]) == ["draw"]
    assert apply_undo([]) == []
    assert apply_undo(["undo"]) == []
    assert apply_undo(["undo", "a"]) == ["a"]
    assert apply_undo(["a", "undo", "undo", "b"]) == ["b"]
    assert apply_undo(["a", "b", "undo", "c"]) == ["a", "c"]
    assert apply_undo(["a", "b", "c", "undo", "undo"]) == ["a"]
    assert apply_undo(["a", "a", "undo"]) == ["a"]


@medium
def battery_left(charge: int, events: list[int]) -> list[int]:
    """Return the charge, in percent, after each event, which adds to it or takes from it.

    The charge never goes below 0 or above 100.

    >>> battery_left(50, [30, 40, -20])
    [80, 100, 80]
    """
    levels = []
    for event in events:
        charge = max(0, min(100, charge + event))
        levels.append(charge)
    return levels


def test_battery_left() -> None:
    assert battery_left(50, [30, 40, -20]) == [80, 100, 80]
    assert battery_left(50, []) == []
    assert battery_left(10, [-20, 5]) == [0, 5]
    assert battery_left(100, [1]) == [100]
    assert battery_left(0, [-1]) == [0]
    assert battery_left(99, [1, 1]) == [100, 100]
    assert battery_left(1, [-1, 1]) == [0, 1]
    assert battery_left(20, [0, 0]) == [20, 20]


@medium
def bulls_and_cows(secret: str, guess: str) -> tuple[int, int]:
    """Return how many digits of a guess are right and in place, and right but elsewhere.

    Both have four digits, and no digit appears twice in either.

    >>> bulls_and_cows("1234", "1325")
    (1, 2)
    """
    bulls = sum(a == b for a, b in zip(secret, guess, strict=True))
    return (bulls, len(set(secret) & set(guess)) - bulls)


def test_bulls_and_cows() -> None:
    assert bulls_and_cows("1234", "1325") == (1, 2)
    assert bulls_and_cows("1234", "1234") == (4, 0)
    assert bulls_and_cows("1234", "5678") == (0, 0)
    assert bulls_and_cows("1234", "4321") == (0, 4)
    assert bulls_and_cows("1234", "1243") == (2, 2)
    assert bulls_and_cows("0987", "7980") == (2, 2)
    assert bulls_and_cows("5678", "9056") == (0, 2)
    assert bulls_and_cows("5678", "5901") == (1, 0)


@medium
def first_place_not_below(sorted_values: list[int], limit: int) -> int:
    """Return the first index whose value is at least limit, or the length of the list if none is.

    The values are sorted.

    >>> first_place_not_below([1, 3, 3, 7], 3)
    1
    """
    low, high = 0, len(sorted_values)
    while low < high:
        middle = (low + high) // 2
        if sorted_values[middle] < limit:
            low = middle + 1
        else:
            high = middle
    return low


def test_first_place_not_below() -> None:
    assert first_place_not_below([1, 3, 3, 7], 3) == 1
    assert first_place_not_below([], 5) == 0
    assert first_place_not_below([1, 3, 3, 7], 0) == 0
    assert first_place_not_below([1, 3, 3, 7], 8) == 4
    assert first_place_not_below([1, 3, 3, 7], 4) == 3
    assert first_place_not_below([1, 3, 3, 7], 7) == 3
    assert first_place_not_below([2], 2) == 0
    assert first_place_not_below([5, 5, 5, 5], 5) == 0
    assert first_place_not_below(list(range(0, 100, 2)), 51) == 26


@medium
def pair_with_sum(values: list[int], total: int) -> tuple[int, int] | None:
    """Return the indices (i, j), i < j, of two values that add up to total, or None.

    Of several pairs, take the one with the smallest j, and then with the smallest i.

    >>> pair_with_sum([4, 1, 3, 2], 5)
    (0, 1)
    """
    for j in range(len(values)):
        for i in range(j):
            if values[i] + values[j] == total:
                return (i, j)
    return None


def test_pair_with_sum() -> None:
    assert pair_with_sum([4, 1, 3, 2], 5) == (0, 1)
    assert pair_with_sum([], 0) is None
    assert pair_with_sum([5], 10) is None
    assert pair_with_sum([5, 5], 10) == (0, 1)
    assert pair_with_sum([1, 2, 3], 7) is None
    assert pair_with_sum([1, 9, 2, 3], 5) == (2, 3)
    assert pair_with_sum([1, 2, 3, 4], 5) == (1, 2)
    assert pair_with_sum([3, 3, 3], 6) == (0, 1)
    assert pair_with_sum([-2, 7, 2], 0) == (0, 2)


@hard
def evaluate_postfix(expression: str) -> int:
    """Return the value of an expression in which operators follow their two operands.

    Numbers and the operators +, - and * are separated by spaces.

    >>> evaluate_postfix("3 4 + 2 *")
    14
    """
    stack: list[int] = []
    for token in expression.split():
        if token not in ("+", "-", "*"):
            stack.append(int(token))
            continue
        right, left = stack.pop(), stack.pop()
        stack.append({"+": left + right, "-": left - right, "*": left * right}[token])
    return stack[0]


def test_evaluate_postfix() -> None:
    assert evaluate_postfix("3 4 + 2 *") == 14
    assert evaluate_postfix("7") == 7
    assert evaluate_postfix("-7") == -7
    assert evaluate_postfix("5 3 -") == 2
    assert evaluate_postfix("3 5 -") == -2
    assert evaluate_postfix("2 3 4 * +") == 14
    assert evaluate_postfix("10 2 8 * + 3 -") == 23
    assert evaluate_postfix("2 -3 *") == -6


@hard
def calculate(expression: str) -> int:
    """Return the value of a sum like "2+3*4-1" of whole numbers; "*" goes before "+" and "-".

    There are no spaces, no brackets and no signs before numbers.

    >>> calculate("2+3*4-1")
    13
    """
    total = 0
    for term in expression.replace("-", "+-").split("+"):
        sign = -1 if term.startswith("-") else 1
        product = sign
        for factor in term.lstrip("-").split("*"):
            product *= int(factor)
        total += product
    return total


def test_calculate() -> None:
    assert calculate("2+3*4-1") == 13
    assert calculate("7") == 7
    assert calculate("0") == 0
    assert calculate("10-3-2") == 5
    assert calculate("2*3*4") == 24
    assert calculate("1-2*3") == -5
    assert calculate("12*12-100+56") == 100
    assert calculate("5-5*2+1*3") == -2


@hard
def split_evenly(weights: list[int]) -> bool:
    """Tell whether the weights, all positive, can be put into two groups of the same total.

    >>> split_evenly([3, 1, 2])
    True
    """
    total = sum(weights)
    reachable = {0}
    for weight in weights:
        reachable |= {part + weight for part in reachable}
    return total % 2 == 0 and total // 2 in reachable


def test_split_evenly() -> None:
    assert split_evenly([3, 1, 2]) is True
    assert split_evenly([]) is True
    assert split_evenly([4]) is False
    assert split_evenly([4, 4]) is True
    assert split_evenly([1, 2]) is False
    assert split_evenly([1, 5, 11, 5]) is True
    assert split_evenly([1, 2, 5]) is False
    assert split_evenly([2, 2, 3, 3]) is True
    assert split_evenly([8, 5, 4, 3]) is False
    assert split_evenly([2, 2, 2]) is False


@hard
def best_value(capacity: int, items: list[tuple[int, int]]) -> int:
    """Return the greatest total value of items whose total weight is at most capacity.

    Items are (weight, value) pairs, and each can be taken once.

    >>> best_value(5, [(2, 3), (3, 4), (4, 6)])
    7
    """
    best = [0] * (capacity + 1)
    for weight, value in items:
        for room in range(capacity, weight - 1, -1):
            best[room] = max(best[room], best[room - weight] + value)
    return best[capacity]


def test_best_value() -> None:
    assert best_value(5, [(2, 3), (3, 4), (4, 6)]) == 7
    assert best_value(0, [(1, 9)]) == 0
    assert best_value(5, []) == 0
    assert best_value(4, [(2, 3), (3, 4), (4, 6)]) == 6
    assert best_value(6, [(2, 3)]) == 3
    assert best_value(10, [(5, 10), (4, 40), (6, 30), (3, 50)]) == 90
    assert best_value(3, [(4, 100), (1, 1)]) == 1
    assert best_value(2, [(1, 5), (1, 6), (1, 7)]) == 13


@hard
def valid_small_sudoku(grid: list[str]) -> bool:
    """Tell whether no digit appears twice in a row, a column or one of the 2 by 2 blocks.

    The grid has four rows of four characters, digits 1 to 4 or dots for empty cells; the blocks
    divide it into quarters.

    >>> valid_small_sudoku(["12..", "34..", "....", "...."])
    True
    """
    columns = ["".join(row[c] for row in grid) for c in range(4)]
    blocks = [grid[r][c : c + 2] + grid[r + 1][c : c + 2] for r in (0, 2) for c in (0, 2)]
    groups = [group.replace(".", "") for group in [*grid, *columns, *blocks]]
    return all(len(set(group)) == len(group) for group in groups)


def test_valid_small_sudoku() -> None:
    assert valid_small_sudoku(["12..", "34..", "....", "...."]) is True
    assert valid_small_sudoku(["....", "....", "....", "...."]) is True
    assert valid_small_sudoku(["1..1", "....", "....", "...."]) is False
    assert valid_small_sudoku(["1...", "....", "....", "1..."]) is False
    assert valid_small_sudoku(["1...", ".1..", "....", "...."]) is False
    assert valid_small_sudoku(["1234", "3412", "2143", "4321"]) is True
    assert valid_small_sudoku(["1234", "3412", "2143", "4312"]) is False
    assert valid_small_sudoku(["....", "....", "..3.", "...3"]) is False
    assert valid_small_sudoku(["..2.", "...2", "....", "...."]) is False
    assert valid_small_sudoku(["....", "....", ".4..", "4..."]) is False
    assert valid_small_sudoku(["....", "1...", ".1..", "...."]) is True
    assert valid_small_sudoku(["...1", "....", "...1", "...."]) is False


@hard
def fewest_coins(amount: int, coins: list[int]) -> int:
    """Return the least number of coins of the given values that make up the amount, or -1.

    Each value, all positive, can be used any number of times.

    >>> fewest_coins(11, [1, 5, 7])
    3
    """
    fewest = [0] + [amount + 1] * amount
    for total in range(1, amount + 1):
        for coin in coins:
            if coin <= total:
                fewest[total] = min(fewest[total], fewest[total - coin] + 1)
    return fewest[amount] if fewest[amount] <= amount else -1


def test_fewest_coins() -> None:
    assert fewest_coins(11, [1, 5, 7]) == 3
    assert fewest_coins(0, [1]) == 0
    assert fewest_coins(3, [2]) == -1
    assert fewest_coins(5, []) == -1
    assert fewest_coins(4, [2]) == 2
    assert fewest_coins(6, [1, 3, 4]) == 2
    assert fewest_coins(100, [7, 13]) == 10
    assert fewest_coins(1, [1]) == 1
    assert fewest_coins(5, [5, 1]) == 1
    assert fewest_coins(3, [5, 3]) == 1
    assert fewest_coins(2, [5, 4]) == -1


@hard
def run_machine(program: list[str]) -> int:
    """Return what a machine's register, 0 at first, holds when its program has ended.

    "inc" and "dec" change it by 1, "double" doubles it, and "skip" leaves out the next command
    if the register is 0. The program runs once from its first command to its last.

    >>> run_machine(["inc", "double", "skip", "inc"])
    3
    """
    register = place = 0
    while place < len(program):
        command = program[place]
        if command == "double":
            register *= 2
        elif command == "skip":
            place += register == 0
        else:
            register += 1 if command == "inc" else -1
        place += 1
    return register


def test_run_machine() -> None:
    assert run_machine(["inc", "double", "skip", "inc"]) == 3
    assert run_machine([]) == 0
    assert run_machine(["dec"]) == -1
    assert run_machine(["skip", "inc"]) == 0
    assert run_machine(["skip", "inc", "inc"]) == 1
    assert run_machine(["skip", "skip", "inc"]) == 1
    assert run_machine(["inc", "inc", "double", "double", "dec"]) == 7
    assert run_machine(["inc", "dec", "skip", "double", "inc", "skip"]) == 1
    assert run_machine(["dec", "skip", "dec", "double"]) == -4
