"""The command line: options and files in, runs, files and one-line errors out. Nothing below imports it."""
