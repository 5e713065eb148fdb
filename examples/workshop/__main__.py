"""``python -m workshop [folder]``: the demo."""

import sys

from workshop.demo import main

main(*sys.argv[1:2])
