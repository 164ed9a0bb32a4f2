from analyses.real.command import main

main()
