"""What a pickle may hold besides plain values: numpy arrays, and what makes them.

A pickle calls functions. It may call those in `ADMITTED`, and none of them is numpy's: each returns
a value of this module, which only remembers what the pickle said. Arrays stay in the file until
somebody reads them, so that a pickle of gigabytes takes some kilobytes an array.
"""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

# The types of numbers that are read: half, single and double floats, and integers.
NUMBERS = re.compile(r"f[248]|[iu][1248]")
# Texts: U and the number of characters, of 4 bytes each.
TEXTS = re.compile(r"U([1-9][0-9]{0,5})")
BYTE_ORDERS = ("<", ">", "=", "|")
MOST_AXES = 8
LONGEST_AXIS = 2**31


class RefusedPickle(Exception):  # noqa: N818 - the file is well formed
    """The file is well formed and says something that is not admitted."""


@dataclass(frozen=True, slots=True)
class Span:
    """Bytes of the file that were not read.

    Attributes:
        offset: where they begin.
        length: how many they are.
        text: true where they are text in UTF-8 that stands for bytes, one character a byte.
    """

    offset: int
    length: int
    text: bool


@dataclass(slots=True)
class Dtype:
    """A numpy dtype: a letter with a size, and the order of its bytes."""

    code: str
    order: str = "="

    def build(self, state: tuple) -> None:
        """Take the state that a pickle gives: (version, byte order, ...)."""
        self.order = state[1]

    def resolve(self) -> np.dtype:
        """Return the dtype.

        Raises:
            ValueError: it is none of plain numbers.
        """
        return self._resolve(NUMBERS, "numbers")

    def resolve_texts(self) -> np.dtype:
        """Return the dtype of an array of texts.

        Raises:
            ValueError: it is none.
        """
        return self._resolve(TEXTS, "texts")

    def _resolve(self, admitted: re.Pattern, what: str) -> np.dtype:
        if not admitted.fullmatch(self.code) or self.order not in BYTE_ORDERS:
            raise ValueError(f"an array of {self.code[:20]!r}, not of {what}")
        return np.dtype(self.code).newbyteorder(self.order)  # type: ignore[arg-type]


@dataclass(slots=True)
class Array:
    """A numpy array that was not read. Until then any attribute may be anything.

    Attributes:
        dtype: a `Dtype`.
        shape: a tuple of lengths.
        fortran: True where the first axis varies fastest.
        data: bytes, or a `Span` of the file.
        axes: the order in which the axes are put after shaping, None where it stays.
    """

    dtype: Any = None
    shape: Any = None
    fortran: Any = None
    data: Any = None
    axes: Any = None

    def build(self, state: tuple) -> None:
        """Take the state that a pickle gives: (version, shape, dtype, fortran, data)."""
        _, self.shape, self.dtype, self.fortran, self.data = state

    def read(self, read: Callable[[Span], bytes]) -> np.ndarray:
        """Return the array.

        Args:
            read: returns the bytes of a span.

        Raises:
            ValueError: shape, type and numbers do not fit together.
        """
        if not isinstance(self.dtype, Dtype) or not isinstance(self.shape, tuple):
            raise ValueError("an array without type or shape")
        return self._read_as(self.dtype.resolve(), read)

    def read_texts(self, read: Callable[[Span], bytes]) -> list[str]:
        """Return the texts of an array that has one axis.

        Raises:
            ValueError: it is none.
        """
        if not isinstance(self.dtype, Dtype) or not isinstance(self.shape, tuple):
            raise ValueError("an array without type or shape")
        texts = self._read_as(self.dtype.resolve_texts(), read)
        if texts.ndim != 1:
            raise ValueError(f"an array of texts with {texts.ndim} axes")
        return [str(text) for text in texts.tolist()]

    def _read_as(self, dtype: np.dtype, read: Callable[[Span], bytes]) -> np.ndarray:
        data = self._data(read)
        shape = self._plain_shape()
        if not isinstance(data, bytes) or shape is None:
            raise ValueError("an array without shape or numbers")
        # Checked before anything is made of it: a shape may claim any number of bytes.
        said = math.prod(shape) * dtype.itemsize
        if len(data) != said:
            raise ValueError(f"an array of {len(data)} bytes, its shape says {said}")
        order: Any = "C"
        if self.fortran is True:
            order = "F"
        array = np.frombuffer(data, dtype).reshape(shape, order=order)
        if self.axes is None:
            return array
        if not isinstance(self.axes, tuple) or not all(type(axis) is int for axis in self.axes):
            raise ValueError("an array whose axes are no numbers")
        return array.transpose(self.axes)

    def _data(self, read: Callable[[Span], bytes]) -> Any:
        if not isinstance(self.data, Span):
            return self.data
        data = read(self.data)
        if self.data.text:
            return data.decode().encode("latin-1")
        return data

    def _plain_shape(self) -> list[int] | None:
        """Return the shape, None unless it is of at most 8 possible lengths."""
        if len(self.shape) > MOST_AXES:
            return None
        for length in self.shape:
            # A subclass of int, as bool, is none.
            if type(length) is not int or not 0 <= length < LONGEST_AXIS:
                return None
        return list(self.shape)


