"""asyncsched: cron, intervals and background jobs for asyncio."""
