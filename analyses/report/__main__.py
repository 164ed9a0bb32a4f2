from typing import Any

from analyses.report.config import ReportConfig
from analyses.running.command import command
from analyses.running.options import OutputOptions


def write(name: str, config: ReportConfig, given: dict[str, Any], output: OutputOptions) -> None:
    """Import what computes the report only now, so that help does not."""
    from analyses.report.analysis import write_and_report

    write_and_report(name, config, given, output)


command("report", using=write)
