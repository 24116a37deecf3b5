"""The report of a run: one self-contained HTML file drawn from what the steps measured."""

from skywright.report.pages import build, plan_page

__all__ = ["build", "plan_page"]
