"""DuckDB files as other DuckDBs write them."""

import struct

_HEADER_BYTES = 4096
_WORD = (1 << 64) - 1


def of_the_future(whole: bytes) -> bytes:
    """The same file with a storage version that no DuckDB has yet, its header's checksum made anew."""
    header = whole[8:12] + b"\xc8" + whole[13:_HEADER_BYTES]
    return _checksum(header).to_bytes(8, "little") + header + whole[_HEADER_BYTES:]


def _checksum(block: bytes) -> int:
    """DuckDB's own: words of a block, each multiplied, all xored."""
    result = 5381
    for (word,) in struct.iter_unpack("<Q", block):
        result ^= (word * 0xBF58476D1CE4E5B9) & _WORD
    return result
