"""Grids: lists of rows."""

from lichen.tasks.levels import easy, hard, medium


@easy
def row_sums(grid: list[list[int]]) -> list[int]:
    """Return the sum of each row.

    >>> row_sums([[1, 2], [3, 4]])
    [3, 7]
    """
    return [sum(row) for row in grid]


def test_row_sums() -> None:
    assert row_sums([[1, 2], [3, 4]]) == [3, 7]
    assert row_sums([]) == []
    assert row_sums([[]]) == [0]
    assert row_sums([[5]]) == [5]
    assert row_sums([[1, -1], [0, 0]]) == [0, 0]
    assert row_sums([[1], [2], [3]]) == [1, 2, 3]
    assert row_sums([[1, 1, 1], [2]]) == [3, 2]
    assert row_sums([[100, 23], [-4, 4]]) == [123, 0]


@easy
def make_grid(rows: int, columns: int, value: int) -> list[list[int]]:
    """Return a new grid of the given size in which every cell holds value.

    >>> make_grid(2, 3, 0)
    [[0, 0, 0], [0, 0, 0]]
    """
    return [[value] * columns for _ in range(rows)]


def test_make_grid() -> None:
    assert make_grid(2, 3, 0) == [[0, 0, 0], [0, 0, 0]]
    assert make_grid(0, 3, 1) == []
    assert make_grid(2, 0, 1) == [[], []]
    assert make_grid(1, 1, 9) == [[9]]
    assert make_grid(3, 1, -1) == [[-1], [-1], [-1]]
    assert make_grid(1, 4, 2) == [[2, 2, 2, 2]]
    assert make_grid(4, 2, 3) == [[3, 3], [3, 3], [3, 3], [3, 3]]
    assert make_grid(2, 2, 7)[1] == [7, 7]


@easy
def count_in_grid(grid: list[list[str]], mark: str) -> int:
    """Return how many cells of the grid hold the mark.

    >>> count_in_grid([["x", "o"], ["x", "x"]], "x")
    3
    """
    return sum(row.count(mark) for row in grid)


def test_count_in_grid() -> None:
    assert count_in_grid([["x", "o"], ["x", "x"]], "x") == 3
    assert count_in_grid([["x", "o"], ["x", "x"]], "o") == 1
    assert count_in_grid([], "x") == 0
    assert count_in_grid([[]], "x") == 0
    assert count_in_grid([["a"]], "b") == 0
    assert count_in_grid([["ab", "a"], ["b", "a"]], "a") == 2
    assert count_in_grid([["", ""], ["", "z"]], "") == 3
    assert count_in_grid([["x"], ["x"], ["y"]], "x") == 2


@easy
def diagonal(grid: list[list[int]]) -> list[int]:
    """Return the values on the diagonal of a square grid, from the top left downwards.

    >>> diagonal([[1, 2], [3, 4]])
    [1, 4]
    """
    return [row[place] for place, row in enumerate(grid)]


def test_diagonal() -> None:
    assert diagonal([[1, 2], [3, 4]]) == [1, 4]
    assert diagonal([]) == []
    assert diagonal([[7]]) == [7]
    assert diagonal([[1, 2, 3], [4, 5, 6], [7, 8, 9]]) == [1, 5, 9]
    assert diagonal([[0, 1], [1, 0]]) == [0, 0]
    assert diagonal([[-1, 0], [5, -2]]) == [-1, -2]
    assert diagonal([[3, 0, 0], [0, 3, 0], [0, 0, 4]]) == [3, 3, 4]
    assert diagonal([[1, 2, 3, 4], [5, 6, 7, 8], [9, 0, 1, 2], [3, 4, 5, 6]]) == [1, 6, 1, 6]


@medium
def flip_rows_and_columns(grid: list[list[int]]) -> list[list[int]]:
    """Return the grid with its columns as rows.

    >>> flip_rows_and_columns([[1, 2, 3], [4, 5, 6]])
    [[1, 4], [2, 5], [3, 6]]
    """
    return [list(column) for column in zip(*grid, strict=True)]


