"""What is known about machines and accelerators."""
