"""skywright: from raw web pages to a measured bilingual base language model."""

__version__ = "0.1.0"
