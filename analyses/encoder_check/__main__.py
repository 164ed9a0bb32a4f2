from analyses.running.command import command

command("encoder_check")
