from analyses.running.command import command

command("components")
