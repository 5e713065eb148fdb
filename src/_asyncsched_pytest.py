"""The pytest plugin of asyncsched: a top-level module, so that starting pytest imports none of the library."""
