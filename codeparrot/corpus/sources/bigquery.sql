-- The Python files of the GitHub dump on BigQuery, with the columns of CodeParrot's corpus:
-- every text file *.py of 1,024 to 1,048,575 bytes in a repository whose licence is known.
--
-- Run it with the `bq` command of the Google Cloud SDK, in a project of your own:
--
--   codeparrot corpus sql > github.sql
--   bq query --use_legacy_sql=false --dry_run < github.sql
--   bq query --use_legacy_sql=false --allow_large_results --destination_table=MY_DATASET.python < github.sql
--   bq extract --destination_format=NEWLINE_DELIMITED_JSON --compression=GZIP MY_DATASET.python 'gs://MY_BUCKET/export/*.json.gz'
--   gcloud storage cp 'gs://MY_BUCKET/export/*.json.gz' export/
--   codeparrot corpus build --source 'export/*.json.gz' --output corpus
--
-- Cost: BigQuery bills the bytes of the columns that a query reads, however few WHERE keeps. This query reads the whole
-- column `content`, the largest of the dump: see what --dry_run says before you run it, and run it once (it writes a
-- table, which the export reads). To try it, read `sample_files` and `sample_contents` instead, a tenth of the dump.
-- The result has a row for every path: content that several repositories hold comes several times, and the build keeps one copy.
SELECT
  files.repo_name,
  files.path,
  contents.copies,
  contents.size,
  contents.content,
  licenses.license
FROM `bigquery-public-data.github_repos.files` AS files
JOIN `bigquery-public-data.github_repos.contents` AS contents
  ON files.id = contents.id
JOIN `bigquery-public-data.github_repos.licenses` AS licenses
  ON files.repo_name = licenses.repo_name
WHERE NOT contents.binary
  AND contents.content IS NOT NULL
  AND ENDS_WITH(files.path, '.py')
  AND contents.size BETWEEN 1024 AND 1048575
