"""Pickles of plain containers and numpy arrays, read so that nothing in them can run.

A pickle is a program. Here only the part of the language is spoken that such values need. Whatever
else a file says is refused by name, and it may call only what `pickle_values` admits.

This is the standard library's Unpickler in Python. The one in C reserves memory for what a file
claims before it is seen, and knows more of the language than can be taken from it.
"""

import pickle
import pickletools
from collections.abc import Callable
from typing import Any, ClassVar, NoReturn

import pyarrow as pa

from pipeline.core.errors import UserError, first_line
from pipeline.ingest.decode.pickle_values import (
    ADMITTED,
    Admitted,
    Array,
    Dtype,
    RefusedPickle,
    Span,
)

BLOCK = 4 << 20
# Bytes and texts beyond this are numbers of an array and stay in the file. Keys and names are
# shorter.
INLINE = 256

# Protocols 2 to 5 say plain containers, numbers and texts with these. Not among them: persistent
# ids, extensions, instances of classes, buffers from outside, sets.
OPCODES = (
    # The frame of the program.
    pickle.PROTO,
    pickle.FRAME,
    pickle.STOP,
    pickle.MARK,
    # Constants and numbers.
    pickle.NONE,
    pickle.NEWTRUE,
    pickle.NEWFALSE,
    pickle.BININT,
    pickle.BININT1,
    pickle.BININT2,
    pickle.LONG1,
    pickle.BINFLOAT,
    # Texts and bytes.
    pickle.SHORT_BINUNICODE,
    pickle.BINUNICODE,
    pickle.BINUNICODE8,
    pickle.SHORT_BINBYTES,
    pickle.BINBYTES,
    pickle.BINBYTES8,
    pickle.BYTEARRAY8,
    # Tuples, lists and mappings.
    pickle.EMPTY_TUPLE,
    pickle.TUPLE,
    pickle.TUPLE1,
    pickle.TUPLE2,
    pickle.TUPLE3,
    pickle.EMPTY_LIST,
    pickle.APPEND,
    pickle.APPENDS,
    pickle.EMPTY_DICT,
    pickle.SETITEM,
    pickle.SETITEMS,
    # Values that come again.
    pickle.BINGET,
    pickle.LONG_BINGET,
    pickle.BINPUT,
    pickle.LONG_BINPUT,
    pickle.MEMOIZE,
    # Calls, of what is admitted.
    pickle.GLOBAL,
    pickle.STACK_GLOBAL,
    pickle.REDUCE,
    pickle.BUILD,
)
_NAMES = {ord(opcode.code): opcode.name for opcode in pickletools.opcodes}


class _Dispatch(dict):
    """From an opcode to what does it; refuses the others by name."""

    def __missing__(self, code: int) -> NoReturn:
        name = _NAMES.get(code)
        if name is None:
            raise ValueError(f"no pickle opcode: byte {code}")
        raise RefusedPickle(
            f"it uses the pickle opcode {name} (if you trust it, dump it again with protocol 4)"
        )


class _BlockReader:
    """A file read from front to end in large blocks. What would go beyond its end is not tried.

    Attributes:
        block: the bytes of the file from `start` on that are in memory.
        start: where the block begins in the file.
        used: how many bytes of the block were read.
    """

    def __init__(self, file: pa.NativeFile):
        self.file = file
        self.size = file.size()
        self.block = b""
        self.start = 0
        self.used = 0

    @property
    def position(self) -> int:
        """Where reading goes on in the file."""
        return self.start + self.used

    def read(self, count: int) -> bytes:
        """Return the next bytes. Raises EOFError where there are fewer."""
        if self.used + count > len(self.block):
            self._require(count)
            self.start = self.position
            self.used = 0
            self.block = self.file.read_at(max(count, BLOCK), self.start)
        end = self.used + count
        taken = self.block[self.used : end]
        self.used = end
        return taken

    def skip(self, count: int) -> None:
        """Pass over the next bytes. Raises EOFError where there are fewer."""
        self._require(count)
        self.used += count
        if self.used > len(self.block):
            self.start = self.position
            self.used = 0
            self.block = b""

    def readline(self) -> bytes:
        """Return the next line. Raises ValueError unless it ends within INLINE bytes."""
        line = self.read(min(INLINE, self.size - self.position))
        end = line.find(b"\n") + 1
        if not end:
            raise ValueError("a line without an end")
        # The rest was not read.
        self.used -= len(line) - end
        return line[:end]

    def _require(self, count: int) -> None:
        if self.position + count > self.size:
            raise EOFError(f"truncated: ends at byte {self.size}")