def test_flip_rows_and_columns() -> None:
    assert flip_rows_and_columns([[1, 2, 3], [4, 5, 6]]) == [[1, 4], [2, 5], [3, 6]]
    assert flip_rows_and_columns([]) == []
    assert flip_rows_and_columns([[1]]) == [[1]]
    assert flip_rows_and_columns([[1, 2]]) == [[1], [2]]
    assert flip_rows_and_columns([[1], [2]]) == [[1, 2]]
    assert flip_rows_and_columns([[1, 2], [3, 4]]) == [[1, 3], [2, 4]]
    assert flip_rows_and_columns([[0, 0], [0, 1], [1, 1]]) == [[0, 0, 1], [0, 1, 1]]
    assert flip_rows_and_columns([[1, 2, 3]]) == [[1], [2], [3]]


@medium
def turn_clockwise(grid: list[list[int]]) -> list[list[int]]:
    """Return the grid turned by a quarter to the right.

    >>> turn_clockwise([[1, 2], [3, 4]])
    [[3, 1], [4, 2]]
    """
    return [list(column) for column in zip(*grid[::-1], strict=True)]


def test_turn_clockwise() -> None:
    assert turn_clockwise([[1, 2], [3, 4]]) == [[3, 1], [4, 2]]
    assert turn_clockwise([]) == []
    assert turn_clockwise([[5]]) == [[5]]
    assert turn_clockwise([[1, 2, 3]]) == [[1], [2], [3]]
    assert turn_clockwise([[1], [2], [3]]) == [[3, 2, 1]]
    assert turn_clockwise([[1, 2, 3], [4, 5, 6]]) == [[4, 1], [5, 2], [6, 3]]
    assert turn_clockwise([[0, 1], [1, 0]]) == [[1, 0], [0, 1]]
    assert turn_clockwise([[1, 2], [3, 4], [5, 6]]) == [[5, 3, 1], [6, 4, 2]]


@medium
def draw_box(width: int, height: int) -> list[str]:
    """Draw the outline of a box with "#" and spaces, one text for each line.

    Width and height are at least 1.

    >>> draw_box(4, 3)
    ['####', '#  #', '####']
    """
    full = "#" * width
    hollow = full if width < 3 else "#" + " " * (width - 2) + "#"
    return [full if line in (0, height - 1) else hollow for line in range(height)]


def test_draw_box() -> None:
    assert draw_box(4, 3) == ["####", "#  #", "####"]
    assert draw_box(1, 1) == ["#"]
    assert draw_box(3, 1) == ["###"]
    assert draw_box(1, 3) == ["#", "#", "#"]
    assert draw_box(2, 3) == ["##", "##", "##"]
    assert draw_box(3, 2) == ["###", "###"]
    assert draw_box(3, 3) == ["###", "# #", "###"]
    assert draw_box(5, 4) == ["#####", "#   #", "#   #", "#####"]


@medium
def is_magic_square(grid: list[list[int]]) -> bool:
    """Tell whether all rows, all columns and both diagonals of a square grid have the same sum.

    >>> is_magic_square([[2, 7, 6], [9, 5, 1], [4, 3, 8]])
    True
    """
    size = range(len(grid))
    sums = {sum(row) for row in grid} | {sum(row[i] for row in grid) for i in size}
    sums |= {sum(grid[i][i] for i in size), sum(grid[i][-1 - i] for i in size)}
    return len(sums) == 1


def test_is_magic_square() -> None:
    assert is_magic_square([[2, 7, 6], [9, 5, 1], [4, 3, 8]]) is True
    assert is_magic_square([[1]]) is True
    assert is_magic_square([[1, 2], [2, 1]]) is False
    assert is_magic_square([[3, 3], [3, 3]]) is True
    assert is_magic_square([[1, 2, 3], [3, 1, 2], [2, 3, 1]]) is False
    assert is_magic_square([[3, 2, 1], [2, 1, 3], [1, 3, 2]]) is False
    assert is_magic_square([[1, 1], [2, 2]]) is False
    assert is_magic_square([[1, 2], [1, 2]]) is False
    assert is_magic_square([[2, 7, 6], [9, 5, 1], [4, 3, 9]]) is False


