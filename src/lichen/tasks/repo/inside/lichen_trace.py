"""A pytest plugin: which test calls which function of the project, written as one JSON file.

sys.settrace with no local tracing costs one look-up per call, and is there in every Python.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import types
from collections.abc import Iterator
from typing import Any

import pytest

_ROOT = os.environ["LICHEN_TRACE_ROOT"].rstrip("/") + "/"
_REPORT = os.environ["LICHEN_TRACE_REPORT"]

Place = tuple[str, int]  # file relative to the project, first line


class Recorder:
    """What the run showed so far."""

    def __init__(self) -> None:
        self._called: set[int] = set()
        self._codes: dict[int, types.CodeType] = {}  # kept, so that no id is used twice
        self.tests: dict[str, dict[str, Any]] = {}
        self.files: set[str] = set()
        self.broken: list[str] = []

    def _place(self, code: types.CodeType) -> Place | None:
        path = os.path.realpath(code.co_filename)
        return (path[len(_ROOT) :], code.co_firstlineno) if path.startswith(_ROOT) else None

    def _trace(self, frame: types.FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        number = id(code)  # the hash of a code object takes long
        if number not in self._called:
            self._called.add(number)
            self._codes[number] = code

    @pytest.hookimpl(hookwrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        """Set-up is traced too: a fixture that calls the function is part of its test."""
        self._called = set()
        test = {"passed": True, "ran": False, "seconds": 0.0, "calls": []}
        self.tests[item.nodeid] = test
        if type(item).__name__ != "DoctestItem":
            self.files.add(str(item.path))
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        yield
        sys.settrace(None)
        threading.settrace(None)
        places = {self._place(self._codes[number]) for number in self._called}
        test["calls"] = sorted(place for place in places if place is not None)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """A test counts when each of its phases passed, and was not expected to fail."""
        test = self.tests[report.nodeid]
        test["seconds"] += report.duration
        test["passed"] &= report.outcome == "passed" and not hasattr(report, "wasxfail")
        test["failed"] = test.get("failed", False) or report.outcome == "failed"
        test["ran"] |= report.when == "call"

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """Files that cannot be collected are named to the user."""
        if report.failed:
            last = str(report.longrepr).strip().splitlines()[-1]
            self.broken.append(f"{report.nodeid}: {last}")

    def pytest_sessionfinish(self) -> None:
        """Write everything."""
        modules: dict[str, str] = {}
        for name, module in list(sys.modules.items()):
            path = os.path.realpath(getattr(module, "__file__", None) or "/")
            if path.startswith(_ROOT) and name != "__main__":
                modules.setdefault(path[len(_ROOT) :], name)
        tested = [os.path.realpath(path) for path in self.files]
        report = {
            "tests": self.tests,
            "modules": modules,
            "test_files": [path[len(_ROOT) :] for path in tested if path.startswith(_ROOT)],
            "broken": self.broken,
            "libraries": sorted(_library_folders()),
        }
        with open(_REPORT, "w", encoding="utf-8") as file:
            json.dump(report, file)


def _library_folders() -> set[str]:
    """The folders of the system's shared libraries in use: none of Python's own."""
    with open("/proc/self/maps") as maps:
        files = {line.split(maxsplit=5)[5].rstrip() for line in maps if "/" in line}
    packages = [os.path.realpath(path) for path in sys.path if path]
    folders = {os.path.dirname(file) for file in files if ".so" in os.path.basename(file)}
    return {
        folder
        for folder in folders
        if not any(f"{folder}/".startswith(f"{path}/") for path in packages)
        and not any(f"{path}/".startswith(f"{folder}/") for path in packages)
    }


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Record; and write no report file that the project's options ask for."""
    if hasattr(config.option, "xmlpath"):
        config.option.xmlpath = None
    config.pluginmanager.register(Recorder(), "lichen-recorder")
