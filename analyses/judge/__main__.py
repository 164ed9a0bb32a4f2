from analyses.judge.command import main

main()
