"""`codeparrot corpus sql`: the query that exports the Python files of the GitHub dump on BigQuery."""

from importlib.resources import files

from codeparrot.result import Result


def sql() -> Result:
    """Print the BigQuery query; `codeparrot corpus build --source "export/*.json.gz"` reads its export unchanged.

    The comment at its top says how to run and export it.
    """
    text = files("codeparrot.corpus.sources").joinpath("bigquery.sql").read_text(encoding="utf-8")
    return Result(text.rstrip("\n"), {"sql": text})
