"""A web server that sends files only as a whole, as Python's own does: it is said once, and no more than is needed is read."""

import functools
import gzip
import json
import logging
import os
import socket
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as parquet
import pytest

from codeparrot.errors import CodeparrotError
from codeparrot.stream.readers import jsonl
from codeparrot.stream.readers.parquet import Table
from codeparrot.tokenizer.sample import find_corpus, sample
from tests.s3_server.fixture import forget

BUDGET = 200_000
SENT_BYTES = 1 << 14


class Handler(SimpleHTTPRequestHandler):
    """Counts what it sends."""

    sent = 0
    cut = False
    """Whether files end in the middle, and answers do not say how long they are."""

    def setup(self) -> None:
        super().setup()
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SENT_BYTES)

    def send_header(self, keyword: str, value: str) -> None:
        if not (self.cut and self.command == "GET" and keyword == "Content-Length"):
            super().send_header(keyword, value)

    def copyfile(self, source: Any, outputfile: Any) -> None:
        if self.cut:
            outputfile.write(b"".join(islice(source, 100)))
            self.close_connection = True
            return
        try:
            while part := source.read(SENT_BYTES):
                outputfile.write(part)
                Handler.sent += len(part)
        except OSError:
            self.close_connection = True  # nobody wants the rest

    def log_message(self, format: str, *args: Any) -> None: ...


@pytest.fixture
def web(tmp_path: Path) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    Handler.sent = 0
    forget()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    forget()


def write(folder: Path, kind: str, files: int = 4, documents: int = 3000) -> None:
    for file in range(files):
        rows = [{"content": f"{file} {row} {os.urandom(1000).hex()}"} for row in range(documents)]
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        (folder / f"{file}.{kind}").write_bytes(gzip.compress(lines, 1) if kind.endswith("gz") else lines)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "json.gz"])
def test_files_are_sampled_from_their_beginnings(web: str, tmp_path: Path, kind: str, caplog: Any) -> None:
    write(tmp_path, kind)
    total = sum(file.stat().st_size for file in tmp_path.iterdir())
    corpus = ",".join(f"{web}/{file}.{kind}" for file in range(4))
    with caplog.at_level(logging.WARNING, "codeparrot"):
        texts = list(sample(find_corpus(corpus).of("train"), "content", BUDGET))
    said = [record.getMessage() for record in caplog.records]
    assert [each for each in said if "as a whole" in each] == [
        f"{web} sends files only as a whole: they are read from their beginnings, as far as they are needed"
    ]
    assert sum(map(len, texts)) == pytest.approx(BUDGET, rel=0.1)
    assert {text.split()[0] for text in texts} == {"0", "1", "2", "3"}
    # Each of six answers (the first file is also asked for one byte and for its first line) fills the buffers of a connection.
    assert Handler.sent <= 2 * BUDGET + 6 * (1 << 20) < total


@pytest.mark.slow
def test_a_file_is_read_whole_where_all_of_it_is_wanted(web: str, tmp_path: Path) -> None:
    write(tmp_path, "jsonl", files=1, documents=500)
    there, here = (list(jsonl.texts(f"{place}/0.jsonl", "content")) for place in (web, tmp_path))
    assert there == here and len(here) == 500


@pytest.mark.slow
def test_parquet_of_such_a_server_is_refused_before_it_is_fetched(web: str, tmp_path: Path) -> None:
    rows = pa.table({"content": [os.urandom(1000).hex() for _ in range(4000)]})
    parquet.write_table(rows, tmp_path / "x.parquet", compression="none", use_dictionary=False)
    with pytest.raises(CodeparrotError, match=r"x.parquet comes only as a whole, and is read by ranges: .*fetch it first"):
        Table(f"{web}/x.parquet")
    assert Handler.sent < 1 << 20


@pytest.mark.slow
def test_a_server_that_dies_at_the_end_of_a_line_without_having_said_how_much_comes_loses_nothing_silently(
    web: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "jsonl", files=1, documents=500)
    monkeypatch.setattr(Handler, "cut", True)
    with pytest.raises(CodeparrotError, match=r"/0.jsonl ended elsewhere than its server had said"):
        list(jsonl.texts(f"{web}/0.jsonl", "content"))
