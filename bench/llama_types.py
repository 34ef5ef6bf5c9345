"""llama.cpp's side of bench/kquants.py: makes a GGUF file of a type, and asks it for distributions.

    python -P bench/llama_types.py quantize F16.gguf OUT.gguf TYPE [--imatrix MEANS.npz]
    python -P bench/llama_types.py logits MODEL.gguf WINDOWS.json LOGITS.f32

MEANS.npz has the mean square of every column's input, by tensor.  WINDOWS.json is a list of lists
of token ids, each read from an empty context; LOGITS.f32 gets a float32 row for every token.  Needs
llama-cpp-python and nothing of lichen, so it lives in an environment of its own.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
from pathlib import Path

import llama_cpp
import numpy as np

_WINDOW = 512


def quantize(args: argparse.Namespace) -> None:
    """Write OUT.gguf, whole or not at all."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.nthread = args.threads
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{args.type}")
    keep = []
    if args.imatrix:
        entries = []
        for name, values in np.load(args.imatrix).items():
            data = np.ascontiguousarray(values, np.float32)
            keep.append(data)
            pointer = data.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
            entries.append((name.encode(), pointer, data.size))
        entries.append((None, None, 0))
        table = (llama_cpp.llama_model_imatrix_data * len(entries))(*entries)
        keep.append(table)
        params.imatrix = ctypes.cast(table, ctypes.POINTER(llama_cpp.llama_model_imatrix_data))
    beside = args.out.with_suffix(".part")
    names = str(args.model).encode(), str(beside).encode()
    if llama_cpp.llama_model_quantize(*names, ctypes.byref(params)):
        raise SystemExit(f"{args.type}: llama.cpp could not make it")
    os.replace(beside, args.out)


def logits(args: argparse.Namespace) -> None:
    """Logits of every token of every window."""
    model = llama_cpp.Llama(
        str(args.model),
        n_ctx=_WINDOW,
        n_batch=_WINDOW,
        n_ubatch=_WINDOW,
        n_threads=args.threads,
        n_threads_batch=args.threads,
        logits_all=True,
        verbose=False,
    )
    with args.out.open("wb") as file:
        for ids in json.loads(args.windows.read_text("utf-8")):
            model.reset()
            model.eval(ids)
            np.asarray(model.scores[: len(ids)], np.float32).tofile(file)


def main() -> None:
    """One of the two."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    commands = parser.add_subparsers(required=True)
    making = commands.add_parser("quantize")
    making.add_argument("model", type=Path)
    making.add_argument("out", type=Path)
    making.add_argument("type")
    making.add_argument("--imatrix", type=Path)
    making.set_defaults(run=quantize)
    asking = commands.add_parser("logits")
    asking.add_argument("model", type=Path)
    asking.add_argument("windows", type=Path)
    asking.add_argument("out", type=Path)
    asking.set_defaults(run=logits)
    args = parser.parse_args()
    args.run(args)


if __name__ == "__main__":
    main()
