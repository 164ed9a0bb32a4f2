from analyses.adapter_search.command import SearchExtras, run_search
from analyses.running.command import command

command("adapter_search", extras=SearchExtras, using=run_search)
