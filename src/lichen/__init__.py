"""lichen: quantize a code model, run it fast on a CPU, and prove that it still does the work.

The public verbs are the same as on the command line::

    import lichen

    record = lichen.check("qwen2.5-coder-0.5b", out="run")  # quantize, verify, decide, report
    lichen.quantize("model-folder", "int8", out="model-int8")
    record = lichen.verify("model-folder", "model-int8", out="run")
    model = lichen.load("model-int8")

Importing the package costs nothing: each verb imports what it needs when it is first used.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lichen.check import check, verify
    from lichen.one_model import load, quantize

    __version__: str

__all__ = ["Request", "__version__", "check", "load", "quantize", "verify"]

_VERBS = {
    "load": "lichen.one_model",
    "quantize": "lichen.one_model",
    "verify": "lichen.check",
    "check": "lichen.check",
}


class _Verb(ModuleType):
    """A module that can also be called, as the verb of its name."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return _verb(self.__name__.rpartition(".")[2])(*args, **kwargs)


class _Package(ModuleType):
    """This package: `lichen.check` is a module *and* a verb, whichever import came first.

    Importing a submodule binds it to its name here, over any function of that name; so the
    modules that share their name with a verb are made callable instead.
    """

    def __setattr__(self, name: str, value: Any) -> None:
        if name in _VERBS and type(value) is ModuleType:
            value.__class__ = _Verb
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package


def _verb(name: str) -> Any:
    return getattr(import_module(_VERBS[name]), name)


def _version() -> str:
    from importlib import metadata  # which takes longer to import than all that --help needs

    try:
        return metadata.version("lichen")
    except metadata.PackageNotFoundError:  # run from a source tree
        return "0+unknown"


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if name == "Request":
        from lichen.completion import Request

        return Request
    if name in _VERBS:
        return _verb(name)
    raise AttributeError(f"module 'lichen' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
