"""What knows a run folder: its state and figures on disk, the loops that make them, the command line."""
