"""Measurements; each module prints one line of JSON last. Results are
committed with the machine's description.
"""
