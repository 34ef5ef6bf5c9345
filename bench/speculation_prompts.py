"""A dozen functions with one change to make, and a dozen questions that quote nothing."""

from __future__ import annotations

#: (the change, the function)
REWRITES = (
    (
        "Rename the parameter `rows` to `records`.",
        '''def summarize(rows, key, value):
    """Total and count of `value` for each `key`."""
    totals = {}
    counts = {}
    for row in rows:
        name = row.get(key)
        if name is None:
            continue
        amount = float(row.get(value, 0))
        totals[name] = totals.get(name, 0.0) + amount
        counts[name] = counts.get(name, 0) + 1
    result = []
    for name in sorted(totals):
        mean = totals[name] / counts[name]
        result.append({"name": name, "total": totals[name], "mean": mean})
    return result
''',
    ),
    (
        "Raise a ValueError instead of returning None when the text is empty.",
        '''def parse_duration(text):
    """Seconds of a duration like '1h 20m 5s'."""
    units = {"h": 3600, "m": 60, "s": 1}
    if not text.strip():
        return None
    seconds = 0
    number = ""
    for character in text.strip():
        if character.isdigit():
            number += character
        elif character in units:
            if not number:
                raise ValueError(f"no number before {character!r}")
            seconds += int(number) * units[character]
            number = ""
        elif not character.isspace():
            raise ValueError(f"unexpected {character!r}")
    if number:
        seconds += int(number)
    return seconds
''',
    ),
    (
        "Make the comparison of words ignore upper and lower case.",
        '''def longest_common_words(first, second):
    """The longest run of words that two texts share."""
    left = first.split()
    right = second.split()
    best_length = 0
    best_end = 0
    lengths = [0] * (len(right) + 1)
    for i in range(len(left)):
        previous = 0
        for j in range(len(right)):
            current = lengths[j + 1]
            if left[i] == right[j]:
                lengths[j + 1] = previous + 1
                if lengths[j + 1] > best_length:
                    best_length = lengths[j + 1]
                    best_end = i + 1
            else:
                lengths[j + 1] = 0
            previous = current
    return left[best_end - best_length : best_end]
''',
    ),
    (
        "Add a parameter `limit` that stops the search after so many steps.",
        '''def shortest_path(graph, start, goal):
    """Nodes of a shortest path by breadth-first search, or None."""
    if start == goal:
        return [start]
    parents = {start: None}
    queue = [start]
    while queue:
        node = queue.pop(0)
        for neighbour in graph.get(node, []):
            if neighbour in parents:
                continue
            parents[neighbour] = node
            if neighbour == goal:
                path = [goal]
                while parents[path[-1]] is not None:
                    path.append(parents[path[-1]])
                return path[::-1]
            queue.append(neighbour)
    return None
''',
    ),
    (
        "Use a tab instead of a comma between the columns.",
        '''def format_table(headers, rows):
    """A table as text, one line for each row."""
    lines = [",".join(headers)]
    for number, row in enumerate(rows):
        if len(row) != len(headers):
            raise ValueError(f"row {number} has {len(row)} cells, not {len(headers)}")
        cells = []
        for cell in row:
            if cell is None:
                cells.append("")
            elif isinstance(cell, float):
                cells.append(f"{cell:.2f}")
            else:
                cells.append(str(cell))
        lines.append(",".join(cells))
    return "\\n".join(lines) + "\\n"
''',
    ),
    (
        "Add type hints to the signature.",
        '''def merge_intervals(intervals):
    """Overlapping intervals joined, in order."""
    if not intervals:
        return []
    ordered = sorted(intervals, key=lambda interval: interval[0])
    merged = [list(ordered[0])]
    for start, end in ordered[1:]:
        last = merged[-1]
        if start <= last[1]:
            last[1] = max(last[1], end)
        else:
            merged.append([start, end])
    return [tuple(interval) for interval in merged]


def total_length(intervals):
    """What the union of all intervals covers."""
    covered = 0
    for start, end in merge_intervals(intervals):
        covered += end - start
    return covered
''',
    ),
    (
        "Rename the method `add` to `push`.",
        '''class RunningMedian:
    """The median of all numbers so far, with two heaps."""

    def __init__(self):
        self.low = []
        self.high = []

    def add(self, number):
        if not self.low or number <= -self.low[0]:
            heapq.heappush(self.low, -number)
        else:
            heapq.heappush(self.high, number)
        if len(self.low) > len(self.high) + 1:
            heapq.heappush(self.high, -heapq.heappop(self.low))
        elif len(self.high) > len(self.low):
            heapq.heappush(self.low, -heapq.heappop(self.high))

    def median(self):
        if not self.low:
            raise ValueError("no numbers yet")
        if len(self.low) > len(self.high):
            return -self.low[0]
        return (self.high[0] - self.low[0]) / 2
''',
    ),
    (
        "Read the file as UTF-8.",
        '''def load_settings(path, defaults):
    """Settings from a file of `name = value` lines."""
    settings = dict(defaults)
    with open(path) as file:
        for number, line in enumerate(file, start=1):
            line = line.split("#", 1)[0].strip()
            if not line:
                continue
            name, separator, value = line.partition("=")
            if not separator:
                raise ValueError(f"{path}:{number}: expected name = value")
            name = name.strip().lower()
            if name not in defaults:
                raise ValueError(f"{path}:{number}: unknown setting {name!r}")
            kind = type(defaults[name])
            settings[name] = kind(value.strip())
    return settings
''',
    ),
    (
        "Sort in descending order.",
        '''def merge_sort(items, key=None):
    """A sorted copy; equal items keep their order."""
    if key is None:
        key = lambda item: item
    if len(items) <= 1:
        return list(items)
    middle = len(items) // 2
    left = merge_sort(items[:middle], key)
    right = merge_sort(items[middle:], key)
    merged = []
    i = j = 0
    while i < len(left) and j < len(right):
        if key(left[i]) <= key(right[j]):
            merged.append(left[i])
            i += 1
        else:
            merged.append(right[j])
            j += 1
    merged.extend(left[i:])
    merged.extend(right[j:])
    return merged
''',
    ),
    (
        "Count the failed attempts and return that number too.",
        '''def fetch_all(client, names, retries=3, delay=0.5):
    """Results by name; a name whose requests all fail is left out."""
    results = {}
    for name in names:
        for attempt in range(retries):
            try:
                response = client.get(name, timeout=10)
            except TimeoutError:
                time.sleep(delay * 2**attempt)
                continue
            if response.status == 404:
                break
            if response.status >= 500:
                time.sleep(delay * 2**attempt)
                continue
            results[name] = response.json()
            break
    return results
''',
    ),
    (
        "Change the default size to 64.",
        '''class LRUCache:
    """Keeps the entries that were used last."""

    def __init__(self, size=128):
        if size < 1:
            raise ValueError(f"size must be at least 1, not {size}")
        self.size = size
        self.entries = OrderedDict()
        self.hits = 0
        self.misses = 0

    def get(self, key, default=None):
        if key not in self.entries:
            self.misses += 1
            return default
        self.hits += 1
        self.entries.move_to_end(key)
        return self.entries[key]

    def put(self, key, value):
        self.entries[key] = value
        self.entries.move_to_end(key)
        while len(self.entries) > self.size:
            self.entries.popitem(last=False)
''',
    ),
    (
        "Return the matrix as a tuple of tuples.",
        '''def multiply(left, right):
    """The product of two matrices, given as lists of rows."""
    inner = len(right)
    if any(len(row) != inner for row in left):
        raise ValueError("the widths of left must equal the height of right")
    width = len(right[0])
    if any(len(row) != width for row in right):
        raise ValueError("the rows of right differ in length")
    product = []
    for row in left:
        out = []
        for column in range(width):
            total = 0
            for k in range(inner):
                total += row[k] * right[k][column]
            out.append(total)
        product.append(out)
    return product
''',
    ),
)

OTHERS = (
    "Write a Python function that checks whether a string is a palindrome.",
    "Write a Python class for a bank account with deposit, withdraw and a history.",
    "What is the difference between a process and a thread? Answer in one paragraph.",
    "Write a SQL query for the three customers with the highest total of orders per country.",
    "Write a JavaScript function that debounces another function.",
    "Explain how a hash table resolves collisions.",
    "Write a Python script that reads a CSV file and prints the mean of each column.",
    "Write a C function that reverses a linked list.",
    "How does garbage collection work in Python?",
    "Write a bash script that finds the ten largest files below a folder.",
    "Write a Python function that solves a Sudoku by backtracking.",
    "Give five tips for writing readable code, each in a sentence.",
)
