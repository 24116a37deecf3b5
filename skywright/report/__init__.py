"""The report of a run: one self-contained HTML file drawn from what the steps measured."""

from skywright.report.pages import build

__all__ = ["build"]
