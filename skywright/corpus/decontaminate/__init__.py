"""Benchmark items looked for in documents: IDF-weighted overlap of n-grams, item by item."""
