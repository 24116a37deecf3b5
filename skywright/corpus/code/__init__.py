"""Source code: what a file is written in, what in it is no code, whether it is worth keeping."""
