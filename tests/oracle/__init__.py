"""An independent judge of cron lines: slow, obvious, and sharing no code with the library."""
