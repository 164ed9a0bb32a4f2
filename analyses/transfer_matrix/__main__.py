from analyses.running.command import command

command("transfer_matrix")
