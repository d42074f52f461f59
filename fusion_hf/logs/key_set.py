"""Which of millions of rows are there already, in sixteen bytes a row."""

import hashlib
from array import array

Key = tuple[str, str, str]


def digest(key: Key) -> int:
    """64 bits of a log row's key, never zero. Among a million keys two collide with a probability of 3e-8."""
    text = "\x1f".join(key).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest(), "little") or 1


class KeySet:
    """A set of keys that holds 64 bits of each in an open hash table, at most half full."""

    def __init__(self):
        self._table = array("Q", bytes(8 * 1024))
        self._size = 0

    def __len__(self) -> int:
        return self._size

    def __contains__(self, key: Key) -> bool:
        return self._table[self._place(digest(key))] != 0

    def add(self, key: Key) -> bool:
        """Add a key; whether it is new."""
        value = digest(key)
        place = self._place(value)
        if self._table[place]:
            return False
        self._table[place] = value
        self._size += 1
        if 2 * self._size > len(self._table):
            old, self._table = self._table, array("Q", bytes(16 * len(self._table)))
            for value in old:
                if value:
                    self._table[self._place(value)] = value
        return True

    def _place(self, value: int) -> int:
        table, last = self._table, len(self._table) - 1
        place = value & last
        while (found := table[place]) and found != value:
            place = (place + 1) & last
        return place
