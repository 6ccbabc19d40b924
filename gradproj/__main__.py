"""``python -m gradproj VERB``: the command line where no console script is at hand."""

import sys

from gradproj.cli import main

if __name__ == "__main__":
    sys.exit(main())
