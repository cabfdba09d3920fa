"""Photos and masks: found, cut into crops, or rendered."""
