"""A corpus with every record that a build may keep of what it removed, some written with malicious intent."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.corpus.samples import make, write_repositories

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}\x1b[31m\u202e"
"""An attack on a page, a template, a terminal and a reader of right-to-left text."""


def write_recorded(folder: Path) -> Path:
    """Build a corpus of 60 documents and add the files and the statistics of a full build."""
    corpus = folder / "corpus"
    make(write_repositories(folder / "raw"), corpus, shard_bytes=400_000)
    (corpus / "removed").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(_clusters())), corpus / "removed" / "duplicates.parquet")
    pq.write_table(pa.Table.from_pylist(list(_samples())), corpus / "removed" / "samples.parquet")
    statistics = json.loads((corpus / "statistics.json").read_text())
    statistics |= _recorded(statistics)
    (corpus / "statistics.json").write_text(json.dumps(statistics))
    return corpus


def _clusters() -> Any:
    for cluster, members in (("b", 3), ("a", 40), ("c", 2)):
        for number in range(members):
            yield {
                "cluster": cluster,
                "repo_name": f"me/{cluster}{number % 3}",
                "path": f"src/{number}.py" if cluster != "c" else f"{HOSTILE}{number}.py",
                "size": 1000 + number,
                "kept": number == members - 1,
                "kind": "exact" if number % 2 else "near",
            }


def _samples() -> Any:
    for reason in ("generated", "alphanumeric", "secrets"):
        for number in range(5):
            content = f"key = 'AKIA{number}'" if reason == "secrets" else f"# {reason} {number}\n{HOSTILE}\n"
            detail = HOSTILE if number == 0 else None
            yield {
                "reason": reason,
                "repo_name": "me/it",
                "path": f"{number}.py",
                "size": 2000,
                "content": content,
                "detail": detail,
            }


def _recorded(statistics: dict[str, Any]) -> dict[str, Any]:
    files, size = statistics["documents"], statistics["bytes"]
    stages = [
        ("near_duplicate", 38, 400_000),
        ("duplicate", 7, 60_000),
        ("license", 4, 30_000),
        ("generated", 5, 9_000),
        ("read", 0, 0),
    ]
    waterfall = [_stage("kept", files, size, 0, 0)]
    for name, removed, removed_bytes in stages:
        waterfall.append(_stage(name, files, size, removed, removed_bytes))
        files, size = files + removed, size + removed_bytes
    return {
        "waterfall": waterfall[::-1],
        "files": {"removed": "removed/samples.parquet", "duplicates": "removed/duplicates.parquet"},
        "read": {"files": files, "bytes": size},
        "removed": {
            name: {"files": removed, "bytes": gone, "rule": f"what {name} means"} for name, removed, gone in stages[-2::-1]
        },
        "near_duplicates": {
            "bands": 25,
            "rows_per_band": 10,
            "probability_at": {"0.7": 0.51, "0.9": 0.9999},
            "clusters": 3,
            "clustered_files": 45,
        },
        "settings": {**statistics["settings"], "near_duplicates": {"threshold": 0.7, "ngram": 5, "permutations": 256}},
        "contamination": {
            "files": 3,
            "benchmarks": {
                "humaneval": {"docstring": 2, "solution": 1, "ngram": 0},
                "mbpp": {"docstring": 0, "solution": 0, "ngram": 0},
            },
            "hits": [
                {
                    "benchmark": "humaneval",
                    "task_id": "HumanEval/0",
                    "how": "docstring",
                    "repo_name": "me/it",
                    "path": "a.py",
                    "excerpt": HOSTILE,
                }
            ],
        },
        "secrets": {"mode": "redact", "files": 9, "kinds": {"email": 12, "ip_address": 3, "key": 1, "password": 0}},
    }


def _stage(name: str, files: int, size: int, removed: int, removed_bytes: int) -> dict[str, Any]:
    return {
        "stage": name,
        "files": files,
        "bytes": size,
        "removed_files": removed,
        "removed_bytes": removed_bytes,
        "rule": f"what {name} means",
    }
