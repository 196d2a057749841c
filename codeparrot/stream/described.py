"""Documents with their descriptions: two columns of a table, read side by side.

An item is both texts with SEPARATOR between them, or the document alone where its description is null or empty. No text can
hold the separator: it is half of a surrogate pair, which readers replace. The other column is read as the text is, by the same
positions, so order and state are those of the documents.

Cost: of Parquet, one more column; anything else is read and parsed twice.
"""

from collections.abc import Sequence
from typing import Any

from codeparrot.errors import CodeparrotError
from codeparrot.stream.readers.rows import Damaged
from codeparrot.stream.shards import Block, Shard

SEPARATOR = "\udc00"
SETTING = '"description" of the source'
"""What errors say names the column."""


class DescribedShard(Shard):
    """A shard whose items are documents with their descriptions.

    Args:
        texts: of the documents.
        column: that holds the descriptions.

    Raises:
        CodeparrotError: the shard holds windows of tokens.
    """

    def __init__(self, texts: Shard, column: str) -> None:
        if texts.packed:
            remedy = f"name the documents, or remove {SETTING}"
            raise CodeparrotError(f"{getattr(texts, 'path', 'data')} holds windows, which have no descriptions; {remedy}")
        self.texts, self.column = texts, column
        self._descriptions = texts.of_column(column, SETTING)
        self.seekable, self.whole, self.shares = texts.seekable, texts.whole, texts.shares

    @property
    def path(self) -> str | None:
        """Return the file, where there is one."""
        return getattr(self.texts, "path", None)

    def read_marked(self, position: int, num_items: int) -> Block:
        texts = self.texts.read_marked(position, num_items)
        descriptions = self._descriptions.read_marked(position, num_items).items
        return Block([_joined(*both) for both in zip(texts.items, descriptions, strict=True)], texts.following)

    def ahead(self, position: int, num_items: int) -> None:
        self.texts.ahead(position, num_items)
        self._descriptions.ahead(position, num_items)

    def check(self) -> None:
        self.texts.check()
        self._descriptions.check()

    def cut(self, parts: int) -> list[Shard]:
        return [DescribedShard(part, self.column) for part in self.texts.cut(parts)]

    def spread(self, num_tokens: int) -> list[Shard]:
        return [DescribedShard(part, self.column) for part in self.texts.spread(num_tokens)]

    def describe(self, position: int, indexes: Sequence[int]) -> list[dict[str, Any]]:
        return self.texts.describe(position, indexes)

    def fresh(self) -> Shard:
        return DescribedShard(self.texts.fresh(), self.column)

    def of_column(self, column: str, setting: str) -> Shard:
        return self.texts.of_column(column, setting)

    @property
    def identity(self) -> str:
        return self.texts.identity

    @property
    def num_items(self) -> int | None:
        return self.texts.num_items

    def close(self) -> None:
        self.texts.close()
        self._descriptions.close()


def _joined(text: str | Damaged, description: str | Damaged) -> str | Damaged:
    if isinstance(text, Damaged) or isinstance(description, Damaged):
        return text if isinstance(text, Damaged) else description
    return f"{description}{SEPARATOR}{text}" if description.strip() else text
