"""Sources with a form of their own: parallel text, questions with answers."""
