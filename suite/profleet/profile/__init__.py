"""The measured record: schema, samples, statistics, and result folders."""
