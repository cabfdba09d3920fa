"""`bench belt`: particles on a conveyor belt, counted once."""
