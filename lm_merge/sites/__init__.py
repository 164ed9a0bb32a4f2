"""Where in a model a state is read and replaced."""