@medium
def neighbours(row: int, column: int, rows: int, columns: int) -> list[tuple[int, int]]:
    """Return the cells above, below, left and right of a cell that lie inside a grid, sorted.

    Cells are (row, column) pairs that count from zero.

    >>> neighbours(0, 0, 2, 2)
    [(0, 1), (1, 0)]
    """
    cells = [(row - 1, column), (row, column - 1), (row, column + 1), (row + 1, column)]
    return [(r, c) for r, c in cells if 0 <= r < rows and 0 <= c < columns]


def test_neighbours() -> None:
    assert neighbours(0, 0, 2, 2) == [(0, 1), (1, 0)]
    assert neighbours(1, 1, 3, 3) == [(0, 1), (1, 0), (1, 2), (2, 1)]
    assert neighbours(0, 0, 1, 1) == []
    assert neighbours(2, 2, 3, 3) == [(1, 2), (2, 1)]
    assert neighbours(0, 1, 1, 3) == [(0, 0), (0, 2)]
    assert neighbours(1, 0, 3, 1) == [(0, 0), (2, 0)]
    assert neighbours(1, 0, 2, 3) == [(0, 0), (1, 1)]
    assert neighbours(0, 2, 3, 3) == [(0, 1), (1, 2)]


@hard
def spiral(grid: list[list[int]]) -> list[int]:
    """Return the values of a grid in a clockwise spiral that starts at the top left.

    >>> spiral([[1, 2, 3], [4, 5, 6], [7, 8, 9]])
    [1, 2, 3, 6, 9, 8, 7, 4, 5]
    """
    values = []
    while grid:
        values += grid[0]
        grid = [list(column) for column in zip(*grid[1:], strict=True)][::-1]
    return values


def test_spiral() -> None:
    assert spiral([[1, 2, 3], [4, 5, 6], [7, 8, 9]]) == [1, 2, 3, 6, 9, 8, 7, 4, 5]
    assert spiral([]) == []
    assert spiral([[1]]) == [1]
    assert spiral([[1, 2, 3]]) == [1, 2, 3]
    assert spiral([[1], [2], [3]]) == [1, 2, 3]
    assert spiral([[1, 2], [3, 4]]) == [1, 2, 4, 3]
    assert spiral([[1, 2, 3, 4], [5, 6, 7, 8]]) == [1, 2, 3, 4, 8, 7, 6, 5]
    assert spiral([[1, 2], [3, 4], [5, 6]]) == [1, 2, 4, 6, 5, 3]


@hard
def count_islands(grid: list[str]) -> int:
    """Return how many islands a map has: groups of "#" that touch above, below, left or right.

    >>> count_islands(["#.#", "#..", "..#"])
    3
    """
    land = {(r, c) for r, row in enumerate(grid) for c, cell in enumerate(row) if cell == "#"}
    islands = 0
    while land:
        islands += 1
        reached = [land.pop()]
        for r, c in reached:
            touching = {(r - 1, c), (r + 1, c), (r, c - 1), (r, c + 1)} & land
            reached += touching
            land -= touching
    return islands


def test_count_islands() -> None:
    assert count_islands(["#.#", "#..", "..#"]) == 3
    assert count_islands([]) == 0
    assert count_islands(["..", ".."]) == 0
    assert count_islands(["#"]) == 1
    assert count_islands(["##", "##"]) == 1
    assert count_islands(["#.", ".#"]) == 2
    assert count_islands(["###", "#.#", "###"]) == 1
    assert count_islands(["#.#.#"]) == 3
    assert count_islands(["#.#", "#.#", "###"]) == 1


