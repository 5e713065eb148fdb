"""A shop on several machines: web servers take orders, workers carry them out, and one PostgreSQL is between them."""
