"""`python -m slimmer` runs the command line."""

from slimmer.cli import main

if __name__ == "__main__":
    main()
