"""bench: what the toolkit measures of itself. Stands on all other packages."""
