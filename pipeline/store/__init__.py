"""The clip store: Parquet shards of one row a clip, and what is needed to read them."""
