"""The data platform: Parquet files, of which a record is in exactly one, or requests to its API.

A file is there once its offsets are committed. Knows delivery, and nothing of payments but the columns of
their rows. Files need the extra ``parquet``.
"""
