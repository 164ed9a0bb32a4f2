"""Running the study and exporting its tables next to its figures."""

from typing import Any

from analyses.languages.analysis import findings
from analyses.languages.config import LanguagesConfig
from analyses.running.command_line import run_and_report
from analyses.running.options import OutputOptions
from lm_merge.runs.summary import SUMMARY_FILE, summary_text

EXPORTED = ("systems", "contrasts", "correlations")


def run_and_export(
    name: str, config: LanguagesConfig, given: dict[str, Any], output: OutputOptions
) -> None:
    """Run, draw, report; with `export`, tables as CSV and `summary.json` in that folder, too."""
    tables = run_and_report(name, config, given, output=output)
    if output.export is None:
        return
    output.export.mkdir(parents=True, exist_ok=True)
    for table in EXPORTED:
        tables[table].to_csv(output.export / f"{table}.csv", index=False)
    text = summary_text(findings(tables, config))
    (output.export / SUMMARY_FILE).write_text(text, encoding="utf-8")
