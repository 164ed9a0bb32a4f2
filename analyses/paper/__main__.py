from analyses.paper.command import main

main()
