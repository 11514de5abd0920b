"""Folders, documents and Parquet files, written aside and renamed."""
