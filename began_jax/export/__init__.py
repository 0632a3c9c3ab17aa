"""Generated data sets as files that other tools read."""
