from analyses.comparison import main
from analyses.running.command_line import one_line_errors

with one_line_errors("comparison"):
    main()
