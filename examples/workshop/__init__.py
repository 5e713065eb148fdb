"""A CAD workshop that looks after itself: it measures its parts at night, backs them up and clears away old results."""
