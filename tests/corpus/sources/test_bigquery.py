import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from codeparrot.cli import main
from codeparrot.corpus.secrets.stage import Secrets
from codeparrot.corpus.sources.bigquery import sql
from tests.corpus.samples import make, modules, read


def exported(number: int) -> dict[str, Any]:
    """A row as BigQuery exports it: 64-bit integers are strings."""
    text = modules(12)[number].decode()
    row = {"repo_name": f"me/{number % 3}", "path": f"src/{number}.py", "copies": "3", "size": str(len(text.encode()))}
    return {**row, "content": text, "license": ("mit", "gpl-3.0", "apache-2.0")[number % 3]}


def test_an_export_is_read_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    for file in range(3):
        lines = "".join(json.dumps(exported(number)) + "\n" for number in range(file * 4, file * 4 + 4))
        (tmp_path / "export" / f"{file:012}.json.gz").write_bytes(gzip.compress(lines.encode()))
    make(f"{tmp_path}/export/*.json.gz", tmp_path / "out", secrets=Secrets("off"))
    found = {document["path"]: document for document in read(tmp_path / "out")}
    assert len(found) == 8 and not any("gpl" in document["license"].lower() for document in found.values())
    for number in range(12):
        row = exported(number)
        if document := found.get(row["path"]):
            assert (document["repo_name"], document["content"]) == (row["repo_name"], row["content"])
            assert document["size"] == int(row["size"])


def test_the_query_gives_the_columns_and_sizes_of_codeparrot() -> None:
    query = sql().data["sql"]
    statement = re.sub(r"--.*", "", query)
    assert re.findall(r"^  (?:\w+)\.(\w+),?$", statement.partition("FROM")[0], re.MULTILINE) == [
        "repo_name",
        "path",
        "copies",
        "size",
        "content",
        "license",
    ]
    assert "BETWEEN 1024 AND 1048575" in statement and "'.py'" in statement and "licenses" in statement
    assert statement.count("(") == statement.count(")") and statement.count("`") == 6


def test_the_query_can_be_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "sql"]) == 0
    assert "bigquery-public-data.github_repos.contents" in capsys.readouterr().out
    assert main(["corpus", "sql", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["sql"] == sql().data["sql"]
