"""What a person sees of a run: a line a round while it lasts, and a table at its end."""

from fedrec.report.live import Live
from fedrec.report.metrics_file import MetricsFile
from fedrec.report.round_log import RoundLog
from fedrec.report.summary import print_results

__all__ = ["Live", "MetricsFile", "RoundLog", "print_results"]
