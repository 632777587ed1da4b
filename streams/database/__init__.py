"""The database: effects and offset of a batch in one SQL transaction, on SQLite or PostgreSQL.

Knows delivery, and nothing of payments but the tables that its schema is made of.
"""
