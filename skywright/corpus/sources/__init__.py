"""Readers: WARC, HTML folders, JSON lines and Parquet, each giving one row a record."""
