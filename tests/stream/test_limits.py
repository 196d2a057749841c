"""Counts of the stream that would open files, or fill the memory, until the machine gives in."""

import pytest

from codeparrot.config import Config
from codeparrot.errors import CodeparrotError
from codeparrot.setting import check_ranges


@pytest.mark.parametrize(("name", "most"), [("lanes", 65536), ("prefetch_batches", 4096)])
def test_counts_without_end_are_refused_in_one_line_before_anything_is_opened(name, most) -> None:
    config = Config()
    setattr(config.stream, name, most)
    check_ranges(config)
    for count in (most + 1, 10**9):
        setattr(config.stream, name, count)
        with pytest.raises(CodeparrotError, match=rf"^stream\.{name} is {count}; it must be at least 1 and at most {most:,}$"):
            check_ranges(config)
