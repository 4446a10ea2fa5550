"""Before and after in one table."""
