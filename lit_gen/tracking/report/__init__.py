"""Runs as one HTML file that is read without a network: curves, pictures, histograms, alarms, configurations."""

from lit_gen.tracking.report.page import write_report

__all__ = ["write_report"]
