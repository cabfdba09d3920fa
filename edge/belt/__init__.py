"""A conveyor belt as one endless picture: each part of it goes through the network once."""
