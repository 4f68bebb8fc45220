"""The clip store: Parquet shards of one row a clip, and what is needed to read them.

Importing this package imports nothing else: `pipeline.store.manifest` must stay light.
"""
