"""Pickles of plain containers and numpy arrays, read so that nothing in them can run, and without their arrays.

A pickle is a program. Here only the part of the language is spoken that such values need: whatever
else a file says is refused by name, and what it may call are the functions below, none of which is
numpy's. Arrays stay where they are: the value of one is where its numbers lie in the file, so that
a pickle of gigabytes takes some kilobytes an array.

It is the standard library's Unpickler in Python: the one in C reserves memory for what a file
claims before it is seen, and knows more of the language than can be taken from it.
"""

import math
import pickle
import pickletools
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import numpy as np
import pyarrow as pa

from pipeline.core.errors import UserError, first_line

BLOCK = 4 << 20
# Bytes and texts beyond this are numbers of an array and stay in the file; keys and names are
# shorter.
INLINE = 256
NUMBERS = re.compile(r"f[248]|[iu][1248]")


class Refused(Exception):
    """The file is well formed and says something that is not admitted."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of the file that were not read. As text they are UTF-8 of what is to become bytes by Latin-1."""

    offset: int
    length: int
    text: bool


@dataclass(slots=True)
class _Dtype:
    """A numpy dtype: a letter with a size, and the order of its bytes."""

    code: str
    order: str = "="

    def build(self, state: tuple) -> None:
        self.order = state[1]

    def resolve(self) -> np.dtype:
        """Raises ValueError unless these are plain numbers."""
        if not NUMBERS.fullmatch(self.code) or self.order not in ("<", ">", "=", "|"):
            raise ValueError(f"an array of {self.code[:20]!r}, not of numbers")
        return np.dtype(self.code).newbyteorder(self.order)


@dataclass(slots=True)
class Array:
    """A numpy array that was not read."""

    dtype: Any = None
    shape: Any = None
    fortran: Any = None
    data: Any = None
    axes: Any = None  # how the axes are put after shaping, where that is not as they are

    def build(self, state: tuple) -> None:
        _, self.shape, self.dtype, self.fortran, self.data = state

    def read(self, read: Callable[[Span], bytes]) -> np.ndarray:
        """Return the array. Raises ValueError where shape, type and numbers do not fit together."""
        if not isinstance(self.dtype, _Dtype) or not isinstance(self.shape, tuple):
            raise ValueError("an array without type or shape")
        dtype, data = self.dtype.resolve(), self.data
        if isinstance(data, Span):
            data = read(data).decode().encode("latin-1") if data.text else read(data)
        sizes = [size for size in self.shape if type(size) is int and 0 <= size < 2**31]
        if not isinstance(data, bytes) or len(sizes) != len(self.shape) or len(sizes) > 8:
            raise ValueError("an array without shape or numbers")
        if len(data) != math.prod(sizes) * dtype.itemsize:
            raise ValueError(
                f"an array of {len(data)} bytes, its shape says {math.prod(sizes) * dtype.itemsize}"
            )
        array = np.frombuffer(data, dtype).reshape(
            sizes, order="F" if self.fortran is True else "C"
        )
        if self.axes is None:
            return array
        if not isinstance(self.axes, tuple) or not all(type(axis) is int for axis in self.axes):
            raise ValueError("an array whose axes are no numbers")
        return array.transpose(self.axes)


@dataclass(frozen=True)
class _Admitted:
    """What a pickle may call. No class and no function: those could be taken apart and changed."""

    function: Callable

    def __call__(self, *arguments: Any) -> Any:
        return self.function(*arguments)


def _dtype(code: str, *_: bool) -> _Dtype:
    if not isinstance(code, str):
        raise TypeError("a dtype that is no name")
    if code.startswith("O"):
        raise Refused("it holds an array of objects")
    return _Dtype(code)


def _frombuffer(data: Any, dtype: Any, shape: Any, order: str, axes: Any = None) -> Array:
    return Array(dtype, shape, order == "F", data, axes)


def _scalar(dtype: _Dtype, data: bytes) -> int | float | None:
    """A number; None for a scalar of another kind, which nothing here needs."""
    try:
        return np.frombuffer(data, dtype.resolve())[0].item()
    except ValueError:
        return None


def _latin1(text: Any, encoding: str) -> Any:
    """How protocol 2 says bytes."""
    if encoding not in ("latin1", "latin-1"):
        raise Refused(f"it asks for the encoding {str(encoding)[:40]!r}")
    return text.encode("latin-1") if isinstance(text, str) else text


def _bytes(*arguments: Any) -> bytes:
    if arguments:
        raise Refused("it asks for bytes of something")
    return b""


_CORES = ("numpy.core", "numpy._core")
ADMITTED: dict[tuple[str, str], _Admitted] = {
    ("numpy", "ndarray"): _Admitted(lambda *_: Array()),
    ("numpy", "dtype"): _Admitted(_dtype),
    **{(f"{core}.multiarray", "_reconstruct"): _Admitted(lambda *_: Array()) for core in _CORES},
    **{(f"{core}.multiarray", "scalar"): _Admitted(_scalar) for core in _CORES},
    **{(f"{core}.numeric", "_frombuffer"): _Admitted(_frombuffer) for core in _CORES},
    ("_codecs", "encode"): _Admitted(_latin1),
    ("__builtin__", "bytes"): _Admitted(_bytes),
    ("builtins", "bytes"): _Admitted(_bytes),
}

