"""Behind the Redis store: scripts, transactions, and what they are asked."""
