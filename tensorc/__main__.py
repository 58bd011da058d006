"""`python -m tensorc`: the command line."""

from tensorc.cli import main

if __name__ == "__main__":
    main()
