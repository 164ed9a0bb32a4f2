"""Every experiment of the paper for one recipe, in one folder: `python -m analyses.paper`.

Each experiment is a run of its own and is found again when it has finished, so that interrupted
work goes on where it stopped. The folder holds what a paper needs: `report.html`, figures
(interactive HTML, PDF, SVG, PNG), tables (Parquet, CSV, LaTeX), `summary.json` (the rows of each
analysis with the key experiment) and `runs.json` (the run of each).
"""
