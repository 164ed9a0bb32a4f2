from analyses.running.command import command

command("component_merge")
