"""``python -m brainmass_core.cli``."""

from brainmass_core.cli import main

if __name__ == "__main__":
    main()
