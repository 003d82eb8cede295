"""`python -m slimmer` is `slimmer`."""

from slimmer.cli import main

if __name__ == "__main__":
    main()