# Protocols 2 to 5 say plain containers, numbers and texts with these. Not among them: persistent
# ids, extensions, instances of classes, buffers from outside, sets.
OPCODES = (
    *(pickle.PROTO, pickle.FRAME, pickle.STOP, pickle.MARK),
    *(pickle.NONE, pickle.NEWTRUE, pickle.NEWFALSE),
    *(pickle.BININT, pickle.BININT1, pickle.BININT2, pickle.LONG1, pickle.BINFLOAT),
    *(pickle.SHORT_BINUNICODE, pickle.BINUNICODE, pickle.BINUNICODE8),
    *(pickle.SHORT_BINBYTES, pickle.BINBYTES, pickle.BINBYTES8, pickle.BYTEARRAY8),
    *(pickle.EMPTY_TUPLE, pickle.TUPLE, pickle.TUPLE1, pickle.TUPLE2, pickle.TUPLE3),
    *(pickle.EMPTY_LIST, pickle.APPEND, pickle.APPENDS),
    *(pickle.EMPTY_DICT, pickle.SETITEM, pickle.SETITEMS),
    *(pickle.BINGET, pickle.LONG_BINGET, pickle.BINPUT, pickle.LONG_BINPUT, pickle.MEMOIZE),
    *(pickle.GLOBAL, pickle.STACK_GLOBAL, pickle.REDUCE, pickle.BUILD),
)
_NAMES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}


class _Dispatch(dict):
    def __missing__(self, code: int) -> NoReturn:
        name = _NAMES.get(code)
        raise (
            Refused(f"it uses the pickle opcode {name}")
            if name
            else ValueError(f"no pickle opcode: byte {code}")
        )


class _Stream:
    """A file read from front to end in large blocks; what would go beyond the end is not tried."""

    def __init__(self, file: pa.NativeFile):
        self.file, self.size = file, file.size()
        self.block, self.start, self.at = b"", 0, 0

    @property
    def position(self) -> int:
        return self.start + self.at

    def read(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.block):
            self._require(count)
            self.start, self.at, end = self.position, 0, count
            self.block = self.file.read_at(max(count, BLOCK), self.start)
        taken = self.block[self.at : end]
        self.at = end
        return taken

    def skip(self, count: int) -> None:
        self._require(count)
        self.at += count
        if self.at > len(self.block):
            self.start, self.at, self.block = self.position, 0, b""

    def readline(self) -> bytes:
        """A line of at most INLINE bytes."""
        line = self.read(min(INLINE, self.size - self.position))
        end = line.find(b"\n") + 1
        if not end:
            raise ValueError("a line without an end")
        self.at -= len(line) - end
        return line[:end]

    def _require(self, count: int) -> None:
        if self.position + count > self.size:
            raise EOFError(f"truncated: ends at byte {self.size}")


class _Unpickler(pickle._Unpickler):
    def __init__(self, stream: _Stream):
        super().__init__(stream)
        self.stream = stream

    def find_class(self, module: str, name: str) -> _Admitted:
        admitted = ADMITTED.get((module, name))
        if admitted is None:
            raise Refused(f"it asks for {ascii(f'{module}.{name}'[:80])[1:-1]}")
        return admitted

    def load_frame(self) -> None:
        self.read(8)  # Frames are for reading ahead, which the stream does.

    def load_build(self) -> None:
        state, value = self.stack.pop(), self.stack[-1]
        if not isinstance(value, Array | _Dtype):
            raise Refused("it sets the state of something")
        value.build(state)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        items = self.pop_mark()
        self._set(self.stack[-1], items)

    def _set(self, target: Any, items: list) -> None:
        """Keys are texts: the hash of a nest of tuples can take for ever, and numbers can be chosen to share theirs."""
        keys = items[::2]
        if type(target) is not dict or not all(type(key) is str for key in keys):
            raise Refused("it holds a mapping whose keys are not texts")
        target.update(zip(keys, items[1::2], strict=True))

    def _payload(self, digits: int, text: bool) -> None:
        length = int.from_bytes(self.read(digits), "little")
        if length <= INLINE:
            data = self.read(length)
            self.append(data.decode() if text else data)
        else:
            self.append(Span(self.stream.position, length, text))
            self.stream.skip(length)

    dispatch = _Dispatch({code[0]: pickle._Unpickler.dispatch[code[0]] for code in OPCODES})
    dispatch[pickle.FRAME[0]] = load_frame
    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.SHORT_BINUNICODE[0]] = lambda self: self._payload(1, text=True)
    dispatch[pickle.BINUNICODE[0]] = lambda self: self._payload(4, text=True)
    dispatch[pickle.BINUNICODE8[0]] = lambda self: self._payload(8, text=True)
    dispatch[pickle.BINBYTES[0]] = lambda self: self._payload(4, text=False)
    dispatch[pickle.BINBYTES8[0]] = lambda self: self._payload(8, text=False)
    dispatch[pickle.BYTEARRAY8[0]] = lambda self: self._payload(8, text=False)


def load(uri: str, file: pa.NativeFile) -> Any:
    """Return what a pickle holds, every array as an `Array`.

    Memory: a small multiple of what the file holds beside arrays, at worst some hundred bytes for
    every byte.

    Raises:
        UserError: no pickle, a truncated one, or one that says more than containers, numbers, texts
            and arrays.
    """
    try:
        return _Unpickler(_Stream(file)).load()
    except Refused as reason:
        raise UserError(
            f"{uri}: refused, nothing in it was run: {reason}; only plain containers and numpy arrays are read"
        ) from None
    except OSError as error:
        raise UserError(f"{uri}: cannot be read ({first_line(error)})") from error
    except Exception as error:  # a damaged program may fail in any way
        raise UserError(f"{uri}: not a whole pickle ({first_line(error)[:120]})") from None
