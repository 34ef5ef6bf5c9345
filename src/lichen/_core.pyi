"""The native core: packed linear layers, the key/value cache, and plans that run a step.

Every argument that cannot be used raises ``ValueError`` saying what was given and what is allowed;
an array of another element type than the one declared here raises ``TypeError``.  Arrays must be
C-contiguous where nothing else is said.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

_Floats = npt.NDArray[np.float32]
_Ints = npt.NDArray[np.int32]

def supported_isas() -> list[str]:
    """Names of the instruction sets that this machine can run, the best one last."""

def read_rates(pool: ThreadPool, bytes: int, repetitions: int) -> list[float]:
    """Bytes a second that all threads together read of so much memory, once for each repetition."""

def peak_rates(pool: ThreadPool, isa: str, dtype: str, repetitions: int) -> list[float]:
    """Operations a second of multiply-adds in registers (two each), for dtype "i8" or "bf16".

    A set that cannot multiply bf16 widens it to float32 first, as the kernels do.
    """

def fit_symmetric(weights: _Floats, low: int, scales: _Floats) -> None:
    """Scales [n, 1] of least squared error for blocks [n, 16 or 32]: ``w = code * scale``.

    Codes are ``low`` to ``-low - 1``.  This and what follows fill the arrays that they are given.
    """

def fit_affine(weights: _Floats, high: int, scales: _Floats, shifts: _Floats) -> None:
    """Scales and shifts [n, 1] for blocks [n, 32]: ``w = code * scale + shift``, 0 <= code."""

def fit_affine_super(
    weights: _Floats,
    high: int,
    units: _Floats,
    scales: npt.NDArray[np.uint8],
    minima: npt.NDArray[np.uint8],
    codes: npt.NDArray[np.uint8],
) -> None:
    """Superblocks [n, 256] of eight blocks: units [n, 2], scales and minima [n, 8], codes [n, 256].

    ``w = code * scale * units[0] - minimum * units[1]``; codes are 0 to ``high``, scales and minima
    0 to 63, and units numbers of float16.
    """

def fit_symmetric_super(
    weights: _Floats,
    low: int,
    units: _Floats,
    scales: npt.NDArray[np.int8],
    codes: npt.NDArray[np.int8],
) -> None:
    """Superblocks [n, 256] of sixteen blocks: units [n, 1], scales [n, 16], codes [n, 256].

    ``w = code * scale * unit``; codes are ``low`` to ``-low - 1``, scales -128 to 127, and units
    numbers of float16.
    """

def dequantize_blocks(type: str, blocks: npt.NDArray[np.uint8], out: _Floats) -> None:
    """Blocks [n, bytes] of a GGUF type ("q4_k") as the float32 [n, weights] that they stand for."""

class ThreadPool:
    """Threads that work on one parallel region at a time."""

    def __init__(self, threads: int) -> None: ...
    @property
    def threads(self) -> int: ...

def add_moment(pool: ThreadPool, x: _Floats, total: _Floats, isa: str | None = None) -> None:
    """``total += x.T @ x`` for x [n, width], lower triangle; above it anything may be written.

    x, whose rows may lie apart, must be finite, and is rounded: each column of every 256 rows, the
    last ones perhaps fewer, to 63 steps either way.  Here and below ``isa`` is the best set of the
    machine unless it is named, and every one gives the same bits.
    """

def add_columns(
    pool: ThreadPool,
    x: _Floats,
    largest: _Floats,
    absolute: npt.NDArray[np.float64],
    squares: npt.NDArray[np.float64],
) -> None:
    """Go on with the largest magnitude and sums of magnitudes and squares [width] of each column.

    Sums of a column of x [n, width] that is not finite are not finite either.
    """

def multiply(
    pool: ThreadPool, a: _Floats, b: _Floats, out: _Floats, isa: str | None = None
) -> None:
    """``out += a @ b.T``; a [m, k], b [n, k], out [m, n]."""

def factor(pool: ThreadPool, h: _Floats, isa: str | None = None) -> bool:
    """Put the lower triangular S with ``h = S.T @ S`` in the place of h [n, n].

    False, with h spoilt, where h is not positive definite.
    """

def extremes(
    pool: ThreadPool,
    weight: npt.NDArray[Any],
    dtype: str,
    least: _Floats,
    greatest: _Floats,
    isa: str | None = None,
) -> None:
    """The least and the greatest number of each part and zero, [rows, parts].

    Here and below a weight [rows, columns] is float32, or uint16 with the bits of ``dtype``
    float16 or bfloat16; rows are cut into equal parts, as many as scales have columns.  NaN
    where a number is not finite.
    """

def fit(
    pool: ThreadPool,
    weight: npt.NDArray[Any],
    dtype: str,
    bits: int,
    symmetric: bool,
    scale_type: str,
    scales: _Floats,
    zeros: _Floats,
    codes: npt.NDArray[np.int8],
    grid: int,
    turns: int,
    widest: float,
    narrowest: float,
    importance: _Floats | None = None,
    isa: str | None = None,
) -> None:
    """Find scales, zero points and codes of small squared error (lichen.solvers.mse).

    NaN for the scale of a part with a number that is not finite, infinite where it is too large.
    """

def encode_trellis(
    pool: ThreadPool,
    weight: npt.NDArray[Any],
    dtype: str,
    words: npt.NDArray[np.uint8],
    isa: str | None = None,
) -> None:
    """Trellis codes of small squared error (lichen.schemes.trellis), [rows, bytes of a row].

    ValueError for weights that are not finite, too large, or not whole 32 columns.
    """

def trellis_squares(
    pool: ThreadPool,
    weight: npt.NDArray[Any],
    dtype: str,
    words: npt.NDArray[np.uint8],
    errors: npt.NDArray[np.float64],
    squares: npt.NDArray[np.float64],
    isa: str | None = None,
) -> None:
    """As `squares`, of trellis codes."""

def encode_trellis_with_feedback(
    pool: ThreadPool,
    weight: _Floats,
    wanted: _Floats,
    feedback: Sequence[_Floats],
    pivots: _Floats,
    words: npt.NDArray[np.uint8],
    costs: npt.NDArray[np.float64],
    isa: str | None = None,
) -> None:
    """The same with columns, in the order of codes, rounded as `round_with_feedback` does.

    ``wanted`` is a copy of the weight, and used up; to ``costs`` [out] each row's is added.
    """

def decode_trellis(
    words: npt.NDArray[np.uint8], codes: npt.NDArray[np.int8], units: _Floats
) -> None:
    """Codes [rows, columns] and units [rows, groups of 128] of rows of trellis codes."""

def half_quadratic(
    pool: ThreadPool,
    weight: npt.NDArray[Any],
    dtype: str,
    bits: int,
    symmetric: bool,
    scale_type: str,
    second_scales: _Floats,
    second_zeros: _Floats,
    scales: _Floats,
    zeros: _Floats,
    norm: float,
    beta: float,
    turns: int,
    isa: str | None = None,
) -> None:
    """Scales and zero points that are no worse than either start (lichen.solvers.hqq).

    Both starts are [rows, parts]; turns begin with the second, the first is written over.  Weights
    must be finite.
    """

def round(
    pool: ThreadPool,
    weight: npt.NDArray[Any],
    dtype: str,
    bits: int,
    scales: _Floats,
    zeros: _Floats,
    codes: npt.NDArray[np.int8],
    isa: str | None = None,
) -> None:
    """``codes = weight / scales + zeros``, to the nearest, halves to even, cut to ``bits``."""

def squares(
    pool: ThreadPool,
    weight: npt.NDArray[Any],
    dtype: str,
    scales: _Floats,
    zeros: _Floats,
    codes: npt.NDArray[np.int8],
    errors: npt.NDArray[np.float64],
    squares: npt.NDArray[np.float64],
    isa: str | None = None,
) -> None:
    """Add to errors [rows] the squared errors of codes, to squares [rows] those of a weight."""

def feedback_costs(
    pool: ThreadPool,
    errors: _Floats,
    feedback: Sequence[_Floats],
    pivots: _Floats,
    costs: npt.NDArray[np.float64],
    limits: npt.NDArray[np.float64],
    isa: str | None = None,
) -> None:
    """Add to costs [rows] what errors [rows, columns] cost (lichen.solvers.gptq).

    Errors are used up.  Of a row whose first columns cost more than its limit, of ``limits``
    [rows], the others need not be counted.
    """

def descend(
    pool: ThreadPool,
    pull: _Floats,
    moment: Sequence[_Floats],
    ridge: float,
    fitted: bool,
    bits: int,
    symmetric: bool,
    scale_type: str,
    scales: _Floats,
    zeros: _Floats,
    codes: npt.NDArray[np.int8],
    isa: str | None = None,
) -> None:
    """Change every column of codes [rows, columns] once, for less cost (lichen.solvers.descent).

    pull    [rows, columns], what weights differ by times H = moment + ridge; and so after it too
    moment  [columns, columns], in blocks along its diagonal
    fitted  whether scales [rows, parts] change as well
    """

def round_with_feedback(
    pool: ThreadPool,
    weight: _Floats,
    wanted: _Floats,
    feedback: Sequence[_Floats],
    pivots: _Floats,
    parts: _Ints,
    fitted: int,
    bits: int,
    symmetric: bool,
    scale_type: str,
    grid: int,
    turns: int,
    widest: float,
    narrowest: float,
    scales: _Floats,
    zeros: _Floats,
    codes: npt.NDArray[np.int8],
    costs: npt.NDArray[np.float64],
    isa: str | None = None,
) -> None:
    """Round the columns of a weight [rows, columns] in order (lichen.solvers.gptq).

    wanted    the weight again; used up
    feedback  [columns, columns], strictly lower triangular, in blocks along its diagonal
    pivots    [columns], what a squared rounding error costs; the sums are added to costs [rows]
    parts     [columns], which column of scales belongs to each
    fitted    columns that share a scale still to be found; 0: all scales are given
    """

def rotate(pool: ThreadPool, x: _Floats, signs: _Floats) -> None:
    """Rotate every vector along the middle axis of x [outer, length, inner], in place.

    ``signs`` [length] are 1 or -1; the matrix is that of `lichen.solvers.hadamard`.
    """

class ReadError(OSError):
    """A file ended before what was to be read of it, or cannot be read any more."""

class File:
    """A copy of an open file's descriptor, and the file's name for messages.

    OSError where the system gives no copy.
    """

    def __init__(self, descriptor: int, name: str) -> None: ...
    def read(self, offset: int, out: npt.NDArray[np.uint8]) -> None:
        """Fill ``out`` with the bytes from ``offset`` on; `ReadError`."""

class FileRows:
    """Rows of a matrix in a file, from ``offset`` on, of so many ``columns``.

    ``element`` is "float32", "uint16", "int8", "uint8" or "int4": two codes in a byte, the first in
    the low half, each plus 8.
    """

    def __init__(self, file: File, offset: int, rows: int, columns: int, element: str) -> None: ...
    def read(self, begin: int, out: npt.NDArray[np.uint8]) -> None:
        """Fill ``out`` with the bytes of rows from row ``begin`` on; `ReadError`."""
    @property
    def rows(self) -> int: ...
    @property
    def columns(self) -> int: ...
    @property
    def element(self) -> str: ...

class Linear:
    """A weight [rows, cols], packed for one instruction set.

    ``weight`` is an array, or rows in a file that are read as they are packed (`ReadError`). It
    is float32 for dtype "f32", the bits as uint16 for "f16" and "bf16", int8 codes for the
    others: -8 to 7 for "i4" and "b4", -32 to 31 for "b6"; for "t4" rows of trellis codes, bytes
    as uint8. ``scales`` belong to these: [rows] or [rows, 1] for "i8", [rows, groups] for "i4"
    and the blocks "b8", "b6" and "b4"; of "i4" they all have to be numbers of float16, or all
    of bfloat16.
    ``zeros`` [rows, groups] is for "i4" and optional,
    ``bias`` [rows] for all: ``w = (code - zero) * scale``.  "i8" and "i4" meet inputs that are
    quantized to int8 by row.  Blocks stand for floats and meet inputs in 16 bits, with optional
    ``shifts`` [rows, groups]: ``w = code * scale + shift``; codes of "b4" with shifts are 0 to 15,
    of "b6" 0 to 63.  GGUF's types ("q4_k") are taken as they are stored, uint8 [rows, bytes of a
    row], and become blocks with all that belongs to it.

    ``input_scale`` is the one scale of all inputs of "i8" or "i4"; 0 gives each row the scale that
    its largest number asks for, or each ``input_group`` columns of a row: with "i4" as many as
    share a scale of the weight, with "i8" a multiple of 64, up to 1024, that divides the columns.
    """

    def __init__(
        self,
        pool: ThreadPool,
        weight: npt.NDArray[Any] | FileRows,
        dtype: str,
        scales: _Floats | None,
        bias: _Floats | None,
        isa: str,
        zeros: npt.NDArray[np.int8] | None = None,
        shifts: _Floats | None = None,
        input_scale: float = 0.0,
        input_group: int = 0,
    ) -> None: ...
    @property
    def rows(self) -> int: ...
    @property
    def cols(self) -> int: ...
    @property
    def dtype(self) -> str: ...
    @property
    def input_scale(self) -> float: ...
    @property
    def input_group(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def dequantize_row(self, row: int) -> _Floats:
        """One row of the weight, [cols]."""

    def apply(self, pool: ThreadPool, x: _Floats) -> _Floats:
        """``x [T, cols] @ weight.T + bias``, [T, rows]; "i8" and "i4" quantize x by row."""

class Cache:
    """Keys and values of all layers in pages of ``page_tokens`` (a multiple of 16).

    ``dtype`` is "float32", "float16", or "int8" with a scale for each head and position.  Memory
    becomes resident as pages are used; ``nbytes`` is what it takes when all are.
    """

    def __init__(
        self,
        layers: int,
        kv_heads: int,
        head_dim: int,
        page_tokens: int,
        pages: int,
        dtype: str = "float32",
    ) -> None: ...
    @staticmethod
    def page_bytes(layers: int, kv_heads: int, head_dim: int, page_tokens: int, dtype: str) -> int:
        """What one page takes."""

    @property
    def page_tokens(self) -> int: ...
    @property
    def pages(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    def fill(self, value: float) -> None:
        """Set every number, padding included: tests fill with NaN to see that nothing leaks."""

class Plan:
    """A forward pass: operations appended in order, ended by ``output``, then run by ``step``.

    Or a part of one: begun by ``input``, ended by ``tap`` and ``finish``, run by ``relay``.
    Values are numbered float32 buffers [rows, width], with a row for every token of the step, or,
    after ``select_rows``, for every row asked for.  Their memory is reused when they are dead.
    Results are equal bit for bit whatever else is in the batch, however a prompt is cut into
    steps, wherever pages lie, and with any number of threads; and on every instruction set, but
    for ``bfloat16`` weights and, on ``amx``, attention over a ``float16`` or ``int8`` cache.
    """

    def __init__(self, pool: ThreadPool, isa: str, max_tokens: int) -> None: ...
    def value(self, width: int) -> int:
        """Declare a value."""

    def embedding(self, table: Linear, out: int) -> None:
        """``out`` = the rows of the table that the ids name."""

    def input(self, out: int) -> None:
        """``out`` = the rows that `relay` is given, the first input for the first one declared."""

    def rms_norm(self, x: int, out: int, weight: _Floats, eps: float) -> None:
        """``out = x / sqrt(mean(x**2) + eps) * weight``; weight [width]."""

    def layer_norm(self, x: int, out: int, weight: _Floats, bias: _Floats, eps: float) -> None:
        """``out = (x - mean) / sqrt(variance + eps) * weight + bias``; weight, bias [width]."""

    def linear(self, x: int, outs: Sequence[tuple[Linear, int]], accumulate: bool = False) -> None:
        """Write (or add, when ``accumulate``) the product of x with each weight to its value.

        All run in one phase, and integer weights share one quantization of x.
        """

    def fake_quantize(self, x: int, out: int, scale: float = 0.0, group: int = 0) -> None:
        """``out`` = x as int8 codes stand for it: rounded to multiples of a scale, and cut.

        ``scale`` is that of all rows; 0 gives each row its own, or each ``group`` columns of it.
        """

    def rope(
        self,
        x: int,
        heads: int,
        head_dim: int,
        inv_freq: _Floats,
        scale: float,
        interleaved: bool,
    ) -> None:
        """Rotate x in place by its positions.

        The first ``2 * len(inv_freq)`` numbers of each head turn; their pairs are (i, i + half), or
        (2i, 2i + 1) when ``interleaved``.  ``scale`` multiplies cosines and sines.
        """

    def attention(
        self,
        q: int,
        k: int,
        v: int,
        out: int,
        layer: int,
        heads: int,
        kv_heads: int,
        head_dim: int,
        scale: float,
        key_units: _Floats | None = None,
    ) -> None:
        """Store this step's k and v in the cache, then ``out`` = causal attention over all keys.

        An int8 cache holds keys as multiples of ``key_units`` [kv_heads * head_dim], so that
        channels of different size can share a scale.  Powers of two change no other number.
        """

    def gated(self, x: int, gate: Linear, up: Linear, out: int) -> None:
        """``out = silu(gate @ x) * (up @ x)``; neither product is kept."""

    def silu_mul(self, gate: int, up: int, out: int) -> None:
        """``out = silu(gate) * up``."""

    def gelu(self, x: int, out: int, approximate: bool) -> None:
        """``out = gelu(x)``, by erf, or by tanh when ``approximate``."""

    def add(self, x: int, y: int, out: int) -> None:
        """``out = x + y``."""

    def select_rows(self, x: int, out: int) -> None:
        """``out`` = the rows of x that the step asks for; everything after works on these."""

    def tap(self, x: int) -> None:
        """Let `relay` give out x as it is at this place, for every token."""

    def output(self, x: int) -> None:
        """End the plan; ``x`` is what a step returns."""

    def finish(self) -> None:
        """End a plan that has taps and no output."""

    def step(
        self, cache: Cache, ids: _Ints, positions: _Ints, starts: _Ints, pages: _Ints, rows: _Ints
    ) -> _Floats:
        """Run one step and return the output of ``rows``, [R, width of the output].

        ids, positions  [T]     of all tokens, sequence after sequence
        starts          [S + 1] sequence s owns tokens ``starts[s]:starts[s + 1]``, at consecutive
                                positions; it attends keys 0 to its own position
        pages           [S, P]  the sequence's pages in the cache, in order; numbers past the last
                                one needed are ignored, no two sequences may write one page
        rows            [R]     tokens whose output is wanted
        """

    def relay(
        self,
        cache: Cache,
        ids: _Ints,
        positions: _Ints,
        starts: _Ints,
        pages: _Ints,
        inputs: Sequence[_Floats],
        taps: Sequence[_Floats],
    ) -> None:
        """Run one step of a part of a model, from ``inputs`` to ``taps``.

        Both are [T, width] each, in order; ids are read where there is an embedding.  A tap may lie
        where an input does, if all taps come behind all inputs.
        """

    @property
    def products(self) -> list[tuple[str, int, int, int, bool]]:
        """dtype, rows, cols and bytes of every product's weight, and whether every token meets it.

        The others run on the rows asked for only: the output head.
        """

    @property
    def profile(self) -> dict[str, float]:
        """Seconds that threads worked in each kind of phase since the plan was made.

        Summed over threads; "waiting" is the time they waited for one another.
        """

    def fill(self, value: float) -> None:
        """Set the memory of all values, as a former step might have left it (for tests)."""
