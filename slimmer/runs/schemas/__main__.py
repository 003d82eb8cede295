"""`python -m slimmer.runs.schemas FOLDER` writes the JSON schemas of a run's files to FOLDER."""

import sys
from pathlib import Path

from slimmer.runs.schemas.published import write_schemas

if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m slimmer.runs.schemas FOLDER")
    for written in write_schemas(Path(sys.argv[1])):
        sys.stdout.write(f"{written}\n")