@hard
def life_step(grid: list[list[int]]) -> list[list[int]]:
    """Return the next state of a grid of cells that are alive (1) or dead (0).

    A cell has up to eight neighbours, diagonal ones too; outside the grid everything is dead.
    A cell is alive next when it has three live neighbours, or is alive and has two.

    >>> life_step([[0, 1, 0], [0, 1, 0], [0, 1, 0]])
    [[0, 0, 0], [1, 1, 1], [0, 0, 0]]
    """

    def around(r: int, c: int) -> int:
        rows = grid[max(r - 1, 0) : r + 2]
        return sum(sum(row[max(c - 1, 0) : c + 2]) for row in rows) - grid[r][c]

    return [
        [int(around(r, c) == 3 or (cell == 1 and around(r, c) == 2)) for c, cell in enumerate(row)]
        for r, row in enumerate(grid)
    ]


def test_life_step() -> None:
    assert life_step([[0, 1, 0], [0, 1, 0], [0, 1, 0]]) == [[0, 0, 0], [1, 1, 1], [0, 0, 0]]
    assert life_step([]) == []
    assert life_step([[1]]) == [[0]]
    assert life_step([[1, 1], [1, 1]]) == [[1, 1], [1, 1]]
    assert life_step([[1, 1], [1, 0]]) == [[1, 1], [1, 1]]
    assert life_step([[1, 1, 1]]) == [[0, 1, 0]]
    assert life_step([[1, 0, 1], [0, 0, 0], [1, 0, 0]]) == [[0, 0, 0], [0, 1, 0], [0, 0, 0]]
    assert life_step([[1, 1, 1], [1, 1, 1], [1, 1, 1]]) == [[1, 0, 1], [0, 0, 0], [1, 0, 1]]


@hard
def paths_through(grid: list[str]) -> int:
    """Return how many paths lead from the top left to the bottom right of a grid of "." and "#".

    A path goes right or down, never onto a "#". The grid has at least one cell.

    >>> paths_through(["...", ".#.", "..."])
    2
    """
    ways = [1] + [0] * (len(grid[0]) - 1)
    for row in grid:
        for column, cell in enumerate(row):
            if cell == "#":
                ways[column] = 0
            elif column > 0:
                ways[column] += ways[column - 1]
    return ways[-1]


def test_paths_through() -> None:
    assert paths_through(["...", ".#.", "..."]) == 2
    assert paths_through(["."]) == 1
    assert paths_through(["#"]) == 0
    assert paths_through(["..", ".."]) == 2
    assert paths_through(["...", "...", "..."]) == 6
    assert paths_through([".#", "#."]) == 0
    assert paths_through([".....", "....."]) == 5
    assert paths_through(["..#", ".#.", "..."]) == 1
    assert paths_through(["#.", ".."]) == 0
    assert paths_through(["..", ".#"]) == 0


@hard
def line_winner(board: list[str]) -> str:
    """Return "X" or "O", whichever fills a row, column or diagonal of a 3 by 3 board, else "".

    Empty cells are dots; at most one player has such a line.

    >>> line_winner(["XO.", "OX.", "..X"])
    'X'
    """
    rows = list(board)
    columns = ["".join(column) for column in zip(*board, strict=True)]
    diagonals = [board[0][0] + board[1][1] + board[2][2], board[0][2] + board[1][1] + board[2][0]]
    for player in "XO":
        if player * 3 in rows + columns + diagonals:
            return player
    return ""


def test_line_winner() -> None:
    assert line_winner(["XO.", "OX.", "..X"]) == "X"
    assert line_winner(["...", "...", "..."]) == ""
    assert line_winner(["OOO", "XX.", "X.."]) == "O"
    assert line_winner(["X.O", "XO.", "X.."]) == "X"
    assert line_winner(["X.O", ".OX", "O.X"]) == "O"
    assert line_winner(["XOX", "XOO", "OXX"]) == ""
    assert line_winner([".XO", ".XO", "X.O"]) == "O"
    assert line_winner(["O.O", "XXX", "O.."]) == "X"
    assert line_winner(["OO.", "XX.", "XXX"]) == "X"
    assert line_winner([".O.", "XOX", ".O."]) == "O"
