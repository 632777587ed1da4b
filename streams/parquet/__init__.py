"""Files for the data platform: a record is in exactly one, and a file is there if its offsets are committed.

Knows delivery, and nothing of payments but the columns of their rows. Needs the extra ``parquet``.
"""