class _Unpickler(pickle._Unpickler):
    """Speaks the part of the language that is admitted."""

    # Attributes and methods of the standard library's class.
    stack: list[Any]
    read: Callable[[int], bytes]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, reader: _BlockReader):
        super().__init__(reader)
        self.reader = reader

    def find_class(self, module: str, name: str) -> Admitted:
        """Return what is called instead of a class or function. Nothing is imported."""
        admitted = ADMITTED.get((module, name))
        if admitted is None:
            asked = ascii(f"{module}.{name}"[:80])[1:-1]
            raise RefusedPickle(f"it asks for {asked}")
        return admitted

    def load_frame(self) -> None:
        """FRAME: frames are for reading ahead, which the reader does. Its 8 bytes say a length."""
        self.read(8)

    def load_build(self) -> None:
        """BUILD: only our own values take a state."""
        state = self.stack.pop()
        value = self.stack[-1]
        if not isinstance(value, Array | Dtype):
            raise RefusedPickle("it sets the state of something")
        value.build(state)

    def load_setitem(self) -> None:
        """SETITEM: one key and value."""
        value = self.stack.pop()
        key = self.stack.pop()
        self._set(self.stack[-1], [key, value])

    def load_setitems(self) -> None:
        """SETITEMS: all keys and values since the mark."""
        items = self.pop_mark()
        self._set(self.stack[-1], items)

    def _set(self, target: Any, items: list) -> None:
        """Put keys and values, which alternate, into a mapping.

        Keys are texts: the hash of a nest of tuples can take for ever, and numbers can be chosen so
        that they share theirs.
        """
        keys = items[::2]
        values = items[1::2]
        if type(target) is not dict or not all(type(key) is str for key in keys):
            raise RefusedPickle("it holds a mapping whose keys are not texts")
        target.update(zip(keys, values, strict=True))

    def load_payload(self, digits: int, text: bool) -> None:
        """Take bytes or a text after its length of so many digits; leave a long one in the file."""
        length = int.from_bytes(self.read(digits), "little")
        if length > INLINE:
            self.append(Span(self.reader.position, length, text))
            self.reader.skip(length)
            return
        data = self.read(length)
        if text:
            self.append(data.decode())
        else:
            self.append(data)

    dispatch: ClassVar[Any] = _Dispatch(
        {code[0]: pickle._Unpickler.dispatch[code[0]] for code in OPCODES}
    )
    dispatch[pickle.FRAME[0]] = load_frame
    dispatch[pickle.BUILD[0]] = load_build
    dispatch[pickle.SETITEM[0]] = load_setitem
    dispatch[pickle.SETITEMS[0]] = load_setitems
    dispatch[pickle.SHORT_BINUNICODE[0]] = lambda self: self.load_payload(1, text=True)
    dispatch[pickle.BINUNICODE[0]] = lambda self: self.load_payload(4, text=True)
    dispatch[pickle.BINUNICODE8[0]] = lambda self: self.load_payload(8, text=True)
    dispatch[pickle.BINBYTES[0]] = lambda self: self.load_payload(4, text=False)
    dispatch[pickle.BINBYTES8[0]] = lambda self: self.load_payload(8, text=False)
    dispatch[pickle.BYTEARRAY8[0]] = lambda self: self.load_payload(8, text=False)


def load(uri: str, file: pa.NativeFile) -> Any:
    """Return what a pickle holds, every array as an `Array`.

    Memory: a small multiple of what the file holds besides arrays, at worst some hundred bytes for
    every byte.

    Args:
        uri: where it lies, for messages.
        file: opened for reading anywhere in it.

    Raises:
        UserError: it is no pickle, a truncated one, or one that says more than containers, numbers,
            texts and arrays.
    """
    try:
        return _Unpickler(_BlockReader(file)).load()
    except RefusedPickle as reason:
        raise UserError(
            f"{uri}: refused, nothing in it was run: {reason}; "
            "only plain containers and numpy arrays are read"
        ) from None
    except OSError as error:
        raise UserError(f"{uri}: cannot be read ({first_line(error)})") from error
    except Exception as error:  # A damaged program may fail in any way.
        raise UserError(f"{uri}: not a whole pickle ({first_line(error)[:120]})") from None
