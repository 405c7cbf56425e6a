"""``python -m cloudburst``."""

import sys

from cloudburst.cli import main

if __name__ == "__main__":
    sys.exit(main())
