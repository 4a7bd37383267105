"""``python -m mpcvit.cli`` and the ``mpcvit`` command."""

from mpcvit.cli.main import main

if __name__ == "__main__":
    main()