@dataclass(frozen=True)
class Admitted:
    """What a pickle may call. No class and no function: those could be taken apart and changed."""

    function: Callable

    def __call__(self, *arguments: Any) -> Any:
        """Call it."""
        return self.function(*arguments)


def _empty_array(*_: Any) -> Array:
    """Stand for `numpy.ndarray` and `_reconstruct`, whose array gets its content by `build`."""
    return Array()


def _dtype(code: Any, *_: Any) -> Dtype:
    """Stand for `numpy.dtype`."""
    if not isinstance(code, str):
        raise TypeError("a dtype that is no name")
    if code.startswith("O"):
        raise RefusedPickle("it holds an array of objects")
    return Dtype(code)


def _frombuffer(data: Any, dtype: Any, shape: Any, order: str, axes: Any = None) -> Array:
    """Stand for numpy's `_frombuffer`, as protocol 5 says arrays."""
    return Array(dtype, shape, order == "F", data, axes)


def _scalar(dtype: Dtype, data: Any) -> int | float | str | None:
    """Return a number or a text; None for a scalar of another kind, which nothing here needs."""
    if isinstance(data, Span):  # a text of more than INLINE bytes: no name
        return None
    try:
        if TEXTS.fullmatch(dtype.code):
            return str(np.frombuffer(data, dtype.resolve_texts())[0])
        return np.frombuffer(data, dtype.resolve())[0].item()
    except ValueError:
        return None


def _latin1(text: Any, encoding: str) -> Any:
    """Stand for `_codecs.encode`, as protocol 2 says bytes. A long text stays a `Span`."""
    if encoding not in ("latin1", "latin-1"):
        raise RefusedPickle(f"it asks for the encoding {str(encoding)[:40]!r}")
    if isinstance(text, str):
        return text.encode("latin-1")
    return text


def _no_bytes(*arguments: Any) -> bytes:
    """Stand for `bytes()`, as protocol 2 says no bytes at all."""
    if arguments:
        raise RefusedPickle("it asks for bytes of something")
    return b""


# (module, name): what is called instead. numpy's core has had two names.
ADMITTED: dict[tuple[str, str], Admitted] = {
    ("numpy", "ndarray"): Admitted(_empty_array),
    ("numpy", "dtype"): Admitted(_dtype),
    ("numpy.core.multiarray", "_reconstruct"): Admitted(_empty_array),
    ("numpy._core.multiarray", "_reconstruct"): Admitted(_empty_array),
    ("numpy.core.multiarray", "scalar"): Admitted(_scalar),
    ("numpy._core.multiarray", "scalar"): Admitted(_scalar),
    ("numpy.core.numeric", "_frombuffer"): Admitted(_frombuffer),
    ("numpy._core.numeric", "_frombuffer"): Admitted(_frombuffer),
    ("_codecs", "encode"): Admitted(_latin1),
    ("__builtin__", "bytes"): Admitted(_no_bytes),
    ("builtins", "bytes"): Admitted(_no_bytes),
}
