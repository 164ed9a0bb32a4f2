from analyses.running.command import command

command("results_summary")
