"""What all analyses share: command line, inputs, progress."""
