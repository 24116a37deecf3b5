"""From raw pages to clean documents, with a ledger that says what became of every record."""
