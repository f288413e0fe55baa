"""The three proofs of a file's bytes: SHA-256, SM3 (GB/T 32905-2016) and a Merkle tree over its leaves."""

import ctypes
import ctypes.util
import hashlib
from dataclasses import dataclass
from functools import cache
from typing import Protocol

from dockwarden.evidence import merkle

LEAF_SIZE = 512 * 1024
"""Bytes of a leaf; only the last leaf of a file may be shorter. A file of no bytes has no leaf."""

_GCRY_MD_SM3 = 313
_GCRYCTL_TEST_ALGO = 8


@dataclass(frozen=True)
class Digests:
    """Size in bytes and the digests of a file, in lower-case hexadecimal."""

    size: int
    sha256: str
    sm3: str
    leaves_root: str


class Hash(Protocol):
    """What every hash here can do."""

    def update(self, data: bytes | memoryview, /) -> None: ...
    def digest(self) -> bytes: ...


class _GcryptSm3:
    """SM3 by libgcrypt, nearly twice as fast as OpenSSL's; ctypes lets other threads run meanwhile."""

    def __init__(self, library: ctypes.CDLL) -> None:
        self._library = library
        self._handle = ctypes.c_void_p()
        self._result: bytes | None = None
        if library.gcry_md_open(ctypes.byref(self._handle), _GCRY_MD_SM3, 0):
            raise OSError("libgcrypt could not open SM3")

    def update(self, data: bytes | memoryview, /) -> None:
        view = memoryview(data)
        if view.readonly:
            self._library.gcry_md_write(self._handle, bytes(view), view.nbytes)
        elif view.nbytes:
            place = (ctypes.c_char * view.nbytes).from_buffer(view)
            self._library.gcry_md_write(self._handle, place, view.nbytes)

    def digest(self) -> bytes:
        if self._result is None:
            place = self._library.gcry_md_read(self._handle, _GCRY_MD_SM3)
            self._result = ctypes.string_at(place, 32)
        return self._result

    def __del__(self) -> None:
        if self._handle:
            self._library.gcry_md_close(self._handle)


@cache
def _gcrypt() -> ctypes.CDLL | None:
    try:
        library = ctypes.CDLL("libgcrypt.so.20")
    except OSError:
        return None
    library.gcry_check_version.restype = ctypes.c_char_p
    library.gcry_md_open.argtypes = [ctypes.POINTER(ctypes.c_void_p), ctypes.c_int, ctypes.c_uint]
    library.gcry_md_write.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    library.gcry_md_write.restype = None
    library.gcry_md_read.argtypes = [ctypes.c_void_p, ctypes.c_int]
    library.gcry_md_read.restype = ctypes.c_void_p
    library.gcry_md_close.argtypes = [ctypes.c_void_p]
    library.gcry_md_close.restype = None
    initialised = library.gcry_check_version(None) is not None
    known = library.gcry_md_algo_info(_GCRY_MD_SM3, _GCRYCTL_TEST_ALGO, None, None) == 0
    return library if initialised and known else None


def new_sm3() -> Hash:
    """Return a fresh SM3: libgcrypt where the machine has it, else hashlib (OpenSSL)."""
    library = _gcrypt()
    return _GcryptSm3(library) if library is not None else hashlib.new("sm3")


class Measure:
    """Takes a file's bytes in any pieces and gives its Digests and leaf hashes."""

    def __init__(self) -> None:
        self.leaves: list[bytes] = []
        self._size = 0
        self._sha256 = hashlib.sha256()
        self._sm3 = new_sm3()
        self._leaf = merkle.new_leaf_hash()
        self._leaf_size = 0

    def update(self, data: bytes | memoryview) -> None:
        """Take the next bytes."""
        self._sha256.update(data)
        self._sm3.update(data)
        view = memoryview(data)
        self._size += view.nbytes
        while view.nbytes:
            piece = view[: LEAF_SIZE - self._leaf_size]
            self._leaf.update(piece)
            self._leaf_size += piece.nbytes
            view = view[piece.nbytes :]
            if self._leaf_size == LEAF_SIZE:
                self._close_leaf()

    def finish(self) -> Digests:
        """Return the digests of all bytes taken; nothing may be taken afterwards."""
        if self._leaf_size:
            self._close_leaf()
        root = merkle.root(self.leaves)
        return Digests(self._size, self._sha256.hexdigest(), self._sm3.digest().hex(), root.hex())

    def _close_leaf(self) -> None:
        self.leaves.append(self._leaf.digest())
        self._leaf = merkle.new_leaf_hash()
        self._leaf_size = 0


def leaf_count(size: int) -> int:
    """Number of leaves of a file of `size` bytes."""
    return -(-size // LEAF_SIZE)


def leaf_length(size: int, index: int) -> int:
    """Bytes of leaf `index` of a file of `size` bytes; raises IndexError outside the file."""
    if not 0 <= index < leaf_count(size):
        raise IndexError(index)
    return min(LEAF_SIZE, size - index * LEAF_SIZE)
