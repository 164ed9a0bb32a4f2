from typing import Any

from analyses.running.command import command, run_plainly


def _run(name: str, config: Any, given: dict[str, Any], extras: Any) -> None:
    if config.dry_run:
        config.print_selection()
    else:
        run_plainly(name, config, given, extras)


command("similarity_merging", using=_run)
