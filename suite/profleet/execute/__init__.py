"""Planning jobs, executing them, and collecting what they leave."""
