"""Raw files to a clean, deduplicated, documented data set in Parquet."""
