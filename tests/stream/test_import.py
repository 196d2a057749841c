import subprocess
import sys

import codeparrot.stream


def test_every_name_of_the_package_is_there() -> None:
    assert [name for name in codeparrot.stream.__all__ if getattr(codeparrot.stream, name).__name__ != name] == []


def test_the_readers_load_nothing_heavy() -> None:
    """The commands that read data show their help quickly, and the corpus's workers need no torch."""
    program = (
        "import sys, codeparrot.stream.readers.hub, codeparrot.stream.readers.jsonl, codeparrot.stream.readers.parquet\n"
        "heavy = ('torch', 'transformers', 'tokenizers', 'numpy', 'pyarrow', 'datasets')\n"
        "print([each for each in heavy if each in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True).strip() == "[]"
