from analyses.comparison.estimate import ComparisonExtras, estimate_or_run
from analyses.running.command import command

command("comparison", extras=ComparisonExtras, using=estimate_or_run)
