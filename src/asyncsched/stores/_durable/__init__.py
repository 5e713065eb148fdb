"""What the stores that outlive the process have in common: runs and tasks as columns, and the runs known here."""
