"""``python -m benchgen`` is the command ``benchgen``."""

from benchgen.cli.main import main

main()
