from analyses.running.command import command

command("skill_transfer")
