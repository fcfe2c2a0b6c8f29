"""What a config needs of a TPU slice that is not here: memory, bytes sent, the least time."""
