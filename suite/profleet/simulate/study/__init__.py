"""Studies of others, done again: what they simulated, by their rules, with ours beside them."""
