"""The commands of train, a file each; heavy packages are imported when a command runs."""
