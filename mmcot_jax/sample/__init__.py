"""What may be written, and writing it."""
