"""Row groups that were decoded last, for the sources that a corpus is cut into by language.

Where a row group mixes languages, each of them reads it, in an order of its own. So what one of them decodes is kept for the
others: of a corpus of up to DECODED_BYTES each row group is decoded once for all languages. The orders are independent draws,
so of a larger corpus the share that is found here is about DECODED_BYTES over its text (docs/LOG.md).

Memory: DECODED_BYTES a process, for each entry of `stream.train` with weights by language.
"""

from collections import OrderedDict
from threading import Lock
from typing import Any

DECODED_BYTES = 1 << 27

Key = tuple[str, str, int]
"""File, column and number of a row group."""


class Decoded:
    """Columns of row groups, those used last, within a number of bytes. Several threads may use it."""

    def __init__(self, most_bytes: int) -> None:
        self.num_bytes = 0
        self._most_bytes, self._lock = most_bytes, Lock()
        self._columns: OrderedDict[Key, Any] = OrderedDict()

    def __contains__(self, key: Key) -> bool:
        return key in self._columns

    def get(self, key: Key) -> Any:
        """Return a column that is kept, or None."""
        with self._lock:
            if key in self._columns:
                self._columns.move_to_end(key)
            return self._columns.get(key)

    def keep(self, key: Key, column: Any) -> None:
        """Keep a column, in the place of those that were not used for the longest time."""
        with self._lock:
            if key in self._columns or column.nbytes > self._most_bytes:
                return
            self._columns[key] = column
            self.num_bytes += column.nbytes
            while self.num_bytes > self._most_bytes:
                _, oldest = self._columns.popitem(last=False)
                self.num_bytes -= oldest.nbytes
