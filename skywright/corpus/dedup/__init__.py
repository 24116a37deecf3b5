"""Duplicates: exact copies, near copies that are verified, and overlap with held-out documents."""
