"""export: from a checkpoint to a verified engine. Stands on `train` and `edge`."""
