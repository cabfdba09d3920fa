"""Commands of edge-run besides the run itself, one a module."""
